// The questions of a page. Each choice is a `details` element that replies when it is opened; here it
// gets a memory: what was tried stays marked, and a line under the last question says how it went.

import { Answers, score } from "./answers.js";
import { button, h } from "./dom.js";

/** @typedef {{name: string, choices: HTMLDetailsElement[]}} Question */

/** @param {HTMLDetailsElement} choice */
const textOf = (choice) => choice.querySelector(".choice-text")?.textContent?.trim() ?? "";

/** The questions of a page that have choices. @returns {Question[]} */
function questionsOf(/** @type {Document} */ page) {
  const boxes = [...page.querySelectorAll(".admonition.question[id]")];
  const found = boxes.map((box) => ({
    name: box.id,
    choices: [.../** @type {NodeListOf<HTMLDetailsElement>} */ (box.querySelectorAll("details.choice"))],
  }));
  return found.filter((question) => question.choices.length);
}

/**
 * Mark what was tried.
 *
 * @param {Question} question
 * @param {Answers} answers
 */
function mark({ name, choices }, answers) {
  const tried = answers.get(name)?.tried ?? [];
  for (const choice of choices) choice.classList.toggle("tried", tried.includes(textOf(choice)));
}

/**
 * Let the reader save all answers, of this page and of all others, as a file.
 *
 * @param {Answers} answers
 */
function exportAnswers(answers) {
  answers.look();
  const url = URL.createObjectURL(new Blob([answers.text()], { type: "application/json" }));
  h("a", { href: url, download: "my-answers.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/**
 * Give the questions of a page a memory, and the line under them.
 *
 * @param {Question[]} questions
 * @param {Answers} answers
 * @returns {() => void} shows what the answers are now
 */
function remember(questions, answers) {
  const names = questions.map(({ name }) => name);
  const line = h("p", { role: "status" });
  const show = () => {
    const count = answers.count(names);
    const said = score(count, names.length) + (answers.keeps ? "" : " This browser does not keep them.");
    if (line.textContent !== said) line.textContent = said;
    reset.hidden = !count.answered;
    for (const question of questions) mark(question, answers);
  };
  const reset = button("Start again", () => {
    answers.forget(names);
    for (const choice of questions.flatMap(({ choices }) => choices)) choice.open = false;
    show();
    questions[0].choices[0].querySelector("summary")?.focus();
  });
  const save = button("Export all my answers", () => exportAnswers(answers));
  for (const { name, choices } of questions) {
    for (const choice of choices) {
      choice.querySelector("summary")?.addEventListener("click", () => {
        if (choice.open) return; // it is about to close
        answers.note(name, textOf(choice), choice.classList.contains("right"));
        show();
      });
    }
  }
  const boxes = document.querySelectorAll(".admonition.question");
  boxes[boxes.length - 1].after(h("div", { class: "quiz-score" }, line, reset, save));
  return show;
}

/**
 * Say beside a chapter or a part how many of its questions have been answered.
 *
 * @param {HTMLElement} place
 * @param {Answers} answers
 */
function showProgress(place, answers) {
  const names = (place.dataset.questions ?? "").split(" ").filter(Boolean);
  const { answered, right } = answers.count(names);
  place.textContent = answered ? `${answered} of ${names.length} questions, ${right} right at first try` : "";
}

/** Start on a page that has its content. @param {Document} page */
export function start(page) {
  const answers = new Answers();
  const questions = questionsOf(page);
  const showQuiz = questions.length ? remember(questions, answers) : () => {};
  const places = [.../** @type {NodeListOf<HTMLElement>} */ (page.querySelectorAll("[data-questions]"))];
  const show = () => {
    showQuiz();
    for (const place of places) showProgress(place, answers);
  };
  const look = () => {
    answers.look();
    show();
  };
  addEventListener("storage", look); // another page
  addEventListener("pageshow", look); // this one, when it is shown again
  show();
}

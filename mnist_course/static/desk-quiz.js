// The quiz of a chapter on the learner's desk. JupyterLab makes drop-downs of the choices, which
// reply by themselves; this tells the kernel which one is opened, and shows what the kernel says.

import { button, frame, h, statusLine } from "./dom.js";

/** @import { WidgetModel } from "./types" */

const WAITING =
  "Not yet remembered. Is a cell still running? If the kernel was restarted, run this cell again.";

/**
 * The text of a choice, with its formulas as they were typed.
 *
 * @param {Element} choice
 */
function textOf(choice) {
  const title = /** @type {Element} */ (choice.querySelector("summary")?.cloneNode(true));
  for (const formula of title.querySelectorAll(".katex"))
    formula.replaceWith(`$${formula.querySelector("annotation")?.textContent ?? ""}$`);
  return title.textContent?.trim() ?? "";
}

/**
 * The line above the questions.
 *
 * @param {{model: WidgetModel, el: HTMLElement}} view
 * @returns {() => void} stops it
 */
function render({ model, el }) {
  /** @type {Element | null} */
  let notebook = null;
  const root = frame(el, {
    name: "quiz",
    title: "Your answers count",
    hint: "The first choice that you open in each question is remembered on your desk.",
  });
  const line = statusLine();
  const again = button("Start again", () => {
    line.textContent = WAITING;
    model.send({ type: "forget" });
    /** @type {NodeListOf<HTMLDetailsElement> | undefined} */
    const choices = notebook?.querySelectorAll("details.choice");
    for (const choice of choices ?? []) choice.open = false;
  });
  root.append(line, h("div", { class: "cl-row", style: "margin-top:0.6rem" }, again));

  const show = () => {
    line.textContent = model.get("said");
    again.hidden = !model.get("answered");
  };
  const opened = (/** @type {MouseEvent} */ event) => {
    notebook = el.closest(".jp-Notebook") ?? notebook; // out of sight, it may not be in the page
    const choice = /** @type {Element} */ (event.target).closest("summary")?.parentElement;
    if (!(choice instanceof HTMLDetailsElement) || !choice.matches(".choice") || choice.open) return;
    if (!notebook || choice.closest(".jp-Notebook") !== notebook) return; // of another chapter
    const title = choice.closest(".question")?.firstElementChild?.textContent?.trim() ?? "";
    const name = model.get("questions")[title];
    if (!name) return;
    line.textContent = WAITING;
    model.send({ type: "answer", name, choice: textOf(choice), right: choice.matches(".right") });
  };
  document.addEventListener("click", opened, true);
  for (const name of ["said", "answered", "heard"]) model.on(`change:${name}`, show);
  show();
  return () => document.removeEventListener("click", opened, true);
}

export default { render };

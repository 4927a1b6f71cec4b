// Where a browser keeps the answers to the questions of the book.
//
// Several pages may be open: each change is made to what is stored at that moment. Where nothing can
// be stored, or a newer edition has stored it, answers live as long as the page.

/**
 * The choices tried, in order, by their text; whether the first was right; when it was tried.
 *
 * @typedef {{tried: string[], right: boolean, at: string}} Answer
 */

const STORED = "mnist-course-answers";
const VERSION = 1;

/** @param {unknown} value @returns {value is Answer} */
function isAnswer(value) {
  if (typeof value !== "object" || value === null) return false;
  const { tried, right, at } = /** @type {Record<string, unknown>} */ (value);
  const texts = Array.isArray(tried) && tried.length > 0 && tried.every((text) => typeof text === "string");
  return texts && typeof right === "boolean" && typeof at === "string";
}

/**
 * The answers in a stored text, by the name of the question; null if a newer edition wrote it.
 *
 * @param {string | null} text
 * @returns {Map<string, Answer> | null}
 */
function read(text) {
  let content;
  try {
    content = JSON.parse(text ?? "{}");
  } catch {
    // It is not ours.
  }
  if (content?.version > VERSION) return null;
  const entries = Object.entries(content?.answers ?? {});
  return new Map(entries.filter(/** @returns {entry is [string, Answer]} */ (entry) => isAnswer(entry[1])));
}

export class Answers {
  /** @type {Map<string, Answer>} */
  known = new Map();
  keeps = true;

  constructor() {
    this.look();
  }

  /** Read what is stored now. */
  look() {
    try {
      const stored = read(localStorage.getItem(STORED));
      this.keeps = stored !== null;
      if (stored) this.known = stored;
    } catch {
      this.keeps = false;
    }
  }

  /** @param {string} name */
  get(name) {
    return this.known.get(name);
  }

  /**
   * Note a choice. The first decides; one that was tried before changes nothing.
   *
   * @param {string} name of the question
   * @param {string} choice
   * @param {boolean} right
   */
  note(name, choice, right) {
    this.look();
    const before = this.known.get(name);
    if (before?.tried.includes(choice)) return;
    if (before) this.known.set(name, { ...before, tried: [...before.tried, choice] });
    else this.known.set(name, { tried: [choice], right, at: new Date().toISOString() });
    this.save();
  }

  /** @param {string[]} names */
  forget(names) {
    this.look();
    for (const name of names) this.known.delete(name);
    this.save();
  }

  save() {
    if (!this.keeps) return;
    try {
      localStorage.setItem(STORED, this.text());
    } catch {
      this.keeps = false;
    }
  }

  /** All answers, as they are stored and exported. */
  text() {
    return JSON.stringify({ version: VERSION, answers: Object.fromEntries(this.known) });
  }

  /**
   * How many of these questions have been answered, and how many of them rightly at the first try.
   *
   * @param {string[]} names
   */
  count(names) {
    const found = names.flatMap((name) => this.known.get(name) ?? []);
    return { answered: found.length, right: found.filter((answer) => answer.right).length };
  }
}

/**
 * What stands under a quiz.
 *
 * @param {{answered: number, right: number}} count
 * @param {number} all how many questions there are
 */
export function score({ answered, right }, all) {
  const questions = (/** @type {number} */ n) => `${n} ${n === 1 ? "question" : "questions"}`;
  if (!answered) return `${questions(all)}. Click the answer that you believe.`;
  const left = all - answered;
  return `${right} of ${answered} right at first try${left ? `, ${questions(left)} to go` : ""}.`;
}

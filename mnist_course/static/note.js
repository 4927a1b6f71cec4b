// A line that says what was done with saved digits, or why it was not.

import { h } from "./dom.js";
import { SamplesError } from "./samples.js";

/** @import { Sample, Shelf } from "./types" */

const NOT_KEPT = "This browser does not keep them, though: download them before you leave the page.";
const LEFT_ALONE =
  "It lives only as long as this page, though: the digits in this browser were saved by a newer edition of the course, and this one leaves them alone. Download yours before you leave.";

const NOT_YET =
  "Not kept yet: is a cell still running? If the kernel was restarted, run the cell of the pad again.";
const PATIENCE = 3000; // milliseconds in which a kernel that is free has kept a digit

export class Note {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  timer = undefined;
  words = h("p", { class: "dp-small dp-note", role: "status", "aria-live": "polite" });

  /**
   * @param {Shelf} shelf
   * @param {HTMLElement} undo offered beside what was done, when it is shown
   */
  constructor(shelf, undo) {
    this.shelf = shelf;
    this.undo = undo;
    this.element = h("div", { class: "cl-row" }, this.words, undo);
    this.tell("");
  }

  /**
   * @param {string} text
   * @param {"" | "warning"} [kind]
   */
  tell(text, kind = "") {
    clearTimeout(this.timer);
    this.words.textContent = text;
    this.words.dataset.kind = kind;
    this.undo.hidden = true;
  }

  /**
   * Do what may not be possible with these digits, and say why it is not.
   *
   * @param {string} failure
   * @param {() => void | Promise<void>} act
   */
  async attempt(failure, act) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof SamplesError)) throw error;
      this.tell(`${failure}: ${error.message}.`, "warning");
    }
  }

  /**
   * Change what is on the shelf, and say so.
   *
   * @param {(digits: Sample[]) => Sample[]} edit
   * @param {() => string} say what was done, afterwards
   */
  change(edit, say) {
    if (this.shelf.change(edit)) {
      this.tell(say());
      this.mind(this.words.textContent ?? "");
    } else this.tell(`${say()} ${this.shelf.newer ? LEFT_ALONE : NOT_KEPT}`, "warning");
  }

  /**
   * Say so as long as a change has not reached the file: the kernel may be busy, or another one.
   *
   * @param {string} said what was done
   */
  mind(said) {
    this.timer = setTimeout(() => {
      const { waiting } = this.shelf;
      const text = waiting ? NOT_YET : said;
      if (this.words.textContent !== text) this.words.textContent = text;
      this.words.dataset.kind = waiting ? "warning" : "";
      if (waiting) this.mind(said);
    }, PATIENCE);
  }
}

// A line that says what was done with saved digits, or why it was not.

import { h } from "./dom.js";
import { SamplesError } from "./samples.js";

/** @import { Sample, Shelf } from "./types" */

const NOT_KEPT = "This browser does not keep them, though: download them before you leave the page.";
const LEFT_ALONE =
  "It lives only as long as this page, though: the digits in this browser were saved by a newer edition of the course, and this one leaves them alone. Download yours before you leave.";

export class Note {
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
    if (this.shelf.change(edit)) this.tell(say());
    else this.tell(`${say()} ${this.shelf.newer ? LEFT_ALONE : NOT_KEPT}`, "warning");
  }
}

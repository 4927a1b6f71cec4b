// Under the sheet: which digit is it? One tap, or a key, saves the drawing and makes room for the next.

import { button, h, set } from "./dom.js";
import { Note } from "./note.js";
import { DIGITS, count, named } from "./numbers.js";
import { checkSample, merged, without } from "./samples.js";

/** @import { Sample, Shelf, Stroke } from "./types" */

export const LABELS_STYLE = `
.cl-digitpad {
  .dp-labels { display:flex; flex-wrap:wrap; gap:0.35rem; margin-top:0.6rem; }
  .dp-labels > span { flex-basis:100%; }
  .dp-labels button { flex:1 0 calc(20% - 0.35rem); min-height:2.5rem; padding:0; font-weight:600; }
  .dp-told { min-height:2.25rem; margin-top:0.35rem; }
}
`;

export class LabelsView {
  /** The digit that was saved last. @type {Sample | null} */
  saved = null;

  /**
   * @param {object} options
   * @param {Shelf} options.shelf
   * @param {() => Stroke[]} options.drawing what is drawn
   * @param {() => void} options.clear starts anew
   * @param {(strokes: Stroke[]) => void} options.restore draws in place of what is there
   */
  constructor({ shelf, drawing, clear, restore }) {
    this.shelf = shelf;
    this.drawing = drawing;
    this.clear = clear;
    this.restore = restore;
    this.buttons = DIGITS.map((label) =>
      button(String(label), () => this.keep(label), { "aria-label": `Save the drawing as ${named(label)}` }),
    );
    this.note = new Note(
      shelf,
      button("Not this digit", () => this.takeBack(), { title: "Delete it, and bring the drawing back" }),
    );
    this.element = h(
      "div",
      { class: "dp-saving" },
      h(
        "div",
        { class: "dp-labels", role: "group", "aria-label": "Save the drawing as" },
        h("span", {}, "This is a \u2026"),
        ...this.buttons,
      ),
      set(this.note.element, { class: "cl-row dp-told" }),
    );
  }

  /** The drawing has changed. */
  drawn() {
    const ready = this.drawing().length > 0;
    for (const each of this.buttons) set(each, { disabled: !ready });
  }

  /** Save the drawing. @param {number} label */
  keep(label) {
    this.note.attempt("The drawing was not saved", () => {
      const one = checkSample({ label, strokes: this.drawing(), time: Date.now() });
      this.note.change(
        (digits) => merged(digits, [one]),
        () => `Saved as ${named(label)}. ${count(this.shelf.get().length, "digit")} so far.`,
      );
      this.saved = one;
      this.note.undo.hidden = false;
      this.clear();
    });
  }

  takeBack() {
    const { saved } = this;
    if (!saved) return;
    this.note.change(
      (digits) => without(digits, [saved]),
      () => `Deleted ${named(saved.label)} again.`,
    );
    this.restore(saved.strokes); // the reader may have gone on drawing meanwhile
  }
}

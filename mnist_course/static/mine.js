// My digits: label what was drawn, keep it, take it along, and teach the network with it.

import { button, fold, h, set } from "./dom.js";
import { LessonView } from "./lesson.js";
import { paintImage } from "./maps.js";
import { DIGITS, clamp, count, named } from "./numbers.js";
import {
  MOST_BYTES,
  SamplesError,
  checkSample,
  decode,
  merged,
  readSamples,
  writeSamples,
} from "./samples.js";
import { preprocess } from "./strokes.js";

/** @import { Model, Palettes, Sample, Shelf, Stroke } from "./types" */

const SHOWN = 60; // saved digits, until the reader asks for all
const PATIENCE = 4000; // milliseconds in which a question can be answered
const SIZE_IN_WORDS = `${MOST_BYTES >> 20} MB`;

export const MINE_STYLE = `
.cl-digitpad {
  .dp-labels { display:flex; flex-wrap:wrap; gap:0.35rem; align-items:center; margin-top:0.6rem; }
  .dp-labels button { min-width:2.5rem; min-height:2.5rem; padding:0; font-weight:600; }
  .dp-labels > span { margin-right:0.4rem; }
  .dp-digits { display:flex; flex-wrap:wrap; gap:0.45rem; margin:0.75rem 0; padding:0; list-style:none; }
  .dp-digits li { margin:0; }
  .dp-digits button { display:block; position:relative; width:3.1rem; padding:0.3rem 0.3rem 0.1rem; font-size:0.8125rem; line-height:1.3; }
  .dp-digits canvas { width:100%; height:auto; }
  .dp-digits button::after { position:absolute; inset:0; display:grid; place-items:center; font-size:1.75rem;
    color:var(--cl-warning); background:color-mix(in srgb, var(--cl-paper) 75%, transparent); border-radius:4px; }
  .dp-digits button:focus-visible::after { content:"\\00d7"; }
  @media (hover: hover) { .dp-digits button:hover::after { content:"\\00d7"; } }
  @media (hover: none) { .dp-digits button:not(:focus-visible)::after { content:"\\00d7"; place-items:start end;
    padding:0 0.15rem; font-size:1.125rem; line-height:1; background:none; } }
  .dp-more { margin-top:0.75rem; }
  .dp-more button { margin-left:0.6rem; }
  .dp-told { margin-top:0.6rem; }
  .dp-note[data-kind="warning"] { color:var(--cl-warning); font-weight:550; }
  .dp-teach { margin-top:0.9rem; }
  .dp-teach table { width:auto; margin:0.6rem 0; }
  .dp-teach :is(th,td) { padding:0.15rem 1rem 0.15rem 0; border:0; background:none; text-align:left; font-weight:inherit; }
  .dp-teach td { text-align:right; }
  @container (max-width: 34rem) {
    .dp-labels { display:grid; grid-template-columns:repeat(5,minmax(0,1fr)); }
    .dp-labels > span { grid-column:1/-1; }
  }
}
`;

/** The pictures of saved digits. @type {WeakMap<Sample, Float32Array>} */
const prepared = new WeakMap();

/** @param {Sample} digit */
function picture(digit) {
  const image = prepared.get(digit) ?? preprocess(digit.strokes);
  prepared.set(digit, image);
  return image;
}

/**
 * Let the reader keep a text as a file.
 *
 * @param {string} text
 * @param {string} name
 */
function download(text, name) {
  const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { download: name, href }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

/**
 * A button that asks first, and acts when it is pressed again soon.
 *
 * @param {string} text
 * @param {string} question
 * @param {() => void} act
 */
function askingButton(text, question, act) {
  /** @type {ReturnType<typeof setTimeout> | null} */
  let asked = null;
  const element = button(text, () => {
    if (asked === null) {
      element.textContent = question;
      asked = setTimeout(spare, PATIENCE);
    } else {
      spare();
      act();
    }
  });
  function spare() {
    if (asked !== null) clearTimeout(asked);
    asked = null;
    element.textContent = text;
  }
  return element;
}

/**
 * @typedef {object} Options
 * @property {Shelf} shelf
 * @property {() => Palettes} colours
 * @property {() => Stroke[]} drawing what is drawn
 * @property {() => void} clear starts anew
 * @property {() => Model | null} network as it came
 * @property {((taught: Model | null) => void) | null} take what to do with a taught network; null
 *   stands for the one that came; without `take` there is no teaching
 */

export class MineView {
  note = h("p", { class: "dp-small dp-note", role: "status", "aria-live": "polite" });
  list = h("ul", { class: "dp-digits", "aria-label": "Saved digits" });
  many = h("span");
  file = h("input", {
    type: "file",
    accept: ".json,application/json",
    class: "dp-hidden",
    tabindex: -1,
    "aria-hidden": "true",
  });
  /** What was deleted last, and where it stood. @type {{digit: Sample, at: number} | null} */
  deleted = null;
  shown = SHOWN;

  /** @param {Options} options */
  constructor(options) {
    const { shelf, colours, drawing, clear, network, take } = options;
    this.shelf = shelf;
    this.colours = colours;
    this.drawing = drawing;
    this.clear = clear;
    this.labels = DIGITS.map((each) =>
      button(String(each), () => this.keep(each), { "aria-label": `Save the drawing as ${named(each)}` }),
    );
    this.back = button("Take it back", () => this.takeBack(), { hidden: true });
    this.all = button("Show all", () => {
      this.shown = Infinity;
      this.show();
    });
    this.more = h("p", { class: "dp-small dp-more" }, this.many, this.all);
    this.download = button("Download", () => this.offer());
    this.load = button("Import \u2026", () => this.file.click());
    this.forget = askingButton("Delete all", "Really delete all?", () => {
      this.store([], "All saved digits are deleted.");
    });
    const tell = (/** @type {string} */ text) => this.tell(text);
    this.lesson = take && new LessonView({ shelf, network, take, tell, beside: this.load });
    this.element = fold("My digits", "", ...this.arrange());
    this.hint = /** @type {Element} */ (this.element.querySelector("summary span"));
    this.element.addEventListener("toggle", () => this.show());
    this.file.addEventListener("change", () => this.importFile());
    this.stop = shelf.watch(() => this.show());
  }

  /** What stands in the fold. */
  arrange() {
    const about = "Draw, then say which digit it is. Saved digits can teach a network your hand.";
    const labels = h(
      "div",
      { class: "dp-labels", role: "group", "aria-label": "Save the drawing as" },
      h("span", {}, "This is a"),
      ...this.labels,
    );
    const told = h("div", { class: "cl-row dp-told" }, this.note, this.back);
    const tools = h("div", { class: "cl-row" }, this.download, this.load, this.forget, this.file);
    const parts = [h("p", { class: "dp-small" }, about), labels, this.more, this.list, tools, told];
    return this.lesson ? [...parts, this.lesson.element] : parts;
  }

  // ---------------------------------------------------------------- saving and deleting

  /** @param {string} text @param {"" | "warning"} [kind] */
  tell(text, kind = "") {
    this.note.textContent = text;
    this.note.dataset.kind = kind;
    set(this.back, { hidden: true });
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

  /** Put digits on the shelf, and say so. @param {Sample[]} digits @param {string} text */
  store(digits, text) {
    if (this.shelf.set(digits)) return this.tell(text);
    const warning = "This browser does not keep them, though: download them before you leave the page.";
    this.tell(`${text} ${warning}`, "warning");
  }

  /** Save the drawing. @param {number} label */
  keep(label) {
    this.attempt("The drawing was not saved", () => {
      const one = checkSample({ label, strokes: this.drawing(), time: Date.now() });
      this.store(merged(this.shelf.get(), [one]), `Saved as ${named(label)}. Draw the next one.`);
      this.clear();
    });
  }

  offer() {
    const digits = this.shelf.get();
    const text = writeSamples(digits);
    download(text, "my-digits.json");
    const said = `${count(digits.length, "digit")} written to my-digits.json.`;
    if (text.length <= MOST_BYTES) return this.tell(said);
    const warning = `A file larger than ${SIZE_IN_WORDS} is not read again, though: delete some digits, and download the others once more.`;
    this.tell(`${said} ${warning}`, "warning");
  }

  importFile() {
    const file = this.file.files?.[0];
    if (!file) return;
    this.attempt("The file was not imported", async () => {
      if (file.size > MOST_BYTES) throw new SamplesError(`it is larger than ${SIZE_IN_WORDS}`);
      const digits = readSamples(decode(await file.arrayBuffer()));
      const before = this.shelf.get();
      const after = merged(before, digits);
      this.store(after, `${count(after.length - before.length, "new digit")} imported.`);
    });
    this.file.value = "";
  }

  /** @param {Sample} digit */
  remove(digit) {
    const digits = this.shelf.get();
    this.deleted = { digit, at: digits.indexOf(digit) };
    this.store(
      digits.filter((other) => other !== digit),
      `Deleted ${named(digit.label)}.`,
    );
    set(this.back, { hidden: false });
  }

  takeBack() {
    if (!this.deleted) return;
    const { digit, at } = this.deleted;
    const focused = this.back.matches(":focus");
    this.attempt("It was not taken back", () => {
      const digits = this.shelf.get();
      const all = merged(digits.slice(0, at), [digit, ...digits.slice(at)]);
      this.store(all, `Took back ${named(digit.label)}.`);
      if (focused) this.focusOn(at - all.length + this.list.children.length);
    });
  }

  // ---------------------------------------------------------------- what stands there

  /** The drawing has changed. */
  drawn() {
    const ready = this.drawing().length > 0;
    for (const label of this.labels) set(label, { disabled: !ready });
  }

  /** Another network came: nothing is taught yet. */
  renew() {
    this.lesson?.reset();
    this.show();
  }

  /** The digits, the colours or the network have changed. */
  show() {
    const digits = this.shelf.get();
    /** @type {HTMLButtonElement | null} */
    const focused = this.element.querySelector("button:focus");
    const at = [...this.list.children].findIndex((tile) => tile.contains(focused));
    const use = this.lesson ? "save what you draw, and teach the network" : "save what you draw";
    const hint = digits.length ? `${digits.length} saved ${this.shelf.place}` : use;
    this.hint.textContent = hint;
    set(this.download, { disabled: !digits.length });
    set(this.forget, { disabled: !digits.length });
    this.lesson?.show();
    if (this.element.open) this.showDigits(digits);
    // What had the focus is gone, or is of no use now: on to what stands where it stood.
    if (focused && (!focused.isConnected || focused.disabled || focused.closest("[hidden]")))
      this.focusOn(at);
  }

  /** @param {Sample[]} digits */
  showDigits(digits) {
    const recent = digits.slice(-this.shown);
    this.many.textContent = `The newest ${recent.length} of ${digits.length}.`;
    set(this.more, { hidden: recent.length === digits.length });
    this.list.replaceChildren(...recent.map((digit) => this.tile(digit)));
    set(this.list, { hidden: !recent.length });
  }

  /** @param {Sample} digit */
  tile(digit) {
    const canvas = h("canvas", { "aria-hidden": "true" });
    paintImage(canvas, picture(digit), this.colours());
    const words = { "aria-label": `Delete ${named(digit.label)}`, title: "Delete" };
    const tile = button(canvas, () => this.remove(digit), words);
    tile.append(String(digit.label));
    return h("li", {}, tile);
  }

  /** Focus on a saved digit. @param {number} place in the list */
  focusOn(place) {
    const tile = this.list.children[clamp(place, 0, this.list.children.length - 1)];
    (tile?.querySelector("button") ?? this.load).focus({ preventScroll: true });
  }

  destroy() {
    this.stop();
    this.lesson?.reset();
  }
}

// My digits: see what was saved, take it along, bring it in, delete it, and teach the network with it.

import { button, contentOf, fold, h, set } from "./dom.js";
import { LessonView } from "./lesson.js";
import { paintImage } from "./maps.js";
import { Note } from "./note.js";
import { clamp, count, named } from "./numbers.js";
import {
  MOST_BYTES,
  MOST_DIGITS,
  SamplesError,
  decode,
  merged,
  readSamples,
  without,
  writeSamples,
} from "./samples.js";
import { preprocess } from "./strokes.js";

/** @import { Model, Palettes, Sample, Shelf } from "./types" */

const SHOWN = 60; // saved digits, until the reader asks for all
const PATIENCE = 4000; // milliseconds in which a question can be answered
const ABOUT = "Draw, then say under the sheet which digit it is. Saved digits can teach a network your hand.";
const SIZE_IN_WORDS = `${MOST_BYTES >> 20} MB`;

export const MINE_STYLE = `
.cl-digitpad {
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
  .dp-note[data-kind="warning"] { color:var(--cl-warning); font-weight:550; }
  .dp-file { margin-top:0.75rem; }
  .dp-aside { margin-top:0.6rem; font-size:0.8125rem; }
  .dp-aside > span { flex:1 1 16rem; }
  .dp-teach { margin-top:0.9rem; }
  .dp-teach table { width:auto; margin:0.6rem 0; }
  .dp-teach :is(th,td) { padding:0.15rem 1rem 0.15rem 0; border:0; background:none; text-align:left; font-weight:inherit; }
  .dp-teach td { text-align:right; white-space:nowrap; }
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
 * @property {() => Model | null} network as it came
 * @property {((taught: Model | null) => void) | null} take what to do with a taught network; null
 *   stands for the one that came; without `take` there is no teaching
 */

export class MineView {
  list = h("ul", { class: "dp-digits", "aria-label": "Saved digits" });
  many = h("span");
  unread = h("span");
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
  constructor({ shelf, colours, network, take }) {
    this.shelf = shelf;
    this.colours = colours;
    this.back = button("Take it back", () => this.takeBack());
    this.note = new Note(shelf, this.back);
    this.all = button("Show all", () => {
      this.shown = Infinity;
      this.show();
    });
    this.more = h("p", { class: "dp-small dp-more" }, this.many, this.all);
    this.download = button("Download", () => this.offer());
    this.load = button("Import \u2026", () => this.file.click());
    this.forget = askingButton("Delete all", "Really delete all?", () => this.deleteAll());
    this.aside = h(
      "div",
      { class: "cl-row dp-aside" },
      this.unread,
      button("Download them as they are", () =>
        download(JSON.stringify(shelf.aside, null, 1), "my-digits-unread.json"),
      ),
      askingButton("Delete them", "Really delete them?", () => shelf.forgetAside()),
    );
    const tell = (/** @type {string} */ text) => this.note.tell(text);
    this.lesson = take && new LessonView({ shelf, network, take, tell, beside: this.load });
    this.element = fold("My digits", "", ...this.arrange());
    this.hint = /** @type {Element} */ (this.element.querySelector("summary span"));
    this.element.addEventListener("toggle", () => this.show());
    this.file.addEventListener("change", () => this.importFile());
    this.stop = shelf.watch(
      () => {
        this.note.tell(""); // what it says is of a change before this one
        this.show();
      },
      () => this.show(),
    );
  }

  /** What stands in the fold. */
  arrange() {
    const about = h("p", { class: "dp-small" }, ABOUT);
    const tools = h("div", { class: "cl-row dp-file" }, this.download, this.load, this.forget, this.file);
    const parts = [about, this.more, this.list, tools, this.note.element, this.aside];
    return this.lesson ? [...parts, this.lesson.element] : parts;
  }

  // ---------------------------------------------------------------- files, and deleting

  offer() {
    const digits = this.shelf.get();
    const text = writeSamples(digits);
    download(text, "my-digits.json");
    const said = `${count(digits.length, "digit")} written to my-digits.json.`;
    if (text.length <= MOST_BYTES && digits.length <= MOST_DIGITS) return this.note.tell(said);
    const most = `A file larger than ${SIZE_IN_WORDS}, or with more than ${MOST_DIGITS} digits, is not read again, though`;
    this.note.tell(`${said} ${most}: delete some digits, and download the others once more.`, "warning");
  }

  importFile() {
    const file = this.file.files?.[0];
    if (!file) return;
    this.note.attempt("The file was not imported", async () => {
      if (file.size > MOST_BYTES) throw new SamplesError(`it is larger than ${SIZE_IN_WORDS}`);
      const content = await contentOf(file);
      if (!content) throw new SamplesError("it cannot be opened");
      const read = readSamples(decode(content));
      const before = this.shelf.get().length;
      this.note.change(
        (digits) => merged(digits, read),
        () => `${count(this.shelf.get().length - before, "new digit")} imported.`,
      );
    });
    this.file.value = "";
  }

  /** @param {Sample} digit */
  remove(digit) {
    this.deleted = { digit, at: this.shelf.get().indexOf(digit) };
    this.note.change(
      (digits) => without(digits, [digit]),
      () => `Deleted ${named(digit.label)}.`,
    );
    this.back.hidden = false;
  }

  takeBack() {
    if (!this.deleted) return;
    const { digit, at } = this.deleted;
    const focused = this.back.matches(":focus");
    this.note.attempt("It was not taken back", () => {
      this.note.change(
        (digits) => merged(digits.slice(0, at), [digit, ...digits.slice(at)]),
        () => `Took back ${named(digit.label)}.`,
      );
      if (focused) this.focusOn(at - this.shelf.get().length + this.list.children.length);
    });
  }

  /** Delete the digits that the reader knows of, and not what another page has saved since. */
  deleteAll() {
    const known = this.shelf.get();
    this.note.change(
      (digits) => without(digits, known),
      () => "All saved digits are deleted.",
    );
  }

  // ---------------------------------------------------------------- what stands there

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
    this.hint.textContent = this.summary(digits.length);
    this.unread.textContent = this.asideInWords();
    set(this.aside, { hidden: !this.shelf.aside.length });
    set(this.download, { disabled: !digits.length });
    set(this.forget, { disabled: !digits.length });
    this.lesson?.show();
    if (this.element.open) this.showDigits(digits);
    // What had the focus is gone, or is of no use now: on to what stands where it stood.
    if (focused && (!focused.isConnected || focused.disabled || focused.closest("[hidden]")))
      this.focusOn(at);
  }

  /** Beside the title. @param {number} saved */
  summary(saved) {
    const { place, waiting, aside, newer } = this.shelf;
    if (waiting) return `${saved} drawn; waiting for the kernel to keep them`;
    const use = this.lesson ? "save what you draw, and teach the network" : "save what you draw";
    const unread = newer
      ? "; a newer edition's are left alone"
      : aside.length
        ? "; something cannot be read"
        : "";
    return `${saved ? `${saved} saved ${place}` : use}${unread}`;
  }

  asideInWords() {
    const { length } = this.shelf.aside;
    return `${length === 1 ? "One thing" : `${length} things`} that this browser has kept cannot be read as digits. Nothing overwrites ${length === 1 ? "it" : "them"}.`;
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

// What a network says about a drawing, as words and bars.

import { h, set } from "./dom.js";
import { FIELD } from "./drawing.js";
import { paintImage } from "./maps.js";
import { DIGITS, named } from "./numbers.js";
import { inkBox } from "./strokes.js";

/** @import { Palettes, Stroke } from "./types" */
/** @typedef {"empty" | "small" | "sure" | "leaning" | "unsure"} Kind */
/** @typedef {{kind: Kind, digit: number, text: string}} Verdict with the digit -1 where none is named */

const SURE = 0.8; // from this probability on, the pad names the digit without an if
const LEANING = 0.6; // below it, it does not name one
const SMALLEST = FIELD / 12; // a drawing smaller than this is a dot
// Of 7,494 digits drawn with a pen none has more ink than 187 pixels, and none is more than twice as
// wide as it is high. A network has an answer for everything; for these it should have none.
const MOST_INK = 200;
const FLATTEST = 2.5;

/**
 * What may honestly be said about a drawing.
 *
 * @param {Stroke[]} strokes what was drawn, in the sheet's units
 * @param {ArrayLike<number>} probs the ten probabilities
 * @param {Float32Array} image the drawing as the network sees it
 * @returns {Verdict}
 */
export function verdict(strokes, probs, image) {
  if (!strokes.length) return { kind: "empty", digit: -1, text: "Nothing drawn yet" };
  const [x0, y0, x1, y1] = inkBox(strokes);
  const width = x1 - x0;
  const height = y1 - y0;
  if (Math.max(width, height) < SMALLEST) return { kind: "small", digit: -1, text: "Only a dot so far" };
  const [first, second] = [...DIGITS].sort((a, b) => probs[b] - probs[a]);
  const digitlike = width <= FLATTEST * height && image.reduce((a, b) => a + b) <= MOST_INK;
  const share = digitlike ? probs[first] : 0;
  if (share >= SURE) return { kind: "sure", digit: first, text: `${percent(share)} sure` };
  if (share >= LEANING)
    return { kind: "leaning", digit: first, text: `Perhaps ${named(first)}, or ${named(second)}` };
  return { kind: "unsure", digit: -1, text: "Not sure. Is it a digit?" };
}

/** A probability in words: never 100 %, for a network is never certain. @param {number} share */
const percent = (share) => (share > 0.995 ? "Over 99\u00a0%" : `${Math.round(share * 100)}\u00a0%`);

/** A probability beside its bar. @param {number} share */
const shortPercent = (share) => `${(100 * share).toFixed(share > 0.0995 ? 0 : 1)} %`;

/** The probability of one digit. @param {number} digit */
function buildBar(digit) {
  const bar = h("b");
  const share = h("span");
  const item = h("li", {}, h("span", {}, String(digit)), h("i", { "aria-hidden": "true" }, bar), share);
  return { bar, share, item };
}

/** What one network says: a digit, some words, and ten bars. */
export class Reading {
  digit = h("div", { class: "dp-digit", "aria-hidden": "true" });
  whose = h("bdi", { class: "dp-whose" });
  said = h("p", { class: "dp-said" });
  source = h("p", { class: "dp-small" });
  bars = DIGITS.map(buildBar);
  list = h("ul", { class: "dp-bars" }, ...this.bars.map(({ item }) => item));

  /** @param {Node[]} tools what stands below the words */
  constructor(...tools) {
    this.words = h("div", {}, this.whose, this.said, this.source, ...tools);
    this.column = h("div", {}, h("bdi", { class: "dp-whose", "aria-hidden": "true" }), this.list);
  }

  /**
   * Whose answer it is, in words and for the list of bars; no name where nobody else reads.
   *
   * @param {string} name
   * @param {string} label
   */
  name(name, label) {
    for (const each of [this.whose, /** @type {HTMLElement} */ (this.column.firstElementChild)]) {
      each.textContent = name;
      set(each, { hidden: !name });
    }
    set(this.list, { "aria-label": label });
  }

  /**
   * @param {Verdict} verdict
   * @param {ArrayLike<number> | null} probs
   * @param {string} source who has read
   */
  show({ kind, digit, text }, probs, source) {
    this.digit.textContent = digit < 0 ? "?" : String(digit);
    this.digit.dataset.kind = kind;
    this.said.textContent = text;
    this.source.textContent = source;
    this.bars.forEach(({ bar, share, item }, each) => {
      bar.style.transform = `scaleX(${probs ? probs[each] : 0})`;
      share.textContent = probs ? shortPercent(probs[each]) : "";
      set(item, { "data-best": each === digit });
    });
  }
}

const BARS = "Probability of each digit";

/** What the pad's network says, and beside it what a guest says, if there is one. */
export class AnswerView {
  seen = h("canvas", {
    class: "dp-seen",
    role: "img",
    "aria-label": "What the network sees: your drawing as 28 by 28 pixels",
  });
  own = new Reading();
  answers = h("div", { class: "dp-answer" });
  columns = h("div", { class: "dp-columns" });
  element = h("div", { class: "dp-reading" }, this.answers, this.columns);

  constructor() {
    const caption = h("p", { class: "dp-small dp-caption", "aria-hidden": "true" }, "what it sees");
    this.answers.append(h("div", {}, this.seen, caption), this.own.digit, this.own.words);
    this.columns.append(this.own.column);
    this.own.name("", BARS);
  }

  /**
   * Show what another network reads, too; null for none.
   *
   * @param {Reading | null} guest
   * @param {string} name of the pad's network, where it has to be told from the guest
   */
  invite(guest, name) {
    while (this.answers.children.length > 3) this.answers.lastElementChild?.remove();
    this.columns.replaceChildren(this.own.column);
    this.own.name(guest ? name : "", guest ? `${BARS}: ${name}` : BARS);
    if (!guest) return;
    this.answers.append(h("div"), guest.digit, guest.words);
    this.columns.append(guest.column);
  }

  /** @param {Float32Array} image @param {Palettes} colours */
  paint(image, colours) {
    paintImage(this.seen, image, colours);
  }
}

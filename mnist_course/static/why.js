// Why this answer? The drawing, coloured by what each piece of it is worth to one digit.

import { fold, h, select, set } from "./dom.js";
import { paintImage } from "./maps.js";
import { DIGITS, article, named } from "./numbers.js";
import { occlusion } from "./occlusion.js";
import { SIZE } from "./strokes.js";
import { unhurried } from "./unhurried.js";

/** @import { Model, Palettes } from "./types" */

export const WHY_STYLE = `
.cl-digitpad {
  .dp-why { display:flex; flex-wrap:wrap; gap:0.75rem 1.25rem; align-items:center; margin-top:0.6rem; }
  .dp-why > div:first-child { position:relative; flex:none; width:168px; height:168px; border:1px solid var(--cl-line); border-radius:5px; overflow:hidden; }
  .dp-why canvas { position:absolute; inset:0; width:100%; height:100%; }
  .dp-why canvas + canvas { opacity:0.35; }
  .dp-why > div:last-child { flex:1 1 14rem; }
  .dp-why p { margin-top:0.5rem; }
}
`;

const LABEL = "The drawing, coloured by what each piece is worth";
const ABOUT =
  "The network reads your drawing again and again, each time with another piece covered. Orange: without this piece the digit becomes less likely. Blue: it becomes more likely.";
const CLEAR = 0.05; // less than this, in log-odds, is not worth a word

/**
 * What a map says about a digit, in a sentence.
 *
 * @param {Float32Array} map from occlusion
 * @param {number} digit
 */
export function finding(map, digit) {
  const most = Math.max(...map);
  const least = Math.min(...map);
  const at = (/** @type {number} */ value) => {
    const k = map.indexOf(value);
    return `row ${Math.floor(k / SIZE)}, column ${k % SIZE}`;
  };
  if (most <= CLEAR) return `Nothing in the drawing speaks for ${named(digit)}.`;
  const against = least < -CLEAR ? ` What lies around ${at(least)} speaks against it.` : "";
  return `What lies around ${at(most)} speaks most for ${named(digit)}.${against}`;
}

export class WhyView {
  worth = h("canvas", { role: "img", "aria-label": LABEL });
  drawing = h("canvas", { "aria-hidden": "true" });
  choice = select(DIGITS.map(String));
  question = h("span");
  words = h("p", { class: "dp-small", role: "status", "aria-live": "polite" });
  element = fold(
    "Why?",
    "which pieces of your drawing decide",
    h(
      "div",
      { class: "dp-why" },
      h("div", {}, this.worth, this.drawing),
      h(
        "div",
        {},
        h("label", {}, this.question, this.choice),
        this.words,
        h("p", { class: "dp-small" }, ABOUT),
      ),
    ),
  );
  /** @type {{image: Float32Array | null, digit: number, model: Model | null}} */
  now = { image: null, digit: -1, model: null };
  /** The digit that the reader has chosen in place of the answer. @type {number | null} */
  chosen = null;
  /** What was looked for last, and found. */
  found = {
    /** @type {Float32Array | null} */ image: null,
    asked: -1,
    /** @type {Model | null} */ model: null,
    /** @type {Float32Array} */ map: new Float32Array(SIZE * SIZE),
  };

  /** @param {() => Palettes} colours */
  constructor(colours) {
    this.colours = colours;
    this.stop = () => {};
    this.choice.addEventListener("change", () => {
      this.chosen = Number(this.choice.value);
      this.look();
    });
    this.element.addEventListener("toggle", () => this.look());
  }

  /**
   * The drawing, the answer (-1 for none) or the network is another.
   *
   * @param {Float32Array} image
   * @param {number} digit
   * @param {Model | null} model
   */
  show(image, digit, model) {
    if (this.now.image !== image) this.chosen = null;
    this.now = { image, digit, model };
    this.look();
  }

  async look() {
    this.stop();
    const { image, digit, model } = this.now;
    const asked = this.chosen ?? digit;
    set(this.element, { hidden: !model });
    if (!this.element.open || !model) return;
    this.choice.value = String(Math.max(0, asked));
    this.question.textContent = `What speaks for ${article(asked)}`;
    const drawn = asked >= 0 && image?.some((ink) => ink > 0) ? image : null;
    paintImage(this.drawing, drawn, this.colours());
    if (!drawn) return this.tell(null, "Draw a digit first.");
    const { found } = this;
    if (found.image !== drawn || found.asked !== asked || found.model !== model) {
      this.words.textContent = "Looking \u2026";
      const run = unhurried(occlusion(model, drawn, asked));
      this.stop = run.stop;
      const map = await run.result;
      if (!map) return; // stopped: the drawing has changed
      this.found = { image: drawn, asked, model, map };
    }
    this.tell(this.found.map, finding(this.found.map, asked));
    this.element.dataset.read = String(asked);
  }

  /** @param {Float32Array | null} map @param {string} text */
  tell(map, text) {
    paintImage(this.worth, map, this.colours(), true);
    set(this.worth, { "aria-label": `${LABEL}. ${text}` });
    this.words.textContent = text;
  }

  destroy() {
    this.stop();
  }
}

// Why this answer? The drawing, coloured by what each piece of it is worth to one digit.

import { article, h, named, set, unhurried } from "./dom.js";
import { paintMaps } from "./maps.js";
import { occlusion } from "./occlusion.js";
import { SIZE } from "./strokes.js";

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const FIELD = { columns: 1, rows: 1, gap: 0, H: SIZE, W: SIZE };

export const WHY_STYLE = `
.cl-digitpad .dp-why { display:flex; flex-wrap:wrap; gap:0.75rem 1.25rem; align-items:center; margin-top:0.6rem; }
.cl-digitpad .dp-why > div:first-child { position:relative; flex:none; width:168px; height:168px; border:1px solid var(--cl-line); border-radius:5px; overflow:hidden; }
.cl-digitpad .dp-why canvas { position:absolute; inset:0; width:100%; height:100%; }
.cl-digitpad .dp-why canvas + canvas { opacity:0.35; }
.cl-digitpad .dp-why > div:last-child { flex:1 1 14rem; }
.cl-digitpad .dp-why p { margin-top:0.5rem; }
`;

/**
 * @param {{inks: function(): object}} options the colours, as maps.js has them
 * @returns {object} `element`; `show(image, digit, model)` when the drawing, the answer (or -1) or
 *   the network are others; `destroy()`
 */
export function whyView({ inks }) {
  const worth = h("canvas", { role: "img", "aria-label": "The drawing, coloured by what each piece is worth" }), drawing = h("canvas", { "aria-hidden": "true" });
  const choice = h("select", {}, ...DIGITS.map((each) => h("option", { value: each }, String(each))));
  const question = h("span", {});
  const words = h("p", { class: "dp-small", role: "status", "aria-live": "polite" });
  const element = h("details", {},
    h("summary", {}, "Why?", h("span", {}, "which pieces of your drawing decide")),
    h("div", { class: "dp-why" }, h("div", {}, worth, drawing),
      h("div", {}, h("label", {}, question, choice), words,
        h("p", { class: "dp-small" }, "The network reads your drawing again and again, each time with another piece covered. Orange: without this piece the digit becomes less likely. Blue: it becomes more likely."))));
  let now = { image: null, digit: -1, model: null };
  let chosen = null; // by the reader, in place of the answer
  let run = null;
  let found = null; // {image, asked, model, map, text}: what was looked for last

  async function look() {
    run?.stop();
    const { image, digit, model } = now, asked = chosen ?? digit;
    set(element, { hidden: !model });
    if (!element.open || !model) return;
    choice.value = String(Math.max(0, asked));
    question.textContent = `What speaks for ${article(asked)}`;
    const blank = !image?.some((ink) => ink > 0) || asked < 0;
    paintMaps(drawing, [1], blank ? null : image, FIELD, inks(), false);
    if (blank) return told(null, "Draw a digit first.");
    if (found?.image === image && found.asked === asked && found.model === model) return told(found.map, found.text);
    const mine = (run = unhurried(occlusion(model, image, asked)));
    words.textContent = "Looking \u2026";
    const map = await mine.result;
    if (!map || mine !== run) return;
    const most = Math.max(...map), least = Math.min(...map), at = (value) => {
      const k = map.indexOf(value);
      return `row ${Math.floor(k / SIZE)}, column ${k % SIZE}`;
    };
    const text = most > 0.05 ? `For ${named(asked)} speaks most what lies around ${at(most)}${least < -0.05 ? `; against it, what lies around ${at(least)}` : ""}.` : `Nothing in the drawing speaks for ${named(asked)}.`;
    found = { image, asked, model, map, text };
    told(map, text);
    element.dataset.read = String(asked);
  }

  function told(map, text) {
    paintMaps(worth, [1], map, FIELD, inks(), true);
    set(worth, { "aria-label": `The drawing, coloured by what each piece is worth. ${text}` });
    words.textContent = text;
  }

  choice.addEventListener("change", () => {
    chosen = Number(choice.value);
    look();
  });
  element.addEventListener("toggle", look);

  return {
    element,
    show(image, digit, model) {
      if (now.image !== image) chosen = null;
      now = { image, digit, model };
      look();
    },
    destroy: () => run?.stop(),
  };
}

// A tour: follow the drawing through the network, from the sheet to the bars, in a few cards.
//
// Each card lights up what the pad shows anyway: a part of it, or a layer inside the network.

import { button, h, set } from "./dom.js";
import { described } from "./maps.js";

/** @import { LayersView } from "./layers.js" */
/** @import { Shape, Stroke } from "./types" */
/** @typedef {LayersView["rows"][number]} Row */
/** @typedef {{title: string, text: string, lit: HTMLElement[]}} Card */

export const TOUR_STYLE = `
.cl-digitpad {
  .dp-follow { margin-top:0.9rem; border-color:var(--cl-accent); color:var(--cl-accent); font-weight:600; }
  .dp-lit { outline:3px solid var(--cl-mark); outline-offset:4px; border-radius:5px; scroll-margin-top:5rem; }
  .dp-tour { position:sticky; z-index:2; inset:auto; bottom:0.5rem; max-height:max(60vh, min(18rem, 100vh - 4.5rem)); margin:1rem 0 0; padding:0.7rem 0.9rem; overflow:auto;
    border:2px solid var(--cl-mark); border-radius:8px; background:var(--cl-paper); color:var(--cl-ink); box-shadow:0 2px 14px #0006; }
  .dp-tour:popover-open { position:fixed; }
  .dp-tour[data-away] { visibility:hidden; }
  .dp-tour:focus-visible { outline-offset:0; }
  .dp-tour b { font-weight:650; }
  .dp-tour .cl-row { gap:0.5rem; margin-top:0.6rem; }
  .dp-tour .cl-row span { margin-right:auto; font-size:0.875rem; color:var(--cl-muted); }
  &[data-tour] .dp-layer:not([data-stop], :has(+ .dp-walk)) { display:none; }
  @media print { .dp-follow, .dp-tour { display:none; } }
}
`;

const TURN = 250; // milliseconds
const LOW = 480; // pixels
const WIDE = 560;

/** A three, for those who have drawn nothing. @type {Stroke[]} */
// prettier-ignore
const THREE = [[[88, 66], [112, 46], [146, 40], [176, 52], [186, 76], [176, 104], [142, 128], [178, 138], [198, 164], [194, 200], [168, 230], [126, 236], [90, 220]]];

/**
 * The layers at which a tour stops, by their places among the rows; -1 where a network has none:
 * the first maps, the first pooling behind them, and what the last layer is given.
 *
 * @param {{op: string, shape: Shape}[]} rows the input, and every layer
 */
export function stopsAmong(rows) {
  let first = rows.findIndex(({ op }) => op === "conv");
  const bend = rows.findIndex(({ op }, index) => index > first && op !== "affine");
  if (first >= 0 && ["relu", "gelu"].includes(rows[bend]?.op)) first = bend;
  let last = rows.length - 2;
  while (last > 0 && rows[last].op === "flatten") last--;
  if (last <= Math.max(first, 0)) last = -1;
  const pooled = rows.findIndex(({ op }) => op === "maxpool" || op === "avgpool");
  return { first, pooled: pooled === last ? -1 : pooled, last };
}

export class TourView {
  /** @type {Card[]} */
  cards = [];
  at = 0;
  width = 0; // of the window, when the card was laid
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  turning = undefined;
  wasOpen = false; // whether the layers were to be seen before
  title = h("b");
  words = h("p");
  place = h("span");

  /**
   * @param {object} options
   * @param {HTMLElement} options.root
   * @param {LayersView} options.layers
   * @param {HTMLElement[]} options.drawing what shows the drawing
   * @param {HTMLElement} options.bars
   * @param {() => boolean} options.isEmpty whether nothing is drawn
   * @param {(strokes: Stroke[]) => void} options.draw
   */
  constructor({ root, layers, drawing, bars, isEmpty, draw }) {
    this.root = root;
    this.layers = layers;
    this.drawing = drawing;
    this.bars = bars;
    this.isEmpty = isEmpty;
    this.draw = draw;
    this.follow = button("Follow your drawing through the network", () => this.start(), {
      class: "dp-follow",
    });
    this.back = button("Back", () => this.go(-1));
    this.next = button("Next", () => (this.isLast ? this.close() : this.go(1)));
    const close = button("\u00d7", () => this.close(), { "aria-label": "Close the tour" });
    this.element = h(
      "div",
      {
        class: "dp-tour",
        role: "group",
        tabindex: -1,
        "aria-label": "A tour of the network",
        popover: "manual",
        hidden: true,
      },
      h("div", { role: "status", "aria-live": "polite" }, h("p", {}, this.title), this.words),
      h("div", { class: "cl-row" }, this.place, this.back, this.next, close),
    );
    this.element.addEventListener("keydown", ({ key }) => {
      if (key === "ArrowRight") this.go(1);
      if (key === "ArrowLeft") this.go(-1);
    });
    root.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.defaultPrevented) this.close();
    });
    // The card lies over the page, and belongs to the pad: it is seen where the pad is.
    this.seen = new IntersectionObserver(([{ isIntersecting }]) =>
      set(this.element, { "data-away": !isIntersecting }),
    );
  }

  /** Lay the card over the pad. */
  settle() {
    if (!this.element.showPopover) return; // in an older browser it sticks to the pad
    const { left, width } = this.root.getBoundingClientRect();
    const beside = this.isBeside;
    const own = beside ? 0.4 * width : width - 16;
    const lit = this.cards[this.at].lit[0].getBoundingClientRect();
    const isRight = beside && lit.left + lit.width / 2 < left + 0.6 * width;
    Object.assign(this.element.style, {
      left: `${isRight ? left + width - own - 8 : left + 8}px`,
      width: `${own}px`,
    });
  }

  /** On a phone that lies on its side, a card below would leave too little to see. */
  get isBeside() {
    return innerHeight < LOW && this.root.clientWidth > WIDE;
  }

  /** The window has another size. A bar of the browser that comes or goes must not move the page. */
  resized = () => {
    this.settle();
    if (innerWidth === this.width) return;
    // A browser that is turned round finds its own place first.
    clearTimeout(this.turning);
    this.turning = setTimeout(() => this.bring(), TURN);
  };

  /** Bring what the card speaks of into view. */
  bring() {
    this.width = innerWidth;
    this.settle();
    const [lit] = this.cards[this.at].lit;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    lit.style.scrollMarginBottom = `${this.isBeside ? 24 : this.element.offsetHeight + 24}px`;
    lit.scrollIntoView({ block: "nearest", behavior: calm ? "instant" : "smooth" });
  }

  get isLast() {
    return this.at === this.cards.length - 1;
  }

  start() {
    const { element, layers, root } = this;
    const isExample = this.isEmpty();
    if (isExample) this.draw(THREE);
    if (element.hidden) this.open();
    layers.element.open = true;
    layers.paint();
    this.cards = this.write(isExample);
    this.at = 0;
    set(root, { "data-tour": true });
    element.focus({ preventScroll: true });
    this.show();
  }

  open() {
    const { element, layers, root } = this;
    this.wasOpen = layers.element.open;
    element.hidden = false;
    element.showPopover?.(); // above all, whatever scrolls around the pad
    this.seen.observe(root);
    addEventListener("resize", this.resized);
  }

  close() {
    const { element, layers, root } = this;
    if (element.hidden) return;
    const focused = element.contains(document.activeElement);
    this.light([]);
    set(root, { "data-tour": null });
    this.seen.disconnect();
    removeEventListener("resize", this.resized);
    clearTimeout(this.turning);
    element.hidePopover?.();
    element.hidden = true;
    layers.element.open = this.wasOpen;
    if (focused) this.follow.focus();
  }

  /** @param {number} steps */
  go(steps) {
    if (!this.cards[this.at + steps]) return;
    this.at += steps;
    this.show();
  }

  show() {
    const { title, text, lit } = this.cards[this.at];
    this.layers.element.open = true;
    this.title.textContent = title;
    this.words.textContent = text;
    this.place.textContent = `${this.at + 1} of ${this.cards.length}`;
    this.next.textContent = this.isLast ? "Done" : "Next";
    if (!this.at && this.back === document.activeElement) this.next.focus();
    this.back.disabled = !this.at;
    this.light(lit);
    this.bring();
  }

  /** @param {HTMLElement[]} lit */
  light(lit) {
    for (const each of this.root.querySelectorAll(".dp-lit")) each.classList.remove("dp-lit");
    for (const each of lit) each.classList.add("dp-lit");
  }

  /** The cards, of which a network without maps has fewer. @param {boolean} isExample */
  write(isExample) {
    const { rows } = this.layers;
    const { first, pooled, last } = stopsAmong(rows);
    for (const [index, { box }] of rows.entries())
      set(box, { "data-stop": [first, pooled, last].includes(index) });
    const card = (/** @type {number} */ index, /** @type {string} */ title, /** @type {string} */ text) =>
      index < 0 ? [] : [{ title, text, lit: [rows[index].box] }];
    const words = (/** @type {number} */ index) => (index < 0 ? "" : described(rows[index].shape));
    const found = rows[first]?.signed ? "is orange" : "has ink";
    const kept = rows[pooled]?.op === "avgpool" ? "mean" : "largest number";
    const example = isExample
      ? "Nothing was drawn yet, so here is a three: draw your own when you like. "
      : "";
    return [
      {
        title: "Your drawing",
        text: `${example}Your lines become 28 \u00d7 28 pixels, made as large and as centred as the digits that the network learned from. The small picture is all that it gets.`,
        lit: this.drawing,
      },
      ...card(
        first,
        "The first maps",
        `Each kernel of the first layer slid over the picture and left a map: ${words(first)}. A map ${found} where its kernel found what it looks for. Point at any number to see how it is computed.`,
      ),
      ...card(
        pooled,
        "Pooling",
        `Of each small window only the ${kept} stays: ${words(pooled)}. The next kernels then see more of the drawing at once.`,
      ),
      ...card(
        last,
        "The last features",
        `After more such layers this is left: ${words(last)}. Your drawing is hard to see in it, but the answer is made of nothing else.`,
      ),
      {
        title: "The bars",
        text: "The last layer multiplies these numbers by weights and adds them up, once for each digit. Softmax turns the ten sums into shares of a hundred per cent. The longest bar wins, if it is long enough.",
        lit: [this.bars],
      },
    ];
  }
}

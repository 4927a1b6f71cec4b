// Inside the network: what every layer answers, and a walk through it: point at any number and see
// the arithmetic that made it.

import { arrowStep, button, fold, h } from "./dom.js";
import { SIGNED, described, layout, paintMaps } from "./maps.js";
import { clamp, count, format, named } from "./numbers.js";
import { arithmetic, asMaps, indexOf, strongestIn } from "./walk.js";

/** @import { Activation, Answer, Layer, Model, Palettes, Part, Place, Sum, Window } from "./types" */
/** @typedef {Omit<Activation, "data">} Outline a layer's name, kind and shape */

export const LAYERS_STYLE = `
.cl-digitpad {
  .dp-layer { margin-top:0.85rem; }
  .dp-layer p { margin-bottom:0.25rem; font-size:0.875rem; color:var(--cl-muted); }
  .dp-layer b, .dp-walk b { color:var(--cl-ink); font-weight:600; }
  .dp-maps { position:relative; width:fit-content; }
  .dp-maps canvas[tabindex] { cursor:crosshair; touch-action:manipulation; }
  .dp-marks { position:absolute; inset:0; pointer-events:none; overflow:hidden; }
  .dp-marks i { position:absolute; outline:2px solid var(--cl-mark); }
  .dp-marks i.dp-faint { outline-width:1px; opacity:0.55; }
  .dp-walk { margin:0.6rem 0 0; padding:0.7rem 0.85rem; border-radius:6px; background:var(--cl-panel); font-size:0.875rem; }
  .dp-walk > * + * { margin-top:0.5rem; }
  .dp-sum { display:flex; flex-wrap:wrap; gap:0.3rem 0.5rem; align-items:center; }
  .dp-grid { display:grid; gap:1px; font-size:0.6875rem; font-variant-numeric:tabular-nums; text-align:right; }
  .dp-grid span { min-width:2.2rem; padding:0.12rem 0.22rem; border-radius:2px;
    background:color-mix(in srgb, var(--cl-tint) var(--cl-share), var(--cl-paper)); }
  .dp-grid[data-fine] span { min-width:0.8rem; height:0.8rem; padding:0; }
  .dp-grid span[data-largest] { outline:2px solid var(--cl-mark); }
  @container (max-width: 34rem) {
    .dp-grid { font-size:0.625rem; }
    .dp-grid span { min-width:1.75rem; padding-inline:0.1rem; }
    .dp-sum > span:first-child { flex-basis:100%; }
  }
}
`;

const MOST_PARTS = 3; // input maps whose products are written out

const ABOUT =
  "What each layer answers to your drawing, from the first to the last. Ink is a large number; where a layer also answers below zero, orange is positive and blue negative.";

/** The input, or a layer: its numbers on a canvas, with frames around some of them. */
class Row {
  marks = h("div", { class: "dp-marks", "aria-hidden": "true" });
  /** @type {Float32Array | null | undefined} */
  data = null;

  /**
   * @param {Outline} outline
   * @param {boolean} signed whether it answers below zero, too
   * @param {((place: Place | null) => void) | null} choose called where a number is chosen, or null
   *   for none; without it no number can be chosen
   */
  constructor({ name, op, shape }, signed, choose) {
    this.name = name;
    this.op = op;
    this.shape = shape;
    this.signed = signed;
    /** The number that is chosen. @type {Place | null} */
    this.chosen = null;
    this.plot = layout(shape, 1);
    const words = described(shape);
    this.canvas = h(
      "canvas",
      choose
        ? {
            role: "application",
            tabindex: 0,
            "aria-roledescription": "feature maps",
            "aria-label": `${name}: ${words}. Arrow keys choose a number and show how it is computed.`,
          }
        : { role: "img", "aria-label": `${name}: ${words}` },
    );
    this.box = h(
      "div",
      { class: "dp-layer" },
      h("p", {}, h("b", {}, name), ` \u00b7 ${words}`),
      h("div", { class: "dp-maps" }, this.canvas, this.marks),
    );
    if (choose) this.listen(choose);
  }

  /** @param {(place: Place | null) => void} choose */
  listen(choose) {
    const point = (/** @type {MouseEvent} */ event) => {
      const place = this.placeAt(event);
      if (place) choose(place);
    };
    // A finger that comes down may be about to scroll: it points once it has tapped.
    let finger = false;
    this.canvas.addEventListener("pointerdown", (event) => {
      finger = event.pointerType === "touch";
      if (!finger) point(event);
    });
    this.canvas.addEventListener("click", (event) => {
      if (finger) point(event);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && event.buttons) point(event);
    });
    this.canvas.addEventListener("keydown", (event) => {
      const step = arrowStep(event);
      if (!step && !["Enter", " ", "Escape"].includes(event.key)) return;
      event.preventDefault();
      if (event.key === "Escape") choose(null);
      else if (!this.chosen || !step) choose(this.chosen ?? [0, 0, 0]);
      else {
        const place = this.neighbour(this.chosen, ...step);
        if (place) choose(place);
      }
    });
  }

  /** The number under a pointer, if there is one. @param {MouseEvent} event @returns {Place | null} */
  placeAt(event) {
    const { canvas } = this;
    const { columns, gap, H, W } = this.plot;
    const box = canvas.getBoundingClientRect();
    const x = clamp(Math.floor(((event.clientX - box.left) / box.width) * canvas.width), 0, canvas.width - 1);
    const y = clamp(
      Math.floor(((event.clientY - box.top) / box.height) * canvas.height),
      0,
      canvas.height - 1,
    );
    const channel = Math.floor(y / (H + gap)) * columns + Math.floor(x / (W + gap));
    if (channel >= this.shape[0]) return null;
    return [channel, Math.min(H - 1, y % (H + gap)), Math.min(W - 1, x % (W + gap))];
  }

  /**
   * The number above, below or beside another as it is seen: from the edge of a map into its
   * neighbour.
   *
   * @param {Place} place
   * @param {number} rows
   * @param {number} across
   * @returns {Place | null}
   */
  neighbour([channel, row, column], rows, across) {
    const { columns, H, W } = this.plot;
    const y = Math.floor(channel / columns) * H + row + rows;
    const x = (channel % columns) * W + column + across;
    if (y < 0 || x < 0 || x >= columns * W) return null;
    const next = Math.floor(y / H) * columns + Math.floor(x / W);
    return next < this.shape[0] ? [next, y % H, x % W] : null;
  }

  /**
   * @param {Float32Array | null | undefined} data
   * @param {number} width
   * @param {Palettes} colours
   */
  paint(data, width, colours) {
    const { canvas } = this;
    this.data = data;
    this.plot = layout(this.shape, width);
    paintMaps(canvas, this.shape, data, this.plot, colours, this.signed);
    canvas.style.width = `${canvas.width * this.plot.zoom}px`;
    canvas.style.height = `${canvas.height * this.plot.zoom}px`;
  }

  /**
   * A frame around a window of a map.
   *
   * @param {number} channel
   * @param {Window} window
   * @param {boolean} [faint]
   */
  mark(channel, { top, left, rows, columns, stepRow, stepColumn }, faint = false) {
    const { columns: across, gap, zoom, H, W } = this.plot;
    const x = (channel % across) * (W + gap) + left;
    const y = Math.floor(channel / across) * (H + gap) + top;
    const frame = h("i", faint ? { class: "dp-faint" } : {});
    Object.assign(frame.style, {
      left: `${x * zoom}px`,
      top: `${y * zoom}px`,
      width: `${((columns - 1) * stepColumn + 1) * zoom}px`,
      height: `${((rows - 1) * stepRow + 1) * zoom}px`,
    });
    this.marks.append(frame);
  }
}

export class LayersView {
  list = h("div");
  element = fold("Inside the network", "every layer, while you draw", this.list);
  walk = h("div", { class: "dp-walk", role: "status", "aria-live": "polite" });
  /** The input, and every layer. @type {Row[]} */
  rows = [];
  /** The row of which a number is chosen. @type {Row | null} */
  selected = null;
  width = 0;
  key = "";
  /** @type {{image: Float32Array | null, answer: Answer | null, model: Model | null}} */
  now = { image: null, answer: null, model: null };

  /** @param {() => Palettes} colours */
  constructor(colours) {
    this.colours = colours;
    this.element.addEventListener("toggle", () => this.paint());
  }

  /**
   * The drawing, the answer or the network is another.
   *
   * @param {Float32Array} image
   * @param {Answer | null} answer
   * @param {Model | null} model
   */
  show(image, answer, model) {
    this.now = { image, answer, model };
    this.paint();
  }

  /** @param {number} width */
  resize(width) {
    this.width = width;
  }

  paint() {
    const { image, answer, model } = this.now;
    if (!this.element.open || this.width <= 0) return;
    const activations = answer?.activations;
    /** @type {Outline[] | undefined} */
    const outlines =
      activations ?? model?.layers.map(({ name, op, output }) => ({ name, op, shape: output }));
    if (!outlines) return;
    // The arithmetic needs the weights: those of the network that answered, if it is the one here.
    const alive =
      model?.layers.length === outlines.length &&
      outlines.every(({ name }, index) => name === model.layers[index].name);
    this.arrange(outlines, alive);
    this.rows.forEach((row, index) => {
      row.paint(index ? activations?.[index - 1].data : image, this.width, this.colours());
    });
    this.showWalk();
  }

  /**
   * Make room for each layer, once for a network.
   *
   * @param {Outline[]} outlines
   * @param {boolean} alive whether numbers can be chosen
   */
  arrange(outlines, alive) {
    const key = JSON.stringify([outlines.map(({ name, op, shape }) => [name, op, shape]), alive]);
    if (this.key === key) return;
    this.key = key;
    this.selected = null;
    let signed = false;
    this.rows = [new Row({ name: "input", op: "input", shape: [1, 28, 28] }, false, null)];
    for (const outline of outlines) {
      signed = SIGNED.has(outline.op) || (signed && outline.op !== "relu");
      /** @type {Row} */
      const row = new Row(outline, signed, alive ? (place) => this.select(row, place) : null);
      this.rows.push(row);
    }
    const about = h(
      "p",
      { class: "dp-small" },
      ABOUT,
      alive ? " Point at any number to see how it is computed." : "",
    );
    this.list.replaceChildren(about, ...this.rows.map(({ box }) => box));
  }

  /** @param {Row} row @param {Place | null} place */
  select(row, place) {
    const before = row.box.getBoundingClientRect().top;
    if (this.selected) this.selected.chosen = null;
    this.selected = place && row;
    row.chosen = place;
    this.showWalk();
    // The panel may have gone away above: keep what is pointed at where it is.
    if (place) scrollBy({ top: row.box.getBoundingClientRect().top - before, behavior: "instant" });
  }

  /** Show the arithmetic behind the chosen number. */
  showWalk() {
    for (const { marks } of this.rows) marks.replaceChildren();
    const row = this.selected;
    const step = row && this.stepTo(row);
    if (!step) return this.walk.remove();
    const { from, written, result } = step;
    const [channel, top, left] = step.place;
    row.mark(channel, { top, left, rows: 1, columns: 1, stepRow: 1, stepColumn: 1 });
    for (const part of result.parts) from.mark(part.channel, result.window, !written.includes(part));
    const back = from === this.rows[0] ? null : strongestIn(written[0], result.window, from.shape);
    this.walk.replaceChildren(...told(step, row === this.rows.at(-1)));
    if (back) this.walk.append(button(`Go back to ${from.name}`, () => this.goBack(from, back)));
    if (row.box.nextSibling !== this.walk) row.box.after(this.walk);
  }

  /**
   * How the chosen number of a row is computed, if there are numbers.
   *
   * @param {Row} row
   * @returns {Step | null}
   */
  stepTo(row) {
    const index = this.rows.indexOf(row);
    const before = this.rows[index - 1];
    const layer = this.now.model?.layers[index - 1];
    if (!row.chosen || !row.data || !layer || !before.data) return null;
    // Behind a flatten, go back to the maps.
    const source = before.op === "flatten" ? this.rows[index - 2] : before;
    const result = arithmetic(layer, before.data, row.chosen, source.shape);
    const from = layer.op === "linear" ? source : before;
    const strongest = [...result.parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const value = row.data[indexOf(row.chosen, row.shape)];
    return { row, place: row.chosen, from, layer, result, written: strongest.slice(0, MOST_PARTS), value };
  }

  /** @param {Row} row @param {Place} place */
  goBack(row, place) {
    this.select(row, place);
    row.canvas.focus({ preventScroll: true });
  }
}

// ---------------------------------------------------------------- the arithmetic in words

/**
 * A number of a row, the row that it is computed from, and how; `written` are the parts that are
 * written out.
 *
 * @typedef {{row: Row, place: Place, from: Row, layer: Layer, result: Sum, written: Part[], value: number}} Step
 */

/**
 * What the panel says of one number.
 *
 * @param {Step} step
 * @param {boolean} last whether it is a logit
 */
function told(step, last) {
  const { row, place, layer, value } = step;
  const [channel, i, j] = place;
  const [, H, W] = asMaps(row.shape);
  const name = H * W === 1 ? `number ${channel}` : `map ${channel}, row ${i}, column ${j}`;
  const logit = last ? `, the logit of ${named(channel)}` : "";
  const title = h("p", {}, h("b", {}, `${row.name}, ${name}`), ` = ${format(value, 3)}${logit}`);
  switch (layer.op) {
    case "conv":
    case "linear":
      return [title, ...toldSum(step)];
    case "maxpool":
    case "avgpool":
    case "globalavgpool":
      return [title, toldPool(step)];
    default:
      return [title, h("p", {}, toldSingle(step), h("b", {}, format(value, 3)))];
  }
}

/** @param {Step} step */
function toldSum({ from, result: { window, parts, bias, total }, written }) {
  const each = parts[0].values.length;
  const maps =
    parts.length > 1
      ? `, ${each > 1 ? `${window.rows} \u00d7 ${window.columns} in each of ` : ""}${count(parts.length, "map")}`
      : "";
  const products = written.map((part) =>
    h(
      "div",
      { class: "dp-sum" },
      h("span", {}, from.shape[0] > 1 ? `map ${part.channel}` : ""),
      grid(part.values, window.columns, from.signed),
      "\u00d7",
      grid(part.weights ?? [], window.columns, true),
      h("span", {}, `\u2192 ${format(part.sum, 3)}`),
    ),
  );
  const sumOf = (/** @type {Part[]} */ some) => some.reduce((sum, part) => sum + part.sum, 0);
  const others = parts.length - written.length;
  const rest = others
    ? ` ${signed(sumOf(parts) - sumOf(written))} from the other ${count(others, "map")}`
    : "";
  return [
    h(
      "p",
      {},
      `It looks at ${count(parts.length * each, "number")} of ${from.name}${maps}, multiplies each by its weight, and adds them up:`,
    ),
    ...products,
    h(
      "p",
      {},
      `${written.map(({ sum }) => signed(sum)).join(" ")}${rest} ${signed(bias ?? 0)} bias = `,
      h("b", {}, format(total, 3)),
    ),
  ];
}

/** @param {Step} step */
function toldPool({ from, layer, result: { window, parts, total } }) {
  const [{ channel, values }] = parts;
  const largest = layer.op === "maxpool";
  const inside = values.map((value) => (Number.isFinite(value) ? value : 0));
  return h(
    "div",
    { class: "dp-sum" },
    largest ? "The largest of" : "The mean of",
    grid(inside, window.columns, from.signed, largest ? values.indexOf(total) : -1),
    h("span", {}, `in map ${channel} of ${from.name}: `, h("b", {}, format(total, 3))),
  );
}

/** @param {Step} step */
function toldSingle({ layer, result: { window, parts, bias } }) {
  const [{ channel, values, weights }] = parts;
  const x = format(values[0], 3);
  if (weights) return `${x} \u00d7 ${format(weights[0], 3)} ${signed(bias ?? 0)} = `;
  if (layer.op === "relu") return `max(0, ${x}) = `;
  if (layer.op === "gelu") return `GELU(${x}) = `;
  return `the same number, from map ${channel}, row ${window.top}, column ${window.left}: `;
}

/** A number with its sign, as it stands in a sum. @param {number} value */
const signed = (value) => `${value < 0 ? "\u2212" : "+"} ${Math.abs(value).toFixed(3)}`;

/**
 * Numbers as a table of coloured cells; `largest` is framed.
 *
 * @param {number[]} values
 * @param {number} columns
 * @param {boolean} anySign
 * @param {number} [largest]
 */
function grid(values, columns, anySign, largest = -1) {
  const most = Math.max(1e-9, ...values.map(Math.abs));
  const fine = columns > 5;
  const cells = values.map((value, k) => {
    const cell = h("span", { "data-largest": k === largest }, fine ? "" : format(value, 2));
    const tint = value < 0 ? "negative" : "positive";
    cell.style.setProperty("--cl-tint", `var(--cl-${anySign ? tint : "edge"})`);
    cell.style.setProperty("--cl-share", `${Math.round((60 * Math.abs(value)) / most)}%`);
    return cell;
  });
  const element = h("div", { class: "dp-grid", "data-fine": fine }, ...cells);
  element.style.gridTemplateColumns = `repeat(${columns}, auto)`;
  return element;
}

// A 3 x 3 kernel slides over a digit: change the kernel, point at a pixel, see where it comes from.

import { K, PRESETS, correlate, decodePixels, products, relu, sign, weightText } from "./correlate.js";
import {
  addStyle,
  frame,
  h,
  mix,
  numberOf,
  onArrows,
  onPoint,
  paint,
  presetSelect,
  set,
  statusLine,
  svg,
  themeColour,
  watchTheme,
} from "./dom.js";
import { clamp, format, replaced } from "./numbers.js";
import { aFlag, aList, toNumber, aWhole, allowed, connect, sharing } from "./state.js";

/** @import { State, Tell } from "./state.js" */
/** @import { Attributes } from "./types" */
/** @typedef {{pixels: string, width: number} & State} Options */

const SPEC = {
  kernel: aList(K * K, toNumber(-100, 100)),
  bias: toNumber(-100, 100),
  relu: aFlag,
  row: aWhole(0, 999),
  column: aWhole(0, 999),
};

const STYLE = `
.cl-kernel-playground {
  .kp-stage { display:grid; grid-template-columns:minmax(0,1fr) auto minmax(0,1fr); gap:1rem 1.5rem;
    align-items:start; margin-top:1rem; grid-template-areas:"input kernel output"; }
  .kp-caption { font-weight:600; margin-bottom:0.3rem; white-space:nowrap; }
  .kp-caption small { font-weight:400; color:var(--cl-muted); font-size:0.875rem; }
  .kp-map { position:relative; border:1px solid var(--cl-edge); line-height:0; }
  .kp-map canvas { width:100%; height:auto; }
  .kp-map svg { position:absolute; inset:0; width:100%; height:100%; overflow:visible;
    pointer-events:none; }
  .kp-map rect { fill:none; vector-effect:non-scaling-stroke; }
  .kp-halo { stroke:var(--cl-paper); stroke-width:5; }
  .kp-mark { stroke:var(--cl-mark); stroke-width:2.5; }
  .kp-grid { display:grid; grid-template-columns:repeat(3,auto); gap:4px; justify-content:center; }
  .kp-kernel { align-self:center; }
  .kp-grid input { width:3.75rem; height:2.75rem; text-align:center; padding:0 0.1rem;
    border-bottom-width:4px; font-variant-numeric:tabular-nums; appearance:textfield; }
  & input[data-sign="+"] { border-bottom-color:var(--cl-positive); }
  & input[data-sign="-"] { border-bottom-color:var(--cl-negative); }
  .kp-grid input::-webkit-inner-spin-button { display:none; }
  .kp-bias input { width:4.5rem; }
  .kp-legend { display:grid; grid-template-columns:auto 1fr auto; gap:0.5rem; align-items:center;
    margin-top:0.35rem; font-size:0.8125rem; color:var(--cl-muted); font-variant-numeric:tabular-nums; }
  .kp-legend i { height:0.6rem; border:1px solid var(--cl-edge);
    background:linear-gradient(90deg, var(--cl-negative), var(--cl-paper), var(--cl-positive)); }
  .kp-products { display:grid; grid-template-columns:repeat(3,minmax(0,1fr)); gap:4px;
    margin-top:0.4rem; font-variant-numeric:tabular-nums; }
  .kp-products > div { padding:0.25rem 0.6rem; border-radius:5px; background:var(--cl-panel);
    border-left:4px solid var(--cl-line); display:flex; flex-wrap:wrap; justify-content:space-between; gap:0 0.25rem; }
  .kp-products > div[data-sign="+"] { border-left-color:var(--cl-positive); }
  .kp-products > div[data-sign="-"] { border-left-color:var(--cl-negative); }
  .kp-products span { color:var(--cl-muted); white-space:nowrap; }
  .kp-products b { font-weight:600; }
  .kp-where { margin-top:1rem; font-weight:600; }
  @container (max-width: 38rem) {
    .kp-stage { grid-template-columns:repeat(2,minmax(0,1fr)); gap:1rem;
      grid-template-areas:"kernel kernel" "input output"; align-items:start; }
    .kp-products > div { padding:0.25rem 0.2rem; font-size:0.75rem;
      word-spacing:-0.1em; display:block; }
    .kp-products span { white-space:normal; }
    .kp-products b { display:block; text-align:right; }
    .kp-kernel { justify-self:center; }
  }
}
`;

/**
 * A picture with a frame that marks `size` x `size` of its pixels.
 *
 * @param {string} label
 * @param {number} columns
 * @param {number} size
 * @param {Attributes} attributes
 */
function map(label, columns, size, attributes) {
  const canvas = h("canvas");
  const marks = ["kp-halo", "kp-mark"].map((name) => svg("rect", { class: name, width: size, height: size }));
  const overlay = svg("svg", { viewBox: `0 0 ${columns} ${columns}`, "aria-hidden": "true" }, ...marks);
  const element = h("div", { class: "cl-point kp-map", "aria-label": label, ...attributes }, canvas, overlay);
  /** @param {number} row @param {number} column */
  const mark = (row, column) => marks.forEach((rect) => set(rect, { x: column, y: row }));
  return { element, canvas, mark };
}

/**
 * What stands in the figure, for a picture of so many columns.
 *
 * @param {Record<string, number[]>} presets
 * @param {number} width
 */
function buildParts(presets, width) {
  // inputmode: the number pads of phones have no minus sign
  const number = {
    type: "number",
    step: "any",
    min: -100,
    max: 100,
    title: "From \u2212100 to 100",
    inputmode: "text",
  };
  const columns = width - K + 1;
  return {
    preset: presetSelect(presets),
    bias: h("input", { ...number, value: "0" }),
    rectify: h("input", { type: "checkbox" }),
    cells: Array.from({ length: K * K }, (_, index) =>
      h("input", { ...number, "aria-label": `Kernel, row ${Math.floor(index / K)}, column ${index % K}` }),
    ),
    input: map("Input digit; the frame marks the nine pixels under the kernel", width, K, { role: "img" }),
    output: map("Output; arrow keys move to another pixel, Shift makes larger steps", columns, 1, {
      tabindex: 0,
      role: "application",
      "aria-roledescription": "picture with a movable pixel",
    }),
    low: h("span"),
    high: h("span"),
    where: h("p", { class: "kp-where" }),
    nine: h("div", {
      class: "kp-products",
      role: "list",
      "aria-label": "The nine products, pixel times weight",
    }),
    status: statusLine(),
  };
}

/**
 * @param {ReturnType<typeof buildParts>} parts
 * @param {number} width
 */
function arrange({ preset, bias, rectify, cells, input, output, low, high, where, nine, status }, width) {
  /** @param {string} name @param {number} size */
  const caption = (name, size) => h("p", { class: "kp-caption" }, name, h("small", {}, ` ${size} × ${size}`));
  /** @param {string} name @param {Node[]} children */
  const area = (name, ...children) =>
    h("div", { class: `kp-${name}`, style: `grid-area:${name}` }, ...children);
  const legend = h("div", { class: "kp-legend", "aria-hidden": "true" }, low, h("i"), high);
  const controls = h(
    "div",
    { class: "cl-row" },
    h("label", {}, "Kernel", preset),
    h("label", { class: "kp-bias" }, "Bias", bias),
    h("label", {}, rectify, "ReLU"),
  );
  const stage = h(
    "div",
    { class: "kp-stage" },
    area("input", caption("Input", width), input.element),
    area("kernel", caption("Kernel", K), h("div", { class: "kp-grid" }, ...cells)),
    area("output", caption("Output", width - K + 1), output.element, legend),
  );
  return [controls, stage, where, nine, status];
}

/** The name of a kernel among others, or an empty string. @param {Record<string, number[]>} presets @param {number[]} kernel */
const nameOf = (presets, kernel) =>
  Object.keys(presets).find((name) => presets[name].join() === kernel.join()) ?? "";

class Playground {
  /** @type {Float64Array} */
  result = new Float64Array();
  shown = this.result;

  /**
   * @param {HTMLElement} root
   * @param {Options} options
   * @param {State} state
   * @param {Tell} tell
   */
  constructor(root, { pixels, width }, state, tell) {
    this.root = root;
    this.state = state;
    this.tell = tell;
    this.pixels = decodePixels(pixels);
    this.width = width;
    this.columns = width - K + 1;
    /** @type {Record<string, number[]>} */
    this.presets = nameOf(PRESETS, state.kernel) ? PRESETS : { "Given here": [...state.kernel], ...PRESETS };
    this.parts = buildParts(this.presets, width);
    root.append(...arrange(this.parts, width));
    this.listen();
    this.take(state);
  }

  get kernel() {
    return /** @type {number[]} */ (this.state.kernel);
  }

  get bias() {
    return /** @type {number} */ (this.state.bias);
  }

  get relu() {
    return /** @type {boolean} */ (this.state.relu);
  }

  get row() {
    return clamp(this.state.row, 0, this.columns - 1);
  }

  get column() {
    return clamp(this.state.column, 0, this.columns - 1);
  }

  /** Set by the reader. @param {State} values */
  change(values) {
    Object.assign(this.state, values);
    this.compute();
    this.tell(values);
  }

  /** Set from outside. @param {State} values */
  take(values) {
    Object.assign(this.state, allowed(SPEC, values));
    const { preset, bias, rectify } = this.parts;
    preset.value = nameOf(this.presets, this.kernel);
    if (bias.valueAsNumber !== this.bias) bias.value = String(this.bias);
    rectify.checked = this.relu;
    this.showKernel();
    this.compute();
  }

  listen() {
    const { preset, bias, rectify, cells, input, output } = this.parts;
    preset.addEventListener("change", () => {
      this.change({ kernel: [...this.presets[preset.value]] });
      this.showKernel();
    });
    cells.forEach((cell, index) =>
      cell.addEventListener("input", () => {
        const weight = numberOf(cell);
        if (weight === null) return;
        preset.value = "";
        this.change({ kernel: replaced(this.kernel, index, weight) });
      }),
    );
    bias.addEventListener("input", () => {
      const value = numberOf(bias);
      if (value !== null) this.change({ bias: value });
    });
    rectify.addEventListener("change", () => this.change({ relu: rectify.checked }));
    const { columns, width } = this;
    onPoint(output.element, (x, y) => this.move(Math.floor(y * columns), Math.floor(x * columns)));
    onPoint(input.element, (x, y) => this.move(Math.floor(y * width) - 1, Math.floor(x * width) - 1));
    onArrows(output.element, (rows, across) => this.move(this.row + rows, this.column + across));
  }

  /** Write the kernel into its fields; a number that is being typed stays as it is. */
  showKernel() {
    this.parts.cells.forEach((cell, index) => {
      const rounded = Math.round(this.kernel[index] * 100) / 100;
      if (cell.valueAsNumber !== this.kernel[index]) cell.value = String(rounded);
      set(cell, { "aria-invalid": null });
    });
  }

  compute() {
    this.result = correlate(this.pixels, this.width, this.kernel, this.bias);
    this.shown = this.relu ? this.result.map(relu) : this.result;
    this.parts.cells.forEach((cell, index) => set(cell, { "data-sign": sign(this.kernel[index]) }));
    this.draw();
    this.point();
  }

  draw() {
    const { input, output, low, high } = this.parts;
    const colour = (/** @type {string} */ name) => themeColour(this.root, name);
    const [paper, ink, positive, negative] = ["paper", "ink", "positive", "negative"].map(colour);
    const largest = Math.max(1e-9, ...this.shown.map(Math.abs));
    paint(input.canvas, this.pixels, this.width, (value) => mix(paper, ink, value));
    paint(output.canvas, this.shown, this.columns, (value) =>
      mix(paper, value < 0 ? negative : positive, Math.abs(value) / largest),
    );
    low.textContent = format(-largest);
    high.textContent = format(largest);
  }

  /** Show where the chosen pixel of the output comes from. */
  point() {
    const { row, column, bias } = this;
    const { input, output, where, nine, status } = this.parts;
    input.mark(row, column);
    output.mark(row, column);
    const index = row * this.columns + column;
    const total = this.result[index];
    where.textContent = `Output pixel in row ${row}, column ${column}`;
    nine.replaceChildren(
      ...products(this.pixels, this.width, this.kernel, row, column).map(({ pixel, weight, product }) =>
        h(
          "div",
          { role: "listitem", "data-sign": sign(product) },
          h("span", {}, `${format(pixel, 3)} × ${weightText(weight)}`),
          h("b", {}, `= ${format(product, 3)}`),
        ),
      ),
    );
    const plus = bias < 0 ? "\u2212" : "+";
    const biased = bias ? ` ${plus} bias ${format(Math.abs(bias), 3)} = ${format(total, 3)}` : "";
    const after = this.relu ? `, which ReLU turns into ${format(this.shown[index], 3)}` : "";
    status.textContent = `Row ${row}, column ${column}: the nine products add up to ${format(total - bias, 3)}${biased}${after}.`;
  }

  /**
   * @param {number} row
   * @param {number} column
   */
  move(row, column) {
    const place = { row: clamp(row, 0, this.columns - 1), column: clamp(column, 0, this.columns - 1) };
    if (place.row === this.state.row && place.column === this.state.column) return;
    Object.assign(this.state, place);
    this.point();
    this.tell(place);
  }
}

/**
 * Put the playground into `el`.
 *
 * @param {HTMLElement} el
 * @param {Options} options `pixels`, base64 of width x width bytes; `width`; and what to begin with
 * @param {Tell | null} [tell] the kernel behind a widget
 */
export function mount(el, options, tell = null) {
  const root = frame(el, {
    name: "kernel-playground",
    title: "Kernel playground",
    hint: "Choose a kernel or type your own numbers, then point at the output to see where a pixel comes from.",
    keys: "With the keyboard: focus the output and use the arrow keys.",
  });
  addStyle("kernel-playground", STYLE);
  const start = { kernel: PRESETS["Vertical edge"], bias: 0, relu: false, row: 0, column: 0 };
  const usual = { ...start, ...allowed(SPEC, options) };
  return connect("kernel-playground", SPEC, usual, tell, (state, change) => {
    const playground = new Playground(root, options, state, change);
    const stop = watchTheme(() => playground.draw());
    return {
      take: (values) => playground.take(values),
      destroy() {
        stop();
        el.replaceChildren();
      },
    };
  });
}

export default { render: sharing(mount, SPEC) };

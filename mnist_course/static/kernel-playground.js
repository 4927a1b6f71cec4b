// A 3 x 3 kernel slides over a digit: change the kernel, point at a pixel, see where it comes from.

import {
  addStyle,
  arrowStep,
  clamp,
  format,
  frame,
  h,
  mix,
  onPoint,
  paint,
  set,
  statusLine,
  svg,
  themeColour,
  watchTheme,
} from "./dom.js";

const K = 3;

/** Kernels to start from, row by row. */
export const PRESETS = {
  Identity: [0, 0, 0, 0, 1, 0, 0, 0, 0],
  Blur: Array(9).fill(1 / 9),
  Sharpen: [0, -1, 0, -1, 5, -1, 0, -1, 0],
  "Vertical edge": [-1, 0, 1, -1, 0, 1, -1, 0, 1],
  "Horizontal edge": [-1, -1, -1, 0, 0, 0, 1, 1, 1],
  "Sobel, vertical": [-1, 0, 1, -2, 0, 2, -1, 0, 1],
  "Sobel, horizontal": [-1, -2, -1, 0, 0, 0, 1, 2, 1],
  Emboss: [-2, -1, 0, -1, 1, 1, 0, 1, 2],
};

/** Pixels 0 ... 1 from the base64 of one byte each. */
export function decodePixels(base64) {
  return Float64Array.from(atob(base64), (byte) => byte.charCodeAt(0) / 255);
}

/** The nine products under the kernel when its corner lies on `(row, column)`. */
export function products(pixels, width, kernel, row, column) {
  return kernel.map((weight, index) => {
    const pixel = pixels[(row + Math.floor(index / K)) * width + column + (index % K)];
    return { pixel, weight, product: pixel * weight };
  });
}

/** y[i, j] = bias + sum over u, v of kernel[u, v] x[i + u, j + v], as nn.Conv2d computes it:
 *  one channel, stride 1, no padding. Returns `(height - 2) * (width - 2)` numbers. */
export function correlate(pixels, width, kernel, bias = 0) {
  const rows = pixels.length / width - K + 1;
  const columns = width - K + 1;
  return Float64Array.from({ length: rows * columns }, (_, index) => {
    const nine = products(pixels, width, kernel, Math.floor(index / columns), index % columns);
    return nine.reduce((sum, { product }) => sum + product, bias);
  });
}

export const relu = (value) => Math.max(0, value);

/** The sign of a number as it is shown, for its colour: `"+"`, `"-"` or `"0"`. */
function sign(value) {
  if (Number(format(value, 3).replace("\u2212", "")) === 0) return "0";
  return value < 0 ? "-" : "+";
}

/** A weight as people write it: at most three decimals, none that are zero. */
export const weightText = (weight) => format(weight, 3).replace(/\.0+$|(\.\d*[1-9])0+$/, "$1");

const STYLE = `
.cl-kernel-playground .kp-stage { display:grid; grid-template-columns:minmax(0,1fr) auto minmax(0,1fr); gap:1rem 1.5rem;
  align-items:start; margin-top:1rem; grid-template-areas:"input kernel output"; }
.cl-kernel-playground .kp-caption { font-weight:600; margin-bottom:0.3rem; white-space:nowrap; }
.cl-kernel-playground .kp-caption small { font-weight:400; color:var(--cl-muted); font-size:0.875rem; }
.cl-kernel-playground .kp-map { position:relative; border:1px solid var(--cl-edge); touch-action:none;
  cursor:crosshair; line-height:0; }
.cl-kernel-playground .kp-map canvas { width:100%; height:auto; }
.cl-kernel-playground .kp-map svg { position:absolute; inset:0; width:100%; height:100%; overflow:visible;
  pointer-events:none; }
.cl-kernel-playground .kp-map rect { fill:none; vector-effect:non-scaling-stroke; }
.cl-kernel-playground .kp-halo { stroke:var(--cl-paper); stroke-width:5; }
.cl-kernel-playground .kp-mark { stroke:var(--cl-mark); stroke-width:2.5; }
.cl-kernel-playground .kp-grid { display:grid; grid-template-columns:repeat(3,auto); gap:4px; justify-content:center; }
.cl-kernel-playground .kp-kernel { align-self:center; }
.cl-kernel-playground .kp-grid input { width:3.75rem; height:2.75rem; text-align:center; padding:0 0.1rem;
  border-bottom-width:4px; font-variant-numeric:tabular-nums; appearance:textfield; }
.cl-kernel-playground input[data-sign="+"] { border-bottom-color:var(--cl-positive); }
.cl-kernel-playground input[data-sign="-"] { border-bottom-color:var(--cl-negative); }
.cl-kernel-playground .kp-grid input::-webkit-inner-spin-button { display:none; }
.cl-kernel-playground .kp-bias input { width:4.5rem; }
.cl-kernel-playground .kp-legend { display:grid; grid-template-columns:auto 1fr auto; gap:0.5rem; align-items:center;
  margin-top:0.35rem; font-size:0.8125rem; color:var(--cl-muted); font-variant-numeric:tabular-nums; }
.cl-kernel-playground .kp-legend i { height:0.6rem; border:1px solid var(--cl-edge);
  background:linear-gradient(90deg, var(--cl-negative), var(--cl-paper), var(--cl-positive)); }
.cl-kernel-playground .kp-products { display:grid; grid-template-columns:repeat(3,minmax(0,1fr)); gap:4px;
  margin-top:0.4rem; font-variant-numeric:tabular-nums; }
.cl-kernel-playground .kp-products > div { padding:0.25rem 0.6rem; border-radius:5px; background:var(--cl-panel);
  border-left:4px solid var(--cl-line); display:flex; flex-wrap:wrap; justify-content:space-between; gap:0 0.25rem; }
.cl-kernel-playground .kp-products > div[data-sign="+"] { border-left-color:var(--cl-positive); }
.cl-kernel-playground .kp-products > div[data-sign="-"] { border-left-color:var(--cl-negative); }
.cl-kernel-playground .kp-products span { color:var(--cl-muted); white-space:nowrap; }
.cl-kernel-playground .kp-products b { font-weight:600; }
.cl-kernel-playground .kp-where { margin-top:1rem; font-weight:600; }
@container (max-width: 38rem) {
  .cl-kernel-playground .kp-stage { grid-template-columns:repeat(2,minmax(0,1fr)); gap:1rem;
    grid-template-areas:"kernel kernel" "input output"; align-items:start; }
  .cl-kernel-playground .kp-products > div { padding:0.25rem 0.2rem; font-size:0.75rem;
    word-spacing:-0.1em; display:block; }
  .cl-kernel-playground .kp-products span { white-space:normal; }
  .cl-kernel-playground .kp-products b { display:block; text-align:right; }
  .cl-kernel-playground .kp-kernel { justify-self:center; }
}
`;

/** A picture with a frame that marks `size` x `size` of its pixels. */
function map(label, columns, size, focusable) {
  const canvas = h("canvas", {});
  const marks = ["kp-halo", "kp-mark"].map((name) => svg("rect", { class: name, width: size, height: size }));
  const overlay = svg("svg", { viewBox: `0 0 ${columns} ${columns}`, "aria-hidden": "true" }, ...marks);
  const attributes = focusable
    ? { tabindex: 0, role: "application", "aria-roledescription": "picture with a movable pixel" }
    : { role: "img" };
  const element = h("div", { class: "kp-map", "aria-label": label, ...attributes }, canvas, overlay);
  const mark = (row, column) => marks.forEach((rect) => set(rect, { x: column, y: row }));
  return { element, canvas, mark };
}

/** Put the playground into `el`.
 *  Options: `pixels`, base64 of width x width bytes; `width`; `kernel`, nine numbers or absent. */
export function mount(el, options) {
  const { width } = options;
  const pixels = decodePixels(options.pixels);
  const columns = width - K + 1;
  const presets = options.kernel ? { "Given here": options.kernel, ...PRESETS } : PRESETS;
  const first = options.kernel ? "Given here" : "Vertical edge";
  const state = { kernel: [...presets[first]], bias: 0, relu: false, row: 0, column: 0 };

  const root = frame(el, {
    name: "kernel-playground",
    title: "Kernel playground",
    hint: "Choose a kernel or type your own numbers, then move over the output to see where a pixel comes from. With the keyboard: focus the output and use the arrow keys.",
  });
  addStyle("kernel-playground", STYLE);

  const preset = h(
    "select",
    {},
    ...Object.keys(presets).map((name) => h("option", { value: name }, name)),
    h("option", { value: "", disabled: true }, "Your own"),
  );
  // inputmode: the number pads of phones have no minus sign
  const number = { type: "number", step: "any", min: -100, max: 100, title: "From \u2212100 to 100", inputmode: "text" };
  const bias = h("input", { ...number, value: "0" });
  const rectify = h("input", { type: "checkbox" });
  const cells = state.kernel.map((_, index) =>
    h("input", {
      ...number,
      "aria-label": `Kernel, row ${Math.floor(index / K)}, column ${index % K}`,
    }),
  );
  const input = map("Input digit; the frame marks the nine pixels under the kernel", width, K, false);
  const output = map("Output; arrow keys move to another pixel, Shift makes larger steps", columns, 1, true);
  const low = h("span", {});
  const high = h("span", {});
  const where = h("p", { class: "kp-where" });
  const nine = h("div", {
    class: "kp-products",
    role: "list",
    "aria-label": "The nine products, pixel times weight",
  });
  const status = statusLine();
  const caption = (name, size) => h("p", { class: "kp-caption" }, name, h("small", {}, ` ${size} × ${size}`));
  const area = (name, ...children) =>
    h("div", { class: `kp-${name}`, style: `grid-area:${name}` }, ...children);

  root.append(
    h(
      "div",
      { class: "cl-row" },
      h("label", {}, "Kernel", preset),
      h("label", { class: "kp-bias" }, "Bias", bias),
      h("label", {}, rectify, "ReLU"),
    ),
    h(
      "div",
      { class: "kp-stage" },
      area("input", caption("Input", width), input.element),
      area("kernel", caption("Kernel", K), h("div", { class: "kp-grid" }, ...cells)),
      area(
        "output",
        caption("Output", columns),
        output.element,
        h("div", { class: "kp-legend", "aria-hidden": "true" }, low, h("i", {}), high),
      ),
    ),
    where,
    nine,
    status,
  );

  let result;
  let shown;

  function compute() {
    result = correlate(pixels, width, state.kernel, state.bias);
    shown = state.relu ? result.map(relu) : result;
    cells.forEach((cell, index) => set(cell, { "data-sign": sign(state.kernel[index]) }));
    draw();
    point();
  }

  function draw() {
    const [paper, ink, positive, negative] = ["paper", "ink", "positive", "negative"].map((name) =>
      themeColour(root, name),
    );
    const largest = Math.max(1e-9, ...shown.map(Math.abs));
    paint(input.canvas, pixels, width, (value) => mix(paper, ink, value));
    paint(output.canvas, shown, columns, (value) =>
      mix(paper, value < 0 ? negative : positive, Math.abs(value) / largest),
    );
    low.textContent = format(-largest);
    high.textContent = format(largest);
  }

  function point() {
    const { row, column } = state;
    input.mark(row, column);
    output.mark(row, column);
    const terms = products(pixels, width, state.kernel, row, column);
    const index = row * columns + column;
    const sum = result[index] - state.bias;
    where.textContent = `Output pixel in row ${row}, column ${column}`;
    nine.replaceChildren(
      ...terms.map(({ pixel, weight, product }) =>
        h(
          "div",
          { role: "listitem", "data-sign": sign(product) },
          h("span", {}, `${format(pixel, 3)} × ${weightText(weight)}`),
          h("b", {}, `= ${format(product, 3)}`),
        ),
      ),
    );
    const plus = state.bias < 0 ? "\u2212" : "+";
    const biased = state.bias
      ? ` ${plus} bias ${format(Math.abs(state.bias), 3)} = ${format(result[index], 3)}`
      : "";
    const after = state.relu ? `, which ReLU turns into ${format(shown[index], 3)}` : "";
    status.textContent = `Row ${row}, column ${column}: the nine products add up to ${format(sum, 3)}${biased}${after}.`;
  }

  function move(row, column) {
    state.row = clamp(row, 0, columns - 1);
    state.column = clamp(column, 0, columns - 1);
    point();
  }

  function read(field, use) {
    const valid = field.value !== "" && field.validity.valid;
    set(field, { "aria-invalid": valid ? null : "true" });
    if (!valid) return;
    use(field.valueAsNumber);
    compute();
  }

  function take(name) {
    preset.value = name;
    state.kernel = [...presets[name]];
    cells.forEach((cell, index) => {
      cell.value = String(Math.round(state.kernel[index] * 100) / 100);
      set(cell, { "aria-invalid": null });
    });
  }

  preset.addEventListener("change", () => {
    take(preset.value);
    compute();
  });
  cells.forEach((cell, index) =>
    cell.addEventListener("input", () =>
      read(cell, (value) => {
        state.kernel[index] = value;
        preset.value = "";
      }),
    ),
  );
  bias.addEventListener("input", () =>
    read(bias, (value) => {
      state.bias = value;
    }),
  );
  rectify.addEventListener("change", () => {
    state.relu = rectify.checked;
    compute();
  });
  onPoint(output.element, (x, y) => move(Math.floor(y * columns), Math.floor(x * columns)));
  onPoint(input.element, (x, y) => move(Math.floor(y * width) - 1, Math.floor(x * width) - 1));
  output.element.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (!step) return;
    event.preventDefault();
    move(state.row + step[0], state.column + step[1]);
  });

  take(first);
  compute();
  const strongest = result.reduce(
    (best, value, index) => (Math.abs(value) > Math.abs(result[best]) ? index : best),
    0,
  );
  move(Math.floor(strongest / columns), strongest % columns);
  const stop = watchTheme(draw);
  return {
    destroy() {
      stop();
      el.replaceChildren();
    },
  };
}

export default {
  render({ model, el }) {
    const figure = mount(el, model.get("options"));
    return () => figure.destroy();
  },
};

// How many windows fit? Input size, kernel, stride, padding and dilation, in a row and in a picture.

import { addStyle, frame, h, onArrows, onPoint, set, slider, statusLine, svg, watchWidth } from "./dom.js";
import { clamp, count, outputSize, range, whole } from "./numbers.js";
import { aWhole, allowed, connect, sharing } from "./state.js";
import { explain, span, taps, unread } from "./windows.js";

/** @import { State, Tell } from "./state.js" */
/** @import { Row } from "./types" */
/** @typedef {"padding" | "read" | "unread"} Kind */
/** @typedef {(place: number) => Kind} KindOf */
/** @typedef {(readonly [x: number, y: number])[]} Corners */

/** @type {Row & {row: number, column: number}} */
const START = { n: 10, k: 3, s: 2, p: 0, d: 1, row: 1, column: 2 };
/** @type {[name: keyof Row, label: string, min: number, max: number][]} */
const CONTROLS = [
  ["n", "Input size n", 1, 20],
  ["k", "Kernel size k", 1, 7],
  ["s", "Stride s", 1, 5],
  ["p", "Padding p", 0, 4],
  ["d", "Dilation d", 1, 3],
];
const SPEC = {
  ...Object.fromEntries(CONTROLS.map(([name, , low, high]) => [name, aWhole(low, high)])),
  row: aWhole(0, 99),
  column: aWhole(0, 99),
};

const STYLE = `
.cl-output-size {
  .os-sliders { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));
    gap:0 2rem; }
  .os-formula { margin:0.75rem 0 0; padding:0.5rem 0.75rem; border-radius:6px; background:var(--cl-panel);
    display:flex; flex-wrap:wrap; gap:0.6rem 2rem; font-variant-numeric:tabular-nums; }
  .os-formula div { white-space:nowrap; }
  .os-fraction { display:inline-grid; vertical-align:middle; text-align:center; line-height:1.35; }
  .os-fraction > :first-child { border-bottom:1px solid; padding:0 0.2em; }
  .os-floor { display:inline-block; vertical-align:middle; padding:0 0.35em; border-inline:1.5px solid;
    background:linear-gradient(currentcolor, currentcolor) left bottom / 5px 1.5px no-repeat,
      linear-gradient(currentcolor, currentcolor) right bottom / 5px 1.5px no-repeat; }
  .os-head { font-weight:600; margin:1rem 0 0.35rem; }
  .os-head small { font-weight:400; font-size:0.875rem; color:var(--cl-muted); }
  .os-pair { display:grid; grid-template-columns:1fr 1fr; gap:0 1.25rem; align-items:start; }
  .os-read { fill:var(--cl-soft); stroke:var(--cl-edge); stroke-width:0.75; }
  .os-padding { fill:none; stroke:var(--cl-edge); stroke-width:0.75; stroke-dasharray:2 2; }
  .os-unread { fill:none; stroke:var(--cl-warning); stroke-width:1.25; }
  .os-fine path { stroke-width:0.3; }
  .os-rail { stroke:var(--cl-line); stroke-width:2; }
  .os-tap { fill:var(--cl-edge); }
  .os-on { fill:var(--cl-mark); }
  .os-cell { fill:var(--cl-panel); stroke:var(--cl-edge); stroke-width:0.75; }
  & text { fill:var(--cl-ink); font:11px system-ui, sans-serif; text-anchor:middle; dominant-baseline:central; }
  & text.os-muted { fill:var(--cl-muted); text-anchor:end; }
}
`;

/**
 * One path of squares with side `size`.
 *
 * @param {Corners} corners
 * @param {number} size
 */
function squares(corners, size) {
  return corners.map(([x, y]) => `M${x} ${y}h${size}v${size}h${-size}z`).join("");
}

/**
 * One path of crossed squares.
 *
 * @param {Corners} corners
 * @param {number} size
 */
function crosses(corners, size) {
  const strokes = corners.map(([x, y]) => `M${x} ${y}l${size} ${size}m0 ${-size}l${-size} ${size}`);
  return squares(corners, size) + strokes.join("");
}

/**
 * @param {string} name
 * @param {string} d
 */
const path = (name, d) => svg("path", { class: name, d });

/**
 * Text with its letters in italics, as formulas have them.
 *
 * @param {string} text
 */
function italic(text) {
  const parts = text.split(/([a-z])/).map((part) => (/[a-z]/.test(part) ? h("i", {}, part) : part));
  return h("span", {}, ...parts);
}

/**
 * One line of the formula: floor(top / bottom) + 1 = middle = result.
 *
 * @param {string} top
 * @param {string} bottom
 * @param {string} [middle]
 * @param {string} [result]
 */
function line(top, bottom, middle = "", result = "") {
  const fraction = h("span", { class: "os-fraction" }, italic(top), italic(bottom));
  return h(
    "div",
    { role: "math", "aria-label": `o = floor((${top}) / ${bottom}) + 1${middle}${result}` },
    italic("o = "),
    h("span", { class: "os-floor" }, fraction),
    " + 1",
    middle,
    h("b", {}, result),
  );
}

/**
 * The formula: with letters, with numbers, and worked out.
 *
 * @param {Row} row
 */
function formula({ n, k, s, p, d }) {
  const rest = n + 2 * p - d * (k - 1) - 1;
  const floor = Math.floor(rest / s);
  return [
    line("n + 2p \u2212 d(k \u2212 1) \u2212 1", "s"),
    line(`${n} + 2·${p} \u2212 ${d}·(${k} \u2212 1) \u2212 1`, String(s)),
    line(whole(rest), String(s), ` = ${whole(floor)} + 1 = `, whole(floor + 1)),
  ];
}

/**
 * An entry of the legend.
 *
 * @param {string} name
 * @param {typeof squares} draw
 * @param {string} text
 */
function key(name, draw, text) {
  const sample = svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, path(name, draw([[1, 1]], 12)));
  return h("span", {}, sample, text);
}

/** What stands in the figure, under its sliders. */
function buildParts() {
  return {
    worked: h("div", { class: "os-formula", role: "group", "aria-label": "Formula of the output size" }),
    result: statusLine(),
    rowHead: h("p", { class: "os-head" }),
    row: h("div", { class: "cl-point", role: "img" }),
    inputHead: h("p", { class: "os-head" }),
    input: h("div", { role: "img" }),
    outputHead: h("p", { class: "os-head" }),
    output: h("div", {
      class: "cl-point",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "picture with a movable pixel",
      "aria-label": "Output; arrow keys move to another pixel",
    }),
    legend: h(
      "div",
      { class: "cl-legend" },
      key("os-read", squares, "pixel that is read"),
      key("os-unread", crosses, "pixel that is never read"),
      key("os-padding", squares, "padding, zeros"),
      key("os-on", squares, "the chosen window and its output"),
    ),
    reading: statusLine(),
  };
}

/**
 * Where the places of a row stand in a picture so wide, and under it the windows, a line for each.
 *
 * @param {Row} row
 * @param {number} width
 */
function layRow(row, width) {
  const label = 26;
  const cell = clamp(Math.floor((width - label - 2) / (row.n + 2 * row.p)), 5, 30);
  const line = Math.min(cell, 16);
  const dot = Math.max(3, line - 4);
  const x = (/** @type {number} */ place) => label + (place + row.p) * cell + 1;
  const y = (/** @type {number} */ output) => cell + 8 + output * line;
  /** The places that a window reads. @param {number} output */
  function mark(output) {
    const corner = (/** @type {number} */ place) => x(place) + (cell - 1 - dot) / 2;
    return squares(
      taps(row, output).map((place) => [corner(place), y(output) + 2]),
      dot,
    );
  }
  return { label, cell, line, x, y, mark };
}

/**
 * The row, and under it one line for each window.
 *
 * @param {Row} row
 * @param {number} outputs
 * @param {ReturnType<typeof layRow>} layout
 * @param {KindOf} kindOf
 */
function drawRow(row, outputs, { label, cell, line, x, y, mark }, kindOf) {
  const places = range(-row.p, row.n + row.p);
  /** @type {(kind: Kind) => Corners} */
  const corners = (kind) => places.filter((place) => kindOf(place) === kind).map((place) => [x(place), 1]);
  const number = (/** @type {number} */ pixel) =>
    svg("text", { x: x(pixel) + (cell - 1) / 2, y: 1 + cell / 2 }, String(pixel));
  const rail = (/** @type {number} */ output) =>
    `M${x(taps(row, output)[0]) + cell / 2 - 1} ${y(output) + line / 2}h${(span(row) - 1) * cell}`;
  const name = (/** @type {number} */ output) =>
    svg("text", { class: "os-muted", x: label - 5, y: y(output) + line / 2 }, `y${output}`);
  return svg(
    "svg",
    { width: x(row.n + row.p) + 1, height: y(outputs) + 2, "aria-hidden": "true" },
    path("os-padding", squares(corners("padding"), cell - 2)),
    path("os-read", squares(corners("read"), cell - 2)),
    path("os-unread", crosses(corners("unread"), cell - 2)),
    ...(cell >= 16 ? range(0, row.n).map(number) : []),
    ...range(0, outputs).map((output) => path("os-rail", rail(output))),
    ...range(0, outputs).map((output) => path("os-tap", mark(output))),
    ...range(0, outputs, line >= 12 ? 1 : 5).map(name),
  );
}

/**
 * How large the pixels of the input and of the output are, side by side in a figure so wide.
 *
 * @param {Row} row
 * @param {number} outputs
 * @param {number} width
 */
function layPictures(row, outputs, width) {
  const half = (width - 20) / 2 - 2;
  const side = clamp(Math.floor(half / (row.n + 2 * row.p)), 3, 26);
  // Drawn to the same scale, unless the cells were too small for a finger.
  const large = clamp(Math.floor(half / Math.max(1, outputs)), side, Math.max(side, 14));
  const at = (/** @type {number} */ place) => (place + row.p) * side + 1;
  return { side, large, at };
}

/**
 * The input in two dimensions.
 *
 * @param {Row} row
 * @param {ReturnType<typeof layPictures>} layout
 * @param {KindOf} kindOf
 */
function drawInput(row, { side, at }, kindOf) {
  const places = range(-row.p, row.n + row.p);
  /** @type {Record<Kind, Corners>} */
  const corners = { padding: [], unread: [], read: [] };
  for (const r of places) {
    for (const c of places) {
      const kinds = [kindOf(r), kindOf(c)];
      const kind = kinds.includes("padding") ? "padding" : kinds.includes("unread") ? "unread" : "read";
      corners[kind].push([at(c), at(r)]);
    }
  }
  const edge = at(row.n + row.p) + 1;
  return svg(
    "svg",
    { class: side < 8 ? "os-fine" : null, width: edge, height: edge, "aria-hidden": "true" },
    path("os-padding", squares(corners.padding, side - 1)),
    path("os-read", squares(corners.read, side - 1)),
    path("os-unread", crosses(corners.unread, side - 1)),
  );
}

/**
 * The output in two dimensions.
 *
 * @param {number} outputs
 * @param {number} large the side of a pixel
 */
function drawOutput(outputs, large) {
  const all = range(0, outputs);
  /** @type {Corners} */
  const corners = all.flatMap((r) => all.map((c) => /** @type {const} */ ([c * large + 1, r * large + 1])));
  const edge = outputs * large + 2;
  return svg(
    "svg",
    { width: edge, height: edge, "aria-hidden": "true" },
    path("os-cell", squares(corners, large - 1)),
  );
}

class Explorer {
  parts = buildParts();
  /** What marks the chosen window in the row and in the input, and its output. */
  marks = { row: path("os-on", ""), input: path("os-on", ""), output: path("os-on", "") };
  outputs = 0;
  width = 0;

  /** @param {HTMLElement} root @param {State} state @param {Tell} tell */
  constructor(root, state, tell) {
    this.settings = /** @type {typeof START} */ (state);
    this.tell = tell;
    this.sliders = CONTROLS.map((control) => this.slider(...control));
    const { worked, result, rowHead, row, inputHead, input, outputHead, output, legend, reading } =
      this.parts;
    root.append(
      h("div", { class: "os-sliders" }, ...this.sliders.map(({ element }) => element)),
      worked,
      result,
      rowHead,
      row,
      h("div", { class: "os-pair" }, h("div", {}, inputHead, input), h("div", {}, outputHead, output)),
      legend,
      reading,
    );
    onPoint(row, (_, y) => this.chooseInRow(y * row.getBoundingClientRect().height));
    onPoint(output, (x, y) => {
      const { width, height } = output.getBoundingClientRect();
      this.chooseInOutput(x * width, y * height);
    });
    onArrows(output, (rows, columns) => this.pick(this.chosen.row + rows, this.chosen.column + columns));
    this.update();
  }

  get chosen() {
    return this.settings;
  }

  /** Set from outside. @param {State} values */
  take(values) {
    Object.assign(this.settings, allowed(SPEC, values));
    CONTROLS.forEach(([name], index) => this.sliders[index].show(this.settings[name]));
    this.update();
  }

  /** The reader has chosen an output. @param {number} row @param {number} column */
  pick(row, column) {
    const before = { ...this.chosen };
    this.choose(row, column);
    const now = this.chosen;
    if (now.row !== before.row || now.column !== before.column)
      this.tell({ row: now.row, column: now.column });
  }

  /**
   * @param {keyof Row} name
   * @param {string} label
   * @param {number} min
   * @param {number} max
   */
  slider(name, label, min, max) {
    const onInput = (/** @type {number} */ value) => {
      this.settings[name] = value;
      this.update();
      this.tell({ [name]: value, row: this.chosen.row, column: this.chosen.column });
    };
    return slider(label, { min, max, value: this.settings[name], onInput });
  }

  update() {
    this.outputs = outputSize(this.settings.n, this.settings);
    this.parts.worked.replaceChildren(...formula(this.settings));
    this.parts.result.textContent = explain(this.settings);
    set(this.parts.result, { "data-kind": this.outputs ? null : "warning" });
    if (this.width) this.draw();
  }

  /** @param {number} width */
  resize(width) {
    this.width = width;
    this.draw();
  }

  draw() {
    const { settings, outputs, width, parts, marks } = this;
    const { n, p } = settings;
    const { dropped, skipped } = unread(settings);
    const missed = new Set(outputs ? [...dropped, ...skipped] : range(0, n));
    /** @type {KindOf} */
    const kindOf = (place) => (place < 0 || place >= n ? "padding" : missed.has(place) ? "unread" : "read");
    this.layout = { row: layRow(settings, width), pictures: layPictures(settings, outputs, width) };
    const row = drawRow(settings, outputs, this.layout.row, kindOf);
    const input = drawInput(settings, this.layout.pictures, kindOf);
    const output = drawOutput(outputs, this.layout.pictures.large);
    row.append(marks.row);
    input.append(marks.input);
    output.append(marks.output);
    parts.row.replaceChildren(row);
    parts.input.replaceChildren(input);
    parts.output.replaceChildren(output);
    const windows = count(outputs, "window");
    parts.rowHead.replaceChildren("One row ", h("small", {}, `${n + 2 * p} places, ${windows}`));
    parts.inputHead.replaceChildren("Input ", h("small", {}, `${n} × ${n}${p ? ` + padding ${p}` : ""}`));
    parts.outputHead.replaceChildren("Output ", h("small", {}, outputs ? `${outputs} × ${outputs}` : "none"));
    set(parts.row, {
      "aria-label": `A row of ${count(n, "pixel")}, ${p} padded on each side, and ${windows} under it`,
    });
    set(parts.input, { "aria-label": `The input picture, ${n} by ${n}; the chosen window is marked` });
    set(parts.output, { tabindex: outputs ? 0 : -1 });
    this.choose(this.chosen.row, this.chosen.column);
  }

  /**
   * Choose an output, and show what it reads.
   *
   * @param {number} r
   * @param {number} c
   */
  choose(r, c) {
    const { settings, outputs, layout, marks } = this;
    const { reading } = this.parts;
    reading.hidden = !outputs;
    if (!outputs || !layout) return;
    const row = clamp(r, 0, outputs - 1);
    const column = clamp(c, 0, outputs - 1);
    Object.assign(this.settings, { row, column });
    const { side, large, at } = layout.pictures;
    const rows = taps(settings, row);
    const columns = taps(settings, column);
    /** @type {Corners} */
    const read = rows.flatMap((i) => columns.map((j) => /** @type {const} */ ([at(j), at(i)])));
    set(marks.row, { d: layout.row.mark(column) });
    set(marks.input, { d: squares(read, side - 1) });
    set(marks.output, { d: squares([[column * large + 1, row * large + 1]], large - 1) });
    const names = (/** @type {number[]} */ places) =>
      places.map((place) => (place < 0 || place >= settings.n ? "padding" : place)).join(", ");
    reading.textContent = `Output in row ${row}, column ${column} reads rows ${names(rows)} and columns ${names(columns)}.`;
  }

  /**
   * Choose the window at a height of the row's picture, in pixels.
   *
   * @param {number} y
   */
  chooseInRow(y) {
    if (!this.layout) return;
    const { line, y: top } = this.layout.row;
    this.pick(this.chosen.row, Math.floor((y - top(0)) / line));
  }

  /**
   * Choose the output at a place of its picture, in pixels.
   *
   * @param {number} x
   * @param {number} y
   */
  chooseInOutput(x, y) {
    if (!this.layout) return;
    const { large } = this.layout.pictures;
    this.pick(Math.floor((y - 1) / large), Math.floor((x - 1) / large));
  }
}

/**
 * Put the explorer into `el`.
 *
 * @param {HTMLElement} el
 * @param {State} [options] to begin with
 * @param {Tell | null} [tell] the kernel behind a widget
 */
export function mount(el, options = {}, tell = null) {
  const root = frame(el, {
    name: "output-size",
    title: "How large is the output?",
    hint: "Move the sliders. Then point at a window or at an output pixel.",
    keys: "With the keyboard: focus the output and use the arrow keys.",
  });
  addStyle("output-size", STYLE);
  return connect("output-size", SPEC, { ...START, ...allowed(SPEC, options) }, tell, (state, change) => {
    const explorer = new Explorer(root, state, change);
    const stop = watchWidth(explorer.parts.row, (width) => explorer.resize(width));
    return {
      take: (values) => explorer.take(values),
      destroy() {
        stop();
        el.replaceChildren();
      },
    };
  });
}

export default { render: sharing(mount, SPEC) };

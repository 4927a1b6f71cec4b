// Which pixels does a unit see? A stack of layers, and the way from any unit back to the input.

import {
  addStyle,
  frame,
  h,
  onArrows,
  onPoint,
  presetSelect,
  set,
  statusLine,
  svg,
  watchWidth,
} from "./dom.js";
import { clamp, count, range, whole } from "./numbers.js";
import { StackEditor } from "./stack-editor.js";
import { aWhole, allowed, connect, sharing } from "./state.js";
import {
  NAMES,
  STACKS,
  dependencies,
  places,
  problem,
  receptiveFields,
  sight,
  sizes,
  times,
} from "./stacks.js";

/** @import { Check, State, Tell } from "./state.js" */
/** @import { Field, StackLayer } from "./types" */

const aLayer = (/** @type {any} */ layer) =>
  Object.hasOwn(NAMES, layer?.kind) &&
  ["k", "s", "p", "d"].every((name) => Number.isInteger(layer[name]) && layer[name] >= Number(name !== "p"));
const SPEC = {
  /** @type {Check} */
  layers: (value) => (Array.isArray(value) && value.length && value.every(aLayer) ? value : undefined),
  level: aWhole(0, 99),
  unit: aWhole(0, 999),
};

const STYLE = `
.cl-receptive-field {
  .rf-body { display:grid; gap:1rem 1.5rem; margin-top:0.6rem; grid-template-columns:minmax(0,1fr) auto;
    grid-template-areas:"edit square" "units units" "table table"; }
  .rf-body > * { min-width:0; }
  .rf-layers { list-style:none; margin:0 0 0.6rem; padding:0; }
  .rf-layers li { display:grid; gap:0.25rem; align-items:center; margin:0 0 0.25rem;
    grid-template-columns:1.1rem minmax(0,6rem) repeat(4,minmax(0,4rem)) 2.25rem; }
  .rf-layers li > * { min-width:0; }
  .rf-layers .rf-names { font-size:0.8125rem; color:var(--cl-muted); text-align:center; }
  .rf-layers input { width:100%; text-align:center; padding-inline:0.1rem; appearance:textfield; }
  .rf-layers input::-webkit-inner-spin-button { display:none; }
  .rf-layers select { width:100%; padding-inline:0.2rem; }
  .rf-layers button { padding:0; }
  .rf-short { display:none; }
  .rf-head { font-weight:600; margin-bottom:0.35rem; }
  .rf-head small { font-weight:400; font-size:0.875rem; color:var(--cl-muted); }
  .rf-unit { fill:var(--cl-panel); stroke:var(--cl-edge); stroke-width:0.75; }
  .rf-seen { fill:var(--cl-accent); stroke:var(--cl-paper); stroke-width:0.75; }
  .rf-chosen { fill:var(--cl-mark); }
  .rf-cone { fill:var(--cl-accent); opacity:0.16; }
  .rf-pixels { fill:var(--cl-accent); opacity:0.6; }
  .rf-bracket { fill:none; stroke:var(--cl-mark); stroke-width:2; }
  .rf-picture { fill:var(--cl-panel); stroke:var(--cl-edge); vector-effect:non-scaling-stroke; }
  .rf-window { fill:none; stroke:var(--cl-mark); stroke-width:2; vector-effect:non-scaling-stroke; }
  & text { fill:var(--cl-muted); font:12px system-ui, sans-serif; }
  & text.rf-current { fill:var(--cl-ink); font-weight:650; }
  & th, & td { padding:0.2rem 0.75rem 0.2rem 0; text-align:left; border:0;
    border-bottom:1px solid var(--cl-line); font-weight:400; vertical-align:baseline; background:none; white-space:nowrap; }
  & thead th { color:var(--cl-muted); font-size:0.8125rem; vertical-align:bottom; }
  & thead small { display:block; font-size:inherit; color:var(--cl-ink); }
  & tr[aria-current] > * { background:var(--cl-panel); }
  & tr[aria-current] > :first-child { box-shadow:inset 4px 0 var(--cl-mark); }
  & tr > :first-child { padding-left:0.6rem; }
  @container (max-width: 36rem) {
    .rf-body { grid-template-columns:minmax(0,1fr); grid-template-areas:"edit" "units" "square" "table"; }
    .rf-layers li { grid-template-columns:minmax(4.5rem,1fr) repeat(4,minmax(0,2.5rem)) 2.1rem; }
    .rf-layers li > :first-child, .rf-long { display:none; }
    .rf-short { display:inline; }
    & table { font-size:0.8125rem; }
    & th, & td { padding-right:0.25rem; white-space:normal; }
    & thead small, & tbody th { white-space:nowrap; }
    & td span { display:block; white-space:nowrap; }
    & tr > :nth-child(2) { display:none; }
    & tr > :first-child { padding-left:0.4rem; }
  }
}
`;

// ---------------------------------------------------------------- the recursion, as a table

const COLUMNS = [
  ["layer"],
  ["units"],
  ["receptive field", "r + d(k \u2212 1)j"],
  ["jump", "j · s"],
  ["unit 0 starts at", "start \u2212 p · j"],
];

function tableHead() {
  const cells = COLUMNS.map(([name, ...sum]) =>
    h("th", { scope: "col" }, name, ...sum.map((each) => h("small", {}, each))),
  );
  return h("thead", {}, h("tr", {}, ...cells));
}

/**
 * A row of the table: `sums` are what r, j and start are computed from.
 *
 * @param {string} name
 * @param {number} units
 * @param {Field} field
 * @param {string[]} sums
 */
function tableRow(name, units, { r, j, start }, sums) {
  const results = [r, j, start].map((value, index) =>
    sums.length
      ? h("td", {}, h("span", {}, `${sums[index]} `), h("b", {}, `= ${whole(value)}`))
      : h("td", {}, h("b", {}, whole(value))),
  );
  return h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, String(units)), ...results);
}

/**
 * What the recursion computes a level from, in numbers.
 *
 * @param {StackLayer} layer
 * @param {Field} below
 */
const sumsOf = ({ k, s, p, d }, { r, j, start }) => [
  `${r} + ${d}·${k - 1}·${j}`,
  `${j}·${s}`,
  `${whole(start)} \u2212 ${p}·${j}`,
];

// ---------------------------------------------------------------- the units, as a picture

const PITCH = 46; // CSS pixels from one level to the next
const THICK = 16; // height of a unit

/**
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
const rectangle = (x, y, width, height) => `M${x} ${y}h${width}v${height}h${-width}z`;

/**
 * Where the units of all levels stand in a picture so wide: each centred over what it sees, and as
 * wide as its jump. The input is at the bottom.
 *
 * @param {Field[]} fields of the levels that exist
 * @param {number[]} counts their units
 * @param {number} width
 */
function lay(fields, counts, width) {
  const left = Math.min(...fields.map(({ start }) => start));
  const right = Math.max(...fields.map(({ r, j, start }, level) => start + (counts[level] - 1) * j + r));
  const cell = (width - 2) / (right - left);
  const gap = cell > 6 ? 1.5 : 0.75;
  const x = (/** @type {number} */ place) => 1 + (place - left) * cell;
  const y = (/** @type {number} */ level) => 22 + (fields.length - 1 - level) * PITCH;
  /** The left edge and the width of a unit. @param {number} level @param {number} unit */
  function box(level, unit) {
    const { r, j, start } = fields[level];
    return [x(start + unit * j + (r - j) / 2), j * cell];
  }
  /** @param {number} level @param {number[]} units */
  function path(level, units) {
    const boxes = units.map((unit) => box(level, unit));
    return boxes
      .map(([corner, wide]) => rectangle(corner + gap / 2, y(level), Math.max(0.5, wide - gap), THICK))
      .join("");
  }
  return { left, right, x, y, box, path, bottom: y(0) + THICK };
}

/** @typedef {ReturnType<typeof lay>} Layout */

/**
 * The cone from a unit down to the input: a band between each two levels.
 *
 * @param {Layout} layout
 * @param {number[][]} seen the units of each level that it depends on
 */
function cone({ y, box }, seen) {
  const edges = seen.map((units, level) => {
    const [first] = box(level, units[0]);
    const [last, wide] = box(level, units[units.length - 1]);
    return [first, last + wide];
  });
  return range(1, seen.length)
    .filter((level) => seen[level - 1].length)
    .map((level) => {
      const [a, b] = edges[level];
      const [c, d] = edges[level - 1];
      return `M${a} ${y(level) + THICK}H${b}L${d} ${y(level - 1)}H${c}z`;
    })
    .join("");
}

/** What changes in the picture when another unit is chosen. */
function buildMarks() {
  const path = (/** @type {string} */ name) => svg("path", { class: name, d: "" });
  return {
    cone: path("rf-cone"),
    seen: path("rf-seen"),
    chosen: path("rf-seen rf-chosen"),
    bracket: path("rf-bracket"),
    ends: [svg("text"), svg("text", { "text-anchor": "end" })],
    /** @type {SVGTextElement[]} */
    labels: [],
  };
}

// ---------------------------------------------------------------- the figure

/** @param {number} n */
function buildParts(n) {
  return {
    warning: set(statusLine(), { "data-kind": "warning" }),
    picture: h("div", {
      class: "cl-point",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "picture with a movable unit",
      "aria-label":
        "Layers and their units; left and right arrows move along the layer, up and down to another layer",
    }),
    status: statusLine(),
    rows: h("tbody"),
    square: h("div", { role: "img" }),
    head: h(
      "p",
      { class: "rf-head" },
      "From the unit back to the input ",
      h("small", {}, `one row of the picture, ${n} pixels`),
    ),
  };
}

class ReceptiveField {
  /** @type {StackLayer[]} */
  layers = [];
  level = 0;
  unit = 0;
  width = 0;
  /** Of the levels that exist: all, or those before the layer where no window fits. */
  counts = [0];
  fields = receptiveFields([]);
  /** @type {Layout | null} */
  layout = null;
  marks = buildMarks();

  /**
   * @param {HTMLElement} root
   * @param {number} n
   * @param {State} state
   * @param {Tell} tell
   */
  constructor(root, n, state, tell) {
    this.n = n;
    this.tell = tell;
    this.stacks = presets(state.layers);
    this.parts = buildParts(n);
    this.choice = presetSelect(this.stacks);
    this.editor = new StackEditor((added) => this.edited(added));
    const { warning, picture, status, rows, square, head } = this.parts;
    /** @param {string} name @param {Node[]} children */
    const area = (name, ...children) => h("div", { style: `grid-area:${name}` }, ...children);
    const title = (/** @type {string} */ text) => h("p", { class: "rf-head" }, text);
    root.append(
      h("div", { class: "cl-row" }, h("label", {}, "Layers", this.choice)),
      h(
        "div",
        { class: "rf-body" },
        area("edit", this.editor.element, warning),
        area("units", head, picture, status),
        area("square", title("In the picture"), square),
        area("table", title("The recursion, layer by layer"), h("table", {}, tableHead(), rows)),
      ),
    );
    this.choice.addEventListener("change", () => this.preset(this.choice.value));
    onPoint(picture, (x, y) => this.chooseAt(x, y));
    onArrows(picture, (rows, columns) => this.step(rows, columns));
    this.take(state);
  }

  /** Set from outside. @param {State} values */
  take({ layers, level, unit } = {}) {
    const given = allowed(SPEC, { layers, level, unit });
    if (given.layers) {
      this.choice.value = nameOf(this.stacks, given.layers);
      this.layers = given.layers.map((/** @type {StackLayer} */ layer) => ({ ...layer }));
      this.editor.show(this.layers);
    }
    this.level = given.level ?? this.level;
    this.unit = given.unit ?? this.unit;
    this.update();
  }

  /** The reader takes a preset. @param {string} name */
  preset(name) {
    const layers = this.stacks[name];
    const last = sizes(layers, this.n)[layers.length];
    this.take({ layers, level: layers.length, unit: Math.floor(last / 2) });
    this.told();
  }

  /** Say what is shown now. */
  told() {
    const { level, unit } = this;
    this.tell({ layers: this.layers.map((layer) => ({ ...layer })), level, unit });
  }

  /** The reader chooses. @param {number} level @param {number} unit */
  pick(level, unit) {
    const before = [this.level, this.unit];
    this.choose(level, unit);
    if (before[0] !== this.level || before[1] !== this.unit)
      this.tell({ level: this.level, unit: this.unit });
  }

  /** @param {boolean} added */
  edited(added) {
    if (added) this.level = this.layers.length;
    this.choice.value = "";
    this.update();
    this.told();
  }

  update() {
    const { layers, n, parts } = this;
    const trouble = problem(layers, n);
    parts.warning.textContent = trouble;
    parts.warning.hidden = !trouble;
    this.counts = sizes(layers, n).filter((units) => units > 0);
    this.fields = receptiveFields(layers).slice(0, this.counts.length);
    this.level = Math.min(this.level, this.counts.length - 1);
    parts.rows.replaceChildren(
      ...this.fields.map((field, level) =>
        level
          ? tableRow(
              `${level} ${layers[level - 1].kind}`,
              this.counts[level],
              field,
              sumsOf(layers[level - 1], this.fields[level - 1]),
            )
          : tableRow("input", n, field, []),
      ),
    );
    if (this.width) this.draw();
  }

  /** @param {number} width */
  resize(width) {
    this.width = width;
    this.draw();
  }

  draw() {
    const { layers, counts, marks } = this;
    const layout = (this.layout = lay(this.fields, counts, this.width));
    const units = counts.map((many, level) =>
      svg("path", { class: "rf-unit", d: layout.path(level, range(0, many)) }),
    );
    marks.labels = counts.map((many, level) => {
      const layer = level && layers[level - 1];
      const name = layer ? `${level} ${layer.kind} ${times(layer.k)}` : "input";
      const text = `${name}: ${count(many, level ? "unit" : "pixel")}`;
      return svg("text", { x: 1, y: layout.y(level) - 5 }, text);
    });
    for (const end of marks.ends) set(end, { y: layout.bottom + 26 });
    const { cone, seen, chosen, bracket, labels, ends } = marks;
    const size = { width: this.width, height: layout.bottom + 34, "aria-hidden": "true" };
    this.parts.picture.replaceChildren(
      svg("svg", size, cone, ...units, seen, chosen, bracket, ...labels, ...ends),
    );
    this.choose(this.level, this.unit);
  }

  /**
   * Choose a unit, and show what it sees.
   *
   * @param {number} level
   * @param {number} unit
   */
  choose(level, unit) {
    this.level = clamp(level, 0, this.counts.length - 1);
    this.unit = clamp(unit, 0, this.counts[this.level] - 1);
    const { layers, n, parts } = this;
    parts.status.textContent = sight(layers, n, this.level, this.unit);
    [...parts.rows.children].forEach((each, index) =>
      set(each, { "aria-current": index === this.level ? "true" : null }),
    );
    if (!this.layout) return;
    const seen = dependencies(layers, n, this.level, this.unit);
    const { r, j, start } = this.fields[this.level];
    const from = start + this.unit * j;
    this.drawMarks(this.layout, seen, from, from + r - 1);
    this.drawSquare(this.layout, seen[0], from, from + r - 1);
  }

  /**
   * @param {Layout} layout
   * @param {number[][]} seen
   * @param {number} from
   * @param {number} to
   */
  drawMarks(layout, seen, from, to) {
    const { level, unit, marks } = this;
    const { x, path, bottom } = layout;
    marks.labels.forEach((label, index) => set(label, { class: index === level ? "rf-current" : null }));
    const below = range(0, level).map((each) => path(each, seen[each]));
    set(marks.seen, { d: below.join("") });
    set(marks.chosen, { d: path(level, [unit]) });
    set(marks.cone, { d: cone(layout, seen) });
    set(marks.bracket, { d: `M${x(from) + 1} ${bottom + 4}v6H${x(to + 1) - 1}v-6` });
    const [first, last] = marks.ends;
    const narrow = x(to + 1) - x(from) < 60;
    first.textContent = narrow ? places(from, to) : whole(from);
    last.textContent = narrow ? "" : whole(to);
    set(first, { x: clamp(x(from), 1, x(layout.right) - 60) });
    set(last, { x: x(to + 1) });
  }

  /**
   * The square of the picture that the unit sees.
   *
   * @param {Layout} layout
   * @param {number[]} pixels that it depends on, in a row
   * @param {number} from
   * @param {number} to
   */
  drawSquare({ left, right }, pixels, from, to) {
    const { n, unit } = this;
    const cells = pixels.flatMap((row) => pixels.map((column) => rectangle(column, row, 1, 1))).join("");
    const edge = right - left + 1;
    const box = `${left - 0.5} ${left - 0.5} ${edge} ${edge}`;
    this.parts.square.replaceChildren(
      svg(
        "svg",
        { viewBox: box, width: 180, height: 180, "aria-hidden": "true" },
        svg("rect", { class: "rf-picture", x: 0, y: 0, width: n, height: n }),
        svg("path", { class: "rf-pixels", d: cells }),
        svg("rect", { class: "rf-window", x: from, y: from, width: to - from + 1, height: to - from + 1 }),
      ),
    );
    set(this.parts.square, {
      "aria-label": `The picture, ${n} by ${n}, and the square that unit ${unit}, ${unit} sees: rows and columns ${whole(from)} to ${whole(to)}`,
    });
  }

  /**
   * Choose the unit at a place of the picture, in fractions of its size.
   *
   * @param {number} x
   * @param {number} y
   */
  chooseAt(x, y) {
    const { layout, counts } = this;
    if (!layout) return;
    const { width, height } = this.parts.picture.getBoundingClientRect();
    const away = (/** @type {number} */ level) => Math.abs(layout.y(level) + THICK / 2 - y * height);
    const near = range(0, counts.length).reduce((best, each) => (away(each) < away(best) ? each : best), 0);
    const [origin, wide] = layout.box(near, 0);
    this.pick(near, Math.floor((x * width - origin) / wide));
  }

  /**
   * Go along the level, or to the unit of the next level that stands there.
   *
   * @param {number} rows
   * @param {number} columns
   */
  step(rows, columns) {
    const { level, unit, counts } = this;
    if (!rows) return this.pick(level, unit + columns);
    const next = clamp(level - Math.sign(rows), 0, counts.length - 1);
    const share = (unit + 0.5) / counts[level];
    this.pick(next, Math.round(share * counts[next] - 0.5));
  }
}

/** The name of a stack among others, or an empty string. @param {Record<string, StackLayer[]>} stacks @param {StackLayer[]} layers */
function nameOf(stacks, layers) {
  const said = (/** @type {StackLayer[]} */ some) =>
    some.map(({ kind, k, s, p, d }) => [kind, k, s, p, d].join()).join(";");
  return Object.keys(stacks).find((name) => said(stacks[name]) === said(layers)) ?? "";
}

/** The stacks to choose from: the book's, and another one that the figure begins with. @param {StackLayer[]} layers */
function presets(layers) {
  return nameOf(STACKS, layers) ? STACKS : { "Given here": layers, ...STACKS };
}

/**
 * Put the figure into `el`.
 *
 * @param {HTMLElement} el
 * @param {State} [options] to begin with; `n`, the width of the input
 * @param {Tell | null} [tell] the kernel behind a widget
 */
export function mount(el, options = {}, tell = null) {
  const n = options.n ?? 28;
  const root = frame(el, {
    name: "receptive-field",
    title: "What does a unit see?",
    hint: "Change the layers, then point at a unit of any of them.",
    keys: "With the keyboard: focus the picture; left and right move along the layer, up and down to another one.",
  });
  addStyle("receptive-field", STYLE);
  const layers = STACKS["The course's network"];
  const usual = { layers, level: layers.length, unit: 1, ...allowed(SPEC, options) };
  return connect("receptive-field", SPEC, usual, tell, (state, change) => {
    const figure = new ReceptiveField(root, n, state, change);
    const stop = watchWidth(figure.parts.picture, (width) => figure.resize(width));
    return {
      take: (values) => figure.take(values),
      destroy() {
        stop();
        el.replaceChildren();
      },
    };
  });
}

export default { render: sharing(mount, SPEC) };

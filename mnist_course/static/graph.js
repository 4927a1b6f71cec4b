// A computational graph, stepped: values go forward, slopes come back.

import { addStyle, button, frame, h, set, slider, statusLine, svg } from "./dom.js";
import { BACK, FORWARD, GIVEN, LAST, sentence, slopes, values } from "./graph-steps.js";
import { clamp, whole } from "./numbers.js";
import { aWhole, allowed, connect, sharing } from "./state.js";

/** @import { Numbers, Wire } from "./graph-steps.js" */
/** @import { State, Tell } from "./state.js" */

const REACH = 9; // of a number, to each side
const START = { x: 2, w1: 3, b: -1, w2: 2, t: 7, step: 0 };
const number = aWhole(-REACH, REACH);
const SPEC = { x: number, w1: number, b: number, w2: number, t: number, step: aWhole(0, LAST) };

/** @type {[name: keyof Numbers, label: string][]} */
const CONTROLS = [
  ["x", "Input x"],
  ["w1", "Weight w₁"],
  ["b", "Bias b"],
  ["w2", "Weight w₂"],
  ["t", "Target t"],
];

/** Where each wire starts and ends, in columns; those that come from above start in row 1. */
/** @type {Record<Wire, [from: number, to: number, row: number]>} */
const WIRES = {
  x: [0, 1, 0],
  w1: [1, 1, 1],
  a: [1, 2, 0],
  b: [2, 2, 1],
  z: [2, 3, 0],
  h: [3, 4, 0],
  w2: [4, 4, 1],
  y: [4, 5, 0],
  L: [5, 6, 0],
};
/** What stands in the circles, by column. */
const CIRCLES = ["", "×", "+", "ReLU", "×", "(·−t)²"];
/** @type {[text: string, column: number, row: number][]} */
const ENDS = [
  ["x", 0, 0],
  ["w₁", 1, 1],
  ["b", 2, 1],
  ["w₂", 4, 1],
  ["L", 6, 0],
];

const STYLE = `
.cl-graph {
  .gr-picture { width:100%; height:auto; max-width:42rem; }
  .gr-wire { stroke:var(--cl-edge); stroke-width:2; }
  .gr-tip { fill:var(--cl-edge); }
  .gr-circle { fill:var(--cl-paper); stroke:var(--cl-ink); stroke-width:1.5; }
  .gr-now { fill:var(--cl-soft); }
  .gr-sliders { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr)); gap:0 2rem;
    margin-top:0.75rem; }
  & text { fill:var(--cl-ink); font:22px system-ui, sans-serif; text-anchor:middle; dominant-baseline:central; }
  & text.gr-small { font-size:17px; }
  & text.gr-beside { text-anchor:start; }
  & text.gr-value { fill:var(--cl-negative); }
  & text.gr-slope { fill:var(--cl-positive); }
  & text.gr-new { font-weight:700; text-decoration:underline; }
}
`;

const across = (/** @type {number} */ column) => 24 + 102 * column;
const down = (/** @type {number} */ row) => 156 - 124 * row;

/**
 * One wire with its arrow head.
 *
 * @param {Wire} name
 */
function drawWire(name) {
  const [from, to, row] = WIRES[name];
  if (row) {
    const x = across(to);
    const line = svg("path", { class: "gr-wire", d: `M${x} ${down(1) + 18}V${down(0) - 42}` });
    const tip = svg("path", { class: "gr-tip", d: `M${x} ${down(0) - 34}l-6 -12h12z` });
    return [line, tip];
  }
  const start = across(from) + (from ? 35 : 16);
  const end = across(to) - (to < 6 ? 36 : 16);
  const line = svg("path", { class: "gr-wire", d: `M${start} ${down(0)}H${end - 8}` });
  return [line, svg("path", { class: "gr-tip", d: `M${end} ${down(0)}l-12 -6v12z` })];
}

/**
 * The number on a wire: its value above it, or its slope below.
 *
 * @param {Wire} name
 * @param {number} number
 * @param {"value" | "slope"} kind
 * @param {boolean} fresh whether this step found it
 */
function drawNumber(name, number, kind, fresh) {
  const [from, to, row] = WIRES[name];
  const side = kind === "value" ? -1 : 1;
  const x = row ? across(to) + 12 : (across(from) + across(to)) / 2;
  const y = row ? (down(0) + down(1)) / 2 - 8 + 14 * side : down(0) + 24 * side;
  const small = whole(number).length > 4 ? "gr-small" : "";
  const names = `gr-${kind} ${row ? "gr-beside" : ""} ${fresh ? "gr-new" : ""} ${small}`;
  return svg("text", { class: names, x, y }, whole(number));
}

class Graph {
  status = statusLine();
  picture = svg("svg", { class: "gr-picture", viewBox: "0 0 660 200", role: "img" });

  /** @param {HTMLElement} root @param {State} state @param {Tell} tell */
  constructor(root, state, tell) {
    this.state = state;
    this.tell = tell;
    this.back = button("◀ Undo", () => this.go(this.step - 1));
    this.next = button("Step ▶", () => this.go(this.step + 1));
    const all = button("All", () => this.go(LAST));
    this.sliders = CONTROLS.map(([name, label]) =>
      slider(label, {
        min: -REACH,
        max: REACH,
        value: state[name],
        onInput: (value) => this.change({ [name]: value }),
      }),
    );
    root.append(
      this.picture,
      h("div", { class: "cl-row" }, this.back, this.next, all),
      this.status,
      h("div", { class: "gr-sliders" }, ...this.sliders.map(({ element }) => element)),
    );
    this.show();
  }

  get numbers() {
    return /** @type {Numbers} */ (this.state);
  }

  get step() {
    return this.state.step;
  }

  /** @param {number} step */
  go(step) {
    this.change({ step: clamp(step, 0, LAST) });
  }

  /** Set by the reader. @param {State} values */
  change(values) {
    Object.assign(this.state, values);
    this.show();
    this.tell(values);
  }

  /** Set from outside. @param {State} values */
  take(values) {
    Object.assign(this.state, allowed(SPEC, values));
    this.show();
  }

  show() {
    CONTROLS.forEach(([name], index) => this.sliders[index].show(this.numbers[name]));
    set(this.back, { "aria-disabled": this.step === 0 ? "true" : null });
    set(this.next, { "aria-disabled": this.step === LAST ? "true" : null });
    this.status.textContent = sentence(this.numbers, this.step);
    this.draw();
  }

  draw() {
    const found = [GIVEN, ...FORWARD].slice(0, this.step + 1);
    const known = BACK.slice(0, Math.max(0, this.step - FORWARD.length));
    const numbers = { value: values(this.numbers), slope: slopes(this.numbers) };
    const wires = /** @type {Wire[]} */ (Object.keys(WIRES));
    /** @type {SVGElement[]} */
    const parts = wires.flatMap(drawWire);
    CIRCLES.forEach((name, column) => {
      if (!name) return;
      const [cx, cy] = [across(column), down(0)];
      parts.push(svg("circle", { class: "gr-circle", cx, cy, r: 33 }));
      parts.push(svg("text", { class: name.length > 1 ? "gr-small" : "", x: cx, y: cy }, name));
    });
    for (const [name, column, row] of ENDS) {
      parts.push(svg("text", { x: across(column), y: down(row) }, name));
    }
    const told = { value: found, slope: known };
    for (const kind of /** @type {const} */ (["value", "slope"])) {
      told[kind].forEach((names, number) => {
        const fresh = number === told[kind].length - 1 && (kind === "slope") === known.length > 0;
        for (const name of names) parts.push(drawNumber(name, numbers[kind][name], kind, fresh));
      });
    }
    this.picture.replaceChildren(...parts);
    const said = told.value.flat().map((name) => `${name} = ${whole(numbers.value[name])}`);
    const slopesSaid = known.flat().map((name) => `${name}: ${whole(numbers.slope[name])}`);
    set(this.picture, {
      "aria-label": `The graph. Values: ${said.join(", ")}. Slopes: ${slopesSaid.join(", ") || "none yet"}.`,
    });
  }
}

/**
 * Put the graph into `el`.
 *
 * @param {HTMLElement} el
 * @param {State} [options] to begin with
 * @param {Tell | null} [tell] the kernel behind a widget
 */
export function mount(el, options = {}, tell = null) {
  const root = frame(el, {
    name: "graph",
    title: "Forward, and back",
    hint: "Step through the graph. Values are blue, slopes of the loss are orange. Then change a number.",
  });
  addStyle("graph", STYLE);
  return connect("graph", SPEC, { ...START, ...allowed(SPEC, options) }, tell, (state, change) => {
    const figure = new Graph(root, state, change);
    return { take: (values) => figure.take(values), destroy: () => el.replaceChildren() };
  });
}

export default { render: sharing(mount, SPEC) };

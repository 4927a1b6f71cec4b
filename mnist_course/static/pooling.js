// A digit moves by pixels: what changes in its map, and what in the pooled map?

import { decodePixels } from "./correlate.js";
import {
  addStyle,
  button,
  choice,
  fold,
  frame,
  h,
  mix,
  onArrows,
  onPoint,
  paint,
  set,
  slider,
  statusLine,
  svg,
  themeColour,
  watchTheme,
} from "./dom.js";
import { Sheet } from "./ink.js";
import { clamp, count, format } from "./numbers.js";
import { SIDE, difference, edges, moved, pooled, pooledSide, windowOf } from "./shifting.js";
import { aWhole, aWord, allowed, connect, sharing } from "./state.js";
import { preprocess } from "./strokes.js";

/** @import { Pool } from "./shifting.js" */
/** @import { Check, State, Tell } from "./state.js" */
/** @import { Attributes } from "./types" */
/** @typedef {ReturnType<typeof difference>} Difference */

const REACH = 6; // pixels, to each side
const MAPS = { edges: "left edges", digit: "the digit itself" };
const KINDS = { max: "maximum", average: "average" };

/** @type {Check} Base64 of 784 bytes */
const aPicture = (value) =>
  typeof value === "string" && /^[A-Za-z0-9+/]{1046}==$/.test(value) ? value : undefined;

const SPEC = {
  pixels: aPicture,
  map: aWord(Object.keys(MAPS)),
  kind: aWord(Object.keys(KINDS)),
  window: aWhole(1, 4),
  stride: aWhole(1, 4),
  right: aWhole(-REACH, REACH),
  down: aWhole(-REACH, REACH),
  row: aWhole(0, SIDE - 1),
  column: aWhole(0, SIDE - 1),
};
/** @type {State} */
const USUAL = {
  ...{ pixels: "", map: "edges", kind: "max", window: 2, stride: 2 },
  ...{ right: 0, down: 0, row: 6, column: 6 },
};

const STYLE = `
.cl-pooling {
  .po-stage { display:grid; grid-template-columns:repeat(3,minmax(0,1fr)); gap:0.75rem 1.25rem; margin-top:0.85rem; }
  .po-caption { font-weight:600; margin-bottom:0.3rem; }
  .po-caption small { font-weight:400; color:var(--cl-muted); font-size:0.875rem; }
  .po-map { position:relative; border:1px solid var(--cl-edge); line-height:0; }
  .po-map canvas { width:100%; height:auto; }
  .po-map svg { position:absolute; inset:0; width:100%; height:100%; pointer-events:none; }
  .po-map rect { fill:none; stroke:var(--cl-ink); stroke-width:2; vector-effect:non-scaling-stroke; }
  .po-changed { fill:var(--cl-mark); stroke:var(--cl-paper); stroke-width:0.75; vector-effect:non-scaling-stroke; }
  .po-sliders { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr)); gap:0.25rem 2rem; margin:0.6rem 0 0; }
  .po-cell { margin-top:0.6rem; font-variant-numeric:tabular-nums; }
  & details { margin-top:0.75rem; }
  .dp-sheet { display:block; width:100%; max-width:14rem; margin:0.6rem 0; aspect-ratio:1; border:1.5px solid var(--cl-edge); border-radius:8px; background:var(--cl-paper); touch-action:none; cursor:crosshair; image-rendering:auto; user-select:none; -webkit-user-select:none; }
  .po-hidden { position:absolute; width:1px; height:1px; margin:-1px; overflow:hidden; clip-path:inset(50%); white-space:nowrap; }
  & summary span { margin-left:0.4rem; font-weight:400; color:var(--cl-muted); font-size:0.875rem; }
  & summary { cursor:pointer; font-weight:600; }
  @media (pointer: coarse) { & summary { padding-block:0.6rem; } }
  @container (max-width: 30rem) { .po-stage { grid-template-columns:repeat(2,minmax(0,1fr)); } }
}
`;

/**
 * A map with a caption, dots on what has changed, and a frame.
 *
 * @param {string} title
 * @param {Attributes} attributes
 */
function panel(title, attributes) {
  const canvas = h("canvas");
  const dots = svg("path", { class: "po-changed" });
  const mark = svg("rect");
  const overlay = svg("svg", { "aria-hidden": "true" }, dots, mark);
  const size = h("small");
  const map = h("div", { class: "po-map", ...attributes }, canvas, overlay);
  const element = h("div", {}, h("p", { class: "po-caption" }, title, " ", size), map);
  /** @param {Float64Array} values @param {number} most @param {number[][]} colours @param {number[]} changed */
  function draw(values, most, [paper, ink], changed) {
    const side = Math.sqrt(values.length);
    paint(canvas, values, side, (value) => mix(paper, ink, clamp(value / most, 0, 1)));
    set(overlay, { viewBox: `0 0 ${side} ${side}` });
    const dot = (/** @type {number} */ i) =>
      `M${(i % side) + 0.32} ${Math.floor(i / side) + 0.32}h.36v.36h-.36z`;
    set(dots, { d: changed.map(dot).join("") });
    size.textContent = `${side} × ${side}`;
  }
  /** @param {number} row @param {number} column @param {number} size */
  const frameAt = (row, column, size) => set(mark, { x: column, y: row, width: size, height: size });
  return { element, map, draw, frameAt };
}

const KEYS =
  "Arrow keys move the pen, with Shift five times as far; space sets it down and lifts it; Delete clears.";
let sheets = 0; // for ids that are unique on a page

/** A part to draw in. @param {(pixels: string | null) => void} take null: the digit of the book again */
function drawing(take) {
  const keys = h("p", { class: "po-hidden", id: `po-${++sheets}-keys` }, KEYS);
  const drawn = () => {
    const bytes = Array.from(preprocess(sheet.strokes), (value) => Math.round(255 * value));
    take(sheet.strokes.length ? btoa(String.fromCharCode(...bytes)) : null);
  };
  const sheet = new Sheet({ label: "Draw a digit here", description: keys.id, onChange: drawn });
  const clear = button("Clear, and take the book's digit", () => sheet.set([]));
  const element = fold(
    "Draw your own",
    "it takes the digit's place",
    h("div", {}, sheet.element, keys, clear),
  );
  return { element, sheet };
}

class Pooling {
  status = statusLine();
  cell = h("p", { class: "po-cell" });

  /** @param {HTMLElement} root @param {State} state @param {Tell} tell */
  constructor(root, state, tell) {
    this.root = root;
    this.state = state;
    /** What is shown. @type {{digit: Float64Array, map: Float64Array, pooled: Float64Array} | null} */
    this.now = null;
    /** What a shift has changed. @type {{map: Difference, pooled: Difference} | null} */
    this.changes = null;
    this.given = state.pixels;
    this.tell = tell;
    const application = {
      tabindex: 0,
      role: "application",
      "aria-roledescription": "picture that can be moved",
    };
    this.panels = {
      digit: panel("Digit", { ...application, "aria-label": "The digit; arrow keys move it by a pixel" }),
      map: panel("Map", { role: "img" }),
      pooled: panel("Pooled", {
        ...application,
        class: "cl-point po-map",
        "aria-roledescription": "picture with a movable cell",
        "aria-label": "The pooled map; arrow keys choose a number of it",
      }),
    };
    this.controls = this.steer();
    this.draw = drawing((pixels) => this.change({ pixels: pixels ?? this.given }));
    const { map, kind, window, stride, right, down } = this.controls;
    const panels = Object.values(this.panels).map(({ element }) => element);
    root.append(
      h("div", { class: "cl-row" }, map.element, kind.element, window.element, stride.element),
      h("div", { class: "po-sliders" }, right.element, down.element),
      h("div", { class: "po-stage" }, ...panels),
      this.status,
      this.cell,
      this.draw.element,
    );
    onArrows(this.panels.digit.map, (rows, columns) =>
      this.change({ right: this.state.right + columns, down: this.state.down + rows }),
    );
    const pooledMap = this.panels.pooled.map;
    onArrows(pooledMap, (rows, columns) => this.choose(this.state.row + rows, this.state.column + columns));
    onPoint(pooledMap, (x, y) => {
      const side = pooledSide(this.pool);
      this.choose(Math.floor(y * side), Math.floor(x * side));
    });
    this.show();
  }

  steer() {
    const change = (/** @type {State} */ values) => this.change(values);
    const numbers = { 1: "1", 2: "2", 3: "3", 4: "4" };
    const move = (/** @type {string} */ label, /** @type {"right" | "down"} */ name) =>
      slider(label, { min: -REACH, max: REACH, value: 0, onInput: (value) => change({ [name]: value }) });
    return {
      map: choice("Map of", MAPS, (map) => change({ map })),
      kind: choice("Pooling", KINDS, (kind) => change({ kind })),
      // A window of another size brings its usual stride.
      window: choice("Window", numbers, (word) => change({ window: Number(word), stride: Number(word) })),
      stride: choice("Stride", numbers, (word) => change({ stride: Number(word) })),
      right: move("Move right", "right"),
      down: move("Move down", "down"),
    };
  }

  get pool() {
    return /** @type {Pool} */ (this.state);
  }

  /** Set by the reader. @param {State} values */
  change(values) {
    const checked = allowed(SPEC, values);
    Object.assign(this.state, checked);
    this.show();
    this.tell(checked);
  }

  /** Set from outside. @param {State} values */
  take(values) {
    Object.assign(this.state, allowed(SPEC, values));
    this.show();
  }

  /** @param {number} row @param {number} column */
  choose(row, column) {
    const last = pooledSide(this.pool) - 1;
    const place = { row: clamp(row, 0, last), column: clamp(column, 0, last) };
    if (place.row === this.state.row && place.column === this.state.column) return;
    Object.assign(this.state, place);
    this.point();
    this.tell(place);
  }

  show() {
    const { state, controls, pool } = this;
    controls.map.show(state.map);
    controls.kind.show(state.kind);
    controls.window.show(String(state.window));
    controls.stride.show(String(state.stride));
    controls.right.show(state.right);
    controls.down.show(state.down);
    const digit = state.pixels ? decodePixels(state.pixels) : new Float64Array(SIDE ** 2);
    const map = (/** @type {Float64Array} */ values) => (state.map === "edges" ? edges(values) : values);
    const here = moved(digit, state.right, state.down);
    const maps = { before: map(digit), after: map(here) };
    const pools = { before: pooled(maps.before, pool), after: pooled(maps.after, pool) };
    this.now = { digit: here, map: maps.after, pooled: pools.after };
    this.changes = {
      map: difference(maps.before, maps.after),
      pooled: difference(pools.before, pools.after),
    };
    this.status.textContent = this.tale(pools);
    this.paint();
    this.point();
  }

  paint() {
    const { now, changes, state } = this;
    if (!now || !changes) return;
    const colours = ["paper", "ink"].map((name) => themeColour(this.root, name));
    const most = Math.max(1e-9, ...now.map);
    this.panels.digit.draw(now.digit, 1, colours, []);
    this.panels.map.draw(now.map, most, colours, changes.map.cells);
    this.panels.pooled.draw(now.pooled, most, colours, changes.pooled.cells);
    set(this.panels.map.map, {
      "aria-label": `The map of ${Reflect.get(MAPS, state.map)}, ${SIDE} by ${SIDE}; dots mark the ${count(changes.map.cells.length, "number")} that changed`,
    });
  }

  /** Show where the chosen number comes from. */
  point() {
    const { state, now, pool } = this;
    if (!now) return;
    const side = pooledSide(pool);
    const [row, column] = [state.row, state.column].map((place) => clamp(place, 0, side - 1));
    this.panels.pooled.frameAt(row, column, 1);
    this.panels.map.frameAt(row * pool.stride, column * pool.stride, pool.window);
    const numbers = windowOf(now.map, pool, row, column)
      .map((value) => format(value))
      .join(", ");
    const verb = pool.kind === "max" ? "the largest of" : "the mean of";
    const result = format(now.pooled[row * side + column]);
    this.cell.textContent = `The framed number, row ${row}, column ${column}: ${verb} ${numbers} is ${result}.`;
  }

  /**
   * What has changed, and whether the pooled map has moved along.
   *
   * @param {{before: Float64Array, after: Float64Array}} pools
   */
  tale({ before, after }) {
    const { state, changes } = this;
    const { right, down, stride } = state;
    if (!changes) return "";
    if (!right && !down) return "Nothing has moved yet. Move the digit by a pixel.";
    const change = (/** @type {"map" | "pooled"} */ name) => {
      const { cells, share } = changes[name];
      return `${cells.length} of ${name === "map" ? SIDE ** 2 : after.length} numbers, by ${format(share)} of its size`;
    };
    const told = `The map changed in ${change("map")}; the pooled map in ${change("pooled")}.`;
    if (right % stride || down % stride)
      return `${told} The shift is not a multiple of the stride, ${stride}, so the pooled map cannot simply move along.`;
    const along = difference(moved(before, right / stride, down / stride), after).cells.length;
    const exactly = along ? `but for ${count(along, "number")} at the edge` : "exactly";
    return `${told} The shift is a multiple of the stride, and the pooled map has moved along, ${exactly}.`;
  }
}

/**
 * Put the figure into `el`.
 *
 * @param {HTMLElement} el
 * @param {State} options to begin with; `pixels`, base64 of 28 x 28 bytes
 * @param {Tell | null} [tell] the kernel behind a widget
 */
export function mount(el, options, tell = null) {
  const root = frame(el, {
    name: "pooling",
    title: "What does pooling do to a shift?",
    hint: "Move the digit by a pixel. Dots mark the numbers that change. Point at the pooled map to see a window.",
    keys: "With the keyboard: focus the digit, or the pooled map, and use the arrow keys.",
  });
  addStyle("pooling", STYLE);
  return connect("pooling", SPEC, { ...USUAL, ...allowed(SPEC, options) }, tell, (state, change) => {
    const figure = new Pooling(root, state, change);
    const stop = watchTheme(() => figure.paint());
    return {
      take: (values) => figure.take(values),
      destroy() {
        stop();
        figure.draw.sheet.destroy();
        el.replaceChildren();
      },
    };
  });
}

export default { render: sharing(mount, SPEC) };

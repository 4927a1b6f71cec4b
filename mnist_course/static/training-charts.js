// The curves and pictures of a training, on canvases, in the colours of the theme.

import { brush, h, set, themeColour } from "./dom.js";
import { paintMaps } from "./maps.js";
import { format } from "./numbers.js";

/** @import { Palettes, Score } from "./types" */
/** @typedef {{name: string, colour: string, dash: number[], points: [step: number, value: number][]}} Curve */

const HEIGHT = 150; // CSS pixels of a chart
const EDGE = { left: 38, right: 8, top: 8, bottom: 22 };
const HIGHEST_LOSS = 12; // drawn; what is larger leaves the chart

/** A chart of curves over the steps. */
export class Chart {
  /** @param {string} title @param {string} unit of the numbers at the left */
  constructor(title, unit = "") {
    this.title = title;
    this.unit = unit;
    this.canvas = h("canvas", { role: "img", "aria-label": `${title}: nothing yet` });
    this.element = h("div", {}, h("p", { class: "th-caption" }, title), this.canvas);
  }

  /**
   * @param {Curve[]} curves
   * @param {{steps: number, top: number, marks: number[], width: number, note?: string}} frame how
   *   many steps there is room for, the largest number, and where lines run across
   */
  draw(curves, { steps, top, marks, width, note = "" }) {
    const { canvas } = this;
    const ratio = globalThis.devicePixelRatio || 1;
    const across = Math.round(width * ratio);
    if (canvas.width !== across) Object.assign(canvas, { width: across, height: Math.round(HEIGHT * ratio) });
    Object.assign(canvas.style, { width: `${width}px`, height: `${HEIGHT}px` });
    const pen = brush(canvas);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, HEIGHT);
    const x = (/** @type {number} */ step) =>
      EDGE.left + (step / Math.max(1, steps)) * (width - EDGE.left - EDGE.right);
    const y = (/** @type {number} */ value) =>
      HEIGHT - EDGE.bottom - (Math.min(value, top) / top) * (HEIGHT - EDGE.top - EDGE.bottom);
    this.rule(pen, marks, steps, x, y, width);
    for (const curve of curves) this.trace(pen, curve, x, y);
    if (note) {
      pen.fillStyle = this.colour("warning");
      pen.textAlign = "left";
      pen.fillText(note, EDGE.left + 6, EDGE.top + 10);
    }
  }

  /** @param {string} name */
  colour(name) {
    return `rgb(${themeColour(this.canvas, name).join()})`;
  }

  /**
   * The lines across with their numbers, and the number of steps.
   *
   * @param {CanvasRenderingContext2D} pen
   * @param {number[]} marks
   * @param {number} steps
   * @param {(step: number) => number} x
   * @param {(value: number) => number} y
   * @param {number} width
   */
  rule(pen, marks, steps, x, y, width) {
    pen.font = "11px system-ui, sans-serif";
    pen.fillStyle = this.colour("muted");
    pen.strokeStyle = this.colour("line");
    pen.lineWidth = 1;
    pen.setLineDash([]);
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const mark of marks) {
      pen.beginPath();
      pen.moveTo(EDGE.left, y(mark));
      pen.lineTo(width - EDGE.right, y(mark));
      pen.stroke();
      pen.fillText(`${mark}${this.unit}`, EDGE.left - 5, y(mark));
    }
    pen.textBaseline = "alphabetic";
    pen.fillText(`step ${steps}`, x(steps), HEIGHT - 6);
    pen.textAlign = "left";
    pen.fillText("0", EDGE.left, HEIGHT - 6);
  }

  /**
   * @param {CanvasRenderingContext2D} pen
   * @param {Curve} curve
   * @param {(step: number) => number} x
   * @param {(value: number) => number} y
   */
  trace(pen, { colour, dash, points }, x, y) {
    pen.strokeStyle = pen.fillStyle = this.colour(colour);
    pen.lineWidth = 1.75;
    pen.setLineDash(dash);
    pen.beginPath();
    let down = false; // a number that is none lifts the pen
    for (const [step, value] of points) {
      const there = Number.isFinite(value);
      if (there && down) pen.lineTo(x(step), y(value));
      else if (there) pen.moveTo(x(step), y(value));
      down = there;
    }
    pen.stroke();
    pen.setLineDash([]);
    if (points.length > 40) return;
    for (const [step, value] of points) {
      if (Number.isFinite(value)) pen.fillRect(x(step) - 2, y(value) - 2, 4, 4);
    }
  }

  /** Say in words what the chart shows. @param {string} text */
  tell(text) {
    set(this.canvas, { "aria-label": `${this.title}: ${text}` });
  }
}

/**
 * Losses, at most some hundreds of points: means of steps that lie together.
 *
 * @param {number[]} losses
 * @returns {[number, number][]}
 */
export function thinned(losses) {
  const each = Math.max(1, Math.ceil(losses.length / 400));
  /** @type {[number, number][]} */
  const points = [];
  for (let start = 0; start < losses.length; start += each) {
    const some = losses.slice(start, start + each);
    points.push([start + (some.length + 1) / 2, some.reduce((sum, loss) => sum + loss, 0) / some.length]);
  }
  return points;
}

/**
 * How high the chart of the losses must be, and where its lines run.
 *
 * @param {number[]} losses
 */
export function lossScale(losses) {
  let highest = 2.6;
  for (const loss of losses) if (Number.isFinite(loss)) highest = Math.max(highest, loss);
  const top = Math.min(HIGHEST_LOSS, highest);
  return {
    top,
    marks: [0, 1, 2, 3].map((mark) => (top > 6 ? 4 : top > 3 ? 2 : 1) * mark).filter((mark) => mark <= top),
  };
}

/**
 * The accuracies as curves, in per cent.
 *
 * @param {Score[]} scores
 * @returns {Curve[]}
 */
export function scoreCurves(scores) {
  return [
    {
      name: "training",
      colour: "positive",
      dash: [],
      points: scores.map(({ step, training }) => [step, 100 * training]),
    },
    {
      name: "held out",
      colour: "negative",
      dash: [5, 3],
      points: scores.map(({ step, unseen }) => [step, 100 * unseen]),
    },
  ];
}

/** Pictures of many small maps side by side. */
export class Maps {
  /** @param {string} title @param {string} label what is seen, for people who do not see it */
  constructor(title, label) {
    this.label = label;
    this.canvas = h("canvas", { role: "img", "aria-label": label });
    this.element = h("div", {}, h("p", { class: "th-caption" }, title), this.canvas);
  }

  /**
   * @param {Float32Array} values (C, H, W)
   * @param {[channels: number, size: number]} shape
   * @param {{width: number, colours: Palettes, signed: boolean}} options
   */
  draw(values, [channels, size], { width, colours, signed }) {
    const { canvas } = this;
    const zoom = size >= 20 ? 3 : size >= 6 ? 5 : 7;
    const columns = Math.max(1, Math.min(channels, Math.floor((width / zoom + 1) / (size + 1))));
    const rows = Math.ceil(channels / columns);
    const plot = { columns, rows, zoom, gap: 1, H: size, W: size };
    paintMaps(canvas, [channels, size, size], values, plot, colours, signed);
    Object.assign(canvas.style, { width: `${canvas.width * zoom}px`, height: `${canvas.height * zoom}px` });
  }
}

/**
 * Maps as (C, H, W), from (H, W, C).
 *
 * @param {Float32Array} values
 * @param {number} channels
 */
export function byChannel(values, channels) {
  const area = values.length / channels;
  return values.map((_, i) => values[(i % area) * channels + Math.floor(i / area)]);
}

/** A small number in two figures: `0.012`, `3.1e−6`. @param {number} value */
export function short(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : "\u221e";
  if (value === 0) return "0";
  if (value >= 0.001 && value < 1000) return format(value, value < 0.1 ? 4 : value < 10 ? 2 : 0);
  return value.toExponential(1).replace("-", "\u2212").replace("+", "");
}

// What is drawn on a sheet, and every state before, for undo: strokes, not pixels.

import { clamp } from "./numbers.js";

/** @import { Point, Stroke } from "./types" */

export const FIELD = 280; // width and height of a sheet in its own units, at any size on screen
const MOST_POINTS = 2000; // of one stroke
const MOST_STATES = 200;

const round = (/** @type {number} */ value) => Math.round(clamp(value, 0, FIELD) * 10) / 10;

export class Drawing {
  /** Lists of strokes that share their strokes. @type {Stroke[][]} */
  states = [[]];
  now = 0;
  /** The stroke that is being drawn. @type {Stroke | null} */
  stroke = null;
  /** What was there before the last stroke, if nothing has happened since. */
  before = this.memory();

  get strokes() {
    return this.states[this.now];
  }

  get canUndo() {
    return this.now > 0;
  }

  get canRedo() {
    return this.now < this.states.length - 1;
  }

  memory() {
    return { states: this.states, now: this.now };
  }

  /** Draw these strokes in place of what is there. @param {Stroke[]} strokes */
  set(strokes) {
    this.stroke = null;
    this.states = [...this.states.slice(0, this.now + 1), strokes].slice(-MOST_STATES);
    this.now = this.states.length - 1;
    this.before = this.memory();
  }

  /** @param {number} x @param {number} y */
  begin(x, y) {
    /** @type {Stroke} */
    const stroke = [[round(x), round(y)]];
    const before = this.memory();
    this.set([...this.strokes, stroke]);
    this.stroke = stroke;
    this.before = before;
  }

  /** @param {number} x @param {number} y */
  extend(x, y) {
    const { stroke } = this;
    if (!stroke || stroke.length >= MOST_POINTS) return;
    /** @type {Point} */
    const point = [round(x), round(y)];
    const last = stroke[stroke.length - 1];
    if (point[0] !== last[0] || point[1] !== last[1]) stroke.push(point);
  }

  end() {
    this.stroke = null;
  }

  /** Take the last stroke back as if it had never been. */
  drop() {
    this.stroke = null;
    Object.assign(this, this.before);
  }

  /** Go back or forth among the states. @param {number} steps */
  go(steps) {
    this.stroke = null;
    this.now = clamp(this.now + steps, 0, this.states.length - 1);
    this.before = this.memory();
  }
}

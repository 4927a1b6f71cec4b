// Which pointer draws? A hand rests beside its pen, two fingers mean to zoom, a thumb means to scroll:
// only what is meant as ink becomes ink.

/** @typedef {"mouse" | "pen" | "touch"} Kind */

/**
 * What a pointer does, with the time in milliseconds and the place in CSS pixels of the sheet.
 *
 * @typedef {{id: number, kind: string, x: number, y: number, time: number}} Touch
 */

/**
 * What is to be done: begin a stroke, or begin it in place of the last one, which was not meant;
 * go on with it, end it, drop it; scroll the page in its place.
 *
 * @typedef {"begin" | "replace" | "extend" | "end" | "drop" | "scroll" | null} Action
 */

const MOMENT = 300; // milliseconds: fingers that land within it make one gesture
const PALM = 500; // a finger that was lifted so short a time before the pen came was a palm
const PEN = 1500; // so long after a pen was there, fingers are a palm
const MARGIN = 24; // CSS pixels: how far out of the sheet a stroke may end
const EDGE = 16; // from the sides of the sheet, where thumbs scroll
const SWIPE = 40; // how long a stroke along the edge is at least, to be a scroll
const UPRIGHT = 2.5; // how much higher than wide a scroll is
const REST = 8; // CSS pixels: a finger that has not moved further rests

export class Pointers {
  /** The pointer that draws. @type {Path | null} */
  active = null;
  /** When each finger on the page has come down. @type {Map<number, number>} */
  fingers = new Map();
  /** Fingers make a gesture: none of them draws until all are lifted. */
  gesture = false;
  /** When the last stroke of a finger ended, and a pen was seen. */
  fingerEnded = -Infinity;
  penSeen = -Infinity;

  /**
   * A finger comes down anywhere on the page.
   *
   * @param {number} id
   * @param {boolean} first whether no other is there
   * @param {number} time
   * @returns {Action}
   */
  land(id, first, time) {
    if (first) this.release();
    const together = [...this.fingers.values()].some((landed) => time - landed < MOMENT);
    this.fingers.set(id, time);
    if (!together) return null;
    this.gesture = true;
    return this.active?.kind === "touch" && time - this.active.began < MOMENT ? this.leave("drop") : null;
  }

  /** No finger is there. */
  release() {
    this.fingers.clear();
    this.gesture = false;
  }

  /**
   * A pointer comes down on the sheet; a finger has landed before.
   *
   * @param {Touch} touch
   * @returns {Action}
   */
  down({ id, kind, x, y, time }) {
    const { active } = this;
    if (kind === "pen") this.penSeen = time;
    if (kind === "touch" && (this.gesture || time - this.penSeen < PEN)) return null;
    const outranked = active?.kind === "touch" && (kind === "pen" || active.rests);
    if (active && !outranked && active.id !== id) return null;
    const palm = outranked || (kind === "pen" && time - this.fingerEnded < PALM);
    this.active = new Path(id, kind, x, y, time);
    this.fingerEnded = -Infinity;
    return palm ? "replace" : "begin";
  }

  /**
   * @param {Touch & {pressed: boolean, width: number, height: number}} touch whether the pointer is
   *   down, and the size of the sheet
   * @returns {Action}
   */
  move({ id, kind, x, y, time, pressed, width, height }) {
    const { active } = this;
    if (kind === "pen") this.penSeen = time;
    if (active?.id !== id) return null;
    if (!pressed) return this.leave("end"); // it was lifted, and nobody has said so
    active.follow(x, y);
    if (kind === "touch" && !active.scrolls) active.scrolls = active.isScroll(width, height);
    return active.scrolls ? "scroll" : "extend";
  }

  /**
   * A pointer is lifted, or lost.
   *
   * @param {number} id
   * @param {number} time
   * @returns {Action}
   */
  up(id, time) {
    this.lift(id);
    const { active } = this;
    if (active?.id !== id) return null;
    if (active.kind === "pen") this.penSeen = time;
    if (active.kind === "touch") this.fingerEnded = time;
    return this.leave(active.scrolls ? null : "end");
  }

  /**
   * The system has taken a pointer back: it was a palm, or a gesture of its own.
   *
   * @param {number} id
   * @returns {Action}
   */
  cancel(id) {
    this.lift(id);
    return this.active?.id === id ? this.leave(this.active.scrolls ? null : "drop") : null;
  }

  /** @param {number} id */
  lift(id) {
    this.fingers.delete(id);
    if (!this.fingers.size) this.gesture = false;
  }

  /** @param {Action} action @returns {Action} */
  leave(action) {
    this.active = null;
    return action;
  }
}

/** The way of a pointer that draws. */
class Path {
  scrolls = false;

  /**
   * @param {number} id
   * @param {string} kind
   * @param {number} x
   * @param {number} y
   * @param {number} time
   */
  constructor(id, kind, x, y, time) {
    this.id = id;
    this.kind = kind;
    this.began = time;
    this.start = { x, y };
    this.now = { x, y };
    this.box = [x, y, x, y]; // left, top, right, bottom
  }

  /** Whether it has hardly moved: a palm, or the thumb that holds a phone. */
  get rests() {
    const [left, top, right, bottom] = this.box;
    return Math.max(right - left, bottom - top) < REST;
  }

  /** @param {number} x @param {number} y */
  follow(x, y) {
    const [left, top, right, bottom] = this.box;
    this.now = { x, y };
    this.box = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
  }

  /**
   * Whether this is a thumb that means to scroll: straight up or down, along the edge of the sheet or
   * out of it. One that stays inside draws, because a one looks just so and a sheet is there to be drawn
   * on; the page scrolls by its edges and from everywhere beside it.
   *
   * @param {number} width
   * @param {number} height
   */
  isScroll(width, height) {
    const { start, now } = this;
    const [left, top, right, bottom] = this.box;
    const way = Math.abs(now.y - start.y);
    if (way < bottom - top || way < UPRIGHT * (right - left)) return false;
    const out = now.y < -MARGIN || now.y > height + MARGIN;
    const along = (start.x < EDGE || start.x > width - EDGE) && way > SWIPE;
    return out || along;
  }
}

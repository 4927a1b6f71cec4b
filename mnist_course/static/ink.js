// A sheet to draw on with mouse, finger, pen or keyboard.

import { arrowStep, brush, h, watchTheme } from "./dom.js";
import { Drawing, FIELD } from "./drawing.js";
import { clamp } from "./numbers.js";
import { Pointers } from "./pointers.js";

/** @import { Action } from "./pointers.js" */
/** @import { Point, Stroke } from "./types" */

/** Width of the line on the sheet; medium is about what the prepared picture will have. */
export const PENS = { thin: 10, medium: 22, broad: 34 };
const STEP = 4; // how far an arrow key moves the pen, in units

export class Sheet {
  drawing = new Drawing();
  pointers = new Pointers();
  scrolledFrom = 0; // where on the screen a finger was that scrolls
  listening = new AbortController();
  /** The keyboard's pen. */
  pen = { x: FIELD / 2, y: FIELD / 4, shown: false };
  penWidth = PENS.medium;
  stopZoom = () => {};

  /**
   * @param {{label: string, description: string, onChange: (done: boolean) => void}} options
   *   `description` is the id of the element that says how to draw; `onChange(done)` is called after
   *   each change, with `done` false while a stroke is being drawn
   */
  constructor({ label, description, onChange }) {
    this.onChange = onChange;
    this.element = h("canvas", {
      class: "dp-sheet",
      tabindex: 0,
      role: "application",
      "aria-label": label,
      "aria-describedby": description,
      "aria-roledescription": "drawing area",
    });
    this.listen();
    this.stopTheme = watchTheme(() => this.draw());
    this.size = new ResizeObserver(() => this.fit());
    this.size.observe(this.element);
    this.watchZoom();
  }

  /** @returns {Stroke[]} */
  get strokes() {
    return this.drawing.strokes;
  }

  undo() {
    this.go(-1);
  }

  redo() {
    this.go(1);
  }

  clear() {
    if (this.strokes.length) this.set([]);
  }

  /** Draw these strokes in place of what is there; undo brings that back. @param {Stroke[]} strokes */
  set(strokes) {
    this.pointers.active = null;
    this.drawing.set(strokes);
    this.changed(true);
  }

  /** How broad the strokes are shown: they themselves have no width. @param {string} name one of PENS */
  setPen(name) {
    this.penWidth = PENS[/** @type {keyof typeof PENS} */ (name)];
    this.draw();
  }

  destroy() {
    this.listening.abort();
    this.size.disconnect();
    this.stopTheme();
    this.stopZoom();
  }

  /** @param {number} steps */
  go(steps) {
    if (this.pointers.active) return;
    this.drawing.go(steps);
    this.changed(true);
  }

  /** @param {boolean} done */
  changed(done) {
    this.draw();
    this.onChange(done);
  }

  // ---------------------------------------------------------------- what is seen

  draw() {
    const context = brush(this.element);
    const style = getComputedStyle(this.element);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(`--cl-${name}`);
    const scale = this.element.width / FIELD;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, FIELD, FIELD);
    context.lineWidth = this.penWidth;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = colour("ink");
    for (const [first, ...others] of this.strokes) {
      context.beginPath();
      context.moveTo(...first);
      // A line of no length still gets its round ends: a dot.
      for (const point of others.length ? others : [first]) context.lineTo(...point);
      context.stroke();
    }
    const { x, y, shown } = this.pen;
    if (!this.strokes.length && !shown) {
      context.font = "15px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillStyle = colour("muted");
      context.fillText("Draw here", FIELD / 2, FIELD / 2 + 5);
    }
    if (shown) {
      context.lineWidth = 3;
      context.strokeStyle = colour("mark");
      context.beginPath();
      context.arc(x, y, this.drawing.stroke ? 5 : 9, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** Give the canvas as many pixels as the screen shows. */
  fit() {
    const pixels = Math.round(this.element.clientWidth * (globalThis.devicePixelRatio || 1));
    if (pixels > 0 && pixels !== this.element.width) this.element.width = this.element.height = pixels;
    this.draw();
  }

  /** Fit again whenever the page is shown at another size. */
  watchZoom() {
    const zoom = matchMedia(`(resolution: ${globalThis.devicePixelRatio}dppx)`);
    const again = () => this.watchZoom();
    zoom.addEventListener("change", again, { once: true });
    this.stopZoom = () => zoom.removeEventListener("change", again);
    this.fit();
  }

  // ---------------------------------------------------------------- pointers and keys

  listen() {
    const { element, pointers } = this;
    const { signal } = this.listening;
    /** @param {EventTarget} target @param {string} name @param {(event: any) => void} react */
    const on = (target, name, react) =>
      target.addEventListener(name, react, { signal, capture: target !== element });
    on(globalThis, "pointerdown", (/** @type {PointerEvent} */ event) => {
      if (event.pointerType === "touch")
        this.act(pointers.land(event.pointerId, event.isPrimary, event.timeStamp), event);
    });
    on(element, "pointerdown", (/** @type {PointerEvent} */ event) => this.down(event));
    on(element, "pointermove", (/** @type {PointerEvent} */ event) => {
      // On a sheet that was hidden in mid-stroke there are no places.
      if (element.clientWidth) this.act(pointers.move(this.touchOf(event)), event);
    });
    const up = (/** @type {PointerEvent} */ event) =>
      this.act(pointers.up(event.pointerId, event.timeStamp), event);
    on(globalThis, "pointerup", up);
    on(element, "lostpointercapture", up);
    on(globalThis, "pointercancel", (/** @type {PointerEvent} */ event) =>
      this.act(pointers.cancel(event.pointerId), event),
    );
    on(element, "contextmenu", (event) => event.preventDefault()); // a long press draws
    // A stroke that is lifted in full swing is a fling to the browser, though nothing scrolls here, and
    // a tap that follows would only stop it. A touch that is refused makes no gesture at all.
    on(element, "touchstart", (event) => event.cancelable && event.preventDefault());
    on(element, "keydown", (event) => {
      if (pointers.active || !this.key(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
    on(element, "blur", () => {
      if (this.drawing.stroke && !pointers.active) this.end();
      this.pen.shown = false;
      this.draw();
    });
  }

  /** What a pointer does on the sheet, in CSS pixels. @param {PointerEvent} event */
  touchOf(event) {
    const { left, top, width, height } = this.element.getBoundingClientRect();
    return {
      id: event.pointerId,
      kind: event.pointerType,
      x: event.clientX - left,
      y: event.clientY - top,
      time: event.timeStamp,
      // A mouse says nothing of a button that is lifted while another is still down.
      pressed: event.pointerType === "mouse" ? (event.buttons & 1) > 0 : event.buttons > 0,
      width,
      height,
    };
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (event.button !== 0) return; // another button of a mouse
    event.preventDefault(); // no text selection, no emulated mouse
    this.act(this.pointers.down(this.touchOf(event)), event);
  }

  /**
   * Do what the pointers ask for.
   *
   * @param {Action} action
   * @param {PointerEvent} event
   */
  act(action, event) {
    if (action === "begin" || action === "replace") {
      this.element.focus({ preventScroll: true, .../** @type {object} */ ({ focusVisible: false }) });
      this.pen.shown = false;
      if (action === "replace") this.drawing.drop();
      this.capture(event.pointerId);
      this.drawing.begin(...this.place(event));
      this.changed(false);
    } else if (action === "extend") this.extend(event);
    else if (action === "end") this.end();
    else if (action === "drop") this.drop();
    else if (action === "scroll") {
      if (this.drawing.stroke) this.drop();
      else scrollBy({ top: this.scrolledFrom - event.clientY, behavior: "instant" });
      this.scrolledFrom = event.clientY;
    }
  }

  /** Let a stroke go on outside the sheet. @param {number} id */
  capture(id) {
    try {
      this.element.setPointerCapture(id);
    } catch {
      // The pointer is gone already, or was made by a script.
    }
  }

  /** Add where a pointer was since the last time. @param {PointerEvent} event */
  extend(event) {
    const between = event.getCoalescedEvents?.() ?? [];
    for (const each of between.length ? between : [event]) this.drawing.extend(...this.place(each));
    this.changed(false);
  }

  /** Where a pointer is, in units of the sheet. @param {PointerEvent} event @returns {Point} */
  place(event) {
    const { x, y, width, height } = this.touchOf(event);
    return [(x / width) * FIELD, (y / height) * FIELD];
  }

  end() {
    this.drawing.end();
    this.changed(true);
  }

  drop() {
    this.drawing.drop();
    this.changed(true);
  }

  /** Do what a key asks for. Returns whether it asks for anything. @param {KeyboardEvent} event */
  key(event) {
    const step = arrowStep(event);
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const control = event.ctrlKey || event.metaKey;
    if (step) this.movePen(step[1] * STEP, step[0] * STEP);
    else if (name === " " || name === "Enter") event.repeat || this.lift();
    else if (control && name === "z") event.shiftKey ? this.redo() : this.undo();
    else if (control && name === "y") this.redo();
    else if (!control && !event.altKey && (name === "Backspace" || name === "Delete")) this.clear();
    else return false;
    return true;
  }

  /** @param {number} dx @param {number} dy */
  movePen(dx, dy) {
    const { pen, drawing } = this;
    pen.shown = true;
    pen.x = clamp(pen.x + dx, 0, FIELD);
    pen.y = clamp(pen.y + dy, 0, FIELD);
    if (!drawing.stroke) return this.draw();
    drawing.extend(pen.x, pen.y);
    this.changed(false);
  }

  /** Set the keyboard's pen down, or lift it. */
  lift() {
    this.pen.shown = true;
    if (this.drawing.stroke) return this.end();
    this.drawing.begin(this.pen.x, this.pen.y);
    this.changed(false);
  }
}

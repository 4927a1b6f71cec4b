// A sheet to draw on with mouse, finger, pen or keyboard: it keeps strokes, not pixels.

import { arrowStep, clamp, h, watchTheme } from "./dom.js";

export const FIELD = 280; // width and height of the sheet in its own units, at any size on screen
export const PENS = { thin: 10, medium: 22, broad: 34 }; // width of the line on the sheet
const STEP = 4; // how far an arrow key moves the pen, in units
const MOST_POINTS = 2000; // of one stroke

const round = (value) => Math.round(value * 10) / 10;

/**
 * @param {{label: string, description: string, onChange: function(boolean): void}} options
 *   `description` is the id of the element that says how to draw; `onChange(done)` is called after
 *   each change, with `done` false while a stroke is being drawn
 * @returns {object} `element`, and methods that change and tell what is drawn
 */
export function inkSheet({ label, description, onChange }) {
  const element = h("canvas", { class: "dp-sheet", tabindex: 0, role: "application", "aria-label": label, "aria-describedby": description,
    "aria-roledescription": "drawing area" });
  const context = element.getContext("2d");
  // Every state of the sheet, for undo: lists of strokes that share their strokes.
  let history = [[]], now = 0;
  let stroke = null; // the one being drawn
  let pointer = null; // id of the pointer that draws it
  let penWidth = PENS.medium; // about what the prepared picture will have
  const pen = { x: FIELD / 2, y: FIELD / 4, shown: false }; // the keyboard's

  const strokes = () => history[now];

  function push(next) {
    history = [...history.slice(0, now + 1), next].slice(-200);
    now = history.length - 1;
  }

  function begin(x, y) {
    stroke = [[round(x), round(y)]];
    push([...strokes(), stroke]);
    changed(false);
  }

  function extend(x, y) {
    const last = stroke[stroke.length - 1];
    const point = [round(x), round(y)];
    if (stroke.length < MOST_POINTS && (point[0] !== last[0] || point[1] !== last[1])) stroke.push(point);
  }

  function end() {
    stroke = pointer = null;
    changed(true);
  }

  function changed(done) {
    draw();
    onChange(done);
  }

  function draw() {
    const scale = element.width / FIELD;
    const style = getComputedStyle(element);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, FIELD, FIELD);
    context.lineWidth = penWidth;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = style.getPropertyValue("--cl-ink");
    for (const points of strokes()) {
      context.beginPath();
      context.moveTo(...points[0]);
      // A line of no length still gets its round ends: a dot.
      for (const point of points.length > 1 ? points : [...points, points[0]]) context.lineTo(...point);
      context.stroke();
    }
    if (!strokes().length && !pen.shown) {
      context.font = "15px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillStyle = style.getPropertyValue("--cl-muted");
      context.fillText("Draw here", FIELD / 2, FIELD / 2 + 5);
    }
    if (pen.shown) {
      context.lineWidth = 3;
      context.strokeStyle = style.getPropertyValue("--cl-mark");
      context.beginPath();
      context.arc(pen.x, pen.y, stroke ? 5 : 9, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /** Give the canvas as many pixels as the screen shows. */
  function fit() {
    const pixels = Math.round(element.clientWidth * (globalThis.devicePixelRatio || 1));
    if (pixels > 0 && pixels !== element.width) element.width = element.height = pixels;
    draw();
  }

  const place = (event) => {
    const box = element.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((part) => clamp(part, 0, 1) * FIELD);
  };

  const stopping = new AbortController();
  const on = (target, name, react) => target.addEventListener(name, react, { signal: stopping.signal });

  on(element, "pointerdown", (event) => {
    if (event.button !== 0 || pointer !== null) return; // another button, a second finger
    event.preventDefault(); // no text selection, no emulated mouse
    element.focus({ preventScroll: true, focusVisible: false });
    if (stroke) end(); // the keyboard's
    pen.shown = false;
    pointer = event.pointerId;
    try {
      element.setPointerCapture(pointer); // the stroke goes on outside the sheet
    } catch {
      // The pointer is gone already, or was made by a script.
    }
    begin(...place(event));
  });
  on(element, "pointermove", (event) => {
    if (event.pointerId !== pointer) return;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const each of between.length ? between : [event]) extend(...place(each));
    changed(false);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    on(element, name, (event) => {
      if (event.pointerId === pointer) end();
    });
  }
  on(element, "contextmenu", (event) => event.preventDefault()); // a long press draws

  on(element, "keydown", (event) => {
    const control = event.ctrlKey || event.metaKey;
    const letter = event.key.toLowerCase();
    const step = arrowStep(event);
    if (pointer !== null) return;
    if (step) move(step[1] * STEP, step[0] * STEP);
    else if (event.key === " " || event.key === "Enter") event.repeat || lift();
    else if (control && letter === "z") event.shiftKey ? sheet.redo() : sheet.undo();
    else if (control && letter === "y") sheet.redo();
    else if (!control && !event.altKey && (event.key === "Backspace" || event.key === "Delete")) sheet.clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  on(element, "blur", () => {
    if (stroke && pointer === null) end();
    pen.shown = false;
    draw();
  });

  function move(dx, dy) {
    pen.shown = true;
    pen.x = clamp(pen.x + dx, 0, FIELD);
    pen.y = clamp(pen.y + dy, 0, FIELD);
    if (stroke) extend(pen.x, pen.y);
    if (stroke) changed(false);
    else draw();
  }

  function lift() {
    pen.shown = true;
    if (stroke) end();
    else begin(pen.x, pen.y);
  }

  const size = new ResizeObserver(fit);
  size.observe(element);
  const stopTheme = watchTheme(draw);
  let zoom = null;
  function watchZoom() {
    zoom?.removeEventListener("change", watchZoom);
    zoom = matchMedia(`(resolution: ${globalThis.devicePixelRatio}dppx)`);
    zoom.addEventListener("change", watchZoom);
    fit();
  }
  watchZoom();

  function go(step) {
    if (pointer !== null) return;
    stroke = null;
    now = clamp(now + step, 0, history.length - 1);
    changed(true);
  }

  const sheet = {
    element,
    strokes,
    canUndo: () => now > 0,
    canRedo: () => now < history.length - 1,
    undo: () => go(-1),
    redo: () => go(1),
    clear() {
      if (strokes().length) sheet.set([]);
    },
    /** How broad the strokes are shown, as one of PENS: the strokes themselves have no width. */
    setPen(name) {
      penWidth = PENS[name];
      draw();
    },
    /** Draw these strokes in place of what is there; undo brings that back. */
    set(next) {
      stroke = pointer = null;
      push(next);
      changed(true);
    },
    destroy() {
      stopping.abort();
      size.disconnect();
      stopTheme();
      zoom.removeEventListener("change", watchZoom);
    },
  };
  return sheet;
}

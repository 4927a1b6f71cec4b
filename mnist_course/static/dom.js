// What the interactive figures share: making elements, one style, colours that follow the theme.
// Nothing here depends on anything but the browser, and nothing touches the page on import.

const SVG = "http://www.w3.org/2000/svg";

function make(element, attributes, children) {
  set(element, attributes);
  element.append(...children);
  return element;
}

/** Set attributes; `false`, `null` and `undefined` take one away, `true` sets it empty. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

/** An HTML element with attributes and children (strings or nodes). */
export function h(tag, attributes = {}, ...children) {
  return make(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return make(document.createElementNS(SVG, tag), attributes, children);
}

/** `value`, but not below `low` nor above `high`. */
export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** A number with `digits` decimals, a true minus sign, and no minus before zero. */
export function format(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `\u2212${text}` : text;
}

/** floor((n + 2p - d (k - 1) - 1) / s) + 1, the number of windows of a convolution or a pooling in
 *  a row of n pixels; 0 where none fits. */
export function outputSize(n, { k, s, p, d }) {
  return Math.max(0, Math.floor((n + 2 * p - d * (k - 1) - 1) / s) + 1);
}

/** The whole numbers from `start` up to, not including, `end`. */
export function range(start, end, step = 1) {
  return Array.from(
    { length: Math.max(0, Math.ceil((end - start) / step)) },
    (_, index) => start + index * step,
  );
}

/** A whole number with a true minus sign. */
export function whole(value) {
  return String(value).replace("-", "\u2212");
}

/** `1 pixel`, `2 pixels`. */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** `a` 7, `an` 8. */
export function article(digit) {
  return digit === 8 ? "an" : "a";
}

/** `a 7`, `an 8`. */
export function named(digit) {
  return `${article(digit)} ${digit}`;
}

/** The step that an arrow key asks for, as `[rows, columns]`; five with Shift; null for others. */
export function arrowStep(event) {
  const step = event.shiftKey ? 5 : 1;
  const steps = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
  return event.ctrlKey || event.altKey || event.metaKey ? null : (steps[event.key] ?? null);
}

/** A labelled range input that shows its value: `{element, input, set(value)}`. */
export function slider(label, { min, max, value, step = 1, onInput }) {
  const input = h("input", { type: "range", min, max, step, value });
  const shown = h("b", { "aria-hidden": "true" }, String(value)); // the slider speaks it itself
  const show = (next) => {
    input.value = next;
    shown.textContent = String(next);
  };
  input.addEventListener("input", () => {
    shown.textContent = input.value;
    onInput(Number(input.value));
  });
  return {
    element: h("label", { class: "cl-slider" }, h("span", {}, label), input, shown),
    input,
    set: show,
  };
}

/** Call `choose(x, y)` with the place in `element`, as fractions of its size, where a pointer is:
 *  a mouse that moves over it, a finger or pen that touches or drags. */
export function onPoint(element, choose) {
  const at = (event) => {
    const box = element.getBoundingClientRect();
    choose((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  element.addEventListener("pointerdown", at);
  element.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" || event.buttons) at(event);
  });
}

/** Paint `values` as a picture `columns` wide; `colour(value)` gives `[red, green, blue]`. */
export function paint(canvas, values, columns, colour) {
  canvas.width = columns;
  canvas.height = values.length / columns;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  values.forEach((value, index) => picture.data.set([...colour(value), 255], 4 * index));
  context.putImageData(picture, 0, 0);
}

/** The colour a share of the way from one colour to another, each `[red, green, blue]`. */
export function mix(from, to, share) {
  return from.map((value, channel) => Math.round(value + (to[channel] - value) * share));
}

/** The theme's colour `--cl-name` at an element, as `[red, green, blue]`. */
export function themeColour(element, name) {
  const hex = getComputedStyle(element).getPropertyValue(`--cl-${name}`).trim();
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** Call `changed()` whenever the page, JupyterLab or the system turns dark or light, or the page
 *  is printed. Returns a function that stops it. */
export function watchTheme(changed) {
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  observer.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  const queries = ["(prefers-color-scheme: dark)", "print"].map((query) => matchMedia(query));
  for (const query of queries) query.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    for (const query of queries) query.removeEventListener("change", changed);
  };
}

/** Call `changed(width)` now and whenever an element gets another width, in whole CSS pixels.
 *  Returns a function that stops it. */
export function watchWidth(element, changed) {
  let last = 0;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(element.clientWidth);
    if (width > 0 && width !== last) changed((last = width));
  });
  observer.observe(element);
  return () => observer.disconnect();
}

/**
 * Run a generator to its end in slices of time, so that the page stays alive.
 *
 * @param {Generator} work
 * @param {function(any): void} report called after each slice with what was yielded last
 * @returns {{result: Promise, stop: function(): void}} what the generator returns, or undefined if
 *   it was stopped
 */
export function unhurried(work, report = () => {}) {
  let stopped = false;
  const result = new Promise((resolve, reject) => {
    function slice() {
      if (stopped) return resolve(undefined);
      const end = performance.now() + 12; // milliseconds
      try {
        let step;
        do step = work.next();
        while (!step.done && performance.now() < end);
        if (step.done) return resolve(step.value);
        report(step.value);
        setTimeout(slice);
      } catch (error) {
        reject(error);
      }
    }
    setTimeout(slice);
  });
  return { result, stop: () => (stopped = true) };
}

/** Add a style sheet to the page, once for each name. */
export function addStyle(name, css) {
  const id = `course-style-${name}`;
  if (!document.getElementById(id)) document.head.append(h("style", { id }, css));
}

const LIGHT = `--cl-ink:#1b1f24; --cl-muted:#545c66; --cl-paper:#ffffff; --cl-panel:#f3f5f8;
  --cl-line:#cfd6de; --cl-edge:#747d88; --cl-accent:#0065a0; --cl-on-accent:#ffffff;
  --cl-positive:#c95400; --cl-negative:#0072b2; --cl-mark:#b3005e; --cl-soft:#cfe4f3;
  --cl-warning:#a32a00; color-scheme:light;`;
const DARK = `--cl-ink:#e8eaed; --cl-muted:#aab3be; --cl-paper:#14181e; --cl-panel:#1f252d;
  --cl-line:#3b444f; --cl-edge:#87919d; --cl-accent:#6cbcf0; --cl-on-accent:#0d1116;
  --cl-positive:#f59a4c; --cl-negative:#4fb0f0; --cl-mark:#ff8ac4; --cl-soft:#24445c;
  --cl-warning:#ffab85; color-scheme:dark;`;

const STYLE = `
.course-live { ${LIGHT} container-type:inline-size; box-sizing:border-box; width:100%; max-width:46rem;
  margin:0.25rem 0 1rem; padding:1rem; border:1px solid var(--cl-line); border-radius:8px;
  background:var(--cl-paper); color:var(--cl-ink); font:0.9375rem/1.45 system-ui, sans-serif; }
@media screen and (prefers-color-scheme:dark) { .course-live { ${DARK} } }
html[data-theme="light"] .course-live, body[data-jp-theme-light="true"] .course-live { ${LIGHT} }
@media screen { html[data-theme="dark"] .course-live, body[data-jp-theme-light="false"] .course-live { ${DARK} } }
.course-live *, .course-live *::before, .course-live *::after { box-sizing:border-box; }
.course-live p { margin:0; color:inherit; font-size:inherit; }
.course-live .cl-title { font-size:1.0625rem; font-weight:650; }
.course-live .cl-hint { color:var(--cl-muted); margin-bottom:0.85rem; }
.course-live .cl-row { display:flex; flex-wrap:wrap; gap:0.6rem 1.25rem; align-items:center; }
.course-live .cl-status { margin-top:0.85rem; padding:0.55rem 0.75rem; border-radius:6px;
  background:var(--cl-panel); font-variant-numeric:tabular-nums; }
.course-live .cl-status[data-kind="warning"] { color:var(--cl-warning); font-weight:550; }
.course-live label { display:inline-flex; align-items:center; gap:0.45rem; margin:0; font-weight:inherit;
  color:inherit; }
.course-live input, .course-live select, .course-live button { font:inherit; color:inherit;
  accent-color:var(--cl-accent); margin:0; }
.course-live input[type="number"], .course-live select, .course-live button { min-height:2.25rem;
  padding:0.2rem 0.45rem; border:1px solid var(--cl-edge); border-radius:5px; background-color:var(--cl-paper); }
.course-live input[type="checkbox"] { width:1.15rem; height:1.15rem; }
.course-live button { padding-inline:0.8rem; cursor:pointer; }
.course-live button:hover { background-color:var(--cl-panel); }
.course-live button:is(:disabled,[aria-disabled="true"]) { opacity:0.55; cursor:default; }
.course-live input[aria-invalid="true"] { border-color:var(--cl-warning); outline:2px solid var(--cl-warning); }
.course-live :focus-visible { outline:3px solid var(--cl-accent); outline-offset:2px; }
.course-live canvas, .course-live svg { display:block; }
.course-live canvas { image-rendering:pixelated; background:none; border-radius:0; padding:0; }
.course-live table { width:100%; margin:0; border-collapse:collapse; border:0; font-size:0.875rem;
  font-variant-numeric:tabular-nums; color:inherit; background:none; }
.course-live .cl-legend { display:flex; flex-wrap:wrap; gap:0.25rem 1rem; margin:0.6rem 0 0; font-size:0.875rem;
  color:var(--cl-muted); }
.course-live .cl-legend span { display:inline-flex; align-items:center; gap:0.4rem; }
.course-live .cl-point { touch-action:none; cursor:crosshair; }
.course-live .cl-scroll { touch-action:pan-y; }
.course-live .cl-slider { display:grid; grid-template-columns:minmax(6.5rem,auto) minmax(4rem,1fr) 1.75rem;
  gap:0.6rem; min-height:2rem; }
.course-live .cl-slider input { width:100%; min-width:0; }
.course-live .cl-slider b { text-align:right; font-weight:600; font-variant-numeric:tabular-nums; }
.cell_output .text_html:has(> .course-figure-live) { background:none !important; padding:0 !important; }
`;

/** The frame of a figure: title, one sentence on what to do, and what stands in it.
 *  Returns the root element; the parts are appended by the figure. */
export function frame(el, { name, title, hint }) {
  addStyle("figures", STYLE);
  const root = h(
    "div",
    { class: `course-live cl-${name}`, role: "group", "aria-label": title },
    h("p", { class: "cl-title" }, title),
    h("p", { class: "cl-hint" }, hint),
  );
  // JupyterLab would go to the next cell, and a page to the next one, on arrow keys meant for us.
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.altKey && !event.metaKey && event.key !== "Escape") event.stopPropagation();
  });
  el.replaceChildren(root);
  return root;
}

/** A line that screen readers speak when it changes. */
export function statusLine() {
  return h("p", { class: "cl-status", role: "status", "aria-live": "polite" });
}

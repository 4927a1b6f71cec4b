// What the interactive figures share: making elements, one style, colours that follow the theme.
// Nothing here depends on anything but the browser, and nothing touches the page on import.

import { whole } from "./numbers.js";

/** @import { Attributes } from "./types" */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Set attributes; `false`, `null` and `undefined` take one away, `true` sets it empty.
 *
 * @template {Element} E
 * @param {E} element
 * @param {Attributes} attributes
 */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  return element;
}

/**
 * An HTML element with attributes and children.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {(string | Node)[]} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = set(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

/**
 * An SVG element.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {(string | Node)[]} children
 */
export function svg(tag, attributes = {}, ...children) {
  const element = set(document.createElementNS(SVG, tag), attributes);
  element.append(...children);
  return element;
}

/**
 * A button that calls `act`.
 *
 * @param {string | Node} content
 * @param {() => void} act
 * @param {Attributes} [attributes]
 */
export function button(content, act, attributes = {}) {
  const element = h("button", { type: "button", ...attributes }, content);
  element.addEventListener("click", act);
  return element;
}

/**
 * What is in a file, which may be gone since it was chosen; null then.
 *
 * @param {File} file
 */
export async function contentOf(file) {
  try {
    return await file.arrayBuffer();
  } catch {
    return null;
  }
}

/**
 * A part that can be opened, with a few words beside its title.
 *
 * @param {string} title
 * @param {string} hint
 * @param {Node[]} children
 */
export function fold(title, hint, ...children) {
  return h("details", {}, h("summary", {}, title, " ", h("span", {}, hint)), ...children);
}

/**
 * A choice of names; the name that is chosen is its value.
 *
 * @param {string[]} names
 * @param {Attributes} [attributes]
 */
export function select(names, attributes = {}) {
  return h("select", attributes, ...names.map((value) => h("option", { value }, value)));
}

/**
 * A choice of presets, which shows "Your own" when its value is empty.
 *
 * @param {Record<string, unknown>} presets
 */
export function presetSelect(presets) {
  const element = select(Object.keys(presets));
  element.append(h("option", { value: "", disabled: true }, "Your own"));
  return element;
}

/**
 * The number in a field, or null where it is none that the field allows; the field is marked then.
 *
 * @param {HTMLInputElement} field
 */
export function numberOf(field) {
  const valid = field.value !== "" && field.validity.valid;
  set(field, { "aria-invalid": valid ? null : "true" });
  return valid ? field.valueAsNumber : null;
}

/**
 * The step that an arrow key asks for, as `[rows, columns]`; five with Shift; null for other keys.
 *
 * @param {KeyboardEvent} event
 */
export function arrowStep(event) {
  const step = event.shiftKey ? 5 : 1;
  /** @type {Record<string, [number, number]>} */
  const steps = {
    ArrowUp: [-step, 0],
    ArrowDown: [step, 0],
    ArrowLeft: [0, -step],
    ArrowRight: [0, step],
  };
  return event.ctrlKey || event.altKey || event.metaKey ? null : (steps[event.key] ?? null);
}

/**
 * Call `move(rows, columns)` for each arrow key on an element, which the page then does not get.
 *
 * @param {HTMLElement} element
 * @param {(rows: number, columns: number) => void} move
 */
export function onArrows(element, move) {
  element.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (!step) return;
    event.preventDefault();
    move(...step);
  });
}

/**
 * A labelled range input that shows its value, and a function that sets it.
 *
 * @param {string} label
 * @param {{min: number, max: number, step?: number, value: number, text?: (value: number) => string,
 *   onInput: (value: number) => void}} options `text` writes the value
 */
export function slider(label, { min, max, step = 1, value, text = whole, onInput }) {
  const input = h("input", { type: "range", min, max, step, value });
  const shown = h("b", { "aria-hidden": "true" }); // the slider speaks it itself
  const show = (/** @type {number} */ now) => {
    if (input.valueAsNumber !== now) input.value = String(now);
    shown.textContent = text(now);
    set(input, { "aria-valuetext": text(now) });
  };
  input.addEventListener("input", () => {
    show(input.valueAsNumber);
    onInput(input.valueAsNumber);
  });
  show(value);
  return { element: h("label", { class: "cl-slider" }, h("span", {}, label), input, shown), show };
}

/**
 * A labelled choice of words, and a function that sets it.
 *
 * @param {string} label
 * @param {Record<string, string>} words what is shown for each
 * @param {(word: string) => void} onChoice
 */
export function choice(label, words, onChoice) {
  const options = Object.entries(words).map(([value, text]) => h("option", { value }, text));
  const element = h("select", {}, ...options);
  element.addEventListener("change", () => onChoice(element.value));
  const show = (/** @type {string} */ now) => void (element.value = now);
  return { element: h("label", {}, label, element), show };
}

/**
 * Call `choose(x, y)` with the place in an element, as fractions of its size, where a pointer is: a
 * mouse that moves over it, a pen that touches or drags. A finger that comes down may be about to
 * scroll: it chooses once it has tapped, or drags across.
 *
 * @param {HTMLElement} element
 * @param {(x: number, y: number) => void} choose
 */
export function onPoint(element, choose) {
  let start = { x: 0, y: 0 };
  const at = (/** @type {MouseEvent} */ event) => {
    const box = element.getBoundingClientRect();
    choose((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  };
  element.addEventListener("pointerdown", (event) => {
    start = { x: event.clientX, y: event.clientY };
    if (event.pointerType !== "touch") at(event);
  });
  element.addEventListener("click", at);
  element.addEventListener("pointermove", (event) => {
    const across = Math.abs(event.clientX - start.x) > Math.abs(event.clientY - start.y);
    if (event.pointerType === "mouse" || (event.buttons && (event.pointerType === "pen" || across)))
      at(event);
  });
}

/**
 * What draws on a canvas.
 *
 * @param {HTMLCanvasElement} canvas
 */
export function brush(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/**
 * Paint `values` as a picture `columns` wide; `colour(value)` gives `[red, green, blue]`.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Float64Array} values
 * @param {number} columns
 * @param {(value: number) => number[]} colour
 */
export function paint(canvas, values, columns, colour) {
  canvas.width = columns;
  canvas.height = values.length / columns;
  const picture = brush(canvas).createImageData(canvas.width, canvas.height);
  values.forEach((value, index) => picture.data.set([...colour(value), 255], 4 * index));
  brush(canvas).putImageData(picture, 0, 0);
}

/**
 * The colour a share of the way from one colour to another, each `[red, green, blue]`.
 *
 * @param {number[]} from
 * @param {number[]} to
 * @param {number} share
 */
export function mix(from, to, share) {
  return from.map((value, channel) => Math.round(value + (to[channel] - value) * share));
}

/**
 * The theme's colour `--cl-name` at an element, as `[red, green, blue]`.
 *
 * @param {Element} element
 * @param {string} name
 */
export function themeColour(element, name) {
  const hex = getComputedStyle(element).getPropertyValue(`--cl-${name}`).trim();
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/**
 * Call `changed()` whenever the page, JupyterLab or the system turns dark or light, or the page is
 * printed. Returns a function that stops it.
 *
 * @param {() => void} changed
 */
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

/**
 * Call `changed(width)` now and whenever an element gets another width, in whole CSS pixels.
 * Returns a function that stops it.
 *
 * @param {Element} element
 * @param {(width: number) => void} changed
 */
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
 * Add a style sheet to the page, once for each name.
 *
 * @param {string} name
 * @param {string} css
 */
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
.course-live {
  ${LIGHT} container-type:inline-size; box-sizing:border-box; width:100%; max-width:46rem;
  margin:0.25rem 0 1rem; padding:1rem; border:1px solid var(--cl-line); border-radius:8px;
  background:var(--cl-paper); color:var(--cl-ink); font:0.9375rem/1.45 system-ui, sans-serif;
  & *, & *::before, & *::after { box-sizing:border-box; }
  & [hidden] { display:none !important; }
  & p { margin:0; color:inherit; font-size:inherit; }
  .cl-title { font-size:1.0625rem; font-weight:650; }
  .cl-hint { color:var(--cl-muted); margin-bottom:0.85rem; }
  @media (hover: none) { .cl-keys { display:none; } }
  .cl-row { display:flex; flex-wrap:wrap; gap:0.6rem 1.25rem; align-items:center; }
  .cl-status { margin-top:0.85rem; padding:0.55rem 0.75rem; border-radius:6px;
    background:var(--cl-panel); font-variant-numeric:tabular-nums; }
  .cl-status[data-kind="warning"] { color:var(--cl-warning); font-weight:550; }
  & label { display:inline-flex; align-items:center; gap:0.45rem; margin:0; font-weight:inherit;
    color:inherit; }
  & input, & select, & button { font:inherit; color:inherit;
    accent-color:var(--cl-accent); margin:0; }
  & input[type="number"], & select, & button { min-height:2.25rem;
    padding:0.2rem 0.45rem; border:1px solid var(--cl-edge); border-radius:5px; background-color:var(--cl-paper); }
  & input[type="checkbox"] { width:1.15rem; height:1.15rem; }
  @media (pointer: coarse) {
    & input[type="checkbox"] { width:1.5rem; height:1.5rem; }
    & input[type="range"] { min-height:2.5rem; }
  }
  & button { padding-inline:0.8rem; cursor:pointer; }
  & button:hover { background-color:var(--cl-panel); }
  & button:is(:disabled,[aria-disabled="true"]) { opacity:0.55; cursor:default; }
  & input[aria-invalid="true"] { border-color:var(--cl-warning); outline:2px solid var(--cl-warning); }
  & :focus-visible { outline:3px solid var(--cl-accent); outline-offset:2px; }
  & canvas, & svg { display:block; }
  & canvas { image-rendering:pixelated; background:none; border-radius:0; padding:0; }
  & table { width:100%; margin:0; border-collapse:collapse; border:0; font-size:0.875rem;
    font-variant-numeric:tabular-nums; color:inherit; background:none; }
  .cl-legend { display:flex; flex-wrap:wrap; gap:0.25rem 1rem; margin:0.6rem 0 0; font-size:0.875rem;
    color:var(--cl-muted); }
  .cl-legend span { display:inline-flex; align-items:center; gap:0.4rem; }
  .cl-point { touch-action:pan-y; cursor:crosshair; }
  .cl-slider { display:grid; grid-template-columns:minmax(6.5rem,auto) minmax(4rem,1fr) 1.75rem;
    gap:0.6rem; min-height:2rem; }
  .cl-slider input { width:100%; min-width:0; }
  .cl-slider b { text-align:right; font-weight:600; font-variant-numeric:tabular-nums; }
}
@media screen and (prefers-color-scheme:dark) { .course-live { ${DARK} } }
html[data-theme="light"] .course-live, body[data-jp-theme-light="true"] .course-live { ${LIGHT} }
@media screen { html[data-theme="dark"] .course-live, body[data-jp-theme-light="false"] .course-live { ${DARK} } }
.cell_output .text_html:has(> .course-figure-live) { background:none !important; padding:0 !important; }
`;

/**
 * The frame of a figure, with its title and one sentence on what to do; the figure appends its parts.
 *
 * @param {HTMLElement} el
 * @param {{name: string, title: string, hint: string, keys?: string}} options `keys` is said where
 *   there is a keyboard
 */
export function frame(el, { name, title, hint, keys = "" }) {
  addStyle("figures", STYLE);
  const root = h(
    "div",
    { class: `course-live cl-${name}`, role: "group", "aria-label": title },
    h("p", { class: "cl-title" }, title),
    h("p", { class: "cl-hint" }, hint, h("span", { class: "cl-keys" }, ` ${keys}`)),
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

// Draw a digit, and watch a network read it: in JupyterLab beside a kernel, or in a page with none.
//
// The engine in this page answers at once. Where a kernel is there too, it confirms (see kernelOf).

import { addStyle, frame, h, named, set, watchTheme, watchWidth } from "./dom.js";
import { forward, parseModel, size } from "./engine.js";
import { FIELD, PENS, inkSheet } from "./ink.js";
import { LAYERS_STYLE, layersView } from "./layers.js";
import { paintImage, palettes } from "./maps.js";
import { MINE_STYLE, mineView } from "./mine.js";
import { inkBox, preprocess } from "./strokes.js";
import { browserShelf } from "./samples.js";
import { WHY_STYLE, whyView } from "./why.js";

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const SURE = 0.8; // from this probability on, the pad names the digit without an if
const LEANING = 0.6; // below it, it does not name one
const SMALLEST = FIELD / 12; // a drawing smaller than this is a dot
// Of 7,494 digits drawn with a pen none has more ink than 187 pixels, and none is more than twice as
// wide as it is high. A network has an answer for everything; for these it should have none.
const MOST_INK = 200, FLATTEST = 2.5;

/**
 * What may honestly be said about a drawing.
 *
 * @param {number[][][]} strokes what was drawn, in the sheet's units
 * @param {ArrayLike<number>} probs the ten probabilities
 * @param {Float32Array} image the drawing as the network sees it
 * @returns {{kind: "empty"|"small"|"sure"|"leaning"|"unsure", digit: number, text: string}}
 */
export function verdict(strokes, probs, image) {
  if (!strokes.length) return { kind: "empty", digit: -1, text: "Nothing drawn yet" };
  const [x0, y0, x1, y1] = inkBox(strokes);
  const width = x1 - x0, height = y1 - y0;
  if (Math.max(width, height) < SMALLEST) return { kind: "small", digit: -1, text: "Only a dot so far" };
  const order = [...DIGITS].sort((a, b) => probs[b] - probs[a]);
  const [first, second] = order;
  const digitlike = width <= FLATTEST * height && image.reduce((a, b) => a + b) <= MOST_INK;
  const share = digitlike ? probs[first] : 0;
  if (share >= SURE) return { kind: "sure", digit: first, text: `${percent(share, "Over")} sure` };
  if (share >= LEANING) return { kind: "leaning", digit: first, text: `Perhaps ${named(first)}, or ${named(second)}` };
  return { kind: "unsure", digit: -1, text: "Not sure. Is it a digit?" };
}

/** A probability in words: never 100 %, for a network is never certain. */
export function percent(share, over = "over") {
  return share > 0.995 ? `${over} 99\u00a0%` : `${Math.round(share * 100)}\u00a0%`;
}

const STYLE = `
.cl-digitpad .dp-main { display:grid; grid-template-columns:minmax(0,19rem) minmax(0,1fr); gap:0.75rem 2rem; }
.cl-digitpad .dp-left { position:relative; }
.cl-digitpad .dp-sheet { display:block; width:100%; aspect-ratio:1; border:1.5px solid var(--cl-edge); border-radius:8px;
  background:var(--cl-paper); touch-action:none; cursor:crosshair; image-rendering:auto; user-select:none;
  -webkit-user-select:none; -webkit-touch-callout:none; -webkit-tap-highlight-color:transparent; }
.cl-digitpad .dp-tools { display:flex; gap:0.4rem; margin-top:0.6rem; }
.cl-digitpad .dp-tools > * { flex:1 1 4rem; min-width:0; min-height:2.5rem; padding-inline:0.3rem; }
.cl-digitpad .dp-tools select { flex:1 0 6rem; }
.cl-digitpad .dp-answer { display:grid; grid-template-columns:auto 3rem minmax(0,1fr); gap:0 1.1rem; align-items:center; }
.cl-digitpad .dp-seen { width:84px; height:84px; border:1px solid var(--cl-line); border-radius:5px; }
.cl-digitpad .dp-small { font-size:0.8125rem; line-height:1.35; color:var(--cl-muted); }
.cl-digitpad .dp-caption { margin-top:0.15rem; text-align:center; }
.cl-digitpad .dp-digit { padding-bottom:1.2rem; font-size:4.25rem; font-weight:650; line-height:1; text-align:center; font-variant-numeric:tabular-nums; }
.cl-digitpad .dp-digit + div { padding-bottom:1.2rem; min-height:4.6rem; align-content:center; }
.cl-digitpad .dp-said { font-weight:600; line-height:1.3; }
.cl-digitpad [data-kind="leaning"] { color:var(--cl-muted); }
.cl-digitpad .dp-digit:is([data-kind="empty"],[data-kind="small"],[data-kind="unsure"]) { color:var(--cl-line); }
.cl-digitpad .dp-bars { display:grid; grid-template-columns:1rem minmax(0,1fr) 2.9rem; gap:0 0.6rem; align-items:center;
  margin:0.5rem 0 0; padding:0; list-style:none; font-variant-numeric:tabular-nums; }
.cl-digitpad .dp-bars li { display:contents; }
.cl-digitpad .dp-bars li > * { line-height:1.35rem; font-size:0.875rem; color:var(--cl-muted); }
.cl-digitpad .dp-bars i { display:block; height:0.7rem; border-radius:3px; background:var(--cl-panel); overflow:hidden; }
.cl-digitpad .dp-bars i b { display:block; height:100%; border-radius:3px; background:var(--cl-edge); transform-origin:left; transform:scaleX(0); }
.cl-digitpad .dp-bars li > :last-child { text-align:right; }
.cl-digitpad .dp-bars li[data-best] > * { color:var(--cl-ink); font-weight:650; }
.cl-digitpad .dp-bars li[data-best] b { background:var(--cl-accent); }
.cl-digitpad details { margin:0.9rem 0 0; padding:0.7rem 0 0; border:0; border-top:1px solid var(--cl-line); background:none; box-shadow:none; }
.cl-digitpad summary span { margin-left:0.7rem; font-weight:400; font-size:0.875rem; color:var(--cl-muted); }
.cl-digitpad summary { display:list-item; list-style:inside disclosure-closed; margin:0; cursor:pointer; font-weight:600; padding:0.15rem 0; border-radius:4px; }
.cl-digitpad details[open] > summary { list-style-type:disclosure-open; }
.cl-digitpad .dp-hidden { position:absolute; width:1px; height:1px; margin:-1px; overflow:hidden; clip-path:inset(50%); white-space:nowrap; }
@container (max-width: 42rem) {
  .cl-digitpad .dp-main { grid-template-columns:minmax(0,17rem) minmax(0,1fr); column-gap:1.25rem; }
  .cl-digitpad .dp-answer { column-gap:0.8rem; }
}
@container (max-width: 34rem) {
  .cl-digitpad .dp-main { grid-template-columns:minmax(0,1fr); }
  .cl-digitpad .dp-left { width:100%; max-width:22rem; margin-inline:auto; }
}
@media print { .cl-digitpad details:not([open]) { display:none; } }
@media (forced-colors: active) { .cl-digitpad .dp-bars b { forced-color-adjust:none; background:Highlight !important; } }
`;

// ---------------------------------------------------------------- the pad

let pads = 0; // for ids that are unique on a page

/**
 * Put a pad into `el`.
 *
 * @param {HTMLElement} el
 * @param {{weights?: Uint8Array}} options weights to read with; else those beside the page, in
 *   `globalThis.MNIST_COURSE_WEIGHTS` as base64
 * @param {object|null} kernel what kernelOf returns, in JupyterLab
 * @returns {object} `setStrokes(strokes)` and `destroy()`
 */
export function mount(el, options = {}, kernel = null) {
  addStyle("digitpad", STYLE + LAYERS_STYLE + WHY_STYLE + MINE_STYLE);
  const id = `dp-${++pads}`;
  const root = frame(el, { name: "digitpad", title: "Draw a digit",
    hint: "With mouse, finger or pen, or with arrow keys and the space bar." });
  const shelf = kernel?.shelf ?? browserShelf();

  let model = null, trouble = ""; // the network in this page as it came, or why there is none
  let taught = null; // the same network with what the reader taught it
  const network = () => taught ?? model;
  let image = new Float32Array(784);
  let answer = null; // {probs, activations, source}
  let number = 0; // of the drawing as it is now; answers to older ones are dropped
  let frameAsked = 0;
  let colours = null;
  const inks = () => (colours ??= palettes(root));

  // --- what stands in the pad

  const sheet = inkSheet({ label: "Draw a digit here", description: `${id}-keys`, onChange: drawn });
  const button = (text, act, attributes = {}) => {
    const element = h("button", { type: "button", ...attributes }, text);
    element.addEventListener("click", act);
    return element;
  };
  const undo = button("Undo", sheet.undo), redo = button("Redo", sheet.redo), clear = button("Clear", sheet.clear);
  const seen = h("canvas", { class: "dp-seen", role: "img", "aria-label": "What the network sees: your drawing as 28 by 28 pixels" });
  const digit = h("div", { class: "dp-digit", "aria-hidden": "true" });
  const said = h("p", { class: "dp-said" }), source = h("p", { class: "dp-small" });
  const bars = DIGITS.map((each) => {
    const bar = h("b", {}), share = h("span", {});
    return { bar, share, item: h("li", {}, h("span", {}, String(each)), h("i", { "aria-hidden": "true" }, bar), share) };
  });
  const keys = h("p", { class: "dp-hidden", id: `${id}-keys` }, "Arrow keys move the pen, with Shift five times as far; space sets it down and lifts it; Control Z takes a stroke back; Delete clears.");
  const live = h("p", { class: "dp-hidden", role: "status", "aria-live": "polite" });
  const pen = h("select", { "aria-label": "Pen" }, ...Object.keys(PENS).map((name) => h("option", { value: name, selected: name === "medium" }, name[0].toUpperCase() + name.slice(1))));
  pen.addEventListener("change", () => sheet.setPen(pen.value));
  const layers = layersView({ inks }), why = whyView({ inks });
  const mine = mineView({ shelf, inks, drawing: sheet.strokes, clear: () => sheet.set([]), network: () => model,
    // Where a kernel reads too, it would go on with the network that it has: it is taught there.
    take: kernel ? null : (network) => {
      taught = network;
      drawn(true);
    } });
  root.append(
    h("div", { class: "dp-main" },
      h("div", { class: "dp-left" }, sheet.element, keys, h("div", { class: "dp-tools" }, undo, redo, clear, pen)),
      h("div", {},
        h("div", { class: "dp-answer" },
          h("div", {}, seen, h("p", { class: "dp-small dp-caption", "aria-hidden": "true" }, "what it sees")),
          digit, h("div", {}, said, source)),
        h("ul", { class: "dp-bars", "aria-label": "Probability of each digit" }, ...bars.map(({ item }) => item)))),
    live, layers.element, why.element, mine.element);

  // --- reading what is drawn

  function drawn(done) {
    number++;
    if (!done) {
      // While a stroke is being drawn: at most one reading a frame.
      frameAsked ||= requestAnimationFrame(() => {
        frameAsked = 0;
        read(false);
      });
      return;
    }
    cancelAnimationFrame(frameAsked);
    frameAsked = 0;
    read(true);
  }

  function read(done) {
    const strokes = sheet.strokes();
    image = preprocess(strokes);
    answer = null;
    if (strokes.length) {
      if (model && kernel?.engine() !== "kernel") {
        const begun = performance.now();
        answer = { ...forward(network(), image), source: "page", ms: performance.now() - begun };
      }
      // Where this page has answered, the kernel need only confirm what is drawn when the pen is up.
      if (kernel && kernel.engine() !== "browser" && (done || !answer)) kernel.ask({ number, image, layers: !answer });
    }
    show(done);
  }

  /** The kernel's answer to drawing number `to`, unless the drawing has changed since. */
  function confirmed({ number: to, probs, activations, ms, error }) {
    if (to !== number || !sheet.strokes().length) return;
    if (error) {
      trouble = error;
      return show(true);
    }
    const agreed = answer?.source === "page" ? Math.max(...DIGITS.map((each) => Math.abs(answer.probs[each] - probs[each]))) : null;
    const spoken = agreed !== null && agreed < 0.05;
    answer = { probs, activations: activations ?? answer?.activations, source: "kernel", ms, agreed };
    show(!spoken);
    root.dataset.kernel = String(number);
  }

  function show(done) {
    const strokes = sheet.strokes(), had = root.querySelector(":focus"), withKeys = had?.matches(":focus-visible");
    paintImage(seen, image, inks());
    set(undo, { disabled: !sheet.canUndo() });
    set(redo, { disabled: !sheet.canRedo() });
    set(clear, { disabled: !strokes.length });
    const waiting = strokes.length && !answer;
    const { kind, digit: best, text } = waiting ? { kind: "empty", digit: -1, text: trouble || "Waiting for the kernel \u2026" } : verdict(strokes, answer?.probs, image);
    const probs = kind === "small" ? null : answer?.probs;
    digit.textContent = best < 0 ? "?" : String(best);
    digit.dataset.kind = kind;
    said.textContent = text;
    bars.forEach(({ bar, share, item }, each) => {
      const value = probs ? probs[each] : 0;
      bar.style.transform = `scaleX(${value})`;
      share.textContent = probs ? `${(100 * value).toFixed(value > 0.0995 ? 0 : 1)} %` : "";
      set(item, { "data-best": each === best });
    });
    source.textContent = explained(done);
    if (done) {
      const spoken = best < 0 || kind === "leaning" ? text : `${best}, ${text}`;
      if (live.textContent !== spoken) live.textContent = spoken;
    }
    root.dataset.answer = best < 0 ? "" : String(best);
    root.dataset.kind = kind;
    root.dataset.number = String(number);
    layers.show(image, answer, network());
    if (done) why.show(image, probs ? DIGITS.reduce((most, each) => (probs[each] > probs[most] ? each : most)) : -1, network());
    mine.drawn();
    // A button that has just become useless would drop the focus. Who uses keys must see where it
    // went; who taps on Save below must not be taken away from there.
    if (had?.disabled) sheet.element.focus({ preventScroll: !withKeys, focusVisible: withKeys });
  }

  function explained(done) {
    if (!answer) return "";
    const ms = done ? `, ${answer.ms.toFixed(1)}\u00a0ms` : "";
    if (answer.source === "page") return `read in this page${taught ? ", as you taught it" : ""}${ms}`;
    if (answer.agreed === null) return `read by PyTorch${ms}`;
    if (answer.agreed < 0.02) return "confirmed by PyTorch";
    return "PyTorch's answer; the copy of the network in this page is another";
  }

  // --- the network

  function takeWeights(bytes) {
    model = taught = null;
    trouble = "";
    try {
      if (bytes?.length) model = parseModel(bytes);
      else if (!kernel) trouble = "There is no network beside this page to read your drawing.";
    } catch (error) {
      trouble = error.message;
    }
    mine.renew();
    drawn(true);
  }

  function repaint() {
    colours = null;
    show(true);
    mine.show();
  }

  const stops = [
    watchTheme(repaint),
    watchWidth(root, () => {
      const style = getComputedStyle(root);
      layers.resize(root.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight));
      repaint(); // the first time, the pad has only now come into the page, and has its colours
    }),
    kernel?.watch({ weights: takeWeights, answer: confirmed, engine: () => drawn(true) }),
  ];
  takeWeights(kernel ? kernel.weights() : options.weights ?? pageWeights());

  return {
    setStrokes: sheet.set,
    destroy() {
      for (const stop of stops) stop?.();
      cancelAnimationFrame(frameAsked);
      why.destroy();
      mine.destroy();
      sheet.destroy();
      el.replaceChildren();
    },
  };
}

/** The weights that lie beside the page, or null. */
function pageWeights() {
  const text = globalThis.MNIST_COURSE_WEIGHTS;
  if (typeof text !== "string") return null;
  try {
    const characters = atob(text), bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
    return bytes;
  } catch {
    return new Uint8Array(1); // not base64: parseModel says what is wrong
  }
}

// ---------------------------------------------------------------- beside a kernel

/** Bytes as they come through a widget's channel. */
const bytesOf = (view) => new Uint8Array(view.buffer ?? view, view.byteOffset ?? 0, view.byteLength);

/**
 * The kernel behind a widget, as `mount` wants it: the network's weights, the saved digits, and
 * answers to drawings. One question is under way at a time; of those that come meanwhile only the
 * last is asked, so that a busy kernel is never behind by more than one drawing.
 */
function kernelOf(model) {
  const view = Math.random().toString(36).slice(2); // answers go to every view of a widget
  let asked = null, next = null, watchers = {};

  function send(question) {
    asked = { number: question.number, at: performance.now() };
    model.send({ type: "read", view, number: question.number, layers: question.layers }, undefined, [question.image.slice().buffer]);
  }

  function receive(message, buffers) {
    if (message?.type !== "answer" || message.view !== view || message.number !== asked?.number) return;
    const { at } = asked;
    asked = null;
    if (next) {
      const question = next;
      next = null;
      send(question);
    }
    if (message.error) return watchers.answer?.({ number: message.number, error: message.error });
    const values = new Float32Array(bytesOf(buffers[0]).slice().buffer);
    let begin = 10;
    const activations = message.layers?.map(({ name, op, shape }) => {
      const data = values.subarray(begin, (begin += size(shape)));
      return { name, op, shape, data };
    });
    watchers.answer?.({ number: message.number, probs: values.subarray(0, 10), activations, ms: performance.now() - at });
  }

  return {
    engine: () => model.get("engine"),
    weights: () => bytesOf(model.get("weights") ?? new Uint8Array()),
    ask(question) {
      if (asked) next = question;
      else send(question);
    },
    shelf: {
      place: "in the kernel",
      get: () => model.get("samples"),
      set(digits) {
        model.set("samples", digits);
        model.save_changes();
        return true;
      },
      watch(changed) {
        model.on("change:samples", changed);
        return () => model.off("change:samples", changed);
      },
    },
    watch(functions) {
      watchers = functions;
      const weights = () => functions.weights(bytesOf(model.get("weights") ?? new Uint8Array()));
      model.on("msg:custom", receive);
      model.on("change:weights", weights);
      model.on("change:engine", functions.engine);
      return () => {
        model.off("msg:custom", receive);
        model.off("change:weights", weights);
        model.off("change:engine", functions.engine);
      };
    },
  };
}

export default {
  render({ model, el }) {
    const pad = mount(el, {}, kernelOf(model));
    return () => pad.destroy();
  },
};

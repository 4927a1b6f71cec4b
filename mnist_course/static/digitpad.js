// Draw a digit, and watch a network read it: in JupyterLab beside a kernel, or in a page with none.
//
// The engine in this page answers at once. Where a kernel is there too, it confirms (see kernel.js).

import { AnswerView, verdict } from "./answer.js";
import { addStyle, button, frame, h, set, watchTheme, watchWidth } from "./dom.js";
import { forward } from "./engine.js";
import { GUEST_STYLE, GuestView } from "./guest.js";
import { PENS, Sheet } from "./ink.js";
import { Kernel, pageWeights } from "./kernel.js";
import { LABELS_STYLE, LabelsView } from "./labels.js";
import { LAYERS_STYLE, LayersView } from "./layers.js";
import { palettes } from "./maps.js";
import { MINE_STYLE, MineView } from "./mine.js";
import { DIGITS } from "./numbers.js";
import { browserShelf } from "./shelf.js";
import { preprocess } from "./strokes.js";
import { TOUR_STYLE, TourView } from "./tour.js";
import { parseModel } from "./weights.js";
import { WHY_STYLE, WhyView } from "./why.js";

/** @import { Verdict } from "./answer.js" */
/** @import { Answer, KernelAnswer, Model, Palettes, WidgetModel } from "./types" */

const STYLE = `
.cl-digitpad {
  .dp-main { position:relative; display:grid; grid-template-columns:minmax(0,19rem) minmax(0,1fr); gap:0.75rem 2rem; }
  .dp-sheet { display:block; width:100%; aspect-ratio:1; border:1.5px solid var(--cl-edge); border-radius:8px;
    background:var(--cl-paper); touch-action:none; cursor:crosshair; image-rendering:auto; user-select:none;
    -webkit-user-select:none; -webkit-touch-callout:none; -webkit-tap-highlight-color:transparent; }
  .dp-tools { display:flex; gap:0.4rem; margin-top:0.6rem; }
  .dp-tools > * { flex:1 1 4rem; min-width:0; min-height:2.5rem; padding-inline:0.3rem; }
  .dp-tools select { flex:1 0 6rem; }
  .dp-answer { display:grid; grid-template-columns:auto 3rem minmax(0,1fr); gap:0 1.1rem; align-items:center; }
  .dp-seen { width:84px; height:84px; border:1px solid var(--cl-line); border-radius:5px; }
  .dp-small { font-size:0.8125rem; line-height:1.35; color:var(--cl-muted); }
  .dp-caption { margin-top:0.15rem; text-align:center; }
  .dp-digit { padding-bottom:1.2rem; font-size:4.25rem; font-weight:650; line-height:1; text-align:center; font-variant-numeric:tabular-nums; }
  .dp-digit + div { padding-bottom:1.2rem; min-height:4.6rem; align-content:center; }
  .dp-said { font-weight:600; line-height:1.3; }
  .dp-whose { display:block; font-size:0.8125rem; line-height:1.35; color:var(--cl-muted); overflow-wrap:anywhere; }
  .dp-columns { display:grid; grid-auto-flow:column; grid-auto-columns:minmax(0,1fr); gap:1.5rem; margin-top:0.5rem; align-items:end; }
  & [data-kind="leaning"] { color:var(--cl-muted); }
  .dp-digit:is([data-kind="empty"],[data-kind="small"],[data-kind="unsure"]) { color:var(--cl-line); }
  .dp-bars { display:grid; grid-template-columns:1rem minmax(0,1fr) 3.1rem; gap:0 0.6rem; align-items:center;
    margin:0; padding:0; list-style:none; font-variant-numeric:tabular-nums; white-space:nowrap; }
  .dp-bars li { display:contents; }
  .dp-bars li > * { line-height:1.35rem; font-size:0.875rem; color:var(--cl-muted); }
  .dp-bars i { display:block; height:0.7rem; border-radius:3px; background:var(--cl-panel); overflow:hidden; }
  .dp-bars i b { display:block; height:100%; border-radius:3px; background:var(--cl-edge); transform-origin:left; transform:scaleX(0); }
  .dp-bars li > :last-child { text-align:right; }
  .dp-bars li[data-best] > * { color:var(--cl-ink); font-weight:650; }
  .dp-bars li[data-best] b { background:var(--cl-accent); }
  & details { margin:0.9rem 0 0; padding:0.7rem 0 0; border:0; border-top:1px solid var(--cl-line); background:none; box-shadow:none; }
  & summary span { margin-left:0.4rem; font-weight:400; font-size:0.875rem; color:var(--cl-muted); }
  & summary { display:list-item; list-style:inside disclosure-closed; margin:0; cursor:pointer; font-weight:600; padding:0.15rem 0; border-radius:4px; }
  & details[open] > summary { list-style-type:disclosure-open; }
  .dp-hidden { position:absolute; width:1px; height:1px; margin:-1px; overflow:hidden; clip-path:inset(50%); white-space:nowrap; }
  @container (max-width: 42rem) {
    .dp-main { grid-template-columns:minmax(0,17rem) minmax(0,1fr); column-gap:1.25rem; }
    .dp-answer { column-gap:0.8rem; }
  }
  @container (max-width: 34rem) {
    .dp-main { grid-template-columns:minmax(0,1fr); }
    /* The answer stands right below the sheet, before the buttons that save: there it is seen while drawing. */
    .dp-left, .dp-right, .dp-reading { display:contents; }
    .dp-left > :not(.dp-hidden) { width:100%; max-width:22rem; margin-inline:auto; }
    .dp-tools { margin-top:0; }
    .dp-saving, .dp-columns, .dp-follow { order:1; }
    .dp-follow { justify-self:start; }
  }
  @container (max-width: 20rem) {
    .dp-tools { gap:0.25rem; }
    .dp-tools button { padding-inline:0; }
  }
  @media (pointer: coarse) { & summary { padding-block:0.6rem; } & details { margin-top:0.35rem; padding-top:0.35rem; } }
  @media print { & details:not([open]) { display:none; } }
  @media (forced-colors: active) { .dp-bars b { forced-color-adjust:none; background:Highlight !important; } }
}
`;

const KEYS =
  "Arrow keys move the pen, with Shift five times as far; space sets it down and lifts it; Control Z takes a stroke back; Delete clears; a digit's key saves the drawing as that digit.";
/** By how much the probabilities of page and kernel may differ and still be the same, or nearly. */
const SAME = 0.02;
const NEAR = 0.05;

let pads = 0; // for ids that are unique on a page

/** A choice of pens. @param {(name: string) => void} choose */
function penSelect(choose) {
  const options = Object.keys(PENS).map((name) =>
    h("option", { value: name, selected: name === "medium" }, name[0].toUpperCase() + name.slice(1)),
  );
  const element = h("select", { "aria-label": "Pen" }, ...options);
  element.addEventListener("change", () => choose(element.value));
  return element;
}

/** The digit with the largest probability. @param {ArrayLike<number>} probs */
const likeliest = (probs) => DIGITS.reduce((best, digit) => (probs[digit] > probs[best] ? digit : best));

class Pad {
  /** The network in this page as it came. @type {Model | null} */
  model = null;
  /** The same network with what the reader taught it. @type {Model | null} */
  taught = null;
  trouble = ""; // why there is no answer
  image = preprocess([]);
  /** @type {Answer | null} */
  answer = null;
  number = 0; // of the drawing as it is now; answers to older ones are dropped
  frameAsked = 0;
  /** @type {Palettes | null} */
  palettes = null;
  answerView = new AnswerView();
  live = h("p", { class: "dp-hidden", role: "status", "aria-live": "polite" });

  /**
   * @param {HTMLElement} root
   * @param {Kernel | null} kernel
   */
  constructor(root, kernel) {
    this.root = root;
    this.kernel = kernel;
    const keys = h("p", { class: "dp-hidden", id: `dp-${++pads}-keys` }, KEYS);
    this.sheet = new Sheet({
      label: "Draw a digit here",
      description: keys.id,
      onChange: (done) => this.drawn(done),
    });
    this.undo = button("Undo", () => this.sheet.undo());
    this.redo = button("Redo", () => this.sheet.redo());
    this.clear = button("Clear", () => this.sheet.clear());
    const pen = penSelect((name) => this.sheet.setPen(name));
    const colours = () => this.colours;
    this.layers = new LayersView(colours);
    this.why = new WhyView(colours);
    const shelf = kernel?.shelf ?? browserShelf();
    this.labels = new LabelsView({
      shelf,
      drawing: () => this.sheet.strokes,
      clear: () => this.sheet.set([]),
      restore: (strokes) => this.sheet.set(strokes),
    });
    this.mine = new MineView({
      shelf,
      colours,
      network: () => this.model,
      // Where a kernel reads too, it would go on with the network that it has: it is taught there.
      take: kernel ? null : (taught) => this.take(taught),
    });
    this.guest = new GuestView(root, () => this.invite());
    this.tour = new TourView({
      root,
      layers: this.layers,
      drawing: [this.sheet.element, this.answerView.seen],
      bars: this.answerView.columns,
      isEmpty: () => !this.sheet.strokes.length,
      draw: (strokes) => this.sheet.set(strokes),
    });
    const tools = h("div", { class: "dp-tools" }, this.undo, this.redo, this.clear, pen);
    root.append(
      this.live,
      this.guest.live,
      h(
        "div",
        { class: "dp-main" },
        h("div", { class: "dp-left" }, this.sheet.element, keys, tools, this.labels.element),
        h("div", { class: "dp-right" }, this.answerView.element, this.tour.follow),
      ),
      this.layers.element,
      this.why.element,
      this.guest.element,
      this.mine.element,
      this.tour.element,
    );
    root.addEventListener("keydown", (event) => this.key(event));
    root.addEventListener("pointerenter", () => kernel?.look());
  }

  /** A digit's key says which digit it is. @param {KeyboardEvent} event */
  key(event) {
    const typing = event.target instanceof Element && event.target.closest("input, select");
    if (typing || event.ctrlKey || event.altKey || event.metaKey || !/^[0-9]$/.test(event.key)) return;
    if (event.repeat || this.sheet.pointers.active || !this.sheet.strokes.length) return;
    event.preventDefault();
    this.labels.keep(Number(event.key));
  }

  /** Read, and follow the theme, the width and the kernel. */
  start() {
    const { root, kernel } = this;
    this.stops = [
      watchTheme(() => this.repaint()),
      watchWidth(root, () => this.resize()),
      kernel?.watch({
        weights: () => this.takeWeights(),
        answer: (answer) => this.confirm(answer),
        engine: () => this.drawn(true),
        strokes: () => this.sheet.set(kernel.strokes),
      }),
    ];
    if (kernel?.strokes.length) this.sheet.set(kernel.strokes);
    this.takeWeights();
  }

  destroy() {
    for (const stop of this.stops ?? []) stop?.();
    cancelAnimationFrame(this.frameAsked);
    this.why.destroy();
    this.guest.destroy();
    this.mine.destroy();
    this.tour.close();
    this.sheet.destroy();
  }

  get network() {
    return this.taught ?? this.model;
  }

  get colours() {
    return (this.palettes ??= palettes(this.root));
  }

  // ---------------------------------------------------------------- reading what is drawn

  /** @param {boolean} done */
  drawn(done) {
    this.number++;
    if (!done) {
      // While a stroke is being drawn: at most one reading a frame.
      this.frameAsked ||= requestAnimationFrame(() => {
        this.frameAsked = 0;
        this.read(false);
      });
      return;
    }
    cancelAnimationFrame(this.frameAsked);
    this.frameAsked = 0;
    this.read(true);
  }

  /** @param {boolean} done */
  read(done) {
    const { kernel, network, number } = this;
    const image = (this.image = preprocess(this.sheet.strokes));
    this.answer = null;
    if (this.sheet.strokes.length) {
      if (network && kernel?.engine !== "kernel") {
        const begun = performance.now();
        const { probs, activations } = forward(network, image);
        this.answer = { probs, activations, source: "page", ms: performance.now() - begun, agreed: null };
      }
      // Where this page has answered, the kernel need only confirm what is drawn when the pen is up.
      if (kernel && kernel.engine !== "browser" && (done || !this.answer))
        kernel.ask({ number, image, layers: !this.answer });
    }
    this.show(done);
  }

  /** The kernel has answered, if the drawing has not changed since. @param {KernelAnswer} answer */
  confirm(answer) {
    if (answer.number !== this.number || !this.sheet.strokes.length) return;
    if (answer.error !== undefined) {
      this.trouble = answer.error;
      return this.show(true);
    }
    const { probs, ms } = answer;
    const before = this.answer;
    const agreed =
      before?.source === "page"
        ? Math.max(...DIGITS.map((digit) => Math.abs(before.probs[digit] - probs[digit])))
        : null;
    const activations = answer.activations ?? before?.activations;
    this.answer = { probs, activations, source: "kernel", ms, agreed };
    this.show(agreed === null || agreed >= NEAR); // else it has been said
    this.root.dataset.kernel = String(this.number);
  }

  /** What can be said about the drawing now. @returns {Verdict} */
  judge() {
    const { answer, image, trouble } = this;
    const { strokes } = this.sheet;
    if (answer || !strokes.length) return verdict(strokes, answer?.probs ?? [], image);
    return { kind: "empty", digit: -1, text: trouble || "Waiting for the kernel \u2026" };
  }

  /** Show the drawing and what is said about it. @param {boolean} done whether it is to be spoken, too */
  show(done) {
    const { root, answer, image, sheet } = this;
    const focused = /** @type {HTMLButtonElement | null} */ (root.querySelector("button:focus"));
    const withKeys = focused?.matches(":focus-visible");
    set(this.undo, { disabled: !sheet.drawing.canUndo });
    set(this.redo, { disabled: !sheet.drawing.canRedo });
    set(this.clear, { disabled: !sheet.strokes.length });
    const said = this.judge();
    const { kind, digit, text } = said;
    const probs = (kind !== "small" && answer?.probs) || null;
    this.answerView.paint(image, this.colours);
    this.answerView.own.show(said, probs, this.explain(done));
    this.guest.show(sheet.strokes, image, done);
    if (done) {
      const spoken = digit < 0 || kind === "leaning" ? text : `${digit}, ${text}`;
      if (this.live.textContent !== spoken) this.live.textContent = spoken;
    }
    root.dataset.answer = digit < 0 ? "" : String(digit);
    root.dataset.kind = kind;
    root.dataset.number = String(this.number);
    this.layers.show(image, answer, this.network);
    if (done) this.kernel?.tell(sheet.strokes, Array.from(answer?.probs ?? []));
    if (done) this.why.show(image, probs ? likeliest(probs) : -1, this.network);
    this.labels.drawn();
    // A button that has just become useless would drop the focus. Who uses keys must see where it
    // went; who taps on Save below must not be taken away from there.
    if (focused?.disabled)
      sheet.element.focus({
        preventScroll: !withKeys,
        .../** @type {object} */ ({ focusVisible: withKeys }),
      });
  }

  /** Who has read, and how long it took. @param {boolean} done */
  explain(done) {
    const { answer, taught } = this;
    if (!answer) return "";
    const ms = done ? `, ${answer.ms.toFixed(1)}\u00a0ms` : "";
    if (answer.source === "page") return `read in this page${taught ? ", as you taught it" : ""}${ms}`;
    if (answer.agreed === null) return `read by PyTorch${ms}`;
    if (answer.agreed < SAME) return "confirmed by PyTorch";
    return "PyTorch's answer; the copy of the network in this page is another";
  }

  // ---------------------------------------------------------------- the network, and the colours

  /** Read with the weights that are there now. */
  takeWeights() {
    const bytes = this.kernel ? this.kernel.weights : pageWeights();
    this.model = this.taught = null;
    this.trouble = "";
    try {
      if (bytes?.length) this.model = parseModel(bytes);
      else if (!this.kernel) this.trouble = "There is no network beside this page to read your drawing.";
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
    this.mine.renew();
    this.tour.close(); // its cards are of the network that was there
    this.tour.follow.hidden = !this.model;
    this.drawn(true);
  }

  /** @param {Model | null} taught */
  take(taught) {
    this.taught = taught;
    this.drawn(true);
  }

  /** A guest's network has come or gone. */
  invite() {
    const { answerView, guest, image, kernel, root, sheet } = this;
    set(root, { "data-guest": guest.model ? "" : null });
    answerView.invite(guest.model && guest.reading, kernel ? "The pad's network" : "The book's network");
    guest.show(sheet.strokes, image, true);
  }

  repaint() {
    this.palettes = null;
    this.show(true);
    this.mine.show();
  }

  resize() {
    const { paddingLeft, paddingRight } = getComputedStyle(this.root);
    this.layers.resize(this.root.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
    this.repaint(); // the first time, the pad has only now come into the page, and has its colours
  }
}

/**
 * Put a pad into `el`.
 *
 * @param {HTMLElement} el
 * @param {object} [_] options, of which a pad has none
 * @param {Kernel | null} [kernel] in JupyterLab; without it the weights beside the page are read
 */
export function mount(el, _ = {}, kernel = null) {
  addStyle(
    "digitpad",
    STYLE + LABELS_STYLE + LAYERS_STYLE + WHY_STYLE + GUEST_STYLE + MINE_STYLE + TOUR_STYLE,
  );
  const root = frame(el, {
    name: "digitpad",
    title: "Draw a digit",
    hint: "With mouse, finger or pen.",
    keys: "Or with arrow keys and the space bar; a digit's key saves the drawing.",
  });
  const pad = new Pad(root, kernel);
  pad.start();
  return {
    destroy() {
      pad.destroy();
      el.replaceChildren();
    },
  };
}

export default {
  /** @param {{model: WidgetModel, el: HTMLElement}} widget */
  render({ model, el }) {
    const pad = mount(el, {}, new Kernel(model));
    return () => pad.destroy();
  },
};

// A network that the reader brings in a file: it reads the same drawing beside the pad's own.

import { Reading, verdict } from "./answer.js";
import { button, contentOf, fold, h, set } from "./dom.js";
import { forward } from "./engine.js";
import { count } from "./numbers.js";
import { ModelError, parseModel } from "./weights.js";

/** @import { Layer, Model, Stroke } from "./types" */

export const MOST_BYTES = 4 << 20;
const LONGEST = 60; // characters of a name that are shown
const QUICK = 12; // milliseconds; what takes longer reads only when the pen is up

export const GUEST_STYLE = `
.cl-digitpad {
  &[data-drop] { outline:3px dashed var(--cl-accent); outline-offset:-6px; }
  .dp-guest { margin-top:0.6rem; }
  .dp-guest code { padding:0; border:0; background:none; color:inherit; font-size:0.9em; overflow-wrap:anywhere; }
  .dp-answer button { margin-top:0.3rem; }
  .dp-guest .dp-note { margin-top:0.6rem; overflow-wrap:anywhere; }
  @media print { .dp-guest button { display:none; } }
}
`;

const COMMAND = "python -m mnist_course export --out my-network.mnistnet";
const WANTED = `Choose a .mnistnet file: \u201cKeep this network\u201d on the page \u201cTrain it here\u201d writes one, and so does ${COMMAND}.`;
/** Files that people may take for a network, by how they begin. @type {[RegExp, string][]} */
const FOREIGN = [
  [/^$/, "it is empty"],
  [/^(?:\x89PNG|\xff\xd8\xff|GIF8|RIFF|BM|II\*|MM\0|\s*<svg|.{4}ftyp)/s, "it is a picture, or a film"],
  [/^(?:PK|\x80\x02)/, "it is a PyTorch checkpoint, or another archive"],
  [/^.{8}\{/s, "it is a .safetensors file, which holds weights and no network"],
  [/^\x08[\x03-\x20]/, "it is perhaps an ONNX file"],
  [/^\s*[[{"]/, "it is JSON"],
  [/^/, "it is not a network of this course"],
];

/**
 * The network in a reader's file.
 *
 * @param {Uint8Array} bytes
 * @returns {Model}
 * @throws {ModelError} if there is none that the pad can run
 */
export function readGuest(bytes) {
  checkSize(bytes.length);
  const start = String.fromCharCode(...bytes.subarray(0, 16));
  const foreign = FOREIGN.find(([begin]) => begin.test(start));
  if (foreign && !start.startsWith("MNISTNET")) throw new ModelError(foreign[1], WANTED);
  return parseModel(bytes);
}

/** @param {number} bytes */
function checkSize(bytes) {
  if (bytes <= MOST_BYTES) return;
  throw new ModelError(
    `it is larger than ${MOST_BYTES >> 20} MB`,
    'Export a network of this course in fewer bytes: page_weights(network, dtype="int8").',
  );
}

/** How many weights a network has. @param {Model} model */
export const weightsOf = (model) =>
  model.layers.reduce(
    (sum, layer) => sum + ownNumbers(layer).reduce((all, { length }) => all + length, 0),
    0,
  );

/** @param {Layer} layer */
function ownNumbers(layer) {
  if (layer.op === "affine") return [layer.scale, layer.shift];
  return layer.op === "conv" || layer.op === "linear" ? [layer.weight, layer.bias] : [];
}

/** A file's name as it may stand in a sentence: without what is not seen, and not too long. @param {string} name */
export function shownName(name) {
  const seen = [...name.replace(/\p{C}/gu, "").trim()];
  return seen.length > LONGEST
    ? `${seen.slice(0, LONGEST - 1).join("")}\u2026`
    : seen.join("") || "your file";
}

export class GuestView {
  /** @type {Model | null} */
  model = null;
  name = "";
  /** The drawing that is there. @type {{strokes: Stroke[], image: Float32Array}} */
  now = { strokes: [], image: new Float32Array(784) };
  /** What was read last, and how long it took. @type {{image: Float32Array | null, ms: number}} */
  last = { image: null, ms: 0 };
  asked = 0; // files so far; of several that are opened at once the last one counts
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  soon = undefined;
  note = h("p", { class: "dp-small dp-note", role: "status", "aria-live": "polite" });
  live = h("p", { class: "dp-hidden", role: "status", "aria-live": "polite" });
  file = h("input", {
    type: "file",
    accept: ".mnistnet",
    class: "dp-hidden",
    tabindex: -1,
    "aria-hidden": "true",
  });

  /**
   * @param {HTMLElement} root where a file may be dropped
   * @param {() => void} changed called when a network has come or gone
   */
  constructor(root, changed) {
    this.root = root;
    this.changed = changed;
    this.choose = button("Choose a file \u2026", () => this.file.click());
    this.reading = new Reading(button("Take it away", () => this.leave()));
    const about = h(
      "p",
      { class: "dp-small dp-guest" },
      "Trained a network yourself? It can read your drawing beside this one. Choose the file that \u201cKeep this network\u201d on the page \u201cTrain it here\u201d wrote, or ",
      h("code", {}, COMMAND),
      ", or drop it on the pad. It stays on your device, and is gone when you leave the page.",
    );
    const tools = h("div", { class: "cl-row dp-guest" }, this.choose, this.file);
    this.element = fold("Your own network", "", about, h("div", { class: "dp-guest" }, tools, this.note));
    this.hint = /** @type {Element} */ (this.element.querySelector("summary span"));
    this.file.addEventListener("change", () => {
      this.bring([...(this.file.files ?? [])]);
      this.file.value = "";
    });
    this.listen();
    this.arrange();
  }

  /** A file may be dropped anywhere on the pad. */
  listen() {
    const { root } = this;
    const over = (/** @type {boolean} */ is) => set(root, { "data-drop": is });
    const withFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
    root.addEventListener("dragover", (event) => {
      if (!withFiles(event)) return;
      event.preventDefault();
      event.stopPropagation();
      over(true);
    });
    root.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node) || !root.contains(event.relatedTarget)) over(false);
    });
    root.addEventListener("drop", (event) => {
      over(false);
      if (!withFiles(event)) return;
      event.preventDefault();
      event.stopPropagation();
      this.bring([...(event.dataTransfer?.files ?? [])]);
    });
  }

  // ---------------------------------------------------------------- a file comes, and goes

  /** @param {File[]} files */
  async bring(files) {
    const [file] = files;
    if (!file) return;
    const asked = ++this.asked;
    const name = shownName(file.name);
    try {
      if (files.length > 1) throw new ModelError("it did not come alone", "Drop one file at a time.");
      checkSize(file.size);
      const content = await contentOf(file);
      if (asked !== this.asked) return;
      if (!content) throw new ModelError("it cannot be opened", "Choose it once more.");
      this.take(readGuest(new Uint8Array(content)), name);
    } catch (error) {
      if (asked === this.asked) this.refuse(name, error);
    }
  }

  /** @param {Model} model @param {string} name */
  take(model, name) {
    this.model = model;
    this.name = name;
    this.last = { image: null, ms: 0 };
    this.tell(
      `${name} reads along: ${count(model.layers.length, "layer")}, ${weightsOf(model).toLocaleString("en")} weights.`,
    );
    this.arrange();
    this.changed();
  }

  /** @param {string} name @param {unknown} error */
  refuse(name, error) {
    const { reason, advice } =
      error instanceof ModelError ? error : new ModelError("this browser has no room for it");
    this.tell(`${name} was not taken: ${reason}. ${advice}`, "warning");
    this.element.open = true; // it may have been dropped on a pad where this is folded away
    this.note.scrollIntoView({ block: "nearest" });
  }

  leave() {
    this.asked++;
    clearTimeout(this.soon);
    this.model = null;
    this.live.textContent = "";
    this.tell(`${this.name} is gone. The pad is as it was.`);
    this.arrange();
    this.changed();
    const next = this.element.open ? this.choose : this.element.querySelector("summary");
    next?.focus({ preventScroll: true });
  }

  /** @param {string} text @param {"" | "warning"} [kind] */
  tell(text, kind = "") {
    this.note.textContent = text;
    this.note.dataset.kind = kind;
  }

  arrange() {
    this.hint.textContent = this.model ? this.name : "let it read your drawing, too";
    this.choose.textContent = this.model ? "Choose another \u2026" : "Choose a file \u2026";
    this.reading.name(this.name, `Probability of each digit: ${this.name}`);
  }

  // ---------------------------------------------------------------- reading

  /**
   * The drawing is another, or is to be shown again.
   *
   * @param {Stroke[]} strokes
   * @param {Float32Array} image
   * @param {boolean} done whether the pen is up
   */
  show(strokes, image, done) {
    clearTimeout(this.soon);
    if (!this.model) return;
    this.now = { strokes, image };
    if (this.last.ms < QUICK || this.last.image === image) this.read(done);
    else if (done) this.soon = setTimeout(() => this.read(true));
    else this.reading.show({ kind: "empty", digit: -1, text: "Reads when the pen is up" }, null, "");
  }

  /** @param {boolean} done */
  read(done) {
    const { strokes, image } = this.now;
    if (!this.model) return;
    const begun = performance.now();
    const { logits, probs } = forward(this.model, image);
    const ms = performance.now() - begun;
    this.last = { image, ms };
    const finite = logits.every(Number.isFinite);
    const said = finite
      ? verdict(strokes, probs, image)
      : { kind: /** @type {const} */ ("unsure"), digit: -1, text: "No answer: its numbers grow too large" };
    const bars = finite && !["empty", "small"].includes(said.kind) ? probs : null;
    this.reading.show(said, bars, strokes.length && done ? `${ms.toFixed(1)}\u00a0ms` : "");
    this.root.dataset.guest = said.digit < 0 ? "" : String(said.digit);
    const { kind, digit, text } = said;
    const spoken = `Your own network: ${digit < 0 || kind === "leaning" ? text : `${digit}, ${text}`}`;
    if (done && strokes.length && this.live.textContent !== spoken) this.live.textContent = spoken;
  }

  destroy() {
    this.asked++;
    clearTimeout(this.soon);
  }
}

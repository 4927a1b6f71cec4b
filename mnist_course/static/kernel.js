// What a pad has behind it: a kernel, in JupyterLab, or the weights beside a page.

import { size } from "./engine.js";
import { merged, readSamples, without, writeSamples } from "./samples.js";

/** @import { Activation, KernelAnswer, Question, Sample, Shelf, Stroke, WidgetModel } from "./types" */

/** The weights beside the page, or null. */
export function pageWeights() {
  const text = globalThis.MNIST_COURSE_WEIGHTS;
  if (typeof text !== "string") return null;
  try {
    return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  } catch {
    return new Uint8Array(1); // not base64: parseModel says what is wrong
  }
}

/** Bytes as they come through a widget's channel. @param {ArrayBuffer | ArrayBufferView} view */
const bytesOf = (view) =>
  ArrayBuffer.isView(view)
    ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    : new Uint8Array(view);

/**
 * The activations in a kernel's answer, one after the other in `values`.
 *
 * @param {Omit<Activation, "data">[]} layers
 * @param {Float32Array} values
 */
function activationsIn(layers, values) {
  let end = 0;
  return layers.map(({ name, op, shape }) => {
    const begin = end;
    end += size(shape);
    return { name, op, shape, data: values.subarray(begin, end) };
  });
}

const SETTLED = ["change:place", "change:kept"];

/**
 * Saved digits that no kernel has kept yet: it is busy, or was restarted and knows nothing of the pad.
 * They wait in this tab of the browser, until the next pad in it has handed them to its kernel.
 */
const unkept = {
  key: "mnist-course-unkept",

  get() {
    try {
      return readSamples(sessionStorage.getItem(this.key) ?? "");
    } catch {
      return []; // none, or storage is blocked
    }
  },

  /** @param {Sample[]} digits */
  set(digits) {
    try {
      if (digits.length) sessionStorage.setItem(this.key, writeSamples(digits));
      else sessionStorage.removeItem(this.key);
    } catch {
      // Storage is full or blocked: then they live as long as the page.
    }
  },
};

/**
 * The digits that a kernel keeps, in a file if it has one.
 *
 * @implements {Shelf}
 */
class KernelShelf {
  /** @type {unknown[]} */
  aside = [];
  newer = false;

  /** @param {WidgetModel} model */
  constructor(model) {
    this.model = model;
    model.on("change:kept", () => {
      if (!this.waiting) unkept.set(without(unkept.get(), this.get()));
    });
    this.fetch();
  }

  /** Hand the kernel what was saved in this tab and never reached one. */
  fetch() {
    const left = without(unkept.get(), this.get());
    try {
      if (left.length) this.change((digits) => merged(digits, left));
    } catch {
      // Together they are too many: what waits goes on waiting.
    }
  }

  get place() {
    return this.model.get("place");
  }

  get waiting() {
    return this.get().length !== this.model.get("kept");
  }

  /** @returns {Sample[]} */
  get() {
    return this.model.get("samples") ?? [];
  }

  forgetAside() {}

  /** @param {(digits: Sample[]) => Sample[]} edit */
  change(edit) {
    const before = this.get();
    const after = edit(before);
    const waiting = without(unkept.get(), without(before, after)); // what is deleted waits no more
    unkept.set([...waiting, ...without(without(after, before), waiting)]);
    this.model.set("samples", after);
    this.model.save_changes();
    return true;
  }

  /** @param {() => void} changed @param {() => void} [settled] */
  watch(changed, settled = () => {}) {
    const { model } = this;
    model.on("change:samples", changed);
    for (const name of SETTLED) model.on(name, settled);
    return () => {
      model.off("change:samples", changed);
      for (const name of SETTLED) model.off(name, settled);
    };
  }
}

/**
 * The kernel behind a widget. One question is under way at a time; of those that come meanwhile
 * only the last is asked, so that a busy kernel is never behind by more than one drawing.
 */
export class Kernel {
  view = Math.random().toString(36).slice(2); // answers go to every view of a widget
  /** @type {{number: number, at: number} | null} */
  asked = null;
  /** @type {Question | null} */
  next = null;
  telling = false; // the pad need not hear what it has said itself

  /** @param {WidgetModel} model */
  constructor(model) {
    this.model = model;
    this.shelf = new KernelShelf(model);
  }

  /** Who reads. @returns {"both" | "browser" | "kernel"} */
  get engine() {
    return this.model.get("engine");
  }

  /** The network's weights, of which there are none where the page cannot run it. */
  get weights() {
    return bytesOf(this.model.get("weights") ?? new ArrayBuffer());
  }

  /** Let the kernel see what another notebook has saved meanwhile. */
  look() {
    this.model.send({ type: "look" });
  }

  /** @param {Question} question */
  ask(question) {
    if (this.asked) this.next = question;
    else this.send(question);
  }

  /** @param {Question} question */
  send({ number, image, layers }) {
    this.asked = { number, at: performance.now() };
    const content = { type: "read", view: this.view, number, layers };
    this.model.send(content, undefined, [image.slice().buffer]);
  }

  /** The drawing that Python has set. @returns {Stroke[]} */
  get strokes() {
    return this.model.get("strokes") ?? [];
  }

  /** Tell Python what is drawn, and how it is read; nothing where it knows. @param {Stroke[]} strokes @param {number[]} probabilities */
  tell(strokes, probabilities) {
    this.telling = true;
    for (const [name, value] of Object.entries({ strokes, probabilities })) {
      if (JSON.stringify(value) !== JSON.stringify(this.model.get(name))) this.model.set(name, value);
    }
    this.telling = false;
    this.model.save_changes();
  }

  /**
   * What a message from the kernel says, if it is the answer to what was asked.
   *
   * @param {any} message
   * @param {ArrayBufferView[]} buffers
   * @returns {KernelAnswer | null}
   */
  receive(message, buffers) {
    const { view, asked } = this;
    if (!asked || message?.type !== "answer") return null;
    if (message.view !== view || message.number !== asked.number) return null;
    const { number, at } = asked;
    this.asked = null;
    if (this.next) this.send(this.next);
    this.next = null;
    if (message.error) return { number, error: message.error };
    const values = new Float32Array(bytesOf(buffers[0]).slice().buffer);
    const activations = message.layers && activationsIn(message.layers, values.subarray(10));
    return { number, probs: values.subarray(0, 10), activations, ms: performance.now() - at };
  }

  /**
   * Call a function whenever the kernel answers, or weights, engine or drawing are others.
   * Returns a function that stops it.
   *
   * @param {{answer: (answer: KernelAnswer) => void, weights: () => void, engine: () => void,
   *   strokes: () => void}} react
   */
  watch({ answer, weights, engine, strokes }) {
    const drawn = () => {
      if (!this.telling) strokes();
    };
    /** @param {any} message @param {ArrayBufferView[]} buffers */
    const received = (message, buffers) => {
      const said = this.receive(message, buffers);
      if (said) answer(said);
    };
    this.model.on("msg:custom", received);
    this.model.on("change:weights", weights);
    this.model.on("change:engine", engine);
    this.model.on("change:strokes", drawn);
    return () => {
      this.model.off("msg:custom", received);
      this.model.off("change:weights", weights);
      this.model.off("change:engine", engine);
      this.model.off("change:strokes", drawn);
    };
  }
}

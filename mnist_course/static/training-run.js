// A training that runs by itself: in a worker, or in slices in the page, and says what happens.

import { readDigits } from "./digits.js";
import { writeNetwork } from "./network-file.js";
import { Trainer } from "./trainer.js";

/** @import { Order, Report } from "./types" */

/** How long a step takes at least, in milliseconds, by pace. */
const PACES = { slow: 1000, watch: 50, full: 0 };
const FRAME = 45; // milliseconds from one frame to the next, at full speed: some more than 20 a second
const SLICE = 12; // milliseconds of work in the page before it may breathe
const MEASURE = 20; // steps from one measurement of the accuracies to the next
const EARLY = new Set([5, 10]); // and at these, where much happens

export class Run {
  /** @type {Trainer | null} */
  trainer = null;
  running = false;
  fresh = true; // nothing has been told of this network yet
  begun = 0; // when the run began, or the last frame was told
  learned = 0; // digits since then
  done = Promise.resolve();
  /** What is drawn. @type {Float32Array | null} */
  drawn = null;

  /**
   * @param {(report: Report) => void} say
   * @param {boolean} worker whether it has a thread of its own
   */
  constructor(say, worker) {
    this.say = say;
    this.worker = worker;
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = () => this.guarded(() => this.go());
  }

  /** One order after the other: the first takes its time. @param {Order} order */
  receive(order) {
    this.done = this.done.then(() => this.guarded(() => this.obey(order)));
    return this.done;
  }

  /** Whatever goes wrong is said. @param {() => void | Promise<void>} act */
  async guarded(act) {
    try {
      await act();
    } catch (error) {
      this.running = false;
      const reason = error instanceof Error ? error.message : String(error);
      this.say({ type: "failed", reason });
    }
  }

  /** @param {Order} order */
  async obey(order) {
    if (order.type === "start") return this.start(order);
    const { trainer } = this;
    if (!trainer) return;
    switch (order.type) {
      case "change":
      case "reset": {
        const again = order.type === "reset";
        this.trainer = again ? new Trainer(trainer.digits, order.settings) : trainer.change(order.settings);
        this.fresh ||= this.trainer !== trainer;
        if (!this.running) this.tell();
        return;
      }
      case "run":
        if (trainer.finished) trainer.extend();
        if (this.running) return;
        this.running = true;
        this.begun = performance.now();
        this.learned = 0;
        return this.later(0);
      case "pause":
        this.running = false;
        return this.tell();
      case "step":
        this.running = false;
        if (trainer.finished) trainer.extend();
        this.step();
        return this.tell();
      case "save":
        return this.save();
      case "read":
        this.drawn = order.image;
        return this.read();
    }
  }

  /** @param {Extract<Order, {type: "start"}>} order */
  async start({ bytes, source, settings }) {
    const digits = await readDigits(bytes, source);
    this.trainer = new Trainer(digits, settings);
    const { training, labels } = digits;
    const { way } = this.trainer.network.room.products;
    const heldOut = labels.length - training;
    this.say({ type: "ready", source, training, heldOut, way, worker: this.worker });
    this.tell();
  }

  step() {
    const { trainer } = this;
    if (!trainer) return;
    trainer.step();
    this.learned += trainer.settings.batch;
    if (trainer.finished) trainer.measure(true);
    else if (trainer.steps % MEASURE === 0 || EARLY.has(trainer.steps)) trainer.measure();
  }

  /** Steps until it is time for a frame, then the frame, then again. */
  go() {
    const { trainer } = this;
    if (!this.running || !trainer) return;
    const pace = PACES[trainer.settings.pace];
    const begun = performance.now();
    const end = begun + (this.worker ? FRAME : SLICE);
    do this.step();
    while (!pace && !trainer.finished && performance.now() < end);
    if (trainer.finished) this.running = false;
    if (this.worker || pace || trainer.finished || performance.now() - this.begun > FRAME) this.tell();
    if (this.running) this.later(pace && Math.max(0, begun + pace - performance.now()));
  }

  /** @param {number} milliseconds */
  later(milliseconds) {
    if (milliseconds > 4) setTimeout(() => this.channel.port2.postMessage(0), milliseconds);
    else this.channel.port2.postMessage(0);
  }

  tell() {
    const { trainer, running, fresh } = this;
    if (!trainer) return;
    const now = performance.now();
    const speed = running || trainer.finished ? (1000 * this.learned) / Math.max(1, now - this.begun) : 0;
    this.say({ type: "frame", frame: trainer.frame(), speed, running, fresh });
    this.fresh = false;
    if (now - this.begun > 1000) {
      this.begun = now;
      this.learned = 0;
    }
    if (this.drawn) this.read();
  }

  read() {
    if (!this.trainer || !this.drawn) return;
    this.say({ type: "answer", probabilities: this.trainer.read(this.drawn) });
  }

  save() {
    const { trainer } = this;
    if (!trainer) return;
    const { network, patient, channels } = trainer.settings;
    const normalize = network === "clinic" ? { mean: 0.1307, std: 0.3081 } : null;
    const name = `trained in the page: ${network} ${channels}, ${trainer.steps} steps`;
    try {
      if (patient === 4 || patient === 5) throw new Error("A sick network is not kept: cure it first.");
      this.say({ type: "file", bytes: writeNetwork(trainer.network, { name, normalize }) });
    } catch (error) {
      this.say({ type: "refused", reason: error instanceof Error ? error.message : String(error) });
    }
  }
}

/** Be the worker: what is told here is obeyed, and what happens is told there. */
export function serve() {
  const scope = /** @type {any} */ (globalThis);
  const run = new Run((report) => scope.postMessage(report), true);
  scope.onmessage = (/** @type {MessageEvent<Order>} */ event) => run.receive(event.data);
}

/**
 * The script of a worker: all modules of the bundle that this one is in, and a call of `serve`.
 * Empty where there is no bundle.
 */
function workerScript() {
  const known = typeof scopes === "undefined" ? {} : scopes;
  const parts = Object.entries(known).map(([name, scope]) => {
    const key = JSON.stringify(name);
    return `modules[${key}] = (scopes[${key}] = ${scope})();`;
  });
  if (!parts.length) return "";
  return ["const modules = {}, scopes = {};", ...parts, 'modules["training-run"].serve();'].join("\n");
}

/**
 * Begin a training: in a worker if there can be one, otherwise in the page.
 *
 * @param {(report: Report) => void} say
 * @returns {{tell: (order: Order) => void, stop: () => void}}
 */
export function begin(say) {
  const script = workerScript();
  let address = "";
  try {
    if (!script) throw new Error("not in a bundle");
    address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.onmessage = (event) => say(event.data);
    worker.onerror = (event) => {
      event.preventDefault();
      say({ type: "failed", reason: event.message || "the worker has died" });
    };
    return {
      tell: (order) => worker.postMessage(order),
      stop: () => {
        worker.terminate();
        URL.revokeObjectURL(address);
      },
    };
  } catch {
    if (address) URL.revokeObjectURL(address);
    const run = new Run(say, false);
    return {
      tell: (order) => void run.receive(order),
      stop: () => {
        run.running = false;
      },
    };
  }
}

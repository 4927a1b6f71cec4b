// A second training beside the first, with other settings: a race on the same charts.

import { begin } from "./training-run.js";
import { checked } from "./training-settings.js";

/** @import { Order, Report, Score, Settings } from "./types" */

/** The training that is raced against. It does what the first is told, and keeps its own settings. */
export class Rival {
  /** @type {number[]} */
  losses = [];
  /** @type {Score[]} */
  scores = [];
  steps = 0;
  goal = 0;
  running = false;
  finished = false;
  held = false; // paused while nobody looks
  /** @type {ReturnType<typeof begin> | null} */
  session = null;

  /**
   * @param {Settings} settings
   * @param {{changed: () => void, failed: (reason: string) => void}} listener
   */
  constructor(settings, { changed, failed }) {
    this.settings = settings;
    this.changed = changed;
    this.failed = failed;
  }

  /** @param {{bytes: Uint8Array, source: string}} digits */
  start({ bytes, source }) {
    this.session = begin((report) => this.hear(report));
    this.session.tell({ type: "start", bytes, source, settings: this.settings });
  }

  /** @param {Order["type"] & ("run" | "pause" | "step")} type */
  order(type) {
    this.session?.tell({ type });
  }

  /** As fast as the first is to be. @param {Settings["pace"]} pace */
  keepPace(pace) {
    if (pace === this.settings.pace) return;
    this.settings = { ...this.settings, pace };
    this.session?.tell({ type: "change", settings: this.settings });
  }

  /** New weights, from its own seed. @param {boolean} run whether it is to run */
  restart(run) {
    this.session?.tell({ type: "reset", settings: this.settings });
    if (run) this.order("run");
  }

  /** Wait while nobody looks. */
  hold() {
    this.held ||= this.running;
    if (this.running) this.order("pause");
  }

  release() {
    if (this.held) this.order("run");
    this.held = false;
  }

  /** @param {Report} report */
  hear(report) {
    if (report.type === "failed") return this.failed(report.reason);
    if (report.type !== "frame") return;
    const { frame, running, fresh } = report;
    if (fresh) {
      this.losses = [];
      this.scores = [];
    }
    this.losses.push(...frame.losses);
    this.scores.push(...frame.scores);
    Object.assign(this, { steps: frame.steps, goal: frame.goal, finished: frame.finished, running });
    this.changed();
  }

  stop() {
    this.session?.stop();
    this.session = null;
  }
}

/**
 * In which settings two trainings differ; how fast one watches is none of it.
 *
 * @param {Settings} one
 * @param {Settings} other
 * @returns {(keyof Settings)[]}
 */
export function differences(one, other) {
  const names = /** @type {(keyof Settings)[]} */ (Object.keys(one));
  return names.filter((name) => name !== "pace" && one[name] !== other[name]);
}

/**
 * What an address says of the other training: `rate:0.2,optimizer:sgd`.
 *
 * @param {Settings} settings of the first
 * @param {Settings} other
 */
export function writeRival(settings, other) {
  return differences(other, settings)
    .map((name) => `${name}:${other[name]}`)
    .join();
}

/**
 * The settings of the other training, from what an address says of them; what it may not say is left out.
 *
 * @param {Settings} settings of the first
 * @param {string} text
 * @returns {Settings}
 */
export function readRival(settings, text) {
  const other = { ...settings };
  for (const part of text.split(",")) {
    const [name, value] = part.split(":");
    const allowed = Object.hasOwn(settings, name) && value !== undefined ? checked(name, value) : undefined;
    if (allowed !== undefined) Object.assign(other, { [name]: allowed });
  }
  return other;
}

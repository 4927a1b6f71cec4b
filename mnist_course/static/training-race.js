// A second training beside the first, with other settings: a race on the same charts.

import { begin } from "./training-run.js";
import { checked } from "./training-settings.js";

/** @import { Order, Report, Settings, Track } from "./types" */

/**
 * Write down what a frame tells: a fresh network begins with nothing.
 *
 * @param {Track} track
 * @param {Extract<Report, {type: "frame"}>} report
 */
export function record(track, { frame, fresh }) {
  if (fresh) Object.assign(track, { losses: [], scores: [] });
  track.losses.push(...frame.losses);
  track.scores.push(...frame.scores);
  track.latest = frame;
}

/** The training that is raced against. It does what the first is told, and keeps its own settings. */
export class Rival {
  /** @type {Track["losses"]} */
  losses = [];
  /** @type {Track["scores"]} */
  scores = [];
  /** @type {Track["latest"]} */
  latest = null;
  running = false;
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
    record(this, report);
    this.running = report.running;
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
 * What an address says of the other training: `rate:0.2,optimizer:sgd`; nothing if it is the same.
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
 * The settings of the other training, from an address; what it may not say is left out.
 *
 * @param {string} hash "#train-here?rate=0.5&against=rate:0.2"
 * @param {Settings} settings of the first
 * @returns {Settings | null} null where it tells of no race
 */
export function readRival(hash, settings) {
  const text = new URLSearchParams(hash.slice(hash.indexOf("?") + 1)).get("against");
  if (!text) return null;
  const other = { ...settings };
  for (const part of text.split(",")) {
    const [name, value] = part.split(":");
    const allowed = Object.hasOwn(settings, name) && value !== undefined ? checked(name, value) : undefined;
    if (allowed !== undefined) Object.assign(other, { [name]: allowed });
  }
  return other;
}

// Train a network where you read: steer it, stop it, make it sick and cure it, draw on it, keep it.

import { addStyle, button, fold, frame, h, select, set, statusLine, watchTheme, watchWidth } from "./dom.js";
import { pageDigits } from "./digits.js";
import { Sheet } from "./ink.js";
import { palettes } from "./maps.js";
import { DIGITS, count, format } from "./numbers.js";
import { aFlag, allowed, sharing } from "./state.js";
import { preprocess } from "./strokes.js";
import { Chart, Maps, byChannel, lossScale, scoreCurves, short, thinned } from "./training-charts.js";
import { Controls, inWords } from "./training-controls.js";
import { Rival, differences, readRival, record, writeRival } from "./training-race.js";
import { begin } from "./training-run.js";
import {
  PATIENTS,
  SMALL,
  START,
  STRUCTURE,
  checked,
  patientSettings,
  readAddress,
  writeAddress,
} from "./training-settings.js";

/** @import { Settable, Spec, State, Tell } from "./state.js" */
/** @import { Frame, Palettes, Report, Score, Settings, WidgetModel } from "./types" */

/** What a kernel can set: all settings, and whether it trains. @type {Spec} */
const SPEC = {
  ...Object.fromEntries(
    Object.keys(START).map((name) => [name, (value) => (value === undefined ? value : checked(name, value))]),
  ),
  running: aFlag,
};
const NEWS = 250; // milliseconds between two results that a kernel is told

const STYLE = `
.cl-train-here {
  & .th-caption { font-size:0.875rem; font-weight:600; margin-bottom:0.15rem; }
  .th-buttons { margin-bottom:0.6rem; }
  .th-buttons .th-main { min-width:6rem; background:var(--cl-accent); border-color:var(--cl-accent); color:var(--cl-on-accent); font-weight:600; }
  .th-buttons + .cl-row label, .th-buttons + .cl-row select { min-width:0; max-width:100%; }
  .th-charts { display:grid; grid-template-columns:minmax(0,1fr) minmax(0,1fr); gap:0.75rem 1.25rem; margin-top:0.85rem; }
  .th-charts canvas { image-rendering:auto; }
  .th-numbers { margin-top:0.35rem; font-size:0.875rem; color:var(--cl-muted); font-variant-numeric:tabular-nums; min-height:1.4rem; }
  .th-pictures { display:grid; grid-template-columns:minmax(0,1fr) minmax(0,1fr); gap:0.75rem 1.25rem; margin-top:0.6rem; }
  .th-layers { margin-top:0.85rem; overflow-x:auto; }
  .th-layers th, .th-layers td { padding:0.15rem 0.5rem 0.15rem 0; text-align:right; border:0; background:none; color:inherit; white-space:nowrap; }
  .th-layers :is(th,td):first-child { text-align:left; }
  .th-layers th { font-weight:600; color:var(--cl-muted); vertical-align:bottom; }
  .th-small { margin-top:0.5rem; font-size:0.8125rem; color:var(--cl-muted); }
  .th-fields { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr)); gap:0.4rem 1.5rem; margin-top:0.6rem; }
  .th-fields label { display:grid; grid-template-columns:8.5rem minmax(0,1fr); gap:0.6rem; }
  .th-fields label:has(b) { grid-template-columns:8.5rem minmax(0,1fr) 4.25rem; }
  .th-fields b { font-weight:600; text-align:right; font-variant-numeric:tabular-nums; }
  .th-fields input[type="number"], .th-fields select { width:100%; min-width:0; }
  .th-draw { display:grid; grid-template-columns:minmax(0,14rem) minmax(0,1fr); gap:1rem 1.5rem; margin-top:0.6rem; }
  .dp-sheet { display:block; width:100%; aspect-ratio:1; border:1.5px solid var(--cl-edge); border-radius:8px; background:var(--cl-paper); touch-action:none; cursor:crosshair; image-rendering:auto; user-select:none; -webkit-user-select:none; }
  .th-bars { display:grid; grid-template-columns:1rem minmax(0,1fr) 3.2rem; gap:0 0.6rem; margin:0; padding:0; list-style:none; font-size:0.875rem; font-variant-numeric:tabular-nums; }
  .th-bars li { display:contents; }
  .th-bars i { display:block; align-self:center; height:0.7rem; border-radius:3px; background:var(--cl-panel); overflow:hidden; }
  .th-bars i b { display:block; height:100%; background:var(--cl-edge); transform-origin:left; transform:scaleX(0); }
  .th-bars li > :last-child { text-align:right; }
  .th-bars li[data-best] > * { font-weight:650; }
  .th-bars li[data-best] b { background:var(--cl-accent); }
  & details { margin:0.9rem 0 0; padding:0.7rem 0 0; border:0; border-top:1px solid var(--cl-line); background:none; box-shadow:none; }
  & summary span { margin-left:0.4rem; font-weight:400; font-size:0.875rem; color:var(--cl-muted); }
  & summary { display:list-item; list-style:inside disclosure-closed; margin:0; cursor:pointer; font-weight:600; padding:0.15rem 0; }
  & details[open] > summary { list-style-type:disclosure-open; }
  .th-hidden { position:absolute; width:1px; height:1px; margin:-1px; overflow:hidden; clip-path:inset(50%); white-space:nowrap; }
  @container (max-width: 34rem) {
    .th-charts, .th-pictures, .th-draw { grid-template-columns:minmax(0,1fr); }
    .th-layers :is(th,td) { padding-right:0.35rem; font-size:0.8125rem; }
    .th-layers :is(th,td):nth-child(2) { display:none; }
    .th-layers th { white-space:normal; }
    .th-draw > div { max-width:14rem; }
    .th-fields label { grid-template-columns:7rem minmax(0,1fr); }
    .th-fields label:has(b) { grid-template-columns:7rem minmax(0,1fr) 3.5rem; }
  }
  @container (max-width: 20rem) { .th-layers :is(th,td) { padding-right:0.1rem; } }
  .th-keep { margin-top:0.9rem; }
  .th-draw button { margin-top:0.5rem; }
  @media (pointer: coarse) {
    & summary { padding-block:0.6rem; }
    & details { margin-top:0.35rem; padding-top:0.35rem; }
    .th-fields label { min-height:2.5rem; }
  }
  @media (forced-colors: active) { .th-bars b { forced-color-adjust:none; background:Highlight !important; } }
}
.th-print { display:none; }
@media print { .cl-train-here { display:none; } .th-print { display:block; } }
`;

const HINT = "Press Train: a network learns to read digits, here, in your browser, from nothing.";
const PACES = { slow: "slow motion", watch: "to watch", full: "as fast as it can" };
const SILENCE = 20000; // milliseconds without a word after which something is wrong
const PATIENCE = 60000; // milliseconds in which a kernel should have sent the digits
const CALM = 500; // milliseconds between two pictures for those who want less motion
const KEYS =
  "Arrow keys move the pen, space sets it down and lifts it, Delete clears. The bars beside it are the network's answer.";

let figures = 0; // for ids that are unique on a page
/** Whether a figure on this page already follows the address. */
let addressed = false;

/** @typedef {() => Promise<{bytes: Uint8Array, source: string}>} GetDigits */

/** The largest of ten probabilities. @param {ArrayLike<number>} probs */
const likeliest = (probs) => DIGITS.reduce((best, digit) => (probs[digit] > probs[best] ? digit : best));

/** A share in per cent. @param {number} share @param {number} [digits] */
const percent = (share, digits = 1) => `${format(100 * share, digits)} %`;

/** A line of the legend. @param {string} colour @param {string} text */
function legendKey(colour, text) {
  const sample = h("i", { style: `width:1.4rem;border-top:3px solid var(--cl-${colour})` });
  return h("span", {}, sample, text);
}

/** Ten bars for ten probabilities. */
class Bars {
  rows = DIGITS.map((digit) => ({
    bar: h("b"),
    text: h("span"),
    item: h("li", {}, h("span", {}, String(digit))),
  }));
  element = h("ul", { class: "th-bars", "aria-label": "Probability of each digit" });

  constructor() {
    for (const { item, bar, text } of this.rows) item.append(h("i", {}, bar), text);
    this.element.append(...this.rows.map(({ item }) => item));
  }

  /** @param {ArrayLike<number>} probs */
  show(probs) {
    const best = likeliest(probs);
    this.rows.forEach(({ item, bar, text }, digit) => {
      const share = Number.isFinite(probs[digit]) ? probs[digit] : 0;
      bar.style.transform = `scaleX(${share})`;
      text.textContent = Number.isFinite(probs[digit]) ? percent(share, 0) : "nan";
      set(item, { "data-best": digit === best && Number.isFinite(probs[digit]) });
    });
  }
}

/** The table of the layers. */
class LayerTable {
  body = h("tbody");
  element = h("div", { class: "th-layers", tabindex: 0, role: "group", "aria-label": "The layers" });

  constructor() {
    const heads = ["layer", "weights", "gradient", "update / weight", "zeros"];
    const row = h("tr", {}, ...heads.map((text) => h("th", { scope: "col" }, text)));
    this.element.append(h("table", {}, h("thead", {}, row), this.body));
  }

  /** @param {Frame["layers"]} layers */
  show(layers) {
    const texts = layers.map(({ name, weights, gradient, ratio, zeros }) => [
      name,
      weights.toLocaleString("en"),
      short(gradient),
      short(ratio),
      zeros === null ? "" : percent(zeros, 0),
    ]);
    if (this.body.rows.length !== texts.length) {
      this.body.replaceChildren(...texts.map((row) => h("tr", {}, ...row.map(() => h("td")))));
    }
    texts.forEach((row, i) => row.forEach((text, j) => (this.body.rows[i].cells[j].textContent = text)));
  }
}

class TrainHere {
  /** What is told of the training so far. @type {number[]} */
  losses = [];
  /** @type {Score[]} */
  scores = [];
  /** @type {Frame | null} */
  latest = null;
  /** @type {ReturnType<typeof begin> | null} */
  session = null;
  running = false;
  /** What this training races against. @type {Rival | null} */
  rival = null;
  rivalKey = legendKey("muted", "the other: its loss, and digits held out");
  against = h("p", { class: "th-small", hidden: true });
  /** What the patient had that was cured last. */
  found = h("p", { class: "th-small", hidden: true });
  /** @type {Awaited<ReturnType<GetDigits>> | null} */
  digits = null;
  wanted = false; // to run, as soon as it can
  hiddenPause = false;
  loading = false;
  /** Where the loss stopped being a number. @type {number | null} */
  diverged = null;
  width = 0;
  frameAsked = 0;
  drawnAt = 0;
  heardAt = 0;
  newsAt = 0; // when the kernel was last told how far it is
  /** What went wrong beside the training, which goes on: it stays to be read. */
  trouble = "";
  /** What the training said when its digits had come. @type {Extract<Report, {type: "ready"}> | null} */
  ready = null;
  speed = 0;
  /** @type {Palettes | null} */
  colours = null;
  id = `th-${++figures}`;
  status = statusLine();
  /** The same words once more, below the buttons at the end, which may be far from the status. */
  below = h("p", { class: "th-small", "aria-hidden": "true" });
  numbers = h("p", { class: "th-numbers" });
  loss = new Chart("Loss");
  accuracy = new Chart("Accuracy", " %");
  kernels = new Maps(
    "Kernels of the first layer",
    "Kernels of the first layer; orange is positive, blue negative",
  );
  gradients = new Maps("Their gradients", "Gradients of these kernels in the last step");
  maps = [
    new Maps("What the first layer answers to a digit", "Maps behind the first activation"),
    new Maps("What the second layer answers", "Maps behind the second activation"),
  ];
  digit = new Maps("A digit it never learns from", "The digit");
  table = new LayerTable();
  guess = new Bars();
  answer = new Bars();

  /**
   * @param {HTMLElement} root
   * @param {{settings: Settings, getDigits: GetDigits, address: boolean, tell: Tell}} options
   */
  constructor(root, { settings, getDigits, address, tell }) {
    this.root = root;
    this.tellKernel = tell;
    this.getDigits = getDigits;
    this.address = address;
    this.settings = settings;
    this.controls = new Controls(
      settings,
      (changed) => this.change(changed),
      (range) => this.tell(range, true),
    );
    this.main = button("Train", () => this.toggle(), { class: "th-main" });
    this.single = button("One step", () => this.order("step"));
    this.again = button("Start again", () => this.restart());
    this.cure = button("Diagnosis and cure", () => this.heal());
    this.keep = button("Keep this network", () => this.session?.tell({ type: "save" }), { disabled: true });
    this.race = button("Race against these settings", () => this.toggleRace());
    this.pace = select(Object.keys(PACES));
    for (const option of this.pace.options) option.text = Reflect.get(PACES, option.value);
    this.pace.value = settings.pace;
    this.pace.addEventListener("change", () => {
      const pace = /** @type {Settings["pace"]} */ (this.pace.value);
      this.controls.take({ ...this.controls.settings, pace });
    });
    this.keys = h("p", { class: "th-hidden", id: `${this.id}-keys` }, KEYS);
    this.sheet = new Sheet({
      label: "Draw a digit here",
      description: this.keys.id,
      onChange: () => this.read(),
    });
    root.append(...this.arrange());
    this.showSettings();
    this.tell("Nothing is loaded yet. The digits, some 2 MB, come when you press Train.");
    tell({ ...settings });
  }

  /** What stands in the figure. */
  arrange() {
    const row = (/** @type {string} */ name, /** @type {Node[]} */ ...nodes) =>
      h("div", { class: `cl-row ${name}` }, ...nodes);
    const draw = h(
      "div",
      { class: "th-draw" },
      h(
        "div",
        {},
        this.sheet.element,
        this.keys,
        button("Clear", () => this.sheet.clear()),
      ),
      this.answer.element,
    );
    return [
      row("th-buttons", this.main, this.single, this.again, h("label", {}, "Speed", this.pace)),
      row("", h("label", {}, "Training", this.controls.preset), this.cure),
      this.status,
      this.found,
      h("div", { class: "th-charts" }, this.loss.element, this.accuracy.element),
      this.legend(),
      this.against,
      this.numbers,
      this.controls.element, // here, so that the curves are in sight while a setting changes
      h("div", { class: "th-pictures" }, this.kernels.element, this.gradients.element),
      h("div", { class: "th-pictures" }, this.digit.element, h("div", {}, this.guess.element)),
      h("div", { class: "th-pictures" }, ...this.maps.map(({ element }) => element)),
      this.table.element,
      fold("Draw on it", "the network as it is now reads what you draw", draw),
      row("th-keep", this.keep, this.race),
      this.below,
    ];
  }

  legend() {
    this.rivalKey.hidden = true;
    return h(
      "div",
      { class: "cl-legend" },
      legendKey("positive", "digits it learns from"),
      legendKey("negative", "digits held out"),
      this.rivalKey,
    );
  }

  // ---------------------------------------------------------------- steering

  toggle() {
    if (this.running) return this.order("pause");
    this.order("run");
    this.loss.element.scrollIntoView({ block: "nearest" }); // on a small screen it is below the edge
  }

  /** Train, pause, or make a step; the digits come first. @param {"run" | "pause" | "step"} type */
  order(type) {
    this.wanted = type === "run";
    this.hiddenPause = false;
    if (!this.session && !this.loading) return void this.load(type);
    this.heardAt = performance.now();
    this.session?.tell({ type });
    this.rival?.order(type);
    if (type !== "step") this.setRunning(type === "run");
    if (type !== "pause") this.found.hidden = !this.found.textContent; // the status says other things now
    if (type === "pause") this.tell(this.summary("Paused"), this.diverged !== null);
  }

  /** Fetch the digits, begin, and do what was asked for. @param {"run" | "pause" | "step"} type */
  async load(type) {
    this.loading = true;
    this.tell("Loading the digits \u2026");
    try {
      this.digits = await this.getDigits();
      this.session = begin((report) => this.hear(report));
      this.session.tell({ type: "start", ...this.digits, settings: this.settings });
      this.rival?.start(this.digits);
      this.loading = false;
      this.order(type);
    } catch (error) {
      this.loading = false;
      this.fail(error instanceof Error ? error.message : String(error));
    }
  }

  /** New weights from the same seed. */
  restart() {
    if (!this.session) return void this.order("run");
    this.session.tell({ type: "reset", settings: this.settings });
    if (!this.running) this.tell("New weights, from the same seed.");
  }

  // ---------------------------------------------------------------- a race

  toggleRace() {
    if (this.rival) return this.endRace("The race is over.");
    if (this.running) this.order("pause");
    this.beginRace({ ...this.settings });
    if (this.session) this.restart();
    this.tell(
      "Now change a setting and press Train. Both begin from new weights, on the same charts.",
      false,
      true,
    );
  }

  /** Put a training with these settings beside this one. @param {Settings} settings */
  beginRace(settings) {
    this.rival = new Rival(settings, {
      changed: () => this.hearRival(),
      failed: (reason) => this.endRace(`The other training has stopped: ${reason}`, true),
    });
    if (this.session && this.digits) this.rival.start(this.digits);
    this.race.textContent = "End the race";
    this.showRace();
  }

  /** @param {string} text @param {boolean} [warning] */
  endRace(text, warning = false) {
    this.rival?.stop();
    this.rival = null;
    this.race.textContent = "Race against these settings";
    this.showRace();
    this.trouble = warning ? text : "";
    this.tell(text, warning);
    this.ask();
  }

  /** Say in what the two differ, and let a link say it, too. */
  showRace() {
    const { rival, settings } = this;
    this.against.hidden = this.rivalKey.hidden = !rival;
    if (rival) {
      const differing = differences(settings, rival.settings).map(
        (name) => `${inWords(name, rival.settings)} (here ${inWords(name, settings, false)})`,
      );
      const what = differing.join(", ") || "the same settings so far; change one under Settings";
      this.against.textContent = `The other has ${what}.`;
    }
    if (!this.address) return;
    const against = rival ? writeRival(settings, rival.settings) : "";
    history.replaceState(history.state, "", writeAddress(settings, against));
  }

  hearRival() {
    const { rival } = this;
    if (rival?.latest?.finished && !this.running && this.latest?.finished) {
      this.tell(this.summary("Done"), this.diverged !== null);
    }
    this.ask();
  }

  /** How the other did, in a sentence. */
  rivalSummary() {
    const score = this.rival?.scores.at(-1);
    if (!this.rival || !score) return "";
    return ` The other: ${percent(score.unseen)} of those held out, after ${count(this.rival.latest?.steps ?? 0, "step")}.`;
  }

  // ---------------------------------------------------------------- settings

  /** Set from outside: settings, and whether it trains. A patient brings settings of its own. @param {State} values */
  steer(values) {
    const { running, ...given } = allowed(SPEC, values);
    const before = this.settings;
    const patient = given.patient ?? before.patient;
    const now = patient === before.patient ? { ...before, ...given } : patientSettings(patient);
    if (JSON.stringify(now) !== JSON.stringify(before)) this.controls.take(now);
    if (running !== undefined && running !== (this.running || this.loading))
      this.order(running ? "run" : "pause");
  }

  /** Settings are others. @param {Settings} settings */
  change(settings) {
    const afresh = STRUCTURE.some((name) => settings[name] !== this.settings[name]);
    this.settings = settings;
    this.tellKernel({ ...settings });
    this.session?.tell({ type: "change", settings });
    this.rival?.keepPace(settings.pace);
    this.showSettings();
    this.showRace();
    if (afresh) {
      this.found.textContent = "";
      this.found.hidden = true;
    }
    const { patient } = settings;
    if (this.running) return;
    if (this.status.dataset.kind && !this.diverged) this.tell("Press Train."); // what was refused is mended
    if (patient) this.tell(`\u201c${PATIENTS[patient - 1].complaint}\u201d Press Train.`);
    else if (afresh && this.session) this.tell("New weights: press Train.");
  }

  /** What goes with the settings, beside their own controls. */
  showSettings() {
    this.cure.hidden = !this.settings.patient;
    this.pace.value = this.settings.pace;
  }

  /** Say what a patient has, and train it without. */
  heal() {
    const { patient, pace } = this.settings;
    if (!patient) return;
    const { diagnosis, cure } = PATIENTS[patient - 1];
    this.controls.take({ ...patientSettings(patient), ...cure, pace, patient: 0 });
    this.tell(`${diagnosis} Now it is cured, and begins again: press Train.`);
    this.found.textContent = `Patient ${patient} had this: ${diagnosis}`;
    if (this.running) this.order("run");
    else this.main.focus();
  }

  /** @param {boolean} running */
  setRunning(running) {
    this.running = running;
    this.trouble = "";
    this.tellKernel({ running, ...this.results() });
    this.main.textContent = running ? "Pause" : "Train";
    set(this.root, { "data-running": running });
  }

  /** @param {string} text @param {boolean} [warning] @param {boolean} [below] whether to say it there, too */
  tell(text, warning = false, below = false) {
    this.below.textContent = below ? text : "";
    if (this.status.textContent !== text) this.status.textContent = text;
    set(this.status, { "data-kind": warning ? "warning" : null });
  }

  /** Something went wrong: say it, and be ready to begin again. @param {string} reason */
  fail(reason) {
    this.session?.stop();
    this.session = null;
    this.rival?.stop();
    this.setRunning(false);
    this.keep.disabled = true;
    this.tell(`The training has stopped: ${reason} Press Train to begin again.`, true);
  }

  // ---------------------------------------------------------------- what is heard

  /** @param {Report} report */
  hear(report) {
    this.heardAt = performance.now();
    switch (report.type) {
      case "ready":
        this.ready = report;
        this.keep.disabled = false;
        set(this.root, { "data-way": report.way, "data-worker": report.worker });
        return;
      case "frame":
        return this.take(report);
      case "answer":
        return this.answer.show(report.probabilities);
      case "file":
        return this.offer(report.bytes);
      case "refused":
        return this.tell(report.reason, true);
      case "failed":
        return this.fail(`${report.reason.replace(/[.]?$/, ".")}`);
    }
  }

  /** @param {Extract<Report, {type: "frame"}>} report */
  take(report) {
    const { frame, speed, running, fresh } = report;
    record(this, report);
    if (fresh) {
      this.diverged = null;
      this.rival?.restart(this.running); // they begin together
    }
    if (this.diverged === null) {
      const first = frame.losses.findIndex((loss) => !Number.isFinite(loss));
      if (first >= 0) this.diverged = frame.steps - frame.losses.length + first + 1;
    }
    if (speed) this.speed = speed;
    if (frame.finished && this.running) {
      this.setRunning(false);
      this.tell(this.summary("Done"), this.diverged !== null);
    } else if (running && this.running) this.told();
    else if (!running && !this.running && frame.steps && !this.hiddenPause)
      this.tell(this.summary(frame.finished ? "Done" : "Paused"), this.diverged !== null);
    set(this.root, { "data-steps": frame.steps });
    if (performance.now() - this.newsAt > NEWS || !this.running) {
      this.newsAt = performance.now();
      this.tellKernel(this.results());
    }
    this.ask();
  }

  /** How far the training has come, for a kernel. @returns {State} */
  results() {
    const number = (/** @type {number | undefined} */ value) =>
      value === undefined || !Number.isFinite(value) ? null : value;
    return {
      step: this.latest?.steps ?? 0,
      loss: number(this.losses.at(-1)),
      accuracy: number(this.scores.at(-1)?.unseen),
    };
  }

  /** While it trains little is said: a reader would hear every word. */
  told() {
    const { patient } = this.settings;
    if (this.diverged !== null) this.tell(this.divergence(), true);
    else if (this.trouble) this.tell(this.trouble, true);
    else if (patient) this.tell(`It trains. \u201c${PATIENTS[patient - 1].complaint}\u201d What do you see?`);
    else this.tell("It trains.");
  }

  divergence() {
    const { diverged, settings } = this;
    const what = `The loss is not a number since step ${diverged}, and from there on nothing is learned.`;
    // What a patient has is for the reader to find.
    if (settings.patient) return `${what} What do you see?`;
    return `${what} Usually the rate is too high: lower it, and start again.`;
  }

  /** @param {string} word */
  summary(word) {
    const score = this.scores.at(-1);
    const { latest } = this;
    if (!score || !latest) return `${word}.`;
    if (this.diverged !== null) return this.divergence();
    const loss = this.losses.at(-1);
    const among = score.whole ? "all digits that were held out" : "some digits that were held out";
    return `${word} after ${count(latest.steps, "step")}: loss ${loss === undefined ? "unknown" : format(loss)}, ${percent(score.unseen)} of ${among}, ${percent(score.training)} of those it learned from.${this.rivalSummary()}`;
  }

  /** @param {Uint8Array} bytes */
  offer(bytes) {
    const href = URL.createObjectURL(new Blob([bytes.slice()], { type: "application/octet-stream" }));
    h("a", { download: "my-network.mnistnet", href }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10000);
    this.tell(
      `Your network is in my-network.mnistnet, ${Math.round(bytes.length / 1024)} kB. Open it at a drawing pad, under \u201cYour own network\u201d, and it reads there, too.`,
      false,
      true,
    );
  }

  read() {
    this.session?.tell({ type: "read", image: preprocess(this.sheet.strokes) });
  }

  // ---------------------------------------------------------------- what is seen

  /** Draw with the next frame of the screen. */
  ask() {
    if (this.frameAsked) return;
    this.frameAsked = requestAnimationFrame((now) => {
      this.frameAsked = 0;
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (calm && this.running && now - this.drawnAt < CALM) return this.ask();
      this.drawnAt = now;
      this.draw();
    });
  }

  /** Of the digits, and of who computes. */
  facts() {
    if (!this.ready) return "";
    const { training, heldOut, source, worker, way } = this.ready;
    const all = training.toLocaleString("en");
    const { digits } = this.settings;
    const chosen = digits < training ? `${digits.toLocaleString("en")} of ${all}` : all;
    const held = heldOut.toLocaleString("en");
    const where = worker ? "in a worker" : "in the page";
    const how = way === "plain" ? "without SIMD" : "with SIMD";
    return `${chosen} digits to learn from, ${held} held out (${source}); ${where}, ${how}.`;
  }

  draw() {
    const { latest } = this;
    if (this.width <= 0 || !latest) return;
    const half = this.width < 34 * 16 ? this.width : (this.width - 20) / 2;
    this.drawCharts(latest, Math.floor(half));
    this.drawPictures(latest, Math.floor(half));
    this.table.show(latest.layers);
    this.guess.show(latest.probabilities);
    const speed = this.speed ? `, ${Math.round(this.speed).toLocaleString("en")} digits a second` : "";
    this.numbers.textContent = `Step ${latest.steps} of ${latest.goal}, rate ${short(latest.rate)}${speed}; ${this.facts()}`;
    const drawn = Number(this.root.dataset.frames ?? 0) + 1;
    set(this.root, { "data-frames": drawn });
  }

  /** @param {Frame} latest @param {number} width */
  drawCharts({ steps, goal }, width) {
    const { losses, scores, rival } = this;
    const room = { steps: Math.max(steps, goal, rival?.latest?.goal ?? 0, rival?.latest?.steps ?? 0), width };
    const note = this.diverged === null ? "" : `not a number since step ${this.diverged}`;
    // It is that of the batches, so it has the colour of the digits that are learned from.
    const curve = { name: "loss", colour: "positive", dash: [], points: thinned(losses) };
    const other = { name: "the other", colour: "muted", dash: [2, 2] };
    const others = rival ? [{ ...other, points: thinned(rival.losses) }] : [];
    this.loss.draw([...others, curve], { ...room, ...lossScale(losses.concat(rival?.losses ?? [])), note });
    const unseen = scoreCurves(rival?.scores ?? []).slice(1);
    const curves = [...unseen.map(({ points }) => ({ ...other, points })), ...scoreCurves(scores)];
    this.accuracy.draw(curves, { ...room, top: 100, marks: [0, 25, 50, 75, 100] });
    if (this.running) return; // words for what moves would be old at once
    const last = losses.at(-1);
    this.loss.tell(
      last === undefined
        ? "nothing yet"
        : `${format(losses[0])} at first, ${format(last)} after ${count(steps, "step")}`,
    );
    const score = scores.at(-1);
    if (score)
      this.accuracy.tell(
        `${percent(score.training)} of the digits it learns from, ${percent(score.unseen)} of others`,
      );
  }

  /** @param {Frame} latest @param {number} width */
  drawPictures({ kernels, gradients, kernel, maps, digit }, width) {
    const colours = (this.colours ??= palettes(this.root));
    const channels = kernels.length / kernel ** 2;
    this.kernels.draw(kernels, [channels, kernel], { width, colours, signed: true });
    this.gradients.draw(gradients, [channels, kernel], { width, colours, signed: true });
    this.digit.draw(Float32Array.from(digit), [1, 28], { width, colours, signed: false });
    maps.forEach(({ values, channels: many, size }, index) => {
      this.maps[index].draw(byChannel(values, many), [many, size], { width, colours, signed: true });
    });
  }

  // ---------------------------------------------------------------- the page around it

  /** Follow theme, width, address and whether the page is seen. */
  start() {
    const listening = new AbortController();
    const { signal } = listening;
    document.addEventListener("visibilitychange", () => this.seen(!document.hidden), { signal });
    if (this.address) {
      addEventListener(
        "hashchange",
        () => {
          const { hash } = location; // taking the settings writes another
          const settings = readAddress(hash);
          if (!settings) return;
          this.controls.take(settings);
          this.readRace(hash);
          this.root.scrollIntoView({ block: "nearest" });
        },
        { signal },
      );
    }
    const timer = setInterval(() => this.listen(), 5000);
    this.stops = [
      watchTheme(() => {
        this.colours = null;
        this.ask();
      }),
      watchWidth(this.loss.element.parentElement ?? this.root, (width) => {
        this.width = width;
        this.ask();
      }),
      () => listening.abort(),
      () => clearInterval(timer),
    ];
  }

  /** The race that an address tells of, if it does; another that is on is over. @param {string} hash */
  readRace(hash) {
    const other = readRival(hash, this.settings);
    if (this.rival) this.endRace(other ? "Another race." : "The race is over.");
    if (!other) return;
    this.beginRace(other);
    if (this.session) this.restart();
  }

  /** Nobody trains where nobody looks. @param {boolean} visible */
  seen(visible) {
    if (visible) this.rival?.release();
    else this.rival?.hold();
    if (!visible && this.running) {
      this.order("pause");
      this.hiddenPause = true;
      this.tell("Paused while the page was out of sight.");
    } else if (visible && this.hiddenPause) this.order("run");
  }

  /** A worker that has died says nothing. */
  listen() {
    if (!this.running || this.loading || performance.now() - this.heardAt < SILENCE) return;
    this.fail("it has not answered for some time.");
  }

  destroy() {
    for (const stop of this.stops ?? []) stop();
    this.session?.stop();
    this.rival?.stop();
    this.sheet.destroy();
    cancelAnimationFrame(this.frameAsked);
  }
}

/** Settings to begin with: less on a device that is held in the hand. @param {Record<string, unknown>} options */
function firstSettings(options) {
  const given = Object.keys(options).some((name) => Object.hasOwn(START, name));
  const small = matchMedia("(pointer: coarse)").matches && !given;
  const patient = Number(checked("patient", options.patient) ?? 0);
  const settings =
    patient || options.network === "clinic" ? patientSettings(patient) : small ? { ...SMALL } : { ...START };
  for (const [name, value] of Object.entries(options)) {
    const allowed = Object.hasOwn(START, name) ? checked(name, value) : undefined;
    if (allowed !== undefined) Object.assign(settings, { [name]: allowed });
  }
  return settings;
}

/**
 * Put the figure into `el`.
 *
 * @param {HTMLElement} el
 * @param {Record<string, unknown>} [options] settings to begin with
 * @param {GetDigits | null} [getDigits] where digits come from, if not from beside the page
 * @param {Tell} [tell] the kernel behind a widget
 * @returns {Settable}
 */
export function mount(el, options = {}, getDigits = null, tell = () => {}) {
  const picture = el.querySelector("figure");
  const root = frame(el, { name: "train-here", title: "Train it here", hint: HINT });
  addStyle("train-here", STYLE);
  if (picture) el.append(h("div", { class: "th-print", "aria-hidden": "true" }, picture));
  const address = !getDigits && !addressed;
  addressed ||= address;
  const { hash } = location;
  const given = address ? readAddress(hash) : null;
  const settings = given ?? firstSettings(options);
  const figure = new TrainHere(root, { settings, getDigits: getDigits ?? pageDigits, address, tell });
  figure.start();
  if (given) figure.readRace(hash);
  return {
    take: (values) => figure.steer(values),
    destroy() {
      figure.destroy();
      if (address) addressed = false;
      el.replaceChildren();
    },
  };
}

/** Digits from the kernel behind a widget. @param {WidgetModel} model @returns {GetDigits} */
const fromKernel = (model) => () =>
  new Promise((resolve, reject) => {
    const view = Math.random().toString(36).slice(2);
    const late = () => {
      model.off("msg:custom", receive);
      reject(
        new Error(
          "the kernel did not send the digits. If it is busy, wait; if it is gone, run the cell again.",
        ),
      );
    };
    const timer = setTimeout(late, PATIENCE);
    /** @param {any} message @param {ArrayBufferView[]} buffers */
    function receive(message, buffers) {
      if (message?.type !== "digits" || message.view !== view) return;
      clearTimeout(timer);
      model.off("msg:custom", receive);
      const { buffer, byteOffset, byteLength } = buffers[0];
      resolve({ bytes: new Uint8Array(buffer, byteOffset, byteLength), source: message.source });
    }
    model.on("msg:custom", receive);
    model.send({ type: "digits", view });
  });

/** What anywidget calls. @param {{model: WidgetModel, el: HTMLElement}} view */
function render(view) {
  const digits = fromKernel(view.model);
  return sharing((el, options, tell) => mount(el, options, digits, tell), SPEC)(view);
}

export default { render };

// What steers a training: a control for each setting.

import { fold, h, numberOf, select, set } from "./dom.js";
import { PATIENTS, RANGES, SMALL, START, patientSettings } from "./training-settings.js";

/** @import { Settings } from "./types" */

/** What a choice is called. @type {Record<string, Record<string, string>>} */
const WORDS = {
  network: { fast: "three convolutions (fast)", clinic: "two convolutions (clinic)" },
  optimizer: { sgd: "SGD", nesterov: "SGD, Nesterov", adam: "Adam" },
  activation: {
    gelu: "GELU",
    relu: "ReLU",
    "leaky relu": "leaky ReLU",
    tanh: "tanh",
    sigmoid: "sigmoid",
    none: "none",
  },
  schedule: { triangular: "up and down", constant: "constant" },
  channels: { 8: "8", 16: "16", 24: "24", 32: "32" },
  batch: { 16: "16", 32: "32", 50: "50", 64: "64", 128: "128", 256: "256" },
};
const LABELS = /** @type {const} */ ({
  rate: "Learning rate",
  optimizer: "Optimiser",
  momentum: "Momentum",
  schedule: "Rate over time",
  batch: "Batch size",
  smoothing: "Label smoothing",
  dropout: "Dropout",
  activation: "Activation",
  steps: "Steps",
  digits: "Digits to learn from",
  network: "Network",
  channels: "Channels",
  norm: "Batch norm",
  seed: "Seed",
});
/**
 * A setting in words: `learning rate 0.2`, or `0.2` alone.
 *
 * @param {keyof Settings} name
 * @param {Settings} settings
 * @param {boolean} [whole] with its name
 */
export function inWords(name, settings, whole = true) {
  if (name === "patient") return settings.patient ? `the fault of patient ${settings.patient}` : "no fault";
  const value = settings[name];
  const word =
    WORDS[name]?.[String(value)] ?? (value === true ? "on" : value === false ? "off" : String(value));
  const label = /** @type {string} */ (Reflect.get(LABELS, name));
  return whole ? `${label.toLowerCase()} ${word}` : word;
}

const STEPS = { momentum: 0.05, smoothing: 0.05, dropout: 0.1 };
const OWN = "own";
const FIRST = "first";

/** @typedef {keyof typeof LABELS} Name */

/** The rate on a slider: tenths of a power of ten. @param {number} rate */
const toSlider = (rate) => Math.round(10 * Math.log10(rate));
/** @param {number} position */
const toRate = (position) => Number((10 ** (position / 10)).toPrecision(2));

export class Controls {
  /** @type {Map<Name, HTMLInputElement | HTMLSelectElement>} */
  fields = new Map();
  rateShown = h("b", { "aria-hidden": "true" });

  /**
   * @param {Settings} settings
   * @param {(settings: Settings) => void} change called with all settings, whenever one is another
   * @param {(range: string) => void} refuse told what a number may be, where one was typed that may not
   */
  constructor(settings, change, refuse) {
    this.first = this.settings = settings;
    this.change = change;
    this.refuse = refuse;
    this.preset = this.presets();
    this.element = fold(
      "Settings",
      "everything but the network can be changed while it trains",
      h("div", { class: "th-fields" }, ...this.labels()),
      h(
        "p",
        { class: "th-small" },
        "Network, channels, batch norm and seed begin with new weights. The seed draws the weights and the order of the digits: the same seed gives the same training.",
      ),
    );
    this.show(settings);
  }

  /** The choice of a recipe or a patient. */
  presets() {
    const patients = PATIENTS.map(({ name }, index) =>
      h("option", { value: index + 1 }, `Patient ${index + 1}: ${name.toLowerCase()}`),
    );
    const own = this.presetOf(this.first) === FIRST;
    const first = own ? [h("option", { value: FIRST }, "What this page begins with")] : [];
    const element = h(
      "select",
      { class: "th-preset" },
      h("option", { value: "fast" }, "The recipe “sprint”, 192 steps"),
      h("option", { value: "small" }, "The same, smaller, for a phone"),
      h("option", { value: "0" }, "The clinic: healthy"),
      ...patients,
      ...first,
      h("option", { value: OWN, disabled: true }, "Your own"),
    );
    element.addEventListener("change", () => {
      const { pace } = this.settings;
      /** @type {Record<string, Settings>} */
      const recipes = { fast: START, small: SMALL, [FIRST]: this.first };
      const settings = recipes[element.value] ?? patientSettings(Number(element.value));
      this.take({ ...settings, pace });
    });
    return element;
  }

  labels() {
    return /** @type {Name[]} */ (Object.keys(LABELS)).map((name) => {
      const field = this.field(name);
      this.fields.set(name, field);
      field.addEventListener(name === "rate" ? "input" : "change", () => this.read(name, field));
      const shown = name === "rate" ? [this.rateShown] : [];
      return h("label", {}, h("span", {}, LABELS[name]), field, ...shown);
    });
  }

  /** @param {Name} name */
  field(name) {
    if (name === "norm") return h("input", { type: "checkbox" });
    if (name === "rate") return h("input", { type: "range", min: -60, max: 20, step: 1 });
    if (name in WORDS) {
      const element = select(Object.keys(WORDS[name]));
      for (const option of element.options) option.text = WORDS[name][option.value];
      return element;
    }
    const [min, max, whole] = RANGES[name];
    const step = whole ? 1 : Reflect.get(STEPS, name);
    return h("input", { type: "number", min, max, step: whole ? step : "any", inputmode: "decimal" });
  }

  /** @param {Name} name @param {HTMLInputElement | HTMLSelectElement} field */
  read(name, field) {
    /** @type {unknown} */
    let value = field.value;
    if (field instanceof HTMLInputElement) {
      if (name === "norm") value = field.checked;
      else if (name === "rate") value = toRate(field.valueAsNumber);
      else if ((value = numberOf(field)) === null) {
        const [low, high] = RANGES[name].map((limit) => limit.toLocaleString("en"));
        return this.refuse(`${LABELS[name]}: a number from ${low} to ${high}.`);
      }
    } else if (name in RANGES) value = Number(value);
    this.take({ ...this.settings, [name]: value });
  }

  /** @param {Settings} settings */
  take(settings) {
    this.show(settings);
    this.change(settings);
  }

  /** Show settings. @param {Settings} settings */
  show(settings) {
    this.settings = settings;
    for (const [name, field] of this.fields) {
      const value = settings[name];
      if (field instanceof HTMLInputElement && name === "norm") field.checked = Boolean(value);
      else if (name === "rate") field.value = String(toSlider(settings.rate));
      else field.value = String(value);
      if (field instanceof HTMLSelectElement && !field.value) {
        field.add(new Option(String(value), String(value))); // a number that is not offered
        field.value = String(value);
      }
      set(field, { "aria-invalid": null });
    }
    this.rateShown.textContent = String(settings.rate);
    set(/** @type {Element} */ (this.fields.get("rate")), { "aria-valuetext": String(settings.rate) });
    this.preset.value = this.presetOf(settings);
  }

  /** The preset that settings are, if they are one. @param {Settings} settings */
  presetOf(settings) {
    const same = (/** @type {Settings} */ other) =>
      /** @type {(keyof Settings)[]} */ (Object.keys(other)).every(
        (name) => name === "pace" || other[name] === settings[name],
      );
    if (same(START)) return "fast";
    if (same(SMALL)) return "small";
    if (settings.patient || same(patientSettings(0))) return String(settings.patient);
    return same(this.first) ? FIRST : OWN;
  }
}

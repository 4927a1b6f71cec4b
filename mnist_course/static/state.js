// What can be set of a figure: which values are allowed, how they stand in an address, and how a
// widget shares them with Python and with other widgets.

import { clamp } from "./numbers.js";

/** @import { Mounted, WidgetModel } from "./types" */
/** @typedef {(value: unknown) => any} Check gives a value as it is allowed, or undefined */
/** @typedef {Record<string, Check>} Spec what can be set, by name */
/** @typedef {Record<string, any>} State */
/** @typedef {(values: State) => void} Tell hears what the reader has changed */
/** @typedef {Mounted & {take: Tell}} Settable a figure that can be set from outside */

/** @param {number} low @param {number} high @returns {Check} */
export const toNumber = (low, high) => (value) =>
  typeof value === "number" && Number.isFinite(value) ? clamp(value, low, high) : undefined;

/** @param {number} low @param {number} high @returns {Check} */
export const aWhole = (low, high) => (value) =>
  typeof value === "number" && Number.isFinite(value) ? clamp(Math.round(value), low, high) : undefined;

/** @param {readonly string[]} words @returns {Check} */
export const aWord = (words) => (value) =>
  typeof value === "string" && words.includes(value) ? value : undefined;

/** @type {Check} */
export const aFlag = (value) => (typeof value === "boolean" ? value : undefined);

/** A list of `length` things. @param {number} length @param {Check} check @returns {Check} */
export const aList = (length, check) => (value) => {
  if (!Array.isArray(value) || value.length !== length) return undefined;
  const checked = value.map(check);
  return checked.includes(undefined) ? undefined : checked;
};

/**
 * Those values that a figure has and allows.
 *
 * @param {Spec} spec
 * @param {State} values
 * @returns {State}
 */
export function allowed(spec, values) {
  const checked = Object.entries(spec).map(([name, check]) => [name, check(values[name])]);
  return Object.fromEntries(checked.filter(([, value]) => value !== undefined));
}

/** A value of an address: a number, a list, true or false; or else a word. @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const written = (/** @type {unknown} */ value) => (typeof value === "string" ? value : JSON.stringify(value));

/**
 * What an address sets of a figure; null where it speaks of something else.
 *
 * @param {string} hash "#valley?rate=0.5&rule=adam"
 * @param {string} name of the figure
 * @param {Spec} spec
 */
export function readState(hash, name, spec) {
  const [place, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  if (place !== name) return null;
  const given = [...new URLSearchParams(query)].map(([key, text]) => [key, parse(text)]);
  return allowed(spec, Object.fromEntries(given));
}

/**
 * The shortest address: it names what differs from `usual`.
 *
 * @param {string} name
 * @param {State} state
 * @param {State} usual
 */
export function writeState(name, state, usual) {
  const parts = Object.keys(usual)
    .filter((key) => written(state[key]) !== written(usual[key]))
    .map((key) => `${key}=${encodeURIComponent(written(state[key])).replaceAll("%2C", ",")}`);
  return `#${name}${parts.length ? "?" : ""}${parts.join("&")}`;
}

/** The figures of this page whose state stands in the address: the first of each name. @type {Set<string>} */
const addressed = new Set();
const PAUSE = 250; // ms; browsers refuse addresses that change faster than some times a second

/**
 * Make a figure that begins with its usual state, or with that of the address; from then on the
 * address follows the figure, and the figure the address. A widget, whose kernel hears of changes,
 * has no address.
 *
 * @param {string} name
 * @param {Spec} spec
 * @param {State} usual
 * @param {Tell | null} tell the kernel; null on a page
 * @param {(state: State, tell: Tell) => Settable} make
 * @returns {Settable}
 */
export function connect(name, spec, usual, tell, make) {
  if (tell || addressed.has(name)) return make({ ...usual }, tell ?? (() => {}));
  addressed.add(name);
  const state = { ...usual, ...readState(location.hash, name, spec) };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const write = () => history.replaceState(history.state, "", writeState(name, state, usual));
  const figure = make({ ...state }, (values) => {
    Object.assign(state, values);
    clearTimeout(timer);
    timer = setTimeout(write, PAUSE);
  });
  const follow = () => {
    const given = readState(location.hash, name, spec);
    if (given) figure.take(Object.assign(state, usual, given));
  };
  addEventListener("hashchange", follow);
  return {
    take: (values) => figure.take(values),
    destroy() {
      removeEventListener("hashchange", follow);
      clearTimeout(timer);
      addressed.delete(name);
      figure.destroy();
    },
  };
}

/**
 * What anywidget calls to show a figure whose state it shares: what the reader changes, Python can
 * read and observe, and what is set in Python, or linked to another widget, the figure shows.
 *
 * @param {(el: HTMLElement, options: any, tell: Tell) => Settable} mount
 * @param {Spec} spec
 */
export function sharing(mount, spec) {
  const names = Object.keys(spec);
  return (/** @type {{model: WidgetModel, el: HTMLElement}} */ { model, el }) => {
    // What is null in Python is as the figure has it.
    const shared = () =>
      Object.fromEntries(
        names
          .map((name) => [name, model.get(name)])
          .filter(([, value]) => value !== null && value !== undefined),
      );
    let telling = false; // a figure need not hear what it has said itself
    const figure = mount(el, { ...model.get("options"), ...shared() }, (values) => {
      telling = true;
      for (const [name, value] of Object.entries(values)) {
        if (written(value) !== written(model.get(name))) model.set(name, value);
      }
      telling = false;
      model.save_changes();
    });
    const changed = () => {
      if (!telling) figure.take(shared());
    };
    for (const name of names) model.on(`change:${name}`, changed);
    return () => {
      for (const name of names) model.off(`change:${name}`, changed);
      figure.destroy();
    };
  };
}

// Where a browser keeps the digits that its reader saved.
//
// Several pages may be open, and one that was left and is shown again has not heard what happened
// meanwhile. So every change is made to what is stored at that moment, never to what a page remembers.

import { VERSION, SamplesError, checkSample, writeSamples } from "./samples.js";

/** @import { Sample, Shelf } from "./types" */
/** @typedef {{digits: Sample[], aside: unknown[], newer: boolean}} Content */
/** @typedef {(digits: Sample[]) => Sample[]} Edit */

const STORED = "mnist-course-digits";

/** The text that is stored; null for none, undefined where storage is blocked. */
function storedText() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return undefined;
  }
}

/**
 * What a stored text holds. Nothing in it is lost: what cannot be read is kept aside, and what a newer
 * edition has written is left alone. The browser has a limit of its own for what it stores.
 *
 * @param {string | null} text
 * @returns {Content}
 */
function open(text) {
  if (!text) return { digits: [], aside: [], newer: false };
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    // It is not ours.
  }
  if (typeof content?.version === "number" && content.version > VERSION)
    return { digits: [], aside: [], newer: true };
  if (content?.version !== VERSION || !Array.isArray(content.digits))
    return { digits: [], aside: [text], newer: false };
  /** @type {Sample[]} */
  const digits = [];
  const aside = Array.isArray(content.aside) ? [...content.aside] : [];
  const { version, digits: _, ...others } = content;
  if (Array.isArray(others.aside)) delete others.aside;
  if (Object.keys(others).length) aside.push(others); // we wrote none of it
  for (const digit of content.digits) {
    try {
      digits.push(checkSample(digit));
    } catch {
      aside.push(digit);
    }
  }
  return { digits, aside, newer: false };
}

/**
 * The text that holds digits and what was put aside; null for nothing.
 *
 * @param {Sample[]} digits
 * @param {unknown[]} aside
 */
function textFor(digits, aside) {
  const text = writeSamples(digits);
  if (aside.length) return `${text.slice(0, -1)},"aside":${JSON.stringify(aside)}}`;
  return digits.length ? text : null;
}

/**
 * Store a text, or nothing. Returns whether the browser has taken it: it may be full, or blocked.
 *
 * @param {string | null} text
 */
function store(text) {
  try {
    if (text === null) localStorage.removeItem(STORED);
    else localStorage.setItem(STORED, text);
    return true;
  } catch {
    return false;
  }
}

/** @implements {Shelf} */
export class BrowserShelf {
  place = "in this browser";
  waiting = false;
  /** @type {Set<() => void>} */
  watchers = new Set();
  /** Changes that could not be stored: they live as long as the page. @type {Edit[]} */
  pending = [];
  /** @type {string | null} */
  text = storedText() ?? null;
  content = open(this.text);

  constructor() {
    const look = () => this.look() && this.tell();
    globalThis.addEventListener("storage", look);
    globalThis.addEventListener("pageshow", look); // a page that was left hears nothing until then
  }

  get aside() {
    return this.content.aside;
  }

  get newer() {
    return this.content.newer;
  }

  get() {
    return this.pending.reduce(edited, this.content.digits);
  }

  /** @param {Edit} edit */
  change(edit) {
    this.look();
    edit(this.get()); // throws here or not at all
    this.pending.push(edit);
    this.save(this.aside);
    this.tell();
    return !this.pending.length;
  }

  forgetAside() {
    this.look();
    this.save([]);
    this.tell();
  }

  /** @param {() => void} changed */
  watch(changed) {
    this.watchers.add(changed);
    return () => this.watchers.delete(changed);
  }

  /** Read what is stored now. Returns whether it has changed. */
  look() {
    const text = storedText();
    if (text === undefined || text === this.text) return false; // what we know is all there is to know
    this.text = text;
    this.content = open(text);
    return true;
  }

  /** @param {unknown[]} aside */
  save(aside) {
    const digits = this.get();
    const text = textFor(digits, aside);
    if (this.newer || !store(text)) return;
    this.text = text;
    this.content = { digits, aside, newer: false };
    this.pending = [];
  }

  tell() {
    for (const changed of this.watchers) changed();
  }
}

/**
 * The digits after a change, which what another page has saved may have made impossible.
 *
 * @param {Sample[]} digits
 * @param {Edit} edit
 */
function edited(digits, edit) {
  try {
    return edit(digits);
  } catch (error) {
    if (error instanceof SamplesError) return digits;
    throw error;
  }
}

/** @type {BrowserShelf | null} */
let shelf = null;

/** The digits of this browser, one shelf for all pads of a page. */
export function browserShelf() {
  return (shelf ??= new BrowserShelf());
}

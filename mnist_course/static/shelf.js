// Where a browser keeps the digits that its reader saved.

import { readSamples, writeSamples } from "./samples.js";

/** @import { Sample, Shelf } from "./types" */

const STORED = "mnist-course-digits";

/** What is stored; storage may be blocked, or hold what is not ours. @returns {Sample[]} */
function stored() {
  try {
    const text = localStorage.getItem(STORED);
    return text === null ? [] : readSamples(text, Infinity); // the browser has a limit of its own
  } catch {
    return [];
  }
}

/** @param {Sample[]} digits @returns {boolean} whether they are stored now */
function store(digits) {
  try {
    if (digits.length) localStorage.setItem(STORED, writeSamples(digits));
    else localStorage.removeItem(STORED);
    return true;
  } catch {
    return false;
  }
}

/** @returns {Shelf} */
function makeShelf() {
  /** @type {Set<() => void>} */
  const watchers = new Set();
  const tell = () => watchers.forEach((changed) => changed());
  let digits = stored();
  globalThis.addEventListener("storage", (event) => {
    if (event.key !== STORED && event.key !== null) return;
    digits = stored();
    tell();
  });
  return {
    place: "in this browser",
    get: () => digits,
    set(next) {
      digits = next;
      const kept = store(next);
      tell();
      return kept;
    },
    watch(changed) {
      watchers.add(changed);
      return () => watchers.delete(changed);
    },
  };
}

/** @type {Shelf | null} */
let shelf = null;

/**
 * The digits of this browser, one shelf for all pads of a page, and for other pages of the book.
 * Where nothing can be stored, they live as long as the page.
 */
export function browserShelf() {
  return (shelf ??= makeShelf());
}

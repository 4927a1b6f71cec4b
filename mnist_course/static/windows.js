// Windows in a row of pixels: which places each of them reads, what is never read, and why.

import { count, outputSize, range } from "./numbers.js";

/** @import { Row, Windows } from "./types" */

/**
 * How many places a dilated kernel spans, from its first to its last.
 *
 * @param {Windows} windows
 */
export function span({ k, d }) {
  return d * (k - 1) + 1;
}

/**
 * The pixels that the window of one output reads; numbers outside 0 ... n - 1 are padding.
 *
 * @param {Windows} windows
 * @param {number} output
 */
export function taps({ k, s, p, d }, output) {
  return range(0, k).map((u) => output * s - p + u * d);
}

/**
 * The pixels that no window reads: `dropped` lie behind the last window, because of the floor;
 * `skipped` lie between the places that the windows read.
 *
 * @param {Row} row
 */
export function unread(row) {
  const { n, s, p } = row;
  const outputs = outputSize(n, row);
  const read = new Set(range(0, outputs).flatMap((output) => taps(row, output)));
  const missed = range(0, n).filter((pixel) => !read.has(pixel));
  const end = (outputs - 1) * s - p + span(row);
  return { dropped: missed.filter((pixel) => pixel >= end), skipped: missed.filter((pixel) => pixel < end) };
}

/**
 * What there is to say about a row and its windows, in sentences.
 *
 * @param {Row} row
 */
export function explain(row) {
  const { n, s, p } = row;
  const outputs = outputSize(n, row);
  const padded = n + 2 * p;
  if (!outputs) {
    return `No window fits: the kernel spans d(k \u2212 1) + 1 = ${span(row)} places, but the padded row has only n + 2p = ${padded}. PyTorch raises an error. Make k or d smaller, or n or p larger.`;
  }
  const sentences = [
    `A row of ${count(n, "pixel")} gives ${count(outputs, "output")}; a picture of ${n} × ${n} gives ${outputs} × ${outputs}.`,
  ];
  const { dropped, skipped } = unread(row);
  const rest = (padded - span(row)) % s;
  if (dropped.length) {
    sentences.push(
      `The division leaves ${rest} over, and the floor drops it: ${list(dropped)} never read, for another step of ${s} would leave the row.`,
    );
  } else if (rest) {
    sentences.push(`The division leaves ${rest} over, but only padding is dropped there.`);
  }
  if (skipped.length) sentences.push(`${capital(list(skipped))} stepped over: no window reads there.`);
  if (!dropped.length && !skipped.length) sentences.push("Every pixel is read.");
  const empty = range(0, outputs).filter((output) =>
    taps(row, output).every((place) => place < 0 || place >= n),
  ).length;
  if (empty) {
    sentences.push(
      `${count(empty, "output")} of the row ${empty === 1 ? "sees" : "see"} nothing but padding.`,
    );
  }
  return sentences.join(" ");
}

/**
 * `pixel 9 is`, `pixels 2, 5 and 8 are`.
 *
 * @param {number[]} pixels
 */
function list(pixels) {
  if (pixels.length === 1) return `pixel ${pixels[0]} is`;
  return `pixels ${pixels.slice(0, -1).join(", ")} and ${pixels.at(-1)} are`;
}

const capital = (/** @type {string} */ text) => text[0].toUpperCase() + text.slice(1);

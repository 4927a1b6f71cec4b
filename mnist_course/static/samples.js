// Digits that a reader drew and labelled, as samples.py has them: checked, read, written, merged.
//
// A sample is {label, strokes, time}: the strokes, not a picture, so that it can be prepared again.
// Whatever comes from a file or from storage is a stranger's until checkSample has copied it.

import { isCoordinate } from "./strokes.js";

/** @import { Point, Sample, Stroke } from "./types" */

export const VERSION = 1;
export const MOST_BYTES = 4 << 20;
export const MOST_DIGITS = 2000;
export const MOST_STROKES = 50;
export const MOST_POINTS = 2000;

/** Why digits were refused, in a sentence for the reader. */
export class SamplesError extends Error {}

/**
 * @param {unknown} condition
 * @param {string} reason
 * @returns {asserts condition}
 */
function check(condition, reason) {
  if (!condition) throw new SamplesError(reason);
}

/**
 * @param {unknown} value
 * @param {number} most
 * @returns {value is unknown[]}
 */
const isList = (value, most) => Array.isArray(value) && value.length > 0 && value.length <= most;

/**
 * A copy of a digit that holds nothing but what a digit holds.
 *
 * @param {any} digit
 * @param {string} [name] what it is called in the reason
 * @returns {Sample}
 * @throws {SamplesError} if it is not one
 */
export function checkSample(digit, name = "this digit") {
  check(typeof digit === "object" && digit !== null && !Array.isArray(digit), `${name} is not an object`);
  const { label, strokes, time = 0 } = digit;
  check(
    Number.isInteger(label) && label >= 0 && label <= 9,
    `the label of ${name} is not a whole number from 0 to 9`,
  );
  check(isList(strokes, MOST_STROKES), `${name} does not have 1 to ${MOST_STROKES} strokes`);
  check(Number.isSafeInteger(time) && time >= 0, `the time of ${name} is not in milliseconds`);
  return {
    label: label + 0, // zero has no sign
    strokes: strokes.map((stroke) => checkStroke(stroke, name)),
    time: time + 0,
  };
}

/**
 * @param {unknown} stroke
 * @param {string} name
 * @returns {Stroke}
 */
function checkStroke(stroke, name) {
  check(isList(stroke, MOST_POINTS), `a stroke of ${name} does not have 1 to ${MOST_POINTS} points`);
  return stroke.map((point) => {
    check(
      isList(point, 2) && point.length === 2 && point.every(isCoordinate),
      `a point of ${name} is not a pair of numbers`,
    );
    return /** @type {Point} */ (point.map((coordinate) => Number(coordinate) + 0));
  });
}

/**
 * Copies of a list of digits.
 *
 * @param {unknown} digits
 * @throws {SamplesError} if one of them is not a digit, or they are too many
 */
export function checkSamples(digits) {
  check(Array.isArray(digits), "there is no list of digits in it");
  check(digits.length <= MOST_DIGITS, `it holds more than ${MOST_DIGITS} digits`);
  return digits.map((digit, index) => checkSample(digit, `digit ${index + 1}`));
}

/**
 * The text of a file.
 *
 * @param {BufferSource} bytes
 * @throws {SamplesError} if it is not UTF-8
 */
export function decode(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new SamplesError("it is not JSON");
  }
}

/**
 * The digits in the text of a `my-digits.json`.
 *
 * @param {string} text
 * @param {number} [mostBytes]
 * @throws {SamplesError} that says why not
 */
export function readSamples(text, mostBytes = MOST_BYTES) {
  check(text.length <= mostBytes, `it is larger than ${MOST_BYTES >> 20} MB`);
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    throw new SamplesError("it is not JSON");
  }
  check(content?.version === VERSION, "it is not a file of digits from this course");
  return checkSamples(content.digits);
}

// A digit is never changed: each is written out once, and not all two thousand for every new one.
/** @type {WeakMap<Sample, string>} */
const texts = new WeakMap();

/**
 * The text of one digit: the same for two that are the same.
 *
 * @param {Sample} digit
 */
function textOf(digit) {
  const { label, strokes, time } = digit;
  const text = texts.get(digit) ?? JSON.stringify({ label, strokes, time });
  texts.set(digit, text);
  return text;
}

/**
 * The text of a `my-digits.json`.
 *
 * @param {Sample[]} digits
 */
export function writeSamples(digits) {
  return `{"version":${VERSION},"digits":[${digits.map(textOf).join()}]}`;
}

/**
 * `digits` without those that are among `others`.
 *
 * @param {Sample[]} digits
 * @param {Sample[]} others
 */
export function without(digits, others) {
  const gone = new Set(others.map(textOf));
  return digits.filter((digit) => !gone.has(textOf(digit)));
}

/**
 * `digits`, and those of `others` that are not among them.
 *
 * @param {Sample[]} digits
 * @param {Sample[]} others
 * @param {number} [mostBytes]
 * @throws {SamplesError} if together they are too many, or too large to be read again
 */
export function merged(digits, others, mostBytes = MOST_BYTES) {
  const known = new Set(digits.map(textOf));
  const isNew = (/** @type {Sample} */ digit) => !known.has(textOf(digit)) && known.add(textOf(digit));
  const all = [...digits, ...checkSamples(others).filter(isNew)];
  check(
    all.length <= MOST_DIGITS,
    `all together would be more than ${MOST_DIGITS} digits; delete some first`,
  );
  check(
    writeSamples(all).length <= mostBytes,
    `all together would be larger than ${MOST_BYTES >> 20} MB; download them, then delete some`,
  );
  return all;
}

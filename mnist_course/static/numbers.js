// Numbers, and how they are written: what the figures and the pad share without a browser.

/** @import { Windows } from "./types" */

export const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/**
 * `value`, but not below `low` nor above `high`.
 *
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/**
 * The whole numbers from `start` up to, not including, `end`.
 *
 * @param {number} start
 * @param {number} end
 * @param {number} [step]
 */
export function range(start, end, step = 1) {
  return Array.from(
    { length: Math.max(0, Math.ceil((end - start) / step)) },
    (_, index) => start + index * step,
  );
}

/**
 * floor((n + 2p - d (k - 1) - 1) / s) + 1, the number of windows of a convolution or a pooling in
 * a row of n pixels; 0 where none fits.
 *
 * @param {number} n
 * @param {Windows} windows
 */
export function outputSize(n, { k, s, p, d }) {
  return Math.max(0, Math.floor((n + 2 * p - d * (k - 1) - 1) / s) + 1);
}

/**
 * A list with another value at one place.
 *
 * @param {number[]} values
 * @param {number} place
 * @param {number} value
 */
export function replaced(values, place, value) {
  return values.map((each, index) => (index === place ? value : each));
}

/**
 * A number with `digits` decimals, a true minus sign, and no minus before zero.
 *
 * @param {number} value
 * @param {number} [digits]
 */
export function format(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `\u2212${text}` : text;
}

/**
 * A whole number with a true minus sign.
 *
 * @param {number} value
 */
export function whole(value) {
  return String(value).replace("-", "\u2212");
}

/**
 * `1 pixel`, `2 pixels`.
 *
 * @param {number} number
 * @param {string} noun
 */
export function count(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/**
 * `a` 7, `an` 8.
 *
 * @param {number} digit
 */
export function article(digit) {
  return digit === 8 ? "an" : "a";
}

/**
 * `a 7`, `an 8`.
 *
 * @param {number} digit
 */
export function named(digit) {
  return `${article(digit)} ${digit}`;
}

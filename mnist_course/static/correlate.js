// A 3 x 3 kernel over a picture: the sums that nn.Conv2d computes, and the products behind each.

import { format } from "./numbers.js";

export const K = 3; // rows and columns of the kernel

/**
 * Kernels to start from, row by row.
 *
 * @type {Record<string, number[]>}
 */
export const PRESETS = {
  Identity: [0, 0, 0, 0, 1, 0, 0, 0, 0],
  Blur: Array(9).fill(1 / 9),
  Sharpen: [0, -1, 0, -1, 5, -1, 0, -1, 0],
  "Vertical edge": [-1, 0, 1, -1, 0, 1, -1, 0, 1],
  "Horizontal edge": [-1, -1, -1, 0, 0, 0, 1, 1, 1],
  "Sobel, vertical": [-1, 0, 1, -2, 0, 2, -1, 0, 1],
  "Sobel, horizontal": [-1, -2, -1, 0, 0, 0, 1, 2, 1],
  Emboss: [-2, -1, 0, -1, 1, 1, 0, 1, 2],
};

/**
 * Pixels 0 ... 1 from the base64 of one byte each.
 *
 * @param {string} base64
 */
export function decodePixels(base64) {
  return Float64Array.from(atob(base64), (byte) => byte.charCodeAt(0) / 255);
}

/**
 * The nine products under the kernel when its corner lies on `(row, column)`.
 *
 * @param {ArrayLike<number>} pixels
 * @param {number} width
 * @param {number[]} kernel
 * @param {number} row
 * @param {number} column
 */
export function products(pixels, width, kernel, row, column) {
  return kernel.map((weight, index) => {
    const pixel = pixels[(row + Math.floor(index / K)) * width + column + (index % K)];
    return { pixel, weight, product: pixel * weight };
  });
}

/**
 * y[i, j] = bias + sum over u, v of kernel[u, v] x[i + u, j + v], as nn.Conv2d computes it: one
 * channel, stride 1, no padding.
 *
 * @param {ArrayLike<number>} pixels
 * @param {number} width
 * @param {number[]} kernel
 * @param {number} [bias]
 * @returns {Float64Array} `(height - 2) * (width - 2)` numbers
 */
export function correlate(pixels, width, kernel, bias = 0) {
  const rows = pixels.length / width - K + 1;
  const columns = width - K + 1;
  return Float64Array.from({ length: rows * columns }, (_, index) => {
    const nine = products(pixels, width, kernel, Math.floor(index / columns), index % columns);
    return nine.reduce((sum, { product }) => sum + product, bias);
  });
}

/** @param {number} value */
export const relu = (value) => Math.max(0, value);

/**
 * The sign of a number as it is shown, for its colour.
 *
 * @param {number} value
 */
export function sign(value) {
  if (Number(format(Math.abs(value), 3)) === 0) return "0";
  return value < 0 ? "-" : "+";
}

/**
 * A weight as people write it: at most three decimals, none that are zero.
 *
 * @param {number} weight
 */
export const weightText = (weight) => format(weight, 3).replace(/\.0+$|(\.\d*[1-9])0+$/, "$1");

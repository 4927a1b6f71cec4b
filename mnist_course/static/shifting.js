// A digit that moves, its map, and what pooling makes of both.

import { outputSize, range } from "./numbers.js";

/** @typedef {{window: number, stride: number, kind: "max" | "average"}} Pool */

export const SIDE = 28;
/** The kernel that answers to left edges, as in the chapter. */
const EDGE = [-1, 0, 1, -2, 0, 2, -1, 0, 1];

/**
 * A square picture moved over paper; what leaves it is gone.
 *
 * @param {Float64Array} values
 * @param {number} right
 * @param {number} down
 */
export function moved(values, right, down) {
  const side = Math.sqrt(values.length);
  const inside = (/** @type {number} */ place) => place >= 0 && place < side;
  return values.map((_, i) => {
    const [row, column] = [Math.floor(i / side) - down, (i % side) - right];
    return inside(row) && inside(column) ? values[row * side + column] : 0;
  });
}

/**
 * The map of left edges: a convolution with padding 1, and ReLU.
 *
 * @param {Float64Array} values
 */
export function edges(values) {
  const side = Math.sqrt(values.length);
  return values.map((_, i) => {
    const [row, column] = [Math.floor(i / side) - 1, (i % side) - 1];
    let sum = 0;
    for (const u of range(0, 3)) {
      for (const v of range(0, 3)) {
        const [r, c] = [row + u, column + v];
        if (r >= 0 && r < side && c >= 0 && c < side) sum += EDGE[3 * u + v] * values[r * side + c];
      }
    }
    return Math.max(0, sum);
  });
}

/**
 * The numbers of one window, row by row.
 *
 * @param {Float64Array} values
 * @param {Pool} pool
 * @param {number} row of the pooled map
 * @param {number} column
 */
export function windowOf(values, { window, stride }, row, column) {
  const side = Math.sqrt(values.length);
  return range(0, window ** 2).map((i) => {
    const [u, v] = [Math.floor(i / window), i % window];
    return values[(row * stride + u) * side + column * stride + v];
  });
}

/** How many numbers a row of a pooled map has. @param {Pool} pool @param {number} [side] */
export function pooledSide({ window, stride }, side = SIDE) {
  return outputSize(side, { k: window, s: stride, p: 0, d: 1 });
}

/**
 * The pooled map of a square map.
 *
 * @param {Float64Array} values
 * @param {Pool} pool
 */
export function pooled(values, pool) {
  const side = pooledSide(pool, Math.sqrt(values.length));
  return Float64Array.from({ length: side ** 2 }, (_, i) => {
    const numbers = windowOf(values, pool, Math.floor(i / side), i % side);
    if (pool.kind === "max") return Math.max(...numbers);
    return numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
  });
}

/**
 * Which numbers of two maps differ, and how large the difference is, relative to the first.
 *
 * @param {Float64Array} before
 * @param {Float64Array} after
 */
export function difference(before, after) {
  const cells = range(0, before.length).filter((i) => Math.abs(before[i] - after[i]) > 1e-9);
  const norm = (/** @type {(i: number) => number} */ f) =>
    Math.sqrt(range(0, before.length).reduce((sum, i) => sum + f(i) ** 2, 0));
  const size = norm((i) => before[i]);
  return { cells, share: size ? norm((i) => after[i] - before[i]) / size : 0 };
}

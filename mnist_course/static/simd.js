// The innermost loop of a convolution, four numbers at a time.
//
// JavaScript computes one number at a time; WebAssembly can compute four. The module is some two
// hundred bytes (see wasm.js). Where a browser cannot run it, JavaScript does the same.

import { V128, addProduct, advance, assemble, load, splat, store, whileBelow } from "./wasm.js";

/** @import { Tiles } from "./types" */

export const WINDOWS = 4; // windows of a tile
export const CHANNELS = 8; // output channels of a tile

/**
 * Memory, and a function that computes one tile in it: the sums of products of four windows with
 * the kernels of eight output channels.
 *
 * `tile(w, x, y, end)` takes addresses in bytes. At `w` lie, for each value of a window, its eight
 * weights; from `x` to `end`, for each value of a window, the four windows' values; at `y` go eight
 * sums for the first window, eight for the second, and so on. All are float32.
 *
 * @param {number} bytes how much memory
 * @returns {Tiles}
 */
export function tiles(bytes) {
  const pages = Math.max(1, Math.ceil(bytes / 65536));
  try {
    const module = new WebAssembly.Module(assemble(pages, [tileCode()]));
    /** @type {any} */
    const { memory, tile } = new WebAssembly.Instance(module).exports;
    return { memory: new Float32Array(memory.buffer), tile };
  } catch {
    // No WebAssembly, no SIMD, or a page that does not allow it.
    const memory = new Float32Array(pages * 16384);
    return { memory, tile: (w, x, y, end) => scalarTile(memory, w / 4, x / 4, y / 4, end / 4) };
  }
}

/**
 * What the WebAssembly below computes, one number at a time; addresses are places in `memory`.
 *
 * @param {Float32Array} memory
 * @param {number} w
 * @param {number} x
 * @param {number} y
 * @param {number} end
 */
export function scalarTile(memory, w, x, y, end) {
  for (let n = 0; n < WINDOWS; n++, y += CHANNELS) {
    let [a, b, c, d, e, f, g, h] = [0, 0, 0, 0, 0, 0, 0, 0];
    for (let k = w, at = x + n; at < end; k += CHANNELS, at += WINDOWS) {
      const value = memory[at];
      a += value * memory[k];
      b += value * memory[k + 1];
      c += value * memory[k + 2];
      d += value * memory[k + 3];
      e += value * memory[k + 4];
      f += value * memory[k + 5];
      g += value * memory[k + 6];
      h += value * memory[k + 7];
    }
    memory.set([a, b, c, d, e, f, g, h], y);
  }
}

/** The code of `tile`. */
function tileCode() {
  const [w, x, y, end] = [0, 1, 2, 3]; // parameters
  const [low, high, value] = [12, 13, 14];
  const four = [0, 1, 2, 3];
  /** One of eight vectors of four sums. @param {number} window @param {number} half */
  const sum = (window, half) => 4 + 2 * window + half;
  const code = [
    ...whileBelow(
      x,
      end,
      ...[...load(low, w, 0), ...load(high, w, 16)],
      ...four.flatMap((n) => [
        ...splat(value, x, 4 * n),
        ...[...addProduct(sum(n, 0), value, low), ...addProduct(sum(n, 1), value, high)],
      ]),
      ...[...advance(w, 32), ...advance(x, 16)],
    ),
    ...four.flatMap((n) => [...store(y, 32 * n, sum(n, 0)), ...store(y, 32 * n + 16, sum(n, 1))]),
  ];
  return { name: "tile", parameters: 4, locals: Array(11).fill(V128), code };
}

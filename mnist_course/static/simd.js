// The innermost loop of a convolution, four numbers at a time.
//
// JavaScript computes one number at a time; WebAssembly can compute four. The module is some two
// hundred bytes, written here by hand. Where a browser cannot run it, JavaScript does the same.

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
    const module = new WebAssembly.Module(assemble(pages));
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

/**
 * An unsigned number in WebAssembly's variable length (LEB128).
 *
 * @param {number} value
 * @returns {number[]}
 */
function leb(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)];
}

/** @param {number} id @param {number[]} bytes */
const section = (id, ...bytes) => [id, ...leb(bytes.length), ...bytes];
/** @param {string} word */
const text = (word) => [word.length, ...Array.from(word, (letter) => letter.charCodeAt(0))];

// Instructions. A local is a parameter or a variable, by its number.

/** @param {number} local */
const get = (local) => [0x20, local];
/** @param {number} local */
const put = (local) => [0x21, local];
/** i32.add @param {number} local @param {number} bytes */
const advance = (local, bytes) => [...get(local), 0x41, bytes, 0x6a, ...put(local)];
/** v128.load @param {number} address @param {number} offset */
const load = (address, offset) => [...get(address), 0xfd, 0x00, 4, offset];
/** v128.load32_splat @param {number} address @param {number} offset */
const splat = (address, offset) => [...get(address), 0xfd, 0x09, 2, offset];
/** v128.store @param {number} address @param {number} offset @param {number} local */
const store = (address, offset, local) => [...get(address), ...get(local), 0xfd, 0x0b, 4, offset];
/** f32x4.mul, f32x4.add @param {number} sum @param {number} a @param {number} b */
const addProduct = (sum, a, b) => [
  ...[...get(sum), ...get(a), ...get(b)],
  ...[0xfd, 0xe6, 1, 0xfd, 0xe4, 1],
  ...put(sum),
];

const I32 = 0x7f;
const V128 = 0x7b;
const END = 0x0b;

/** The code of `tile`. */
function tileCode() {
  const [w, x, y, end] = [0, 1, 2, 3]; // parameters
  const [low, high, value] = [12, 13, 14];
  const four = [0, 1, 2, 3];
  /** One of eight vectors of four sums. @param {number} window @param {number} half */
  const sum = (window, half) => 4 + 2 * window + half;
  return [
    ...[1, 11, V128], // the locals from 4 on
    ...[0x03, 0x40], // loop
    ...[...load(w, 0), ...put(low), ...load(w, 16), ...put(high)],
    ...four.flatMap((n) => [
      ...[...splat(x, 4 * n), ...put(value)],
      ...[...addProduct(sum(n, 0), value, low), ...addProduct(sum(n, 1), value, high)],
    ]),
    ...[...advance(w, 32), ...advance(x, 16)],
    ...[...get(x), ...get(end), 0x49, 0x0d, 0, END], // again, while x < end
    ...four.flatMap((n) => [...store(y, 32 * n, sum(n, 0)), ...store(y, 32 * n + 16, sum(n, 1))]),
    END,
  ];
}

/**
 * The module: a memory of `pages`, and a function `tile` of four i32.
 *
 * @param {number} pages
 */
function assemble(pages) {
  const code = tileCode();
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic number, version 1
    ...section(1, 1, 0x60, 4, I32, I32, I32, I32, 0), // one type of function: four i32, no result
    ...section(3, 1, 0), // one function of that type
    ...section(5, 1, 0, ...leb(pages)), // one memory
    ...section(7, 2, ...text("memory"), 2, 0, ...text("tile"), 0, 0), // exports
    ...section(10, 1, ...leb(code.length), ...code),
  ]);
}

// The products of a training: 99 of 100 multiplications are done here, four numbers at a time; and
// what batch norm and max-pooling do to every number of every map.
//
// A convolution and its two gradients are sums of products. Each is cut into tiles of 4 x 8 sums,
// which fit into a processor's registers. Nothing is laid out anew for it: tables say where windows
// begin. WebAssembly computes a tile where there is SIMD; JavaScript does the same, slower.

import {
  I32,
  V128,
  add,
  addProduct,
  addTo,
  advance,
  assemble,
  both,
  either,
  equal,
  fetchInteger,
  fuseProduct,
  larger,
  load,
  loadAt,
  plus,
  splat,
  splatAt,
  store,
  storeAt,
  whileBelow,
  without,
} from "./wasm.js";

/** @import { Products } from "./types" */

export const ROWS = 4; // of a tile
export const COLUMNS = 8;
const PAGE = 65536; // bytes

/** By name, how products are added up: the fastest first. */
const WAYS = { fused: fuseProduct, simd: addProduct };

/**
 * Memory, and the functions that compute in it. Addresses are in bytes, numbers are float32.
 *
 * `tile(w, xs, x, ys, y, rows, length, skip)`: four windows times eight columns. A window is `rows`
 * rows of `length` bytes, with `skip` bytes between two of them; the four begin at `x` plus each of
 * the four addresses at `xs`. At `w` lie, for each number of a window, its eight weights. The sums
 * are added to what lies at `y` plus each of the four addresses at `ys`.
 *
 * `outer(xs, end, a, b, c, d, dy, pitch, g, step)`: for each address from `xs` to `end`, the number
 * at that address plus `a` (and `b`, `c`, `d`) times eight numbers at `dy`, which moves on by `pitch`.
 * The sums are added to the eight numbers at `g`, at `g + step`, and so on.
 *
 * `largest(x, right, down, across, y, end)`: from `y` to `end` the largest of four numbers: at `x`,
 * and `right`, `down` and `across` from there. `spread(x, right, down, across, y, dy, dx, end)`: the
 * first of the four that is the one at `y` gets the number at `dy`, the others zero, at `dx`, and so on.
 *
 * `sums(a, b, end, pitch, out)`: of four columns whose rows lie `pitch` apart, from `a` to `end`, the
 * sums of the numbers at `a`, and of their products with those at `b`: eight numbers at `out`.
 * `blend(a, b, y, end, pitch, factors)`: the same columns at `y` become A a + B b + C, with four
 * numbers A, four B and four C at `factors`.
 *
 * @param {number} bytes how much memory
 * @param {"fused" | "simd" | "plain"} [way] the fastest that is to be tried
 * @returns {Products}
 */
export function products(bytes, way = "fused") {
  const pages = Math.max(1, Math.ceil(bytes / PAGE));
  for (const name of /** @type {("fused" | "simd")[]} */ (Object.keys(WAYS))) {
    if (way !== name && way !== "fused") continue;
    try {
      const sumUp = WAYS[name];
      const products = [tileCode(sumUp), outerCode(sumUp), sumsCode(sumUp), blendCode(sumUp)];
      const codes = [...products, largestCode(), spreadCode()];
      /** @type {any} */
      const made = new WebAssembly.Instance(new WebAssembly.Module(assemble(pages, codes))).exports;
      const { memory, ...functions } = made;
      return { way: name, buffer: memory.buffer, ...functions };
    } catch (error) {
      if (error instanceof RangeError) throw error; // too little memory, and not for want of SIMD
    }
  }
  return { way: "plain", ...plainProducts(new ArrayBuffer(pages * PAGE)) };
}

/** A sum of products, as instructions. @typedef {typeof addProduct} AddProduct */

const FOUR = [0, 1, 2, 3];

/** @param {AddProduct} sumUp */
function tileCode(sumUp) {
  const [w, xs, x, ys, y, rows, length, skip] = [0, 1, 2, 3, 4, 5, 6, 7]; // parameters
  const [end, zero, low, high, value] = [12, 13, 14, 15, 16];
  /** Where a window is. @param {number} n */
  const at = (n) => 8 + n;
  /** One of eight vectors of four sums. @param {number} n @param {number} half */
  const sum = (n, half) => 17 + 2 * n + half;
  const point = (/** @type {number} */ table, /** @type {number} */ base) =>
    FOUR.flatMap((n) => [...fetchInteger(at(n), table, 4 * n), ...add(at(n), base)]);
  const inner = whileBelow(
    at(0),
    end,
    ...[...load(low, w, 0), ...load(high, w, 16)],
    ...FOUR.flatMap((n) => [
      ...splat(value, at(n), 0),
      ...[...sumUp(sum(n, 0), value, low), ...sumUp(sum(n, 1), value, high)],
    ]),
    ...[...advance(w, 32), ...FOUR.flatMap((n) => advance(at(n), 4))],
  );
  const code = [
    ...point(xs, x),
    ...whileBelow(
      zero,
      rows,
      ...[0x20, at(0), 0x20, length, 0x6a, 0x21, end], // end = at(0) + length
      ...inner,
      ...FOUR.flatMap((n) => add(at(n), skip)),
      ...advance(zero, 1),
    ),
    ...point(ys, y),
    ...FOUR.flatMap((n) => [...addTo(at(n), 0, sum(n, 0)), ...addTo(at(n), 16, sum(n, 1))]),
  ];
  return { name: "tile", parameters: 8, locals: [...Array(6).fill(I32), ...Array(11).fill(V128)], code };
}

/** @param {AddProduct} sumUp */
function outerCode(sumUp) {
  const [xs, end, , , , , dy, pitch, g, step] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]; // parameters
  const [at, low, high, value] = [10, 11, 12, 13];
  /** @param {number} n */
  const offset = (n) => 2 + n;
  /** @param {number} n @param {number} half */
  const sum = (n, half) => 14 + 2 * n + half;
  const code = [
    ...whileBelow(
      xs,
      end,
      ...[...fetchInteger(at, xs, 0), ...load(low, dy, 0), ...load(high, dy, 16)],
      ...FOUR.flatMap((n) => [
        ...splatAt(value, at, offset(n)),
        ...[...sumUp(sum(n, 0), value, low), ...sumUp(sum(n, 1), value, high)],
      ]),
      ...[...advance(xs, 4), ...add(dy, pitch)],
    ),
    ...FOUR.flatMap((n) => [...addTo(g, 0, sum(n, 0)), ...addTo(g, 16, sum(n, 1)), ...add(g, step)]),
  ];
  return { name: "outer", parameters: 10, locals: [I32, ...Array(11).fill(V128)], code };
}

/** @param {AddProduct} sumUp */
function sumsCode(sumUp) {
  const [a, b, end, pitch, out] = [0, 1, 2, 3, 4]; // parameters
  const [value, other, sum, products] = [5, 6, 7, 8];
  const code = [
    ...whileBelow(
      a,
      end,
      ...[...load(value, a, 0), ...load(other, b, 0)],
      ...[...plus(sum, sum, value), ...sumUp(products, value, other)],
      ...[...add(a, pitch), ...add(b, pitch)],
    ),
    ...[...store(out, 0, sum), ...store(out, 16, products)],
  ];
  return { name: "sums", parameters: 5, locals: Array(4).fill(V128), code };
}

/** @param {AddProduct} sumUp */
function blendCode(sumUp) {
  const [a, b, y, end, pitch, factors] = [0, 1, 2, 3, 4, 5]; // parameters
  const [value, sum, ofA, ofB, constant] = [6, 7, 8, 9, 10];
  const code = [
    ...[...load(ofA, factors, 0), ...load(ofB, factors, 16), ...load(constant, factors, 32)],
    ...whileBelow(
      a,
      end,
      ...[...load(value, a, 0), 0x20, constant, 0x21, sum, ...sumUp(sum, value, ofA)], // sum = constant
      ...[...load(value, b, 0), ...sumUp(sum, value, ofB), ...store(y, 0, sum)],
      ...[...add(a, pitch), ...add(b, pitch), ...add(y, pitch)],
    ),
  ];
  return { name: "blend", parameters: 6, locals: Array(5).fill(V128), code };
}

function largestCode() {
  const [x, right, down, across, y, end] = [0, 1, 2, 3, 4, 5]; // parameters
  const [best, value] = [6, 7];
  const code = whileBelow(
    y,
    end,
    ...load(best, x, 0),
    ...[right, down, across].flatMap((other) => [...loadAt(value, x, other), ...larger(best, best, value)]),
    ...[...store(y, 0, best), ...advance(x, 16), ...advance(y, 16)],
  );
  return { name: "largest", parameters: 6, locals: [V128, V128], code };
}

function spreadCode() {
  const [x, right, down, across, y, dy, dx, end] = [0, 1, 2, 3, 4, 5, 6, 7]; // parameters
  const [best, slope, value, taken] = [8, 9, 10, 11];
  const code = whileBelow(
    y,
    end,
    ...[...load(best, y, 0), ...load(slope, dy, 0), ...load(value, x, 0)],
    ...[...equal(taken, value, best), ...both(value, taken, slope), ...store(dx, 0, value)],
    ...[right, down, across].flatMap((other) => [
      ...[...loadAt(value, x, other), ...equal(value, value, best), ...without(value, value, taken)],
      ...[...either(taken, taken, value), ...both(value, value, slope), ...storeAt(dx, other, value)],
    ]),
    ...[x, y, dy, dx].flatMap((local) => advance(local, 16)),
  );
  return { name: "spread", parameters: 8, locals: Array(4).fill(V128), code };
}

/**
 * What the WebAssembly computes, one number at a time.
 *
 * @param {ArrayBuffer} buffer
 * @returns {Omit<Products, "way">}
 */
function plainProducts(buffer) {
  const floats = new Float32Array(buffer);
  const integers = new Int32Array(buffer);
  /** @type {Products["tile"]} */
  function tile(w, xs, x, ys, y, rows, length, skip) {
    const numbers = length / 4;
    const across = numbers + skip / 4;
    for (let n = 0; n < ROWS; n++) {
      let [a, b, c, d, e, f, g, h] = [0, 0, 0, 0, 0, 0, 0, 0];
      const from = (integers[xs / 4 + n] + x) / 4;
      for (let row = 0, k = w / 4; row < rows; row++) {
        const first = from + row * across;
        for (let at = first; at < first + numbers; at++, k += COLUMNS) {
          const value = floats[at];
          a += value * floats[k];
          b += value * floats[k + 1];
          c += value * floats[k + 2];
          d += value * floats[k + 3];
          e += value * floats[k + 4];
          f += value * floats[k + 5];
          g += value * floats[k + 6];
          h += value * floats[k + 7];
        }
      }
      addEight(floats, (integers[ys / 4 + n] + y) / 4, a, b, c, d, e, f, g, h);
    }
  }
  /** @type {Products["outer"]} */
  function outer(xs, end, o, p, q, r, dy, pitch, g, step) {
    [o, p, q, r].forEach((offset, n) => {
      let [a, b, c, d, e, f, s, h] = [0, 0, 0, 0, 0, 0, 0, 0];
      for (let i = xs / 4, k = dy / 4; i < end / 4; i++, k += pitch / 4) {
        const value = floats[(integers[i] + offset) / 4];
        a += value * floats[k];
        b += value * floats[k + 1];
        c += value * floats[k + 2];
        d += value * floats[k + 3];
        e += value * floats[k + 4];
        f += value * floats[k + 5];
        s += value * floats[k + 6];
        h += value * floats[k + 7];
      }
      addEight(floats, (g + n * step) / 4, a, b, c, d, e, f, s, h);
    });
  }
  return { buffer, tile, outer, ...plainPooling(floats), ...plainColumns(floats) };
}

/**
 * @param {Float32Array} floats
 * @returns {Pick<Products, "largest" | "spread">}
 */
function plainPooling(floats) {
  return {
    largest(x, right, down, across, y, end) {
      for (let at = x / 4, to = y / 4; to < end / 4; at++, to++) {
        floats[to] = Math.max(
          floats[at],
          floats[at + right / 4],
          floats[at + down / 4],
          floats[at + across / 4],
        );
      }
    },
    spread(x, right, down, across, y, dy, dx, end) {
      const places = [0, right / 4, down / 4, across / 4];
      for (let i = 0; y / 4 + i < end / 4; i++) {
        let rest = floats[dy / 4 + i];
        for (const place of places) {
          const chosen = floats[x / 4 + i + place] === floats[y / 4 + i];
          floats[dx / 4 + i + place] = chosen ? rest : 0;
          if (chosen) rest = 0;
        }
      }
    },
  };
}

/**
 * @param {Float32Array} floats
 * @returns {Pick<Products, "sums" | "blend">}
 */
function plainColumns(floats) {
  return {
    sums(a, b, end, pitch, out) {
      for (let j = 0; j < 4; j++) {
        let [sum, products] = [0, 0];
        for (let at = a / 4, to = b / 4; at < end / 4; at += pitch / 4, to += pitch / 4) {
          sum += floats[at + j];
          products += floats[at + j] * floats[to + j];
        }
        floats[out / 4 + j] = sum;
        floats[out / 4 + 4 + j] = products;
      }
    },
    blend(a, b, y, end, pitch, factors) {
      for (let j = 0; j < 4; j++) {
        const [ofA, ofB, constant] = [0, 4, 8].map((from) => floats[factors / 4 + from + j]);
        for (let row = 0; a + row < end; row += pitch) {
          const [first, second] = [floats[(a + row) / 4 + j], floats[(b + row) / 4 + j]];
          floats[(y + row) / 4 + j] = first * ofA + second * ofB + constant;
        }
      }
    },
  };
}

/** @param {Float32Array} floats @param {number} at @param {number[]} sums */
function addEight(floats, at, ...sums) {
  for (let j = 0; j < COLUMNS; j++) floats[at + j] += sums[j];
}

/** Tensors in one memory, one after the other. */
export class Room {
  used = 0;

  /** @param {number} bytes @param {"fused" | "simd" | "plain"} [way] */
  constructor(bytes, way) {
    this.products = products(bytes, way);
  }

  /** @param {number} count */
  take(count) {
    const start = this.used;
    this.used += 16 * Math.ceil((4 * count) / 16);
    if (this.used > this.products.buffer.byteLength) {
      throw new RangeError(
        `a network that needs more than ${this.products.buffer.byteLength >> 20} MiB: ` +
          "take fewer channels, or a smaller batch",
      );
    }
    return start;
  }

  /** Zeros. @param {number} count */
  floats(count) {
    return new Float32Array(this.products.buffer, this.take(count), count);
  }

  /** Whole numbers, such as addresses. @param {number} count */
  integers(count) {
    return new Int32Array(this.products.buffer, this.take(count), count);
  }
}

// Stacks of convolutions and poolings, in a row of pixels: how many units a layer has, and what each
// of them sees. Level 0 is the input, level 1 the first layer.

import { count, outputSize, range, whole } from "./numbers.js";

/** @import { Field, StackLayer } from "./types" */

/** @type {StackLayer} */
export const CONV = { kind: "conv", k: 3, s: 1, p: 1, d: 1 };
/** @type {StackLayer} */
export const POOL = { kind: "pool", k: 2, s: 2, p: 0, d: 1 };
export const NAMES = { conv: "convolution", pool: "pooling" };

/**
 * Stacks to start from.
 *
 * @type {Record<string, StackLayer[]>}
 */
export const STACKS = {
  "The course's network": [CONV, POOL, CONV, POOL, CONV, POOL],
  "Two 3 × 3 convolutions": [
    { ...CONV, p: 0 },
    { ...CONV, p: 0 },
  ],
  "One 5 × 5 convolution": [{ ...CONV, k: 5, p: 0 }],
  "Stride instead of pooling": [
    { ...CONV, s: 2 },
    { ...CONV, s: 2 },
    { ...CONV, s: 2 },
  ],
  "Growing dilation": [CONV, { ...CONV, p: 2, d: 2 }, { ...CONV, p: 4, d: 4 }],
};

/**
 * The number of units of each level in a row; 0 where none fits.
 *
 * @param {StackLayer[]} layers
 * @param {number} n
 */
export function sizes(layers, n) {
  const result = [n];
  for (const layer of layers) {
    n = n && outputSize(n, layer);
    result.push(n);
  }
  return result;
}

/**
 * Receptive field, jump and start of each level: r' = r + d (k - 1) j, j' = j s,
 * start' = start - p j.
 *
 * @param {StackLayer[]} layers
 */
export function receptiveFields(layers) {
  /** @type {Field} */
  let field = { r: 1, j: 1, start: 0 };
  const result = [field];
  for (const { k, s, p, d } of layers) {
    const { r, j, start } = field;
    field = { r: r + d * (k - 1) * j, j: j * s, start: start - p * j };
    result.push(field);
  }
  return result;
}

/**
 * The units of every level, from the input up to `level`, that `unit` of that level depends on.
 * Padding is not among them.
 *
 * @param {StackLayer[]} layers
 * @param {number} n
 * @param {number} level
 * @param {number} unit
 */
export function dependencies(layers, n, level, unit) {
  const counts = sizes(layers, n);
  const result = [[unit]];
  for (let below = level - 1; below >= 0; below -= 1) {
    const { k, s, p, d } = layers[below];
    const read = new Set(result[0].flatMap((each) => range(0, k).map((u) => each * s - p + u * d)));
    result.unshift([...read].filter((each) => each >= 0 && each < counts[below]).sort((a, b) => a - b));
  }
  return result;
}

/**
 * Why PyTorch would refuse a stack, or an empty string.
 *
 * @param {StackLayer[]} layers
 * @param {number} n
 */
export function problem(layers, n) {
  const counts = sizes(layers, n);
  for (const [index, { kind, k, p, d }] of layers.entries()) {
    const name = `Layer ${index + 1} (${NAMES[kind]})`;
    const span = d * (k - 1) + 1;
    if (kind === "pool" && 2 * p > span)
      return `${name}: PyTorch allows a pooling layer at most half its window as padding.`;
    if (!counts[index + 1])
      return `${name}: the window spans ${span} places, but the padded row has only ${counts[index] + 2 * p}. No window fits.`;
  }
  return "";
}

/** `3 x 3`, unbroken. @param {number} size */
export const times = (size) => `${size}\u00a0×\u00a0${size}`;

/**
 * `5`, `2 … 8`.
 *
 * @param {number} from
 * @param {number} to
 */
export const places = (from, to) => (from === to ? whole(from) : `${whole(from)} \u2026 ${whole(to)}`);

/**
 * What a unit sees, in sentences.
 *
 * @param {StackLayer[]} layers
 * @param {number} n
 * @param {number} level
 * @param {number} unit
 */
export function sight(layers, n, level, unit) {
  const { r, j, start } = receptiveFields(layers)[level];
  const from = start + unit * j;
  const to = from + r - 1;
  const inside = Math.max(0, Math.min(to, n - 1) - Math.max(from, 0) + 1);
  const name = level
    ? `Unit ${unit} of layer ${level} (${NAMES[layers[level - 1].kind]})`
    : `Pixel ${unit} of the input`;
  const one = level
    ? inside
      ? `the pixel ${from}`
      : `the place ${whole(from)}, which is padding`
    : "itself";
  const padding = r > 1 && inside < r ? `, ${r - inside} of them in the padding` : "";
  const square = level ? ` In the picture that is a square of ${times(r)}.` : "";
  const unread = inside - dependencies(layers, n, level, unit)[0].length;
  const missed =
    unread > 0
      ? ` ${count(unread, "pixel")} among them ${unread === 1 ? "is" : "are"} never read on the way.`
      : "";
  return `${name} sees ${r === 1 ? one : `the ${r} places ${places(from, to)}`}${padding}.${square}${missed}`;
}

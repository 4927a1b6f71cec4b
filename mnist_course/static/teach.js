// Teach the last layer a few digits of one's own, in the page.
//
// The layers before it stay as they are: they turn a drawing into features. Only the table of
// weights from features to digits is learned again, by gradient descent on the cross-entropy, with
// a spring that pulls every weight back to what it was: what MNIST taught must not be forgotten for
// a handful of drawings.

import { forward, softmax } from "./engine.js";
import { inkBox, preprocess } from "./strokes.js";

/** @import { LinearLayer, Model, Sample, Stroke } from "./types" */
/** @typedef {{label: number, x: Float32Array}} Example a digit as features */

export const SETTINGS = { copies: 2, steps: 40, spring: 0.1 };
const MOMENTUM = 0.9;

/**
 * The last layer of a network, if it can be taught.
 *
 * @param {Model | null} model
 */
function headOf(model) {
  const last = model?.layers.at(-1);
  return last?.op === "linear" ? last : null;
}

/** @param {Model | null} model */
export const isTeachable = (model) => headOf(model) !== null;

/**
 * What the last layer is given for a picture.
 *
 * @param {Model} model
 * @param {Float32Array} image
 */
export function features(model, image) {
  return forward(model, image).activations.at(-2)?.data ?? image;
}

/**
 * The strokes, drawn a little otherwise: turned, slanted, wider or narrower.
 *
 * @param {Stroke[]} strokes
 * @param {() => number} random numbers from 0 to 1
 * @returns {Stroke[]}
 */
export function redrawn(strokes, random) {
  const [x0, y0, x1, y1] = inkBox(strokes);
  const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const spread = (/** @type {number} */ most) => (2 * random() - 1) * most;
  const [angle, slant, width] = [spread(0.15), spread(0.2), 1 + spread(0.12)];
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return strokes.map((stroke) =>
    stroke.map(([px, py]) => {
      const dy = py - y;
      const dx = (px - x) * width + slant * dy;
      return [cos * dx - sin * dy, sin * dx + cos * dy];
    }),
  );
}

/**
 * Teach a copy of a network.
 *
 * A generator, so that a page stays alive: it yields the share of the work that is done, and
 * returns the taught network, which shares all layers but the last.
 *
 * @param {Model} model whose last layer is linear
 * @param {Sample[]} digits what to learn
 * @param {typeof SETTINGS} [settings] `copies` of each digit, `steps` of gradient descent, and the
 *   strength of the `spring`: the more digits there are, the less it weighs against them
 * @returns {Generator<number, Model>}
 */
export function* teach(model, digits, { copies, steps, spring } = SETTINGS) {
  const head = headOf(model);
  if (!head) throw new TypeError("expected a network whose last layer is linear");
  const random = generator(1);
  /** @type {Example[]} */
  const examples = [];
  for (const [index, { label, strokes }] of digits.entries()) {
    for (let copy = 0; copy < copies; copy++) {
      const drawing = copy ? redrawn(strokes, random) : strokes;
      examples.push({ label, x: features(model, preprocess(drawing)) });
    }
    yield (0.5 * (index + 1)) / digits.length;
  }
  const start = tableOf(head);
  const weights = start.slice();
  const velocity = new Float64Array(weights.length);
  // Gradient descent with momentum, at the largest rate that the curvature of the loss allows.
  const curvature =
    0.5 * Math.max(...examples.map(({ x }) => x.reduce((sum, value) => sum + value * value, 1)));
  const pull = (spring * curvature) / digits.length;
  const rate = 1 / (curvature + pull);
  for (let step = 1; step <= steps; step++) {
    const gradient = gradientOf(weights, examples, head.output[0]);
    for (let k = 0; k < weights.length; k++) {
      velocity[k] = MOMENTUM * velocity[k] - rate * (gradient[k] + pull * (weights[k] - start[k]));
      weights[k] += velocity[k];
    }
    yield 0.5 + (0.5 * step) / steps;
  }
  return { ...model, layers: [...model.layers.slice(0, -1), withTable(head, weights)] };
}

/**
 * The weights of a layer, for each output those of its inputs and then the bias: it is one more
 * weight, of a feature that is always 1.
 *
 * @param {LinearLayer} head
 */
function tableOf({ input: [inputs], output: [outputs], weight, bias }) {
  const table = new Float64Array(outputs * (inputs + 1));
  for (let o = 0; o < outputs; o++) {
    table.set(weight.subarray(o * inputs, (o + 1) * inputs), o * (inputs + 1));
    table[o * (inputs + 1) + inputs] = bias[o];
  }
  return table;
}

/**
 * The layer with other weights.
 *
 * @param {LinearLayer} head
 * @param {Float64Array} table
 * @returns {LinearLayer}
 */
function withTable(head, table) {
  const {
    input: [inputs],
    output: [outputs],
  } = head;
  const taught = { ...head, weight: new Float32Array(outputs * inputs), bias: new Float32Array(outputs) };
  for (let o = 0; o < outputs; o++) {
    const begin = o * (inputs + 1);
    taught.weight.set(table.subarray(begin, begin + inputs), o * inputs);
    taught.bias[o] = table[begin + inputs];
  }
  return taught;
}

/**
 * The gradient of the mean cross-entropy.
 *
 * @param {Float64Array} weights
 * @param {Example[]} examples
 * @param {number} outputs
 */
function gradientOf(weights, examples, outputs) {
  const gradient = new Float64Array(weights.length);
  for (const { label, x } of examples) {
    const probs = softmax(logitsOf(weights, x, outputs));
    for (let o = 0, k = 0; o < outputs; o++) {
      const error = (probs[o] - (o === label ? 1 : 0)) / examples.length;
      for (let i = 0; i < x.length; i++) gradient[k++] += error * x[i];
      gradient[k++] += error;
    }
  }
  return gradient;
}

/**
 * @param {Float64Array} weights
 * @param {Float32Array} x
 * @param {number} outputs
 */
function logitsOf(weights, x, outputs) {
  const logits = new Float64Array(outputs);
  for (let o = 0, k = 0; o < outputs; o++) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += weights[k++] * x[i];
    logits[o] = sum + weights[k++];
  }
  return logits;
}

/**
 * Part digits: every third of each label is kept back, to check what was learned.
 *
 * @param {Sample[]} digits
 */
export function keptBack(digits) {
  const seen = new Array(10).fill(0);
  /** @type {Sample[]} */
  const taughtWith = [];
  /** @type {Sample[]} */
  const checkedWith = [];
  for (const digit of digits) (++seen[digit.label] % 3 ? taughtWith : checkedWith).push(digit);
  return { taughtWith, checkedWith };
}

/**
 * How many of the digits a network reads correctly.
 *
 * @param {Model} model
 * @param {Sample[]} digits
 */
export function countRight(model, digits) {
  return digits.filter(({ label, strokes }) => {
    const { probs } = forward(model, preprocess(strokes));
    return probs.indexOf(Math.max(...probs)) === label;
  }).length;
}

/** Random numbers from 0 to 1 that are the same each time (mulberry32). @param {number} seed */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// Teach the last layer a few digits of one's own, in the page.
//
// The layers before it stay as they are: they turn a drawing into features. Only the table of
// weights from features to digits is learned again, by gradient descent on the cross-entropy, with
// a spring that pulls every weight back to what it was: what MNIST taught must not be forgotten for
// a handful of drawings.

import { forward, softmax } from "./engine.js";
import { inkBox, preprocess } from "./strokes.js";

export const SETTINGS = { copies: 2, steps: 40, spring: 0.1 };

/** Whether the last layer of a network can be taught. */
export const isTeachable = (model) => model?.layers.at(-1)?.op === "linear";

/** What the last layer is given for a picture. */
export function features(model, image) {
  const { activations } = forward(model, image);
  return activations.length > 1 ? activations.at(-2).data : image;
}

/**
 * The strokes, drawn a little otherwise: turned, slanted, wider or narrower.
 *
 * @param {number[][][]} strokes
 * @param {function(): number} random numbers from 0 to 1
 */
export function redrawn(strokes, random) {
  const [x0, y0, x1, y1] = inkBox(strokes), x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  const spread = (most) => (2 * random() - 1) * most;
  const angle = spread(0.15), slant = spread(0.2), width = 1 + spread(0.12);
  const cos = Math.cos(angle), sin = Math.sin(angle);
  return strokes.map((stroke) => stroke.map(([px, py]) => {
    const dy = py - y, dx = (px - x) * width + slant * dy;
    return [cos * dx - sin * dy, sin * dx + cos * dy];
  }));
}

/**
 * Teach a copy of a network.
 *
 * A generator, so that a page stays alive: it yields the share of the work that is done, and
 * returns the taught network, which shares all layers but the last.
 *
 * @param {object} model from parseModel, whose last layer is linear
 * @param {{label: number, strokes: number[][][]}[]} digits what to learn
 * @param {object} settings `copies` of each digit, `steps` of gradient descent, and the strength of
 *   the `spring`: the more digits there are, the less it weighs against them
 * @returns {Generator<number, object>}
 */
export function* teach(model, digits, { copies, steps, spring } = SETTINGS) {
  const head = model.layers.at(-1), [inputs] = head.input, outputs = head.output[0];
  const random = generator(1);
  const examples = [];
  for (const [index, { label, strokes }] of digits.entries()) {
    for (let copy = 0; copy < copies; copy++) {
      const drawing = copy ? redrawn(strokes, random) : strokes;
      examples.push({ label, x: features(model, preprocess(drawing)) });
    }
    yield (0.5 * (index + 1)) / digits.length;
  }
  // The bias is one more weight, of a feature that is always 1.
  const start = new Float64Array(outputs * (inputs + 1));
  for (let o = 0; o < outputs; o++) {
    start.set(head.weight.subarray(o * inputs, (o + 1) * inputs), o * (inputs + 1));
    start[o * (inputs + 1) + inputs] = head.bias[o];
  }
  // Gradient descent with momentum, at the largest rate that the curvature of the loss allows.
  const weights = start.slice(), velocity = new Float64Array(weights.length), gradient = new Float64Array(weights.length);
  const curvature = 0.5 * Math.max(...examples.map(({ x }) => x.reduce((sum, value) => sum + value * value, 1)));
  const pull = (spring * curvature) / digits.length, rate = 1 / (curvature + pull);
  for (let step = 1; step <= steps; step++) {
    for (let k = 0; k < weights.length; k++) gradient[k] = pull * (weights[k] - start[k]);
    for (const { label, x } of examples) {
      const probs = softmax(logitsOf(weights, x, outputs));
      for (let o = 0, k = 0; o < outputs; o++) {
        const error = (probs[o] - (o === label ? 1 : 0)) / examples.length;
        for (let i = 0; i < inputs; i++) gradient[k++] += error * x[i];
        gradient[k++] += error;
      }
    }
    for (let k = 0; k < weights.length; k++) {
      velocity[k] = 0.9 * velocity[k] - rate * gradient[k];
      weights[k] += velocity[k];
    }
    yield 0.5 + (0.5 * step) / steps;
  }
  const taught = { ...head, weight: new Float32Array(outputs * inputs), bias: new Float32Array(outputs) };
  for (let o = 0; o < outputs; o++) {
    taught.weight.set(weights.subarray(o * (inputs + 1), o * (inputs + 1) + inputs), o * inputs);
    taught.bias[o] = weights[o * (inputs + 1) + inputs];
  }
  return { ...model, layers: [...model.layers.slice(0, -1), taught] };
}

function logitsOf(weights, x, outputs) {
  const logits = new Float64Array(outputs);
  for (let o = 0, k = 0; o < outputs; o++) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += weights[k++] * x[i];
    logits[o] = sum + weights[k++];
  }
  return logits;
}

/** Part digits: every third of each label is kept back, to check what was learned. */
export function keptBack(digits) {
  const seen = new Array(10).fill(0), taughtWith = [], checkedWith = [];
  for (const digit of digits) (++seen[digit.label] % 3 ? taughtWith : checkedWith).push(digit);
  return { taughtWith, checkedWith };
}

/** How many of the digits a network reads rightly. */
export function countRight(model, digits) {
  return digits.filter(({ label, strokes }) => {
    const { probs } = forward(model, preprocess(strokes));
    return probs.indexOf(Math.max(...probs)) === label;
  }).length;
}

/** Random numbers from 0 to 1 that are the same each time (mulberry32). */
function generator(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

// A small engine for the sequential networks of the course, on typed arrays and nothing else.
//
// forward(model, image) runs a network and keeps what every layer answered. A feature map is stored
// channel by channel, row by row.

import { CHANNELS, WINDOWS, tiles } from "./simd.js";

/** @import { Activation, ConvLayer, Layer, Model, PoolLayer, Shape } from "./types" */
/** @typedef {ArrayLike<number>} Logits */

/** How many values a shape holds. @param {Shape} shape */
export const size = (shape) => shape.reduce((a, b) => a * b, 1);

/**
 * Run a network on one picture.
 *
 * @param {Model} model
 * @param {Float32Array} image 784 pixels in [0, 1]
 * @returns {{logits: Float32Array, probs: Float64Array, activations: Activation[]}}
 *   the ten logits, their softmax, and the output of every layer
 */
export function forward(model, image) {
  if (image.length !== size(model.input)) {
    throw new RangeError(`expected ${size(model.input)} pixels, got ${image.length}`);
  }
  let data = image;
  const activations = model.layers.map((layer) => {
    data = run(layer, data);
    return { name: layer.name, op: layer.op, shape: layer.output, data };
  });
  return { logits: data, probs: softmax(data), activations };
}

/** exp(z) / sum(exp(z)), safe for large logits. @param {Logits} logits @returns {Float64Array} */
export function softmax(logits) {
  const values = Float64Array.from(logits);
  const largest = Math.max(...values);
  const powers = values.map((z) => Math.exp(z - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((e) => e / sum);
}

/**
 * What a layer answers to an input.
 *
 * @param {Layer} layer
 * @param {Float32Array} x
 * @returns {Float32Array}
 */
function run(layer, x) {
  switch (layer.op) {
    case "normalize":
      return x.map((value) => (value - layer.mean) / layer.std);
    case "affine": {
      const area = size(layer.input) / layer.input[0];
      return x.map((v, i) => v * layer.scale[Math.floor(i / area)] + layer.shift[Math.floor(i / area)]);
    }
    case "conv":
      return convolve(layer, x);
    case "relu":
      return rectify(x);
    case "gelu":
      return x.map(layer.tanh ? geluByTanh : gelu);
    case "maxpool":
    case "avgpool":
      return pool(layer, x);
    case "globalavgpool":
      return means(layer.input, x);
    case "flatten":
      return x;
    case "linear":
      return multiply(layer.weight, layer.bias, x);
  }
}

/** @param {Float32Array} x */
function rectify(x) {
  const y = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) y[i] = x[i] > 0 ? x[i] : 0;
  return y;
}

/** @param {number} v */
const gelu = (v) => 0.5 * v * (1 + erf(v * Math.SQRT1_2));

/** @param {number} v */
const geluByTanh = (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)));

/** The mean of each map. @param {Shape} shape @param {Float32Array} x */
function means([C, H, W], x) {
  return Float32Array.from({ length: C }, (_, c) => {
    let sum = 0;
    for (let i = c * H * W; i < (c + 1) * H * W; i++) sum += x[i];
    return sum / (H * W);
  });
}

/**
 * A matrix times a vector, and the bias.
 *
 * @param {Float32Array} weight
 * @param {Float32Array} bias
 * @param {Float32Array} x
 */
function multiply(weight, bias, x) {
  const y = new Float32Array(bias.length);
  for (let o = 0, k = 0; o < y.length; o++) {
    let sum = bias[o];
    for (let i = 0; i < x.length; i++, k++) sum += weight[k] * x[i];
    y[o] = sum;
  }
  return y;
}

/**
 * The largest or the average value in each window. The padding's zeros count for the average, as in
 * PyTorch, and for the largest value they do not.
 *
 * @param {PoolLayer} layer
 * @param {Float32Array} x
 */
function pool({ op, input: [C, H, W], output: [, OH, OW], kernel, stride, padding }, x) {
  const y = new Float32Array(C * OH * OW);
  const area = size(kernel);
  for (let c = 0, k = 0; c < C; c++) {
    for (let i = 0; i < OH; i++) {
      const top = i * stride[0] - padding[0];
      const first = Math.max(top, 0);
      const last = Math.min(top + kernel[0], H);
      for (let j = 0; j < OW; j++, k++) {
        const left = j * stride[1] - padding[1];
        const start = Math.max(left, 0);
        const end = Math.min(left + kernel[1], W);
        let largest = -Infinity;
        let sum = 0;
        for (let row = first; row < last; row++) {
          for (let at = (c * H + row) * W + start, stop = at + end - start; at < stop; at++) {
            sum += x[at];
            if (x[at] > largest) largest = x[at];
          }
        }
        y[k] = op === "avgpool" ? sum / area : largest;
      }
    }
  }
  return y;
}

/** The error function to 1e-13: its series near zero, its continued fraction further out. @param {number} x */
function erf(x) {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 2.5) {
    let sum = x;
    let term = x;
    for (let n = 1; n < 60; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let tail = 0;
  for (let n = 60; n > 0; n--) tail = n / 2 / (z + tail);
  return Math.sign(x) * (1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + tail));
}

// ---------------------------------------------------------------- convolutions

/**
 * How many numbers a reading keeps and the convolutions need, and how many multiplications it takes:
 * from the settings and shapes of layers, which need no tensors yet.
 *
 * @param {Layer[]} layers
 */
export function demandOf(layers) {
  const { kernels, windows, sums } = roomFor(layers.filter((layer) => layer.op === "conv"));
  const convolutions = kernels + windows + sums;
  let [memory, work] = [convolutions, 0];
  for (const layer of layers) {
    const outputs = size(layer.output);
    memory += outputs;
    work += outputs * workOf(layer);
    if (layer.op === "conv") memory += roomFor([layer]).windows; // each keeps where they come from
  }
  return { convolutions, memory, work };
}

/** How many multiplications an output of a layer takes, or what takes as long. @param {Layer} layer */
function workOf(layer) {
  switch (layer.op) {
    case "conv": {
      // Channels of a group are computed by eight, of which some may be none.
      const { length, octets } = countTiles(layer);
      return (length * octets * CHANNELS * layer.groups) / layer.output[0];
    }
    case "linear":
      return layer.input[0];
    case "maxpool":
    case "avgpool":
      return Math.min(layer.kernel[0], layer.input[1]) * Math.min(layer.kernel[1], layer.input[2]);
    case "gelu":
      return 64; // a long sum
    default:
      return 1;
  }
}

/** How many tiles a convolution has, and how many values a window. @param {ConvLayer} layer */
const countTiles = ({ input: [C], output: [O, OH, OW], kernel, groups }) => ({
  length: (C / groups) * size(kernel),
  quads: Math.ceil((OH * OW) / WINDOWS),
  octets: Math.ceil(O / groups / CHANNELS),
});

/**
 * How many numbers convolutions need in memory that they share: all their kernels, and the windows
 * and sums of one of them.
 *
 * @param {ConvLayer[]} layers
 */
function roomFor(layers) {
  let [kernels, windows, sums] = [0, 0, 0];
  for (const layer of layers) {
    const { length, quads, octets } = countTiles(layer);
    kernels += layer.groups * octets * length * CHANNELS;
    windows = Math.max(windows, layer.groups * quads * length * WINDOWS);
    sums = Math.max(sums, layer.groups * octets * quads * CHANNELS * WINDOWS);
  }
  return { kernels, windows, sums };
}

/**
 * Lay out what convolutions need: the kernels, ordered so that the weights of eight output channels
 * for one input lie together, then the windows and the sums of the layer that is running.
 *
 * @param {ConvLayer[]} layers which get a plan
 */
export function prepare(layers) {
  const { kernels, windows, sums } = roomFor(layers);
  const shared = { ...tiles(4 * (kernels + windows + sums)), windows: kernels, sums: kernels + windows };
  let begin = 0;
  for (const layer of layers) {
    const { length, quads, octets } = countTiles(layer);
    const sources = sourcesOf(layer, quads, length);
    layer.plan = { ...shared, length, quads, octets, kernels: begin, sources };
    storeKernels(layer);
    begin += layer.groups * octets * length * CHANNELS;
  }
}

/** @param {ConvLayer} layer */
function storeKernels({ output: [O], groups, weight, plan: { memory, kernels, octets, length } }) {
  const outputs = O / groups;
  for (let o = 0; o < O; o++) {
    const octet = Math.floor(o / outputs) * octets + Math.floor((o % outputs) / CHANNELS);
    const first = kernels + octet * length * CHANNELS + ((o % outputs) % CHANNELS);
    for (let k = 0; k < length; k++) memory[first + k * CHANNELS] = weight[o * length + k];
  }
}

/**
 * Where each value of each window comes from: an index into the input, or -1 for the padding. In
 * the order of a tile: for four windows their first values, their second values, and so on.
 *
 * @param {ConvLayer} layer
 * @param {number} quads
 * @param {number} length
 */
function sourcesOf(
  { input: [C, H, W], output: [, OH, OW], kernel, stride, padding, dilation, groups },
  quads,
  length,
) {
  const sources = new Int32Array(groups * quads * length * WINDOWS).fill(-1);
  const [KH, KW] = kernel;
  for (let c = 0; c < C; c++) {
    const group = Math.floor((c * groups) / C);
    const within = c - (group * C) / groups;
    for (let tap = 0; tap < KH * KW; tap++) {
      const top = Math.floor(tap / KW) * dilation[0] - padding[0];
      const left = (tap % KW) * dilation[1] - padding[1];
      const k = within * KH * KW + tap;
      for (let p = 0; p < OH * OW; p++) {
        const row = Math.floor(p / OW) * stride[0] + top;
        const column = (p % OW) * stride[1] + left;
        if (row < 0 || row >= H || column < 0 || column >= W) continue;
        const quad = group * quads + Math.floor(p / WINDOWS);
        sources[(quad * length + k) * WINDOWS + (p % WINDOWS)] = (c * H + row) * W + column;
      }
    }
  }
  return sources;
}

/**
 * Cross-correlation, as every network's "convolution": lay out the windows, multiply by tiles.
 *
 * @param {ConvLayer} layer
 * @param {Float32Array} x
 */
function convolve({ output: [O, OH, OW], groups, bias, plan }, x) {
  const { memory, tile, length, quads, octets, kernels, windows, sums, sources } = plan;
  for (let i = 0; i < sources.length; i++) memory[windows + i] = sources[i] < 0 ? 0 : x[sources[i]];
  const area = OH * OW;
  const outputs = O / groups;
  const y = new Float32Array(O * area);
  const kernelSize = 4 * length * CHANNELS; // in bytes, as quadSize
  const quadSize = 4 * length * WINDOWS;
  for (let group = 0; group < groups; group++) {
    for (let octet = 0; octet < octets; octet++) {
      const w = 4 * kernels + (group * octets + octet) * kernelSize;
      for (let quad = 0; quad < quads; quad++) {
        const at = 4 * windows + (group * quads + quad) * quadSize;
        tile(w, at, 4 * sums + quad * 4 * CHANNELS * WINDOWS, at + quadSize);
      }
      const first = group * outputs + octet * CHANNELS;
      const channels = Math.min(CHANNELS, outputs - octet * CHANNELS);
      for (let o = first; o < first + channels; o++) {
        for (let p = 0; p < area; p++) y[o * area + p] = memory[sums + p * CHANNELS + o - first] + bias[o];
      }
    }
  }
  return y;
}

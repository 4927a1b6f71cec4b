// A small engine for the sequential networks of the course, on typed arrays and nothing else.
//
// parseModel(bytes) reads what mnist_course/export.py wrote; forward(model, image) runs it and
// keeps what every layer answered. A feature map is stored channel by channel, row by row.

import { CHANNELS, WINDOWS, tiles } from "./simd.js";

const MAGIC = "MNISTNET";
const MAX_BYTES = 32 << 20, MAX_VALUES = 1 << 22;

/** What is wrong with a file of weights, in a sentence that a reader can be shown. */
export class ModelError extends Error {}

const check = (condition, reason) => {
  if (!condition) throw new ModelError(`These weights cannot be used: ${reason}.`);
};

// ---------------------------------------------------------------- reading a network

/**
 * Read a network: 8 bytes "MNISTNET", the length of the header and a CRC-32 of all that follows
 * (both 32 bits, little-endian), the header as JSON, and the tensors as float16 or float32.
 *
 * @param {Uint8Array} bytes the file
 * @returns {{layers: object[], shape: number[]}} what forward takes
 * @throws {ModelError} if the file is not one of ours, damaged, or does not fit together
 */
export function parseModel(bytes) {
  check(bytes instanceof Uint8Array, "they are not bytes");
  check(bytes.length <= MAX_BYTES, "the file is too large");
  check(bytes.length > 16 && String.fromCharCode(...bytes.subarray(0, 8)) === MAGIC,
    "the file is not one that the course exported");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 16 + view.getUint32(8, true);
  check(start <= bytes.length && crc32(bytes.subarray(16)) === view.getUint32(12, true),
    "the file is damaged or cut short");
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(16, start)));
  } catch {
    check(false, "its header cannot be read");
  }
  check(header?.version === 1, `version ${String(header?.version).slice(0, 20)} is not known here`);
  check(isShape(header.input, 3) && Array.isArray(header.layers) && header.layers.length < 1000,
    "its header is incomplete");

  /** The tensor that the header describes as {dtype, shape, offset}. */
  const tensor = (description, ...shape) => {
    const size = shape.reduce((a, b) => a * b, 1);
    check(size <= MAX_VALUES, "a tensor is too large");
    check(String(description?.shape) === String(shape), `a tensor of shape ${shape} is missing`);
    const { dtype, offset } = description;
    check(dtype === "float16" || dtype === "float32", "a tensor is neither float16 nor float32");
    const width = dtype === "float16" ? 2 : 4;
    check(Number.isSafeInteger(offset) && offset >= 0 && start + offset + size * width <= bytes.length,
      "a tensor lies outside the file");
    const values = new Float32Array(size);
    for (let i = 0, at = start + offset; i < size; i++, at += width) {
      values[i] = width === 2 ? float16(view.getUint16(at, true)) : view.getFloat32(at, true);
    }
    check(values.every(Number.isFinite), "a weight is not a finite number");
    return values;
  };

  let shape = header.input;
  const layers = header.layers.map((description) => {
    const build = Object.hasOwn(BUILDERS, description?.op) && BUILDERS[description.op];
    check(build, `this page does not know the layer ${JSON.stringify(description?.op)?.slice(0, 40)}`);
    const layer = { name: String(description.name), op: description.op, input: shape };
    layer.output = build(layer, description, tensor);
    check(isShape(layer.output), `layer ${layer.name.slice(0, 40)} has no output`);
    check(size(layer.output) <= MAX_VALUES, `layer ${layer.name.slice(0, 40)} is too large`);
    shape = layer.output;
    return layer;
  });
  check(shape.length === 1 && shape[0] === 10, `it ends in shape ${shape}, and not in ten logits`);
  prepare(layers.filter(({ op }) => op === "conv"));
  return { name: String(header.name ?? ""), input: header.input, layers };
}

/** How many values a shape holds. */
export const size = (shape) => shape.reduce((a, b) => a * b, 1);

const isShape = (shape, length) =>
  Array.isArray(shape) && shape.length > 0 && (length === undefined || shape.length === length) &&
  shape.every((n) => Number.isSafeInteger(n) && n > 0 && n <= 1 << 16);

const pair = (value, least) => {
  check(Array.isArray(value) && value.length === 2 &&
    value.every((n) => Number.isSafeInteger(n) && n >= least && n <= 1024), "a layer's settings make no sense");
  return value;
};

const slid = (n, kernel, stride, padding, dilation = 1) =>
  Math.floor((n + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;

// Each builder completes a layer from its description and returns its output's shape.
const same = (layer) => layer.input;
const BUILDERS = {
  normalize(layer, { mean, std }) {
    check(Number.isFinite(mean) && Number.isFinite(std) && std > 0, "its normalisation makes no sense");
    Object.assign(layer, { mean, std });
    return layer.input;
  },
  affine(layer, { scale, shift }, tensor) {
    layer.scale = tensor(scale, layer.input[0]);
    layer.shift = tensor(shift, layer.input[0]);
    return layer.input;
  },
  conv(layer, description, tensor) {
    const [C, H, W] = picture(layer);
    const [kernel, stride, padding, dilation] = [["kernel", 1], ["stride", 1], ["padding", 0], ["dilation", 1]]
      .map(([name, least]) => pair(description[name], least));
    const { out, groups } = description;
    check(isShape([out, groups]) && C % groups === 0 && out % groups === 0, "a convolution's channels do not fit");
    layer.weight = tensor(description.weight, out, C / groups, ...kernel);
    layer.bias = tensor(description.bias, out);
    Object.assign(layer, { kernel, stride, padding, dilation, groups });
    return [out, slid(H, kernel[0], stride[0], padding[0], dilation[0]), slid(W, kernel[1], stride[1], padding[1], dilation[1])];
  },
  relu: same,
  gelu(layer, { tanh }) {
    layer.tanh = Boolean(tanh);
    return layer.input;
  },
  maxpool: pooled,
  avgpool: pooled,
  globalavgpool: (layer) => [picture(layer)[0], 1, 1],
  flatten: (layer) => [size(layer.input)],
  linear(layer, { out, weight, bias }, tensor) {
    check(layer.input.length === 1 && isShape([out]), "a linear layer needs flat input");
    layer.weight = tensor(weight, out, layer.input[0]);
    layer.bias = tensor(bias, out);
    return [out];
  },
};

function picture(layer) {
  check(layer.input.length === 3, `layer ${layer.name.slice(0, 40)} needs feature maps`);
  return layer.input;
}

function pooled(layer, description) {
  const [C, H, W] = picture(layer);
  const kernel = pair(description.kernel, 1), stride = pair(description.stride, 1), padding = pair(description.padding, 0);
  check(2 * padding[0] <= kernel[0] && 2 * padding[1] <= kernel[1], "a pool's padding is more than half its window");
  Object.assign(layer, { kernel, stride, padding });
  return [C, slid(H, kernel[0], stride[0], padding[0]), slid(W, kernel[1], stride[1], padding[1])];
}

const POWERS = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));

/** The value of 16 bits as IEEE half precision. */
function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 1024 + fraction : fraction) * POWERS[exponent];
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// ---------------------------------------------------------------- running it

/**
 * Run a network on one picture.
 *
 * @param {object} model from parseModel
 * @param {Float32Array} image 784 pixels in [0, 1]
 * @returns {{logits: Float32Array, probs: Float64Array,
 *   activations: {name: string, op: string, shape: number[], data: Float32Array}[]}}
 *   the ten logits, their softmax, and the output of every layer
 */
export function forward(model, image) {
  if (image.length !== size(model.input)) {
    throw new RangeError(`expected ${size(model.input)} pixels, got ${image.length}`);
  }
  let data = image;
  const activations = model.layers.map((layer) => {
    data = RUNNERS[layer.op](data, layer);
    return { name: layer.name, op: layer.op, shape: layer.output, data };
  });
  return { logits: data, probs: softmax(data), activations };
}

/** exp(z) / sum(exp(z)), safe for large logits. @returns {Float64Array} */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const result = Float64Array.from(logits, (z) => Math.exp(z - largest));
  const sum = result.reduce((a, b) => a + b, 0);
  return result.map((e) => e / sum);
}

const RUNNERS = {
  normalize: (x, { mean, std }) => x.map((v) => (v - mean) / std),
  affine(x, { scale, shift, input }) {
    const area = size(input) / input[0];
    return x.map((v, i) => v * scale[Math.floor(i / area)] + shift[Math.floor(i / area)]);
  },
  conv: convolve,
  relu(x) {
    const y = new Float32Array(x.length);
    for (let i = 0; i < x.length; i++) y[i] = x[i] > 0 ? x[i] : 0;
    return y;
  },
  gelu: (x, { tanh }) => x.map(tanh
    ? (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))
    : (v) => 0.5 * v * (1 + erf(v * Math.SQRT1_2))),
  maxpool: (x, layer) => pool(x, layer, false),
  avgpool: (x, layer) => pool(x, layer, true),
  globalavgpool(x, { input: [C, H, W] }) {
    return Float32Array.from({ length: C }, (_, c) => {
      let sum = 0;
      for (let i = c * H * W; i < (c + 1) * H * W; i++) sum += x[i];
      return sum / (H * W);
    });
  },
  flatten: (x) => x,
  linear(x, { weight, bias }) {
    const y = new Float32Array(bias.length);
    for (let o = 0, k = 0; o < y.length; o++) {
      let sum = bias[o];
      for (let i = 0; i < x.length; i++, k++) sum += weight[k] * x[i];
      y[o] = sum;
    }
    return y;
  },
};

/**
 * Lay out what convolutions need in memory that they share: the kernels, ordered so that the weights
 * of eight output channels for one input lie together, and room for windows and sums of one layer.
 */
function prepare(layers) {
  let kernels = 0, windows = 0, sums = 0; // how many numbers
  const plans = layers.map(({ input: [C], output: [O, OH, OW], kernel, groups }) => {
    const plan = { length: (C / groups) * size(kernel), quads: Math.ceil((OH * OW) / WINDOWS), octets: Math.ceil(O / groups / CHANNELS) };
    plan.kernels = kernels;
    kernels += groups * plan.octets * plan.length * CHANNELS;
    windows = Math.max(windows, groups * plan.quads * plan.length * WINDOWS);
    sums = Math.max(sums, groups * plan.octets * plan.quads * CHANNELS * WINDOWS);
    return plan;
  });
  check(kernels + windows + sums <= 4 * MAX_VALUES, "its convolutions are too large");
  const { memory, tile } = tiles(4 * (kernels + windows + sums));
  layers.forEach((layer, index) => {
    const plan = plans[index], { output: [O], groups, weight } = layer, outputs = O / groups;
    for (let o = 0; o < O; o++) {
      const octet = Math.floor(o / outputs) * plan.octets + Math.floor((o % outputs) / CHANNELS);
      const first = plan.kernels + octet * plan.length * CHANNELS + ((o % outputs) % CHANNELS);
      for (let k = 0; k < plan.length; k++) memory[first + k * CHANNELS] = weight[o * plan.length + k];
    }
    layer.plan = { ...plan, windows: kernels, sums: kernels + windows, memory, tile, sources: sourcesOf(layer, plan) };
  });
}

/** Where each value of each window comes from: an index into the input, or -1 for the padding. In
 *  the order of a tile: for four windows their first values, their second values, and so on. */
function sourcesOf({ input: [C, H, W], output: [, OH, OW], kernel: [KH, KW], stride, padding, dilation, groups }, { quads, length }) {
  const sources = new Int32Array(groups * quads * length * WINDOWS).fill(-1);
  for (let c = 0; c < C; c++) {
    const group = Math.floor((c * groups) / C), within = c - (group * C) / groups;
    for (let tap = 0; tap < KH * KW; tap++) {
      const u = Math.floor(tap / KW), v = tap % KW, k = within * KH * KW + tap;
      for (let p = 0; p < OH * OW; p++) {
        const row = Math.floor(p / OW) * stride[0] - padding[0] + u * dilation[0];
        const column = (p % OW) * stride[1] - padding[1] + v * dilation[1];
        if (row < 0 || row >= H || column < 0 || column >= W) continue;
        const quad = group * quads + Math.floor(p / WINDOWS);
        sources[(quad * length + k) * WINDOWS + (p % WINDOWS)] = (c * H + row) * W + column;
      }
    }
  }
  return sources;
}

/** Cross-correlation, as every network's "convolution": lay out the windows, multiply by tiles. */
function convolve(x, { output: [O, OH, OW], groups, bias, plan }) {
  const { memory, tile, length, quads, octets, kernels, windows, sums, sources } = plan;
  for (let i = 0; i < sources.length; i++) memory[windows + i] = sources[i] < 0 ? 0 : x[sources[i]];
  const area = OH * OW, outputs = O / groups;
  const y = new Float32Array(O * area);
  const kernelSize = 4 * length * CHANNELS, quadSize = 4 * length * WINDOWS;
  for (let group = 0; group < groups; group++) {
    for (let octet = 0; octet < octets; octet++) {
      const w = 4 * kernels + (group * octets + octet) * kernelSize;
      for (let quad = 0; quad < quads; quad++) {
        const at = 4 * windows + (group * quads + quad) * quadSize;
        tile(w, at, 4 * sums + quad * 4 * CHANNELS * WINDOWS, at + quadSize);
      }
      const first = group * outputs + octet * CHANNELS, channels = Math.min(CHANNELS, outputs - octet * CHANNELS);
      for (let n = 0; n < channels; n++) {
        const o = first + n;
        for (let p = 0; p < area; p++) y[o * area + p] = memory[sums + p * CHANNELS + n] + bias[o];
      }
    }
  }
  return y;
}

/** The largest or the average value in each window. The padding's zeros count for the average, as
 *  in PyTorch, and for the largest value they do not. */
function pool(x, { input: [C, H, W], output: [, OH, OW], kernel, stride, padding }, average) {
  const y = new Float32Array(C * OH * OW), area = size(kernel);
  for (let c = 0, k = 0; c < C; c++) {
    for (let i = 0; i < OH; i++) {
      const top = i * stride[0] - padding[0];
      const first = Math.max(top, 0), last = Math.min(top + kernel[0], H);
      for (let j = 0; j < OW; j++, k++) {
        const left = j * stride[1] - padding[1];
        const start = Math.max(left, 0), end = Math.min(left + kernel[1], W);
        let largest = -Infinity, sum = 0;
        for (let row = first; row < last; row++) {
          for (let at = (c * H + row) * W + start, stop = at + end - start; at < stop; at++) {
            sum += x[at];
            if (x[at] > largest) largest = x[at];
          }
        }
        y[k] = average ? sum / area : largest;
      }
    }
  }
  return y;
}

/** The error function to 1e-13: its series near zero, its continued fraction further out. */
function erf(x) {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 2.5) {
    let sum = x, term = x;
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

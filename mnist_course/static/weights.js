// The file of a network, as mnist_course/export.py writes it: 8 bytes "MNISTNET", the length of the
// header and a CRC-32 of all that follows (both 32 bits, little-endian), the header as JSON, and the
// tensors as float32, float16, or int8 with a step for each output channel. Whatever is in it is a
// stranger's until it has been checked.

import { demandOf, prepare, size } from "./engine.js";
import { outputSize } from "./numbers.js";

/** @import { Layer, Model, Pair, Shape } from "./types" */

const MAGIC = "MNISTNET";
const MAX_BYTES = 32 << 20;
const MAX_HEADER = 1 << 20; // bytes
const MAX_VALUES = 1 << 22; // of a tensor, or of the output of a layer
// Of a whole network. Ten times the largest network of the course is far below both.
const MAX_MEMORY = 1 << 26; // numbers of four bytes
const MAX_WORK = 2 ** 30; // multiplications for one drawing

/** What is wrong with a file of weights, in a sentence that a reader can be shown; and what to do. */
export class ModelError extends Error {
  constructor(reason = "", advice = "Export the network again.") {
    super(`These weights cannot be used: ${reason}.`);
    this.reason = reason;
    this.advice = advice;
  }
}

/**
 * @param {unknown} condition
 * @param {string} reason
 * @param {string} [advice]
 * @returns {asserts condition}
 */
function check(condition, reason, advice) {
  if (!condition) throw new ModelError(reason, advice);
}

/** A name; what is no text, and could not even be shown as one, is nobody's. @param {unknown} name */
const nameOf = (name) => (typeof name === "string" ? name : "");

/** Whether a table has an entry of this name. @param {object} table @param {unknown} name */
const has = (table, name) => typeof name === "string" && Object.hasOwn(table, name);

/**
 * Read a network.
 *
 * @param {Uint8Array} bytes the file
 * @returns {Model}
 * @throws {ModelError} if the file is not one of ours, damaged, or does not fit together
 */
export function parseModel(bytes) {
  const { header, blob } = unpack(bytes);
  let shape = header.input;
  const drafts = header.layers.map((description) => {
    const draft = draftLayer(description, shape, blob.byteLength);
    shape = draft.layer.output;
    return draft;
  });
  checkDemand(drafts, blob.byteLength);
  for (const { layer, tensors } of drafts) {
    for (const [name, place] of Object.entries(tensors)) Reflect.set(layer, name, readTensor(place, blob));
  }
  check(
    shape.length === 1 && shape[0] === 10,
    `it ends in shape ${shape}, and not in ten logits`,
    "The pad has ten bars: train a network with ten outputs, one for each digit.",
  );
  const layers = drafts.map(({ layer }) => layer);
  prepare(layers.filter((layer) => layer.op === "conv"));
  return { name: nameOf(header.name), input: header.input, layers };
}

/**
 * What a small file can ask for is much: a tensor may serve many layers, and a layer needs no weights
 * to make its output large. So all of it is added up before anything is made.
 *
 * @param {Draft[]} drafts
 * @param {number} bytes that there are for tensors
 */
function checkDemand(drafts, bytes) {
  const places = drafts.flatMap(({ tensors }) => Object.values(tensors));
  const stored = places.reduce((sum, { count, width, steps }) => sum + count * width + 4 * steps.count, 0);
  check(stored <= bytes, "its tensors together are larger than the file");
  const { convolutions, memory, work } = demandOf(drafts.map(({ layer }) => layer));
  check(convolutions <= 4 * MAX_VALUES, "its convolutions are too large");
  const numbers = places.reduce((sum, { count }) => sum + count, memory);
  check(numbers <= MAX_MEMORY, "it needs too much memory");
  check(work <= MAX_WORK, "it needs too much work for a drawing");
}

/**
 * The header, and the tensors behind it.
 *
 * @param {Uint8Array} bytes
 * @returns {{header: {name?: unknown, input: Shape, layers: unknown[]}, blob: DataView}}
 */
function unpack(bytes) {
  check(bytes instanceof Uint8Array, "they are not bytes");
  check(bytes.length <= MAX_BYTES, "the file is too large");
  check(
    bytes.length > 16 && String.fromCharCode(...bytes.subarray(0, 8)) === MAGIC,
    "the file is not one that the course exported",
  );
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 16 + view.getUint32(8, true);
  check(
    start <= bytes.length && crc32(bytes.subarray(16)) === view.getUint32(12, true),
    "the file is damaged or cut short",
    "Fetch it once more, or export the network again.",
  );
  check(start <= MAX_HEADER, "its header is too large");
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(16, start)));
  } catch {
    check(false, "its header cannot be read");
  }
  check(header?.version === 1, `version ${JSON.stringify(header?.version)?.slice(0, 20)} is not known here`);
  check(
    isShape(header.input, 3) && Array.isArray(header.layers) && header.layers.length < 1000,
    "its header is incomplete",
  );
  check(
    header.input.join() === "1,28,28",
    `it reads pictures of shape ${header.input}, and not 1,28,28`,
    "The pad draws 28 \u00d7 28 pixels in one channel: train a network on such pictures.",
  );
  return { header, blob: new DataView(bytes.buffer, bytes.byteOffset + start, bytes.length - start) };
}

// ---------------------------------------------------------------- layers

/**
 * A layer that lacks its tensors, and where they lie.
 *
 * @typedef {{layer: Layer, tensors: Record<string, Place>}} Draft
 */

/**
 * What the description of a layer means: its output, its settings, the shapes of its tensors.
 *
 * @typedef {{output: Shape, settings?: object, tensors?: Record<string, Shape>}} Meaning
 */

/**
 * @param {any} description
 * @param {Shape} input
 * @param {number} bytes that there are for tensors
 * @returns {Draft}
 */
function draftLayer(description, input, bytes) {
  const read = has(LAYERS, description?.op) && LAYERS[description.op];
  check(read, `this page does not know the layer ${JSON.stringify(description?.op)?.slice(0, 40)}`);
  const name = nameOf(description.name);
  const short = name.slice(0, 40);
  const { output, settings = {}, tensors = {} } = read(description, input, short);
  const places = Object.entries(tensors).map(([key, shape]) => [key, locate(description[key], shape, bytes)]);
  check(isShape(output), `layer ${short} has no output`);
  check(size(output) <= MAX_VALUES, `layer ${short} is too large`);
  const layer = { op: description.op, name, input, output, ...settings };
  return { layer: /** @type {Layer} */ (layer), tensors: Object.fromEntries(places) };
}

const same = (/** @type {any} */ _, /** @type {Shape} */ input) => ({ output: input });

/** @type {Record<string, (description: any, input: Shape, name: string) => Meaning>} */
const LAYERS = {
  normalize({ mean, std }, input) {
    check(Number.isFinite(mean) && Number.isFinite(std) && std > 0, "its normalisation makes no sense");
    return { output: input, settings: { mean, std } };
  },
  affine: (_, input) => ({ output: input, tensors: { scale: [input[0]], shift: [input[0]] } }),
  conv: readConv,
  relu: same,
  gelu: ({ tanh }, input) => ({ output: input, settings: { tanh: Boolean(tanh) } }),
  maxpool: readPool,
  avgpool: readPool,
  globalavgpool: (_, input, name) => ({ output: [maps(input, name)[0], 1, 1] }),
  flatten: (_, input) => ({ output: [size(input)] }),
  linear({ out }, input) {
    check(input.length === 1 && isShape([out]), "a linear layer needs flat input");
    return { output: [out], tensors: { weight: [out, input[0]], bias: [out] } };
  },
};

/**
 * @param {any} description
 * @param {Shape} input
 * @param {string} name
 */
function readConv(description, input, name) {
  const [C, H, W] = maps(input, name);
  const kernel = pair(description.kernel, 1);
  const stride = pair(description.stride, 1);
  const padding = pair(description.padding, 0);
  const dilation = pair(description.dilation, 1);
  const { out, groups } = description;
  check(
    isShape([out, groups]) && C % groups === 0 && out % groups === 0,
    "a convolution's channels do not fit",
  );
  return {
    output: [out, ...slid([H, W], kernel, stride, padding, dilation)],
    settings: { kernel, stride, padding, dilation, groups },
    tensors: { weight: [out, C / groups, ...kernel], bias: [out] },
  };
}

/**
 * @param {any} description
 * @param {Shape} input
 * @param {string} name
 */
function readPool(description, input, name) {
  const [C, H, W] = maps(input, name);
  const kernel = pair(description.kernel, 1);
  const stride = pair(description.stride, 1);
  const padding = pair(description.padding, 0);
  check(
    2 * padding[0] <= kernel[0] && 2 * padding[1] <= kernel[1],
    "a pool's padding is more than half its window",
  );
  return {
    output: [C, ...slid([H, W], kernel, stride, padding, [1, 1])],
    settings: { kernel, stride, padding },
  };
}

/**
 * How many windows there are, in rows and columns.
 *
 * @param {number[]} extent of the input
 * @param {Pair} kernel
 * @param {Pair} stride
 * @param {Pair} padding
 * @param {Pair} dilation
 */
const slid = (extent, kernel, stride, padding, dilation) =>
  extent.map((n, axis) =>
    outputSize(n, { k: kernel[axis], s: stride[axis], p: padding[axis], d: dilation[axis] }),
  );

/**
 * @param {unknown} shape
 * @param {number} [length]
 * @returns {shape is Shape}
 */
const isShape = (shape, length) =>
  Array.isArray(shape) &&
  shape.length > 0 &&
  (length === undefined || shape.length === length) &&
  shape.every((n) => Number.isSafeInteger(n) && n > 0 && n <= 1 << 16);

/**
 * @param {unknown} value
 * @param {number} least
 * @returns {Pair}
 */
function pair(value, least) {
  const fits =
    Array.isArray(value) &&
    value.length === 2 &&
    value.every((n) => Number.isSafeInteger(n) && n >= least && n <= 1024);
  check(fits, "a layer's settings make no sense");
  return [value[0], value[1]];
}

/**
 * @param {Shape} input
 * @param {string} name
 */
function maps(input, name) {
  check(input.length === 3, `layer ${name} needs feature maps`);
  return input;
}

// ---------------------------------------------------------------- tensors

/** How many bytes a number has. @type {Record<string, number>} */
const WIDTHS = { int8: 1, float16: 2, float32: 4 };

/**
 * Where the numbers of a tensor lie, how many they are, how many bytes each has; and where the steps
 * lie by which whole numbers are multiplied, one for each output channel, if they are whole.
 *
 * @typedef {{offset: number, count: number, width: number}} Numbers
 * @typedef {Numbers & {steps: Numbers}} Place
 */

/**
 * @param {any} description {dtype, shape, offset, steps}, as the header has it
 * @param {Shape} shape that it must have
 * @param {number} bytes that there are
 * @returns {Place}
 */
function locate(description, shape, bytes) {
  const place = locateNumbers(description, shape, bytes);
  if (description.dtype !== "int8") return { ...place, steps: { offset: 0, count: 0, width: 4 } };
  check(description.steps?.dtype === "float32", "the steps of whole numbers are missing");
  return { ...place, steps: locateNumbers(description.steps, [shape[0]], bytes) };
}

/**
 * @param {any} description
 * @param {Shape} shape
 * @param {number} bytes
 * @returns {Numbers}
 */
function locateNumbers(description, shape, bytes) {
  const count = size(shape);
  check(count <= MAX_VALUES, "a tensor is too large");
  check(
    JSON.stringify(description?.shape) === JSON.stringify(shape),
    `a tensor of shape ${shape} is missing`,
  );
  const { dtype, offset } = description;
  check(has(WIDTHS, dtype), "a tensor is neither int8, float16 nor float32");
  const width = WIDTHS[dtype];
  check(
    Number.isSafeInteger(offset) && offset >= 0 && offset + count * width <= bytes,
    "a tensor lies outside the file",
  );
  return { offset, count, width };
}

/**
 * @param {Place} place
 * @param {DataView} blob
 */
function readTensor(place, blob) {
  const values = readNumbers(place, blob);
  const { steps } = place;
  const each = values.length / (steps.count || 1); // numbers that share a step
  readNumbers(steps, blob).forEach((step, channel) => {
    for (let i = channel * each; i < (channel + 1) * each; i++) values[i] *= step;
  });
  check(
    values.every(Number.isFinite),
    "a weight is not a finite number",
    "Its training has failed: train again, with a smaller learning rate.",
  );
  return values;
}

/**
 * @param {Numbers} numbers
 * @param {DataView} blob
 */
function readNumbers({ offset, count, width }, blob) {
  const read = [
    (/** @type {number} */ at) => blob.getInt8(at),
    (/** @type {number} */ at) => float16(blob.getUint16(at, true)),
    (/** @type {number} */ at) => blob.getFloat32(at, true),
  ][width >> 1];
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = read(offset + i * width);
  return values;
}

const POWERS = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (Math.max(exponent, 1) - 25));

/** The value of 16 bits as IEEE half precision. @param {number} bits */
function float16(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 1024 + fraction : fraction) * POWERS[exponent];
}

const CRC = Int32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

/** @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

// A network that was trained in the page, as the file that the pad reads (see weights.js).

import { size } from "./engine.js";
import { Activation, BatchNorm, Conv, MaxPool } from "./trainable.js";
import { crc32 } from "./weights.js";

/** @import { Network } from "./network.js" */
/** @import { Shape } from "./types" */

/** Why a network cannot be kept, in a sentence that a reader can be shown. */
export class KeepError extends Error {}

/**
 * The file: "MNISTNET", the length of the header and a CRC-32, the header, the tensors in float32.
 * Batch norm becomes a scale and a shift of each channel, dropout is left out.
 *
 * @param {Network} network
 * @param {{name: string, normalize: {mean: number, std: number} | null}} options what it is called,
 *   and what its pixels were normalised by
 * @throws {KeepError} if it has a layer that the file does not know, or a weight that is no number
 */
export function writeNetwork(network, { name, normalize }) {
  /** @type {Float32Array[]} */
  const tensors = [];
  let offset = 0;
  /** @param {Float32Array} values @param {Shape} shape */
  const store = (values, shape) => {
    if (!values.every(Number.isFinite)) {
      throw new KeepError("The network cannot be kept: some of its weights are no longer numbers.");
    }
    const place = { dtype: "float32", shape, offset };
    tensors.push(values);
    offset += 4 * size(shape);
    return place;
  };
  const layers = network.layers.flatMap((layer, index) => describe(layer, store, `layer${index}`));
  if (normalize) layers.unshift({ name: "normalize", op: "normalize", ...normalize });
  const header = { version: 1, name, input: [1, 28, 28], layers };
  return assemble(new TextEncoder().encode(JSON.stringify(header)), tensors, offset);
}

/** @typedef {(values: Float32Array, shape: Shape) => object} Store */

/**
 * A layer as the file describes it.
 *
 * @param {Network["layers"][number]} layer
 * @param {Store} store
 * @param {string} name where it has none
 * @returns {object[]}
 */
function describe(layer, store, name) {
  if (layer instanceof Conv) return describeConv(layer, store);
  if (layer instanceof MaxPool) {
    return [{ name, op: "maxpool", kernel: [2, 2], stride: [2, 2], padding: [0, 0] }];
  }
  if (layer instanceof BatchNorm) {
    const { channels, weight, bias, runningMean, runningVariance } = layer;
    const scale = weight.map((value, c) => value / Math.sqrt(runningVariance[c] + 1e-5));
    const shift = bias.map((value, c) => value - runningMean[c] * scale[c]);
    const [kept, moved] = [scale, shift].map((values) => store(values, [channels]));
    return [{ name: layer.name, op: "affine", scale: kept, shift: moved }];
  }
  if (!(layer instanceof Activation)) return [];
  if (layer.kind === "relu") return [{ name, op: "relu" }];
  if (layer.kind === "gelu") return [{ name, op: "gelu", tanh: false }];
  if (layer.kind === "none") return [];
  throw new KeepError(`The file knows ReLU and GELU, and not ${layer.kind}: train with one of these.`);
}

/** @param {Conv} layer @param {Store} store */
function describeConv({ name, outputs, channels, kernel, stride, size: places, torchWeight, bias }, store) {
  const shift = bias ? bias.slice(0, outputs) : new Float32Array(outputs);
  const pair = (/** @type {number} */ value) => [value, value];
  if (places > 1) {
    const weight = store(torchWeight, [outputs, channels, kernel, kernel]);
    const settings = { kernel: pair(kernel), stride: pair(stride), padding: pair(0), dilation: pair(1) };
    return [
      { name, op: "conv", out: outputs, ...settings, groups: 1, weight, bias: store(shift, [outputs]) },
    ];
  }
  // A kernel as large as its picture is a linear layer.
  const weight = store(torchWeight, [outputs, channels * kernel * kernel]);
  const flatten = { name: "flatten", op: "flatten" };
  return [flatten, { name, op: "linear", out: outputs, weight, bias: store(shift, [outputs]) }];
}

/** @param {Uint8Array} header @param {Float32Array[]} tensors @param {number} length of the tensors, in bytes */
function assemble(header, tensors, length) {
  const bytes = new Uint8Array(16 + header.length + length);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode("MNISTNET"));
  bytes.set(header, 16);
  let at = 16 + header.length;
  for (const values of tensors) for (const value of values) at = put(view, at, value);
  view.setUint32(8, header.length, true);
  view.setUint32(12, crc32(bytes.subarray(16)), true);
  return bytes;
}

/** @param {DataView} view @param {number} at @param {number} value */
function put(view, at, value) {
  view.setFloat32(at, value, true);
  return at + 4;
}

// The arithmetic behind one number of a layer: which window it looks at, the products with its
// kernel, their sum and the bias. It is what engine.js computes, taken apart for one output.

import { size } from "./engine.js";

/** @import { ConvLayer, Layer, LinearLayer, Pair, Part, Place, PoolLayer, Shape, Sum, Window } from "./types" */

/** A shape as [channels, rows, columns]; a list of numbers has one row and one column. @param {Shape} shape */
export const asMaps = ([C, H = 1, W = 1]) => [C, H, W];

/**
 * The place of value number `k` of a shape.
 *
 * @param {number} k
 * @param {Shape} shape
 * @returns {Place}
 */
export function placeOf(k, shape) {
  const [, H, W] = asMaps(shape);
  return [Math.floor(k / (H * W)), Math.floor(k / W) % H, k % W];
}

/**
 * The number of the value at a place of a shape; -1 where the place lies outside its maps.
 *
 * @param {Place} place
 * @param {Shape} shape
 */
export function indexOf([channel, row, column], shape) {
  const [, H, W] = asMaps(shape);
  const inside = row >= 0 && row < H && column >= 0 && column < W;
  return inside ? (channel * H + row) * W + column : -1;
}

/**
 * Take one number of a layer apart.
 *
 * @param {Layer} layer
 * @param {Float32Array} x what the layer was given
 * @param {Place} place in its output
 * @param {Shape} [maps] the shape that a flat input had as feature maps
 * @returns {Sum}
 */
export function arithmetic(layer, x, place, maps = layer.input) {
  switch (layer.op) {
    case "conv":
      return convolved(layer, x, place);
    case "linear":
      return multiplied(layer, x, place, maps);
    case "maxpool":
    case "avgpool":
      return pooled(layer, x, place);
    case "globalavgpool":
      return averaged(layer.input, x, place[0]);
    default:
      return single(layer, x, place);
  }
}

/**
 * @param {ConvLayer} layer
 * @param {Float32Array} x
 * @param {Place} place
 */
function convolved(
  { input, output: [O], kernel, stride, padding, dilation, groups, weight, bias },
  x,
  [o, i, j],
) {
  const window = windowAt(i, j, kernel, stride, padding, dilation);
  const inputs = input[0] / groups;
  const first = Math.floor(o / (O / groups)) * inputs;
  const area = size(kernel);
  const parts = Array.from({ length: inputs }, (_, c) => {
    const begin = (o * inputs + c) * area;
    const weights = Array.from(weight.subarray(begin, begin + area));
    return weighed(first + c, cut(x, input, first + c, window), weights);
  });
  return added(window, parts, bias[o]);
}

/**
 * Flattened maps are taken as the maps that they were.
 *
 * @param {LinearLayer} layer
 * @param {Float32Array} x
 * @param {Place} place
 * @param {Shape} maps
 */
function multiplied({ input, weight, bias }, x, [o], maps) {
  const [C, H, W] = asMaps(maps);
  const area = H * W;
  const begin = o * input[0];
  const parts = Array.from({ length: C }, (_, c) => {
    const values = Array.from(x.subarray(c * area, (c + 1) * area));
    const weights = weight.subarray(begin + c * area, begin + (c + 1) * area);
    return weighed(c, values, Array.from(weights));
  });
  return added(whole(H, W), parts, bias[o]);
}

/**
 * @param {PoolLayer} layer
 * @param {Float32Array} x
 * @param {Place} place
 */
function pooled({ op, input, kernel, stride, padding }, x, [c, i, j]) {
  const window = windowAt(i, j, kernel, stride, padding, [1, 1]);
  const values = cut(x, input, c, window, op === "maxpool" ? -Infinity : 0);
  const total = op === "maxpool" ? Math.max(...values) : values.reduce((a, b) => a + b, 0) / size(kernel);
  return { window, parts: [{ channel: c, values, weights: null, sum: total }], bias: null, total };
}

/**
 * @param {Shape} shape
 * @param {Float32Array} x
 * @param {number} c
 */
function averaged(shape, x, c) {
  const [, H, W] = shape;
  const window = whole(H, W);
  const values = cut(x, shape, c, window);
  const total = values.reduce((a, b) => a + b, 0) / (H * W);
  return { window, parts: [{ channel: c, values, weights: null, sum: total }], bias: null, total };
}

/**
 * A layer that changes each number by itself, or only puts it elsewhere, as flatten does.
 *
 * @param {Layer} layer
 * @param {Float32Array} x
 * @param {Place} place
 */
function single(layer, x, place) {
  const k = indexOf(place, layer.output);
  const [channel, top, left] = placeOf(k, layer.input);
  const { weight, bias, total } = scaled(layer, x[k], place[0]);
  const sum = x[k] * (weight ?? 1);
  return {
    window: { ...whole(1, 1), top, left },
    parts: [{ channel, values: [x[k]], weights: weight === null ? null : [weight], sum }],
    bias,
    total,
  };
}

/**
 * What such a layer makes of a value of a channel, as a product and a sum where it is one.
 *
 * @param {Layer} layer
 * @param {number} value
 * @param {number} channel
 * @returns {{weight: number | null, bias: number | null, total: number}}
 */
function scaled(layer, value, channel) {
  if (layer.op === "normalize") {
    const { mean, std } = layer;
    return { weight: 1 / std, bias: -mean / std, total: (value - mean) / std };
  }
  if (layer.op === "affine") {
    const [weight, bias] = [layer.scale[channel], layer.shift[channel]];
    return { weight, bias, total: value * weight + bias };
  }
  if (layer.op === "relu") return { weight: null, bias: null, total: Math.max(0, value) };
  if (layer.op === "flatten") return { weight: null, bias: null, total: value };
  return { weight: null, bias: null, total: NaN }; // GELU is no sum: its value is what the layer answered
}

/**
 * Where the number that counts most in a part comes from, in the maps that were looked at; null
 * where that is padding.
 *
 * @param {Part} part
 * @param {Window} window
 * @param {Shape} maps
 * @returns {Place | null}
 */
export function strongestIn({ channel, values, weights }, window, maps) {
  const shares = values.map((value, k) => (weights ? Math.abs(value * weights[k]) : value));
  const k = shares.indexOf(Math.max(...shares));
  const row = window.top + Math.floor(k / window.columns) * window.stepRow;
  const column = window.left + (k % window.columns) * window.stepColumn;
  /** @type {Place} */
  const place = [channel, row, column];
  return indexOf(place, maps) < 0 ? null : place;
}

/**
 * @param {number} rows
 * @param {number} columns
 * @returns {Window}
 */
const whole = (rows, columns) => ({ top: 0, left: 0, rows, columns, stepRow: 1, stepColumn: 1 });

/**
 * The window of the output in row i, column j.
 *
 * @param {number} i
 * @param {number} j
 * @param {Pair} kernel
 * @param {Pair} stride
 * @param {Pair} padding
 * @param {Pair} dilation
 * @returns {Window}
 */
const windowAt = (i, j, kernel, stride, padding, dilation) => ({
  top: i * stride[0] - padding[0],
  left: j * stride[1] - padding[1],
  rows: kernel[0],
  columns: kernel[1],
  stepRow: dilation[0],
  stepColumn: dilation[1],
});

/**
 * The values of one channel in a window; `outside` where it hangs over the edge.
 *
 * @param {Float32Array} x
 * @param {Shape} shape
 * @param {number} channel
 * @param {Window} window
 * @param {number} [outside]
 */
function cut(x, shape, channel, { top, left, rows, columns, stepRow, stepColumn }, outside = 0) {
  const values = [];
  for (let u = 0; u < rows; u++) {
    for (let v = 0; v < columns; v++) {
      const k = indexOf([channel, top + u * stepRow, left + v * stepColumn], shape);
      values.push(k < 0 ? outside : x[k]);
    }
  }
  return values;
}

/**
 * @param {number} channel
 * @param {number[]} values
 * @param {number[]} weights
 * @returns {Part}
 */
function weighed(channel, values, weights) {
  const sum = values.reduce((total, value, k) => total + value * weights[k], 0);
  return { channel, values, weights, sum };
}

/**
 * @param {Window} window
 * @param {Part[]} parts
 * @param {number} bias
 * @returns {Sum}
 */
function added(window, parts, bias) {
  return { window, parts, bias, total: parts.reduce((sum, part) => sum + part.sum, bias) };
}

// The arithmetic behind one number of a layer: which window it looks at, the products with its
// kernel, their sum and the bias. It is what engine.js computes, taken apart for one output.

import { size } from "./engine.js";

/** A shape as [channels, rows, columns]; a list of numbers has one row and one column. */
export const asMaps = ([C, H = 1, W = 1]) => [C, H, W];

/**
 * Take one number of a layer apart.
 *
 * @param {object} layer of a model from parseModel
 * @param {Float32Array} x what the layer was given
 * @param {number[]} place [channel, row, column] in its output
 * @param {number[]} maps the shape that a flat input had as feature maps
 * @returns {{
 *   window: {top: number, left: number, rows: number, columns: number, stepRow: number, stepColumn: number},
 *   parts: {channel: number, values: number[], weights: number[]|null, sum: number}[],
 *   bias: number|null, total: number}}
 *   the window in the layer's input (of some channels of it: those of `parts`); for each of these
 *   channels the values in it, outside the input 0, row by row, the weights that they are
 *   multiplied with, and the sum of the products; what is added at the end, and the result
 */
export function arithmetic(layer, x, [channel, row, column], maps = layer.input) {
  return (ARITHMETIC[layer.op] ?? elementwise)(layer, x, channel, row, column, maps);
}

const ARITHMETIC = {
  conv(layer, x, o, i, j) {
    const { input: [C], output: [O], kernel, stride, padding, dilation, groups, weight, bias } = layer;
    const window = {
      top: i * stride[0] - padding[0], left: j * stride[1] - padding[1],
      rows: kernel[0], columns: kernel[1], stepRow: dilation[0], stepColumn: dilation[1],
    };
    const inputs = C / groups, first = Math.floor(o / (O / groups)) * inputs, area = size(kernel);
    const parts = Array.from({ length: inputs }, (_, c) => {
      const values = cut(x, layer.input, first + c, window);
      const begin = (o * inputs + c) * area;
      return weighed(first + c, values, Array.from(weight.subarray(begin, begin + area)));
    });
    return added(window, parts, bias[o]);
  },
  linear(layer, x, o, i, j, maps) {
    const [C, H, W] = asMaps(maps); // flattened maps are taken as the maps that they were
    const window = whole(H, W), area = H * W, begin = o * layer.input[0];
    const parts = Array.from({ length: C }, (_, c) => weighed(c,
      Array.from(x.subarray(c * area, (c + 1) * area)),
      Array.from(layer.weight.subarray(begin + c * area, begin + (c + 1) * area))));
    return added(window, parts, layer.bias[o]);
  },
  maxpool: pooled,
  avgpool: pooled,
  globalavgpool(layer, x, c) {
    const [, H, W] = layer.input;
    const values = cut(x, layer.input, c, whole(H, W));
    const total = values.reduce((a, b) => a + b, 0) / (H * W);
    return { window: whole(H, W), parts: [{ channel: c, values, weights: null, sum: total }], bias: null, total };
  },
};

function pooled({ op, input, kernel, stride, padding }, x, c, i, j) {
  const window = {
    top: i * stride[0] - padding[0], left: j * stride[1] - padding[1],
    rows: kernel[0], columns: kernel[1], stepRow: 1, stepColumn: 1,
  };
  const values = cut(x, input, c, window, op === "maxpool" ? -Infinity : 0);
  const total = op === "maxpool" ? Math.max(...values) : values.reduce((a, b) => a + b, 0) / size(kernel);
  return { window, parts: [{ channel: c, values, weights: null, sum: total }], bias: null, total };
}

/** A layer that changes each number by itself, or only puts it elsewhere, as flatten does. */
function elementwise(layer, x, c, i, j) {
  const [, H, W] = asMaps(layer.output), k = (c * H + i) * W + j, value = x[k];
  const [channel, top, left] = placeOf(k, layer.input);
  const answer = (weight, bias, total) => ({
    window: { ...whole(1, 1), top, left },
    parts: [{ channel, values: [value], weights: weight === null ? null : [weight], sum: value * (weight ?? 1) }], bias, total,
  });
  switch (layer.op) {
    case "normalize": return answer(1 / layer.std, -layer.mean / layer.std, (value - layer.mean) / layer.std);
    case "affine": return answer(layer.scale[c], layer.shift[c], value * layer.scale[c] + layer.shift[c]);
    case "relu": return answer(null, null, Math.max(0, value));
    case "flatten": return answer(null, null, value);
    default: return answer(null, null, NaN); // GELU is no sum: its value is what the layer answered
  }
}

/** The place [channel, row, column] of value number `k` of a shape. */
export function placeOf(k, shape) {
  const [, H, W] = asMaps(shape);
  return [Math.floor(k / (H * W)), Math.floor(k / W) % H, k % W];
}

const whole = (rows, columns) => ({ top: 0, left: 0, rows, columns, stepRow: 1, stepColumn: 1 });

/** The values of one channel in a window; `outside` where it hangs over the edge. */
function cut(x, [, H, W], channel, { top, left, rows, columns, stepRow, stepColumn }, outside = 0) {
  const values = [];
  for (let u = 0; u < rows; u++) {
    for (let v = 0; v < columns; v++) {
      const row = top + u * stepRow, column = left + v * stepColumn;
      const inside = row >= 0 && row < H && column >= 0 && column < W;
      values.push(inside ? x[(channel * H + row) * W + column] : outside);
    }
  }
  return values;
}

const weighed = (channel, values, weights) =>
  ({ channel, values, weights, sum: values.reduce((sum, value, k) => sum + value * weights[k], 0) });

const added = (window, parts, bias) => ({ window, parts, bias, total: parts.reduce((sum, part) => sum + part.sum, bias) });

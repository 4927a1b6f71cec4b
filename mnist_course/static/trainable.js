// The layers of a network that learns: each computes its answer, and from the gradient of its answer
// the gradients of its weights and of its input. They equal PyTorch's (tests/pages/test_training_js.py).
//
// Feature maps lie place by place: (N, H, W, C), where PyTorch has (N, C, H, W). So what a convolution
// reads of a row lies together, and the sums over all places of a map are plain loops.

import { COLUMNS, ROWS, Room } from "./products.js";

/** @import { Parameter } from "./types" */

const CHUNK = 64; // windows whose gradients are summed up in one go, so that they stay in the cache

const EPSILON = 1e-5; // added to a variance, as PyTorch does

/** The next multiple. @param {number} value @param {number} step */
const upTo = (value, step) => step * Math.ceil(value / step);

/**
 * What a kernel of weights, gradients and names makes.
 *
 * @param {string} name
 * @param {Float32Array} value
 * @param {Float32Array} gradient
 * @returns {Parameter}
 */
const parameter = (name, value, gradient) => ({ name, value, gradient });

/**
 * A convolution without padding, of square pictures. A linear layer is one whose kernel is as large
 * as its picture.
 */
export class Conv {
  /**
   * @param {Room} room
   * @param {object} options
   * @param {string} options.name
   * @param {number} options.channels of the input; a multiple of 8, or 1
   * @param {number} options.size of the input, in pixels
   * @param {number} options.kernel
   * @param {number} [options.stride]
   * @param {number} options.outputs
   * @param {boolean} [options.bias]
   * @param {number} options.capacity the largest batch
   */
  constructor(room, { name, channels, size, kernel, stride = 1, outputs, bias = false, capacity }) {
    this.name = name;
    this.channels = channels;
    this.inputSize = size;
    this.kernel = kernel;
    this.stride = stride;
    this.outputs = outputs;
    this.products = room.products;
    this.size = Math.floor((size - kernel) / stride) + 1;
    this.width = upTo(outputs, COLUMNS); // of a row of the answer
    this.length = kernel * kernel * channels; // of a window
    const windows = upTo(capacity * this.size ** 2, ROWS);
    this.weight = room.floats(upTo(this.length, ROWS) * this.width); // [length][width]
    this.gradient = room.floats(this.weight.length);
    this.bias = bias ? new Float32Array(this.width) : null;
    this.biasGradient = new Float32Array(this.width);
    this.forwardKernels = room.floats(this.length * this.width);
    this.backwardKernels = room.floats(upTo(this.length, COLUMNS) * this.width);
    this.y = room.floats(windows * this.width);
    this.dx = channels > 1 ? room.floats(capacity * size * size * channels) : null;
    /** @type {Float32Array} */
    this.x = this.y; // until there is an input
    this.batch = 0;
    this.corners = room.integers(windows); // where each window begins, in bytes
    this.rows = room.integers(windows); // where each row of the answer begins
    this.offsets = new Int32Array(upTo(this.length, ROWS)); // of each number of a window
    this.layOut(capacity);
  }

  /** @param {number} capacity */
  layOut(capacity) {
    const { channels, inputSize, kernel, stride, size, corners, rows, offsets, width } = this;
    let at = 0;
    for (let n = 0; n < capacity; n++) {
      for (let i = 0; i < size; i++) {
        for (let j = 0; j < size; j++, at++) {
          corners[at] = 4 * channels * ((n * inputSize + i * stride) * inputSize + j * stride);
        }
      }
    }
    for (let m = 0; m < rows.length; m++) rows[m] = 4 * m * width;
    for (let k = 0; k < this.length; k++) {
      const row = Math.floor(k / (kernel * channels));
      offsets[k] = 4 * (row * inputSize * channels + (k % (kernel * channels)));
    }
  }

  /** @returns {Parameter[]} */
  get parameters() {
    const { name, weight, gradient, bias, biasGradient, length, width } = this;
    const used = length * width;
    const own = [parameter(`${name}.weight`, weight.subarray(0, used), gradient.subarray(0, used))];
    return bias ? [...own, parameter(`${name}.bias`, bias, biasGradient)] : own;
  }

  /**
   * @param {Float32Array} x (N, H, W, C)
   * @param {number} batch N
   */
  forward(x, batch) {
    const { y, bias, width, length, kernel, channels, inputSize, corners, rows, forwardKernels } = this;
    const { tile } = this.products;
    this.x = x;
    this.batch = batch;
    this.packForward();
    const windows = batch * this.size ** 2;
    if (bias) for (let start = 0; start < windows * width; start += width) y.set(bias, start);
    else y.fill(0, 0, windows * width);
    const row = 4 * kernel * channels;
    const skip = 4 * inputSize * channels - row;
    const [from, to] = [corners.byteOffset, rows.byteOffset];
    for (let o = 0; o < width; o += COLUMNS) {
      const w = forwardKernels.byteOffset + 4 * o * length;
      for (let m = 0; m < windows; m += ROWS) {
        tile(w, from + 4 * m, x.byteOffset, to + 4 * m, y.byteOffset + 4 * o, kernel, row, skip);
      }
    }
    return y;
  }

  /** The weights of eight outputs side by side. */
  packForward() {
    const { weight, width, length, forwardKernels } = this;
    for (let o = 0, at = 0; o < width; o += COLUMNS) {
      for (let k = 0; k < length; k++) {
        for (let j = 0; j < COLUMNS; j++, at++) forwardKernels[at] = weight[k * width + o + j];
      }
    }
  }

  /**
   * @param {Float32Array} dy the gradient of the loss by the answer, (N, size, size, width)
   * @returns {Float32Array | null} by the input; null where there is only data before
   */
  backward(dy) {
    this.sumWeightGradient(dy);
    if (this.bias) this.sumBiasGradient(dy);
    return this.dx && this.inputGradient(dy, this.dx);
  }

  /** dW[k, o] = sum over all windows m of x[m, k] dy[m, o]. @param {Float32Array} dy */
  sumWeightGradient(dy) {
    const { gradient, width, length, corners, offsets, x } = this;
    const { outer } = this.products;
    gradient.fill(0);
    const windows = this.batch * this.size ** 2;
    const pitch = 4 * width;
    const at = x.byteOffset;
    for (let start = 0; start < windows; start += CHUNK) {
      const from = corners.byteOffset + 4 * start;
      const end = corners.byteOffset + 4 * Math.min(start + CHUNK, windows);
      for (let o = 0; o < width; o += COLUMNS) {
        const rows = dy.byteOffset + start * pitch + 4 * o;
        for (let k = 0, g = gradient.byteOffset + 4 * o; k < length; k += ROWS, g += ROWS * pitch) {
          const [a, b, c, d] = [
            at + offsets[k],
            at + offsets[k + 1],
            at + offsets[k + 2],
            at + offsets[k + 3],
          ];
          outer(from, end, a, b, c, d, rows, pitch, g, pitch);
        }
      }
    }
  }

  /** @param {Float32Array} dy */
  sumBiasGradient(dy) {
    const { width, biasGradient } = this;
    const sums = new Float64Array(width);
    const end = this.batch * this.size ** 2 * width;
    for (let i = 0; i < end;) for (let o = 0; o < width; o++, i++) sums[o] += dy[i];
    biasGradient.set(sums);
  }

  /**
   * Each window's gradient, dy[m, o] w[k, o] summed over o, goes back to where the window was read.
   *
   * @param {Float32Array} dy
   * @param {Float32Array} dx
   */
  inputGradient(dy, dx) {
    const { width, length, corners, rows, offsets, backwardKernels, inputSize, channels } = this;
    const { tile } = this.products;
    this.packBackward();
    dx.fill(0, 0, this.batch * inputSize ** 2 * channels);
    const windows = this.batch * this.size ** 2;
    const [from, at] = [rows.byteOffset, corners.byteOffset];
    dy.fill(0, windows * width, upTo(windows, ROWS) * width); // those that only fill the last tile
    for (let k = 0; k < length; k += COLUMNS) {
      const w = backwardKernels.byteOffset + 4 * k * width;
      const to = dx.byteOffset + offsets[k];
      for (let m = 0; m < windows; m += ROWS) {
        tile(w, from + 4 * m, dy.byteOffset, at + 4 * m, to, 1, 4 * width, 0);
      }
    }
    return dx;
  }

  /** The weights of eight numbers of a window side by side. */
  packBackward() {
    const { weight, width, length, backwardKernels } = this;
    for (let k = 0, at = 0; k < length; k += COLUMNS) {
      for (let o = 0; o < width; o++) {
        for (let j = 0; j < COLUMNS; j++, at++) backwardKernels[at] = weight[(k + j) * width + o];
      }
    }
  }

  /** Weights as PyTorch has them, [outputs][channels][kernel][kernel]. @returns {Float32Array} */
  get torchWeight() {
    const { weight, width } = this;
    return this.reordered((k, o) => weight[k * width + o]);
  }

  /** Their gradients in the same order. @returns {Float32Array} */
  get torchGradient() {
    const { gradient, width } = this;
    return this.reordered((k, o) => gradient[k * width + o]);
  }

  /** @param {Float32Array} values [outputs][channels][kernel][kernel] */
  set torchWeight(values) {
    const { weight, width } = this;
    let at = 0;
    this.reordered((k, o) => (weight[k * width + o] = values[at++]));
  }

  /**
   * Numbers in PyTorch's order.
   *
   * @param {(k: number, o: number) => number} value by the place in a window, and the output
   */
  reordered(value) {
    const { outputs, channels, kernel } = this;
    const values = new Float32Array(outputs * this.length);
    let at = 0;
    for (let o = 0; o < outputs; o++) {
      for (let c = 0; c < channels; c++) {
        for (let tap = 0; tap < kernel * kernel; tap++, at++) values[at] = value(tap * channels + c, o);
      }
    }
    return values;
  }
}

/** The largest of each 2 x 2 places; what is left over at the edge is not read. */
export class MaxPool {
  /** @param {Room} room @param {{channels: number, size: number, capacity: number}} options */
  constructor(room, { channels, size, capacity }) {
    this.products = room.products;
    this.channels = channels;
    this.inputSize = size;
    this.size = Math.floor(size / 2);
    this.y = room.floats(capacity * this.size ** 2 * channels);
    this.dx = room.floats(upTo(capacity * size ** 2, ROWS) * channels);
    /** @type {Float32Array} */
    this.x = this.y; // until there is an input
    this.batch = 0;
  }

  /** @returns {Parameter[]} */
  get parameters() {
    return [];
  }

  /** @param {Float32Array} x @param {number} batch */
  forward(x, batch) {
    const { y, products } = this;
    this.x = x;
    this.batch = batch;
    this.everywhere((corner, right, down, to, bytes) => {
      const from = x.byteOffset + corner;
      products.largest(from, right, down, right + down, y.byteOffset + to, y.byteOffset + to + bytes);
    });
    return y;
  }

  /** The gradient goes to the largest, and to the first where several are. @param {Float32Array} dy */
  backward(dy) {
    const { x, y, dx, channels, batch, inputSize, products } = this;
    if (inputSize % 2) dx.fill(0, 0, batch * inputSize ** 2 * channels);
    this.everywhere((corner, right, down, to, bytes) => {
      const [from, back, best] = [x.byteOffset + corner, dx.byteOffset + corner, y.byteOffset + to];
      products.spread(from, right, down, right + down, best, dy.byteOffset + to, back, best + bytes);
    });
    return dx;
  }

  /**
   * Call a function for each place of the answer, with distances in bytes: where its four places
   * begin in the input, from the first to the right and down, where it is, and how long.
   *
   * @param {(corner: number, right: number, down: number, to: number, bytes: number) => void} act
   */
  everywhere(act) {
    const { channels, inputSize, size, batch } = this;
    const right = 4 * channels;
    const down = right * inputSize;
    for (let n = 0, to = 0; n < batch; n++) {
      for (let i = 0; i < size; i++) {
        let corner = (n * inputSize + 2 * i) * down;
        for (let j = 0; j < size; j++, corner += 2 * right, to += right) act(corner, right, down, to, right);
      }
    }
  }
}

/**
 * Batch norm: each channel gets mean 0 and variance 1 over the batch and all places, then a scale, if
 * that is learned, and a shift.
 */
export class BatchNorm {
  /**
   * @param {Room} room
   * @param {object} options
   * @param {string} options.name
   * @param {number} options.channels
   * @param {number} options.size of the maps
   * @param {number} options.capacity
   * @param {number} [options.momentum] how fast the running statistics follow
   * @param {boolean} [options.scale] whether a scale is learned; otherwise it is 1
   */
  constructor(room, { name, channels, size, capacity, momentum = 0.1, scale = false }) {
    this.products = room.products;
    this.name = name;
    this.channels = channels;
    this.size = size;
    this.momentum = momentum;
    this.scaled = scale;
    this.weight = new Float32Array(channels).fill(1);
    this.bias = new Float32Array(channels);
    this.weightGradient = new Float32Array(channels);
    this.biasGradient = new Float32Array(channels);
    this.runningMean = new Float32Array(channels);
    this.runningVariance = new Float32Array(channels).fill(1);
    this.mean = new Float64Array(channels); // of the last batch, or the running one
    this.inverse = new Float64Array(channels); // of the standard deviation
    this.y = room.floats(upTo(capacity * size ** 2, ROWS) * channels);
    /** @type {Float32Array} */
    this.x = this.y; // until there is an input
    this.batch = 0;
    this.eight = room.floats(8); // sums of four channels
    this.twelve = room.floats(12); // factors of four channels
  }

  /** @returns {Parameter[]} */
  get parameters() {
    const { name, weight, weightGradient, bias, biasGradient } = this;
    const shift = parameter(`${name}.bias`, bias, biasGradient);
    return this.scaled ? [parameter(`${name}.weight`, weight, weightGradient), shift] : [shift];
  }

  /** @param {Float32Array} x @param {number} batch @param {boolean} training */
  forward(x, batch, training) {
    const { channels, weight, bias, mean, inverse, runningMean, runningVariance, y } = this;
    this.x = x;
    this.batch = batch;
    if (training) this.measure(x);
    else {
      mean.set(runningMean);
      for (let c = 0; c < channels; c++) inverse[c] = 1 / Math.sqrt(runningVariance[c] + EPSILON);
    }
    const scale = inverse.map((value, c) => value * weight[c]);
    const shift = scale.map((value, c) => bias[c] - value * mean[c]);
    this.blend(x, x, y, scale, new Float64Array(channels), shift);
    return y;
  }

  /** Mean and variance of each channel of the batch; the running statistics follow. @param {Float32Array} x */
  measure(x) {
    const { channels, mean, inverse, runningMean, runningVariance, momentum } = this;
    const count = this.batch * this.size ** 2;
    const { sums, products } = this.sumUp(x, x);
    for (let c = 0; c < channels; c++) {
      mean[c] = sums[c] / count;
      const variance = Math.max(0, products[c] / count - mean[c] ** 2);
      inverse[c] = 1 / Math.sqrt(variance + EPSILON);
      runningMean[c] += momentum * (mean[c] - runningMean[c]);
      runningVariance[c] += momentum * ((variance * count) / (count - 1) - runningVariance[c]);
    }
  }

  /**
   * In place. With z = (x - mean) inverse, the gradient is weight inverse (dy - mean(dy) - z mean(dy z)):
   * a multiple of dy, a multiple of x, and a number for each channel.
   *
   * @param {Float32Array} dy
   */
  backward(dy) {
    const { channels, x, mean, inverse, weight, weightGradient, biasGradient } = this;
    const count = this.batch * this.size ** 2;
    const { sums, products } = this.sumUp(dy, x);
    const [ofSlope, ofInput, constant] = [0, 1, 2].map(() => new Float64Array(channels));
    for (let c = 0; c < channels; c++) {
      biasGradient[c] = sums[c];
      const along = (products[c] - mean[c] * sums[c]) * inverse[c];
      weightGradient[c] = along;
      ofSlope[c] = weight[c] * inverse[c];
      ofInput[c] = (-ofSlope[c] * inverse[c] * along) / count;
      constant[c] = (-ofSlope[c] * sums[c]) / count - ofInput[c] * mean[c];
    }
    this.blend(dy, x, dy, ofSlope, ofInput, constant);
    return dy;
  }

  /**
   * For each channel the sum of `a`, and of `a` times `b`: in float32 over a few rows, which are then
   * added up in float64, or little would be left of a variance that is small beside the mean.
   *
   * @param {Float32Array} a
   * @param {Float32Array} b
   */
  sumUp(a, b) {
    const { channels, eight } = this;
    const [sums, products] = [new Float64Array(channels), new Float64Array(channels)];
    const pitch = 4 * channels;
    const end = this.batch * this.size ** 2 * pitch;
    for (let start = 0; start < end; start += CHUNK * pitch) {
      const stop = a.byteOffset + Math.min(end, start + CHUNK * pitch);
      for (let c = 0; c < channels; c += 4) {
        const at = start + 4 * c;
        this.products.sums(a.byteOffset + at, b.byteOffset + at, stop, pitch, eight.byteOffset);
        for (let j = 0; j < 4; j++) {
          sums[c + j] += eight[j];
          products[c + j] += eight[4 + j];
        }
      }
    }
    return { sums, products };
  }

  /**
   * `y` becomes A a + B b + C, with numbers for each channel.
   *
   * @param {Float32Array} a
   * @param {Float32Array} b
   * @param {Float32Array} y
   * @param {Float64Array} ofA
   * @param {Float64Array} ofB
   * @param {Float64Array} constant
   */
  blend(a, b, y, ofA, ofB, constant) {
    const { channels, twelve } = this;
    const pitch = 4 * channels;
    const end = a.byteOffset + this.batch * this.size ** 2 * pitch;
    for (let c = 0; c < channels; c += 4) {
      for (let j = 0; j < 4; j++) {
        twelve[j] = ofA[c + j];
        twelve[4 + j] = ofB[c + j];
        twelve[8 + j] = constant[c + j];
      }
      const [from, other, to] = [a, b, y].map(({ byteOffset }) => byteOffset + 4 * c);
      this.products.blend(from, other, to, end, pitch, twelve.byteOffset);
    }
  }
}

// ---------------------------------------------------------------- activations

const REACH = 8; // beyond it GELU is the identity or zero, in float32
const STEPS = 512; // of its table, in a unit

/** GELU is x Phi(x), Phi the distribution of a normal variable: Phi and GELU's slope in turn. */
const GELU = tableOfGelu();

function tableOfGelu() {
  const table = new Float32Array(2 * (2 * REACH * STEPS + 2));
  const density = (/** @type {number} */ x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
  let share = 0; // Phi, added up by the rule of Simpson
  for (let i = 0; 2 * i < table.length; i++) {
    const x = i / STEPS - REACH;
    if (i) share += (density(x - 1 / STEPS) + 4 * density(x - 0.5 / STEPS) + density(x)) / (6 * STEPS);
    table[2 * i] = share;
    table[2 * i + 1] = share + x * density(x);
  }
  return table;
}

/**
 * `y[i] = f(x[i])` and `slope[i] = f'(x[i])` up to `end`.
 *
 * @typedef {(x: Float32Array, y: Float32Array, slope: Float32Array, end: number) => void} Activate
 */

/** @type {Record<string, Activate>} */
export const ACTIVATIONS = {
  relu(x, y, slope, end) {
    for (let i = 0; i < end; i++) {
      const value = x[i];
      y[i] = value <= 0 ? 0 : value; // not a number stays none
      slope[i] = value > 0 ? 1 : 0;
    }
  },
  gelu(x, y, slope, end) {
    for (let i = 0; i < end; i++) {
      const value = x[i];
      const place = (value + REACH) * STEPS;
      if (place >= 0 && value < REACH) {
        const at = 2 * (place | 0);
        const rest = place - (place | 0);
        y[i] = value * (GELU[at] + rest * (GELU[at + 2] - GELU[at]));
        slope[i] = GELU[at + 1] + rest * (GELU[at + 3] - GELU[at + 1]);
      } else {
        y[i] = value < 0 ? 0 : value;
        slope[i] = value < 0 ? 0 : 1;
      }
    }
  },
  "leaky relu": (x, y, slope, end) => {
    for (let i = 0; i < end; i++) {
      slope[i] = x[i] > 0 ? 1 : 0.01;
      y[i] = x[i] * slope[i];
    }
  },
  tanh(x, y, slope, end) {
    for (let i = 0; i < end; i++) {
      const value = Math.tanh(x[i]);
      y[i] = value;
      slope[i] = 1 - value * value;
    }
  },
  sigmoid(x, y, slope, end) {
    for (let i = 0; i < end; i++) {
      const value = 1 / (1 + Math.exp(-x[i]));
      y[i] = value;
      slope[i] = value * (1 - value);
    }
  },
  none(x, y, slope, end) {
    y.set(x.subarray(0, end));
    slope.fill(1, 0, end);
  },
};

export class Activation {
  /** @param {Room} room @param {{kind: string, channels: number, size: number, capacity: number}} options */
  constructor(room, { kind, channels, size, capacity }) {
    this.kind = kind;
    this.channels = channels;
    this.size = size;
    this.y = room.floats(upTo(capacity * size ** 2, ROWS) * channels);
    this.slope = new Float32Array(this.y.length);
    this.batch = 0;
  }

  /** @returns {Parameter[]} */
  get parameters() {
    return [];
  }

  /** How many numbers there are. */
  get end() {
    return this.batch * this.size ** 2 * this.channels;
  }

  /** @param {Float32Array} x @param {number} batch */
  forward(x, batch) {
    this.batch = batch;
    ACTIVATIONS[this.kind](x, this.y, this.slope, this.end);
    return this.y;
  }

  /** In place. @param {Float32Array} dy */
  backward(dy) {
    const { slope, end } = this;
    for (let i = 0; i < end; i++) dy[i] *= slope[i];
    return dy;
  }

  /** The share of its last answers that are zero. */
  get zeros() {
    const { y, end } = this;
    let count = 0;
    for (let i = 0; i < end; i++) if (y[i] === 0) count++;
    return count / end;
  }
}

/** Throws away a share of the numbers at random, and makes up for it with the rest. */
export class Dropout {
  /**
   * @param {Room} room
   * @param {{share: number, width: number, capacity: number, random: () => number}} options
   */
  constructor(room, { share, width, capacity, random }) {
    this.share = share;
    this.width = width;
    this.random = random;
    this.mask = new Float32Array(capacity * width);
    this.y = room.floats(upTo(capacity, ROWS) * width);
    this.end = 0;
  }

  /** @returns {Parameter[]} */
  get parameters() {
    return [];
  }

  /** @param {Float32Array} x @param {number} batch @param {boolean} training */
  forward(x, batch, training) {
    const { share, mask, y, random } = this;
    this.end = batch * this.width;
    const kept = 1 / (1 - share);
    const drops = training && share > 0;
    for (let i = 0; i < this.end; i++) {
      mask[i] = drops ? (random() < share ? 0 : kept) : 1;
      y[i] = x[i] * mask[i];
    }
    return y;
  }

  /** In place. @param {Float32Array} dy */
  backward(dy) {
    for (let i = 0; i < this.end; i++) dy[i] *= this.mask[i];
    return dy;
  }
}

// ---------------------------------------------------------------- the loss

export const CLASSES = 10;

/** Rows of logits, and where each has its ten. @typedef {{values: Float32Array, width: number}} Rows */

/**
 * The softmax of a row: ten probabilities. Where all logits are too large or none are numbers, they
 * are no numbers either.
 *
 * @param {Float32Array} values
 * @param {number} start
 * @param {Float64Array} into
 */
export function softmaxOf(values, start, into) {
  let [largest, sum] = [-Infinity, 0];
  for (let c = 0; c < CLASSES; c++) largest = Math.max(largest, values[start + c]);
  for (let c = 0; c < CLASSES; c++) sum += into[c] = Math.exp(values[start + c] - largest);
  for (let c = 0; c < CLASSES; c++) into[c] /= sum;
  return largest + Math.log(sum);
}

/**
 * Softmax and cross-entropy with label smoothing, as PyTorch defines it: the right digit's target is
 * 1 - smoothing, and smoothing is spread evenly over all ten.
 *
 * @param {Rows} logits
 * @param {ArrayLike<number>} labels
 * @param {number} smoothing
 * @param {Float32Array | null} [gradient] by the logits, in rows like theirs
 * @returns {{loss: number, right: number}} the mean loss, and how many digits have the largest logit
 */
export function crossEntropy({ values, width }, labels, smoothing, gradient = null) {
  const probs = new Float64Array(CLASSES);
  const [spread, count] = [smoothing / CLASSES, labels.length];
  let [loss, right] = [0, 0];
  for (let n = 0, start = 0; n < count; n++, start += width) {
    const scale = softmaxOf(values, start, probs);
    let best = 0;
    for (let c = 0; c < CLASSES; c++) {
      const target = spread + (c === labels[n] ? 1 - smoothing : 0);
      if (target) loss -= target * (values[start + c] - scale);
      if (gradient) gradient[start + c] = (probs[c] - target) / count;
      if (values[start + c] > values[start + best]) best = c;
    }
    if (best === labels[n]) right++;
  }
  return { loss: loss / count, right };
}

/** A softmax as a layer: one too many, before a loss that has its own. */
export class Softmax {
  /** @param {Room} room @param {{width: number, capacity: number}} options */
  constructor(room, { width, capacity }) {
    this.width = width;
    this.y = room.floats(upTo(capacity, ROWS) * width);
    this.batch = 0;
  }

  /** @returns {Parameter[]} */
  get parameters() {
    return [];
  }

  /** @param {Float32Array} x @param {number} batch */
  forward(x, batch) {
    const probs = new Float64Array(CLASSES);
    this.batch = batch;
    for (let start = 0; start < batch * this.width; start += this.width) {
      softmaxOf(x, start, probs);
      this.y.set(probs, start);
    }
    return this.y;
  }

  /** In place. @param {Float32Array} dy */
  backward(dy) {
    const { y, width } = this;
    for (let start = 0; start < this.batch * width; start += width) {
      let mean = 0;
      for (let c = start; c < start + CLASSES; c++) mean += dy[c] * y[c];
      for (let c = start; c < start + CLASSES; c++) dy[c] = y[c] * (dy[c] - mean);
    }
    return dy;
  }
}

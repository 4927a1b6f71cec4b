// A convolutional network trained as pages did it before: plain loops over one image at a time, in
// doubles. Network and settings are those of the MNIST demo of ConvNetJS: crops of 24 × 24 pixels, two
// convolutions with maximum pooling, Adadelta, batches of 20. Called by train_here.py, which gives the
// file of the digits (all images, 28 × 28 bytes each, then their labels), how many of them are to be
// learned, and a seed. The others are then read.
//
// Seconds are those of the processor, not of the clock, so that other programs disturb them little.

import { readFileSync } from "node:fs";

const [file, learnedText, seedText] = process.argv.slice(2);
const learned = Number(learnedText);
const SIDE = 28;
const CROP = 24;
const BATCH = 20;
const DECAY = 0.001; // of the weights, as a slope of half their square
const RHO = 0.95; // Adadelta's memory
const EPS = 1e-6;

let state = Number(seedText) >>> 0 || 1;
/** Uniform from 0 to 1. */
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return (state + 0.5) / 2 ** 32;
}
/** Normal, by Box and Muller. */
const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());

/** Parameters with their slopes and what Adadelta remembers. */
function parameters(count, scale, decay) {
  const w = Float64Array.from({ length: count }, () => scale * normal());
  const zeros = () => new Float64Array(count);
  return { w, slope: zeros(), squares: zeros(), changes: zeros(), decay };
}

/** A convolution with a kernel of 5, as much padding as keeps the size, and ReLU. */
function convolution(depth, size, filters) {
  const K = 5;
  const pad = 2;
  const kernels = parameters(filters * K * K * depth, Math.sqrt(1 / (K * K * depth)), DECAY);
  const biases = parameters(filters, 0, 0);
  const y = new Float64Array(filters * size * size);
  const dx = new Float64Array(depth * size * size);
  let x = dx;
  const forward = (input) => {
    x = input;
    for (let f = 0; f < filters; f++) {
      for (let row = 0; row < size; row++) {
        for (let column = 0; column < size; column++) {
          let sum = biases.w[f];
          for (let i = 0; i < K; i++) {
            const r = row + i - pad;
            if (r < 0 || r >= size) continue;
            for (let j = 0; j < K; j++) {
              const c = column + j - pad;
              if (c < 0 || c >= size) continue;
              const from = (r * size + c) * depth;
              const by = ((f * K + i) * K + j) * depth;
              for (let d = 0; d < depth; d++) sum += input[from + d] * kernels.w[by + d];
            }
          }
          y[(row * size + column) * filters + f] = sum > 0 ? sum : 0;
        }
      }
    }
    return y;
  };
  const backward = (dy) => {
    dx.fill(0);
    for (let f = 0; f < filters; f++) {
      for (let row = 0; row < size; row++) {
        for (let column = 0; column < size; column++) {
          const at = (row * size + column) * filters + f;
          if (y[at] === 0) continue;
          const slope = dy[at];
          for (let i = 0; i < K; i++) {
            const r = row + i - pad;
            if (r < 0 || r >= size) continue;
            for (let j = 0; j < K; j++) {
              const c = column + j - pad;
              if (c < 0 || c >= size) continue;
              const from = (r * size + c) * depth;
              const by = ((f * K + i) * K + j) * depth;
              for (let d = 0; d < depth; d++) {
                kernels.slope[by + d] += x[from + d] * slope;
                dx[from + d] += kernels.w[by + d] * slope;
              }
            }
          }
          biases.slope[f] += slope;
        }
      }
    }
    return dx;
  };
  return { forward, backward, parameters: [kernels, biases] };
}

/** Maximum pooling over windows that do not overlap. */
function pooling(depth, size, window) {
  const out = Math.floor(size / window);
  const y = new Float64Array(depth * out * out);
  const best = new Int32Array(y.length);
  const dx = new Float64Array(depth * size * size);
  const forward = (input) => {
    for (let at = 0; at < y.length; at++) {
      const d = at % depth;
      const cell = (at - d) / depth;
      const row = window * Math.floor(cell / out);
      const column = window * (cell % out);
      best[at] = -1;
      for (let i = 0; i < window; i++) {
        for (let j = 0; j < window; j++) {
          const from = ((row + i) * size + column + j) * depth + d;
          if (best[at] < 0 || input[from] > input[best[at]]) best[at] = from;
        }
      }
      y[at] = input[best[at]];
    }
    return y;
  };
  const backward = (dy) => {
    dx.fill(0);
    for (let at = 0; at < y.length; at++) dx[best[at]] += dy[at];
    return dx;
  };
  return { forward, backward, parameters: [] };
}

/** A linear layer with ten outputs, softmax, and cross-entropy. */
function classes(inputs) {
  const weights = parameters(10 * inputs, Math.sqrt(1 / inputs), DECAY);
  const biases = parameters(10, 0, 0);
  const p = new Float64Array(10);
  const dx = new Float64Array(inputs);
  let x = dx;
  const forward = (input) => {
    x = input;
    for (let k = 0; k < 10; k++) {
      p[k] = biases.w[k];
      for (let d = 0; d < inputs; d++) p[k] += weights.w[k * inputs + d] * input[d];
    }
    const highest = Math.max(...p);
    let sum = 0;
    for (let k = 0; k < 10; k++) sum += p[k] = Math.exp(p[k] - highest);
    for (let k = 0; k < 10; k++) p[k] /= sum;
    return p;
  };
  const backward = (label) => {
    dx.fill(0);
    for (let k = 0; k < 10; k++) {
      const slope = p[k] - (k === label ? 1 : 0);
      for (let d = 0; d < inputs; d++) {
        weights.slope[k * inputs + d] += slope * x[d];
        dx[d] += slope * weights.w[k * inputs + d];
      }
      biases.slope[k] += slope;
    }
    return dx;
  };
  return { forward, backward, parameters: [weights, biases] };
}

const layers = [convolution(1, 24, 8), pooling(8, 24, 2), convolution(8, 12, 16), pooling(16, 12, 3)];
const last = classes(16 * 4 * 4);
const read = (image) => last.forward(layers.reduce((x, layer) => layer.forward(x), image));

/** One step of Adadelta with the mean of the slopes of a batch. */
function step() {
  for (const { w, slope, squares, changes, decay } of [...layers, last].flatMap((each) => each.parameters)) {
    for (let i = 0; i < w.length; i++) {
      const g = (slope[i] + decay * w[i]) / BATCH;
      squares[i] = RHO * squares[i] + (1 - RHO) * g * g;
      const change = -Math.sqrt((changes[i] + EPS) / (squares[i] + EPS)) * g;
      changes[i] = RHO * changes[i] + (1 - RHO) * change * change;
      w[i] += change;
      slope[i] = 0;
    }
  }
}

const bytes = readFileSync(file);
const count = bytes.length / (SIDE * SIDE + 1);
const image = new Float64Array(CROP * CROP);
/** A digit from 0 to 1, without its edge: which part of it falls away, `right` and `down` say. */
function crop(n, right, down) {
  for (let row = 0; row < CROP; row++) {
    for (let column = 0; column < CROP; column++) {
      image[row * CROP + column] = bytes[n * SIDE * SIDE + (row + down) * SIDE + column + right] / 255;
    }
  }
  return image;
}
const labelOf = (n) => bytes[count * SIDE * SIDE + n];

const begun = process.cpuUsage();
for (let n = 0; n < learned; n++) {
  read(crop(n, Math.floor(5 * random()), Math.floor(5 * random())));
  layers.reduceRight((slope, layer) => layer.backward(slope), last.backward(labelOf(n)));
  if ((n + 1) % BATCH === 0) step();
}
const { user, system } = process.cpuUsage(begun);

let right = 0;
for (let n = learned; n < count; n++) {
  const p = read(crop(n, 2, 2));
  if (p.indexOf(Math.max(...p)) === labelOf(n)) right += 1;
}
console.log(JSON.stringify({ processor: (user + system) / 1e6, test: (100 * right) / (count - learned) }));

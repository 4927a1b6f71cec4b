// A training: digits, a network and an optimiser; one step after the other, and what can be seen of it.

import { Network } from "./network.js";
import { Optimizer, triangular } from "./optimizers.js";
import { STRUCTURE, planOf } from "./training-settings.js";
import { Activation, Dropout } from "./trainable.js";

/** @import { DigitSet, Frame, LayerReport, Score, Settings } from "./types" */

const PIXELS = 784;
const MEAN = 0.1307; // of all pixels of MNIST, as in mnist_course.data
const STD = 0.3081;
const CAPACITY = 256; // digits in a batch, at most
const SAMPLE = 256; // digits that an accuracy is measured with on the way
const BETA2 = 0.9; // of Adam, as in the recipe sprint
const BETA2_CLINIC = 0.999; // as PyTorch has it

/**
 * Random numbers in [0, 1) that are the same for the same seed: a Weyl sequence, its bits mixed.
 *
 * @param {number} seed
 */
export function dice(seed) {
  let state = Math.imul(seed, 0x9e3779b1) | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let bits = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
    return ((bits ^ (bits >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** The numbers below `count` in a random order. @param {number} count @param {() => number} random */
export function permutation(count, random) {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const other = order[i];
    order[i] = order[j];
    order[j] = other;
  }
  return order;
}

/** Euclid's length. @param {Float32Array} values */
function norm(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

export class Trainer {
  /**
   * New weights, drawn from the settings' seed.
   *
   * @param {DigitSet} digits
   * @param {Settings} settings
   * @param {"fused" | "simd" | "plain"} [way]
   */
  constructor(digits, settings, way) {
    this.digits = digits;
    this.settings = settings;
    this.way = way;
    this.watched = digits.training; // the first digit that is held out
    this.random = dice(settings.seed);
    this.network = new Network(planOf(settings), { capacity: CAPACITY, random: this.random, way });
    this.network.initialize();
    this.optimizer = new Optimizer();
    this.steps = 0;
    this.goal = settings.steps;
    this.place = 0;
    this.order = new Uint32Array();
    /** @type {number[]} */
    this.losses = [];
    /** @type {Score[]} */
    this.scores = [];
    /** @type {Map<string, number>} */
    this.ratios = new Map();
    /** @type {Map<string, Float32Array>} */
    this.sums = new Map(); // of gradients that are never cleared
    this.labels = new Uint8Array(CAPACITY);
    this.permuted = settings.patient === 2 ? permutation(this.digits.training, dice(7)) : null;
    this.pixelwise = settings.patient === 4 ? this.measurePixels() : null;
    this.measure();
  }

  /**
   * Change settings while it trains.
   *
   * @param {Settings} settings
   * @returns {Trainer} this one, or a new one where the network is another
   */
  change(settings) {
    const before = this.settings;
    if (STRUCTURE.some((name) => settings[name] !== before[name])) {
      return new Trainer(this.digits, settings, this.way);
    }
    if ((settings.optimizer === "adam") !== (before.optimizer === "adam")) this.optimizer.forget();
    if (settings.digits !== before.digits) this.order = new Uint32Array();
    for (const layer of this.network.layers) {
      if (layer instanceof Dropout) layer.share = settings.dropout;
      if (layer instanceof Activation) layer.kind = settings.activation;
    }
    if (settings.steps !== before.steps) this.goal = Math.max(settings.steps, this.steps);
    this.settings = settings;
    return this;
  }

  get finished() {
    return this.steps >= this.goal;
  }

  /** As many steps again. */
  extend() {
    this.goal = this.steps + this.settings.steps;
  }

  /** How many digits it learns from. */
  get count() {
    return Math.min(this.settings.digits, this.digits.training);
  }

  /** Mean and standard deviation of each pixel by itself: zero where no digit has ink. */
  measurePixels() {
    const { pixels } = this.digits;
    const count = this.count;
    const [means, deviations] = [new Float64Array(PIXELS), new Float64Array(PIXELS)];
    for (let i = 0; i < count * PIXELS; i++) means[i % PIXELS] += pixels[i] / 255 / count;
    for (let i = 0; i < count * PIXELS; i++) {
      deviations[i % PIXELS] += (pixels[i] / 255 - means[i % PIXELS]) ** 2 / (count - 1);
    }
    return { means, deviations: deviations.map(Math.sqrt) };
  }

  /**
   * Lay a digit before the network.
   *
   * @param {number} place in the batch
   * @param {ArrayLike<number>} pixels from `start` on, 0 to 255
   * @param {number} start
   * @param {boolean} [transposed] rows and columns exchanged
   */
  show(place, pixels, start, transposed = false) {
    const { input } = this.network;
    const [mean, std] = this.settings.network === "clinic" ? [MEAN, STD] : [0, 1];
    const { pixelwise } = this;
    for (let p = 0, to = place * PIXELS; p < PIXELS; p++, to++) {
      const value = pixels[start + (transposed ? 28 * (p % 28) + Math.floor(p / 28) : p)] / 255;
      input[to] = pixelwise ? (value - pixelwise.means[p]) / pixelwise.deviations[p] : (value - mean) / std;
    }
  }

  /** Patient 10: rows and columns of what is held out are exchanged. */
  get exchanged() {
    return this.settings.patient === 10;
  }

  /** The next digit to learn from: each once, in a new order every time. */
  next() {
    if (this.place >= this.order.length) {
      this.order = permutation(this.count, this.random);
      this.place = 0;
    }
    return this.order[this.place++];
  }

  /** The learning rate of the step to come. */
  get rate() {
    const { rate, schedule } = this.settings;
    return schedule === "triangular" ? rate * triangular(this.steps, this.goal, 0.25) : rate;
  }

  /** One step: a batch forwards and backwards, and the weights follow. */
  step() {
    const { network, settings, digits, labels } = this;
    const batch = Math.min(settings.batch, this.count);
    for (let n = 0; n < batch; n++) {
      const digit = this.next();
      this.show(n, digits.pixels, digit * PIXELS);
      labels[n] = digits.labels[this.permuted ? this.permuted[digit] : digit];
    }
    network.forward(batch, true);
    const { loss } = network.backward(labels.subarray(0, batch), settings.smoothing);
    this.losses.push(loss);
    if (settings.patient === 6) this.addUp();
    this.update();
    this.steps++;
  }

  /** Patient 6: the gradients of all steps are added up. */
  addUp() {
    for (const { name, gradient } of this.network.parameters) {
      const sum = this.sums.get(name) ?? new Float32Array(gradient.length);
      for (let i = 0; i < sum.length; i++) gradient[i] = sum[i] += gradient[i];
      this.sums.set(name, sum);
    }
  }

  /** The weights follow, and by what share of themselves is noted. */
  update() {
    const { network, settings, ratios } = this;
    const before = new Map(network.convolutions.map(({ name, weight }) => [name, weight.slice()]));
    let parameters = network.parameters;
    if (settings.patient === 1) parameters = []; // the optimiser has those of another network
    if (settings.patient === 7) parameters = parameters.filter(({ name }) => name.startsWith("linear"));
    this.optimizer.step(parameters, {
      optimizer: settings.optimizer,
      rate: this.rate,
      momentum: settings.momentum,
      beta2: settings.network === "clinic" ? BETA2_CLINIC : BETA2,
      decay: 0,
    });
    for (const { name, weight } of network.convolutions) {
      const old = /** @type {Float32Array} */ (before.get(name));
      const size = norm(old);
      for (let i = 0; i < old.length; i++) old[i] = weight[i] - old[i];
      ratios.set(name, norm(old) / size);
    }
  }

  /**
   * The share of right answers to some digits, measured as the patient measures.
   *
   * @param {number} start
   * @param {number} count
   * @param {boolean} heldOut
   */
  accuracy(start, count, heldOut) {
    const { network, digits, settings } = this;
    const transposed = heldOut && this.exchanged;
    const [answers, truths] = [new Float64Array(10), new Float64Array(10)];
    let right = 0;
    for (let from = start; from < start + count; from += CAPACITY) {
      const batch = Math.min(CAPACITY, start + count - from);
      const truth = digits.labels.subarray(from, from + batch);
      for (let n = 0; n < batch; n++) this.show(n, digits.pixels, (from + n) * PIXELS, transposed);
      network.forward(batch, settings.patient === 9);
      right += network.judge(truth).right;
      for (const answer of network.answers()) answers[answer]++;
      for (const label of truth) truths[label]++;
    }
    if (settings.patient !== 8) return right / count;
    // Every answer compared with every label.
    return answers.reduce((sum, each, digit) => sum + (each / count) * (truths[digit] / count), 0);
  }

  /**
   * Measure both accuracies; `whole` takes all digits that are held out.
   *
   * @param {boolean} [whole]
   */
  measure(whole = false) {
    const { digits } = this;
    const heldOut = digits.labels.length - digits.training;
    const training = this.accuracy(0, Math.min(SAMPLE, this.count), false);
    const unseen = this.accuracy(digits.training, whole ? heldOut : Math.min(SAMPLE, heldOut), true);
    this.scores.push({ step: this.steps, training, unseen, whole });
  }

  /** Probabilities of a picture. @param {Float32Array} image 784 pixels in [0, 1] */
  read(image) {
    this.show(
      0,
      image.map((value) => 255 * value),
      0,
    );
    this.network.forward(1, false);
    return this.network.probabilities();
  }

  /** What each layer with weights is doing. @returns {LayerReport[]} */
  get layers() {
    const { network } = this;
    const zeros = network.activations.map((layer) => layer.zeros);
    return network.convolutions.map(({ name, outputs, length, gradient }, index) => ({
      name,
      weights: outputs * length, // without those that only fill a row
      gradient: norm(gradient),
      ratio: this.ratios.get(name) ?? 0,
      zeros: zeros[index] ?? null,
    }));
  }

  /**
   * What can be seen now; the losses and accuracies are those since the last frame.
   *
   * @returns {Frame}
   */
  frame() {
    const { network, digits, losses, scores } = this;
    const layers = this.layers;
    const [first] = network.convolutions;
    this.losses = [];
    this.scores = [];
    const kernels = first.torchWeight;
    const gradients = first.torchGradient;
    const watched = digits.pixels.slice(this.watched * PIXELS, (this.watched + 1) * PIXELS);
    const digit = this.exchanged
      ? watched.map((_, p) => watched[28 * (p % 28) + Math.floor(p / 28)])
      : watched;
    this.show(0, digit, 0);
    network.forward(1, false);
    const maps = network.activations.slice(0, 2).map(({ y, size, channels }) => ({
      size,
      channels,
      values: y.slice(0, size * size * channels),
    }));
    return {
      steps: this.steps,
      goal: this.goal,
      rate: this.rate,
      losses,
      scores,
      layers,
      kernels,
      gradients,
      kernel: first.kernel,
      maps,
      digit,
      probabilities: network.probabilities(),
      finished: this.finished,
    };
  }
}

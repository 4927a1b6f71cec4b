// A network that learns: its layers one after the other, forwards and backwards.

import { COLUMNS, ROWS, Room } from "./products.js";
import {
  Activation,
  BatchNorm,
  CLASSES,
  Conv,
  Dropout,
  MaxPool,
  Softmax,
  crossEntropy,
} from "./trainable.js";

/** @import { LayerPlan, Parameter } from "./types" */

const ROOM = 40 << 20; // bytes: the largest network that the figure offers needs half of them

/** @typedef {Conv | MaxPool | BatchNorm | Activation | Dropout | Softmax} Trainable */

export class Network {
  /** @type {Trainable[]} */
  layers = [];
  batch = 0;

  /**
   * @param {LayerPlan[]} plan
   * @param {object} options
   * @param {number} [options.channels] of the input
   * @param {number} [options.size] of the input, in pixels
   * @param {number} options.capacity the largest batch
   * @param {() => number} options.random
   * @param {"fused" | "simd" | "plain"} [options.way]
   */
  constructor(plan, { channels = 1, size = 28, capacity, random, way }) {
    this.plan = plan;
    this.room = new Room(ROOM, way);
    this.random = random;
    this.capacity = capacity;
    this.input = this.room.floats(capacity * size * size * channels);
    this.logits = { values: this.input, width: 2 * COLUMNS };
    const shape = { channels, size, capacity };
    for (const each of plan) this.layers.push(this.build(each, shape));
    this.gradient = this.room.floats(ROWS * Math.ceil(capacity / ROWS) * this.logits.width);
  }

  /**
   * A layer; `shape` becomes that of its answer.
   *
   * @param {LayerPlan} plan
   * @param {{channels: number, size: number, capacity: number}} shape
   * @returns {Trainable}
   */
  build(plan, shape) {
    const { room } = this;
    switch (plan.op) {
      case "conv":
      case "linear": {
        const kernel = plan.op === "conv" ? plan.kernel : shape.size;
        const stride = plan.op === "conv" ? plan.stride : 1;
        const layer = new Conv(room, { ...shape, ...plan, kernel, stride });
        shape.channels = layer.width;
        shape.size = layer.size;
        return layer;
      }
      case "maxpool": {
        const layer = new MaxPool(room, shape);
        shape.size = layer.size;
        return layer;
      }
      case "norm":
        return new BatchNorm(room, { ...shape, ...plan });
      case "activation":
        return new Activation(room, { ...shape, ...plan });
      case "dropout":
        return new Dropout(room, {
          share: plan.share,
          width: shape.channels * shape.size ** 2,
          capacity: shape.capacity,
          random: this.random,
        });
      case "softmax":
        return new Softmax(room, { width: shape.channels, capacity: shape.capacity });
    }
  }

  /** Weights to begin with, as PyTorch draws them: evenly from -1/sqrt(n) to 1/sqrt(n), n numbers in a window. */
  initialize() {
    this.layers.forEach((layer, index) => {
      if (!(layer instanceof Conv)) return;
      const plan = this.plan[index];
      const bound = 1 / Math.sqrt(layer.length);
      const even = () => (2 * this.random() - 1) * bound;
      const std = plan.op === "linear" ? plan.std : undefined;
      const draw = std === undefined ? even : () => std * this.normal();
      layer.torchWeight = Float32Array.from({ length: layer.outputs * layer.length }, draw);
      if (layer.bias) for (let o = 0; o < layer.outputs; o++) layer.bias[o] = even();
    });
  }

  /** A normal number, by Box and Muller. */
  normal() {
    return Math.sqrt(-2 * Math.log(1 - this.random())) * Math.cos(2 * Math.PI * this.random());
  }

  /** @returns {Parameter[]} */
  get parameters() {
    return this.layers.flatMap((layer) => layer.parameters);
  }

  /** The layers with weights that are multiplied. @returns {Conv[]} */
  get convolutions() {
    return this.layers.filter((layer) => layer instanceof Conv);
  }

  /** @returns {Activation[]} */
  get activations() {
    return this.layers.filter((layer) => layer instanceof Activation);
  }

  /**
   * What the network answers to the first pictures of `input`.
   *
   * @param {number} batch how many
   * @param {boolean} training whether batch norm measures this batch, and dropout drops
   */
  forward(batch, training) {
    this.batch = batch;
    let x = this.input;
    for (const layer of this.layers) x = layer.forward(x, batch, training);
    this.logits.values = x;
    return this.logits;
  }

  /**
   * The loss of the last answer, and its gradients by all weights.
   *
   * @param {ArrayLike<number>} labels
   * @param {number} smoothing
   */
  backward(labels, smoothing) {
    const { logits, gradient, layers } = this;
    gradient.fill(0);
    const result = crossEntropy(logits, labels, smoothing, gradient);
    /** @type {Float32Array | null} */
    let slope = gradient;
    for (let i = layers.length - 1; i >= 0 && slope; i--) slope = layers[i].backward(slope);
    return result;
  }

  /**
   * The loss of the last answer, and how many are right.
   *
   * @param {ArrayLike<number>} labels
   */
  judge(labels) {
    return crossEntropy(this.logits, labels, 0);
  }

  /** The digit with the largest logit, for each picture of the last answer. @returns {number[]} */
  answers() {
    const { values, width } = this.logits;
    return Array.from({ length: this.batch }, (_, n) => {
      const start = n * width;
      let best = 0;
      for (let c = 1; c < CLASSES; c++) if (values[start + c] > values[start + best]) best = c;
      return best;
    });
  }

  /** The probabilities of one picture of the last answer. @param {number} [n] */
  probabilities(n = 0) {
    const { values, width } = this.logits;
    const powers = Array.from(values.subarray(n * width, n * width + CLASSES));
    const largest = Math.max(...powers);
    const each = powers.map((value) => Math.exp(value - largest));
    const sum = each.reduce((a, b) => a + b, 0);
    return each.map((value) => value / sum);
  }
}

// The training in the page: gradients, optimisers and statistics against PyTorch, and the tiles
// against plain loops. What PyTorch says stands in the file that TRAINING_FIXTURE names, which
// tests/pages/test_training_js.py writes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Network } from "../../../mnist_course/static/network.js";
import { Optimizer, triangular } from "../../../mnist_course/static/optimizers.js";
import { products } from "../../../mnist_course/static/products.js";
import { BatchNorm, Conv } from "../../../mnist_course/static/trainable.js";
import { generator } from "./helpers.mjs";

/** @import { LayerPlan, OptimizerSettings } from "../../../mnist_course/static/types" */
/** @typedef {Record<string, number[]>} Numbers */
/** @typedef {{plan: LayerPlan[], channels: number, size: number, batch: number, pixels: number[], labels: number[], smoothing: number, masks: number[][], start: Numbers, loss: number, gradients: Numbers, means: number[][], variances: number[][], answers: number[]}} Step */
/** @typedef {{plan: LayerPlan[], settings: OptimizerSettings, rates: number[], pixels: number[], labels: number[], start: Numbers, losses: number[], end: Numbers}} Training */

const path = process.env.TRAINING_FIXTURE;
/** @type {{steps: Step[], trainings: Training[]}} */
const fixture = path ? JSON.parse(readFileSync(path, "utf8")) : { steps: [], trainings: [] };
const withPyTorch = {
  skip: path ? false : "TRAINING_FIXTURE names no file: run pytest tests/pages/test_training_js.py",
};
/** @type {("fused" | "plain")[]} */
const WAYS = ["fused", "plain"];

/**
 * How far numbers are from those expected, as a share of the largest of these.
 *
 * @param {ArrayLike<number>} found
 * @param {number[]} expected
 */
function distance(found, expected) {
  assert.equal(found.length, expected.length);
  const largest = Math.max(1e-6, ...expected.map(Math.abs));
  return Math.max(...expected.map((value, i) => Math.abs(value - found[i]))) / largest;
}

/** The parameters by name, and how to read and set them in PyTorch's order. @param {Network} network */
function access(network) {
  const convolutions = new Map(network.convolutions.map((layer) => [`${layer.name}.weight`, layer]));
  const outputs = (/** @type {string} */ name) => convolutions.get(name.replace("bias", "weight"))?.outputs;
  return network.parameters.map(({ name, value, gradient }) => {
    const layer = convolutions.get(name);
    return {
      name,
      read: () => (layer ? layer.torchWeight : value.subarray(0, outputs(name))),
      slope: () => (layer ? layer.torchGradient : gradient.subarray(0, outputs(name))),
      write: (/** @type {number[]} */ numbers) => {
        if (layer) layer.torchWeight = Float32Array.from(numbers);
        else value.set(numbers);
      },
    };
  });
}

for (const way of WAYS) {
  test(`loss and gradients of a step are PyTorch's, for random shapes (${way})`, withPyTorch, () => {
    for (const [number, step] of fixture.steps.entries()) {
      // A number is dropped where the dice say less than its share.
      const dice = step.masks.flat();
      const random = () => dice.shift() ?? assert.fail("more dice than masks");
      const { plan, channels, size, batch } = step;
      const network = new Network(plan, { channels, size, capacity: batch + 2, random, way });
      const parameters = access(network);
      assert.deepEqual(parameters.map(({ name }) => name).sort(), Object.keys(step.gradients).sort());
      for (const { name, write } of parameters) write(step.start[name]);
      network.input.set(step.pixels);
      network.forward(batch, true);
      const { loss } = network.backward(step.labels, step.smoothing);
      const where = `step ${number}`;
      assert.equal(dice.length, 0);
      assert.ok(Math.abs(loss - step.loss) < 1e-5 * step.loss, `${where}: loss ${loss}, not ${step.loss}`);
      const largest = Math.max(...Object.values(step.gradients).flat().map(Math.abs));
      for (const { name, slope } of parameters) {
        // Behind a batch norm a gradient may be zero but for rounding: nothing to compare by.
        const expected = step.gradients[name];
        const scale = Math.max(...expected.map(Math.abs)) < 1e-5 * largest ? 1e-5 * largest : 0;
        const off = scale
          ? Math.max(...slope().map(Math.abs)) > scale
            ? 1
            : 0
          : distance(slope(), expected);
        assert.ok(off < 1e-4, `${where}, ${name}: off by ${off}\n${JSON.stringify(plan)}`);
      }
      const norms = network.layers.filter((layer) => layer instanceof BatchNorm);
      norms.forEach(({ runningMean, runningVariance }, index) => {
        assert.ok(distance(runningMean, step.means[index]) < 1e-4, where);
        assert.ok(distance(runningVariance, step.variances[index]) < 1e-4, where);
      });
      const { values, width } = network.forward(batch, false);
      const answers = step.labels.flatMap((_, n) => [...values.subarray(n * width, n * width + 10)]);
      assert.ok(distance(answers, step.answers) < 1e-4, `${where}: in evaluation`);
    }
  });
}

test("ten steps of SGD, Nesterov and Adam end where PyTorch's end", withPyTorch, () => {
  assert.equal(fixture.trainings.length, 6);
  for (const training of fixture.trainings) {
    const { plan, settings, rates, labels } = training;
    const network = new Network(plan, { capacity: 16, random: generator(1) });
    const parameters = access(network);
    for (const { name, write } of parameters) write(training.start[name]);
    network.input.set(training.pixels);
    const optimizer = new Optimizer();
    rates.forEach((rate, step) => {
      network.forward(16, true);
      const { loss } = network.backward(labels, 0.2);
      const off = Math.abs(loss / training.losses[step] - 1);
      assert.ok(off < 1e-3, `${settings.optimizer}: the loss of step ${step} is off by ${off}`);
      optimizer.step(network.parameters, { ...settings, rate });
    });
    for (const { name, read } of parameters) {
      const off = distance(read(), training.end[name]);
      assert.ok(off < 1e-3, `${settings.optimizer}, ${name}: off by ${off}`);
    }
  }
});

test("all ways of multiplying compute the same", () => {
  const random = generator(2);
  const length = 4096;
  const numbers = Float32Array.from({ length }, () => random() - 0.5);
  const results = /** @type {const} */ (["fused", "simd", "plain"]).map((way) => {
    const { buffer, tile, outer } = products(65536, way);
    const floats = new Float32Array(buffer);
    floats.set(numbers);
    const tables = new Int32Array(buffer, 4 * 5000, 8);
    tables.set([0, 40, 80, 120, 0, 32, 64, 96]);
    tile(400, 20000, 8000, 20016, 24000, 3, 20, 40);
    outer(20000, 20016, 0, 4, 8, 100, 8000, 48, 28000, 32);
    return floats.slice(6000, 8000);
  });
  assert.ok(results[2].some((value) => Math.abs(value) > 0.1));
  for (const each of results) assert.ok(distance(each, [...results[2]]) < 1e-6);
});

test("a network that does not fit is refused with a reason", () => {
  const conv = (/** @type {number} */ outputs) => ({
    op: /** @type {const} */ ("conv"),
    name: "conv",
    outputs,
    kernel: 3,
    stride: 1,
    bias: false,
  });
  assert.throws(
    () => new Network([conv(512)], { capacity: 256, random: generator(1) }),
    /needs more than 96 MiB: take fewer channels/,
  );
});

test("new weights are those that PyTorch would draw: even, or normal where the plan says so", () => {
  /** @type {LayerPlan[]} */
  const plan = [
    { op: "conv", name: "conv", outputs: 64, kernel: 28, stride: 1, bias: true },
    { op: "linear", name: "linear", outputs: 10, bias: false, std: 0.02 },
  ];
  const network = new Network(plan, { capacity: 1, random: generator(3) });
  network.initialize();
  const [conv, linear] = network.convolutions;
  const mean = (/** @type {Float32Array} */ values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const even = conv.torchWeight;
  assert.ok(even.every((value) => Math.abs(value) <= 1 / 28) && Math.abs(mean(even)) < 1e-3);
  assert.ok(Math.abs(mean(even.map((v) => v * v)) - 1 / 784 / 3) < 2e-5);
  assert.ok(conv.bias?.every((value) => Math.abs(value) <= 1 / 28 && value !== 0));
  const normal = linear.torchWeight;
  assert.ok(Math.abs(Math.sqrt(mean(normal.map((v) => v * v))) - 0.02) < 0.002);
  assert.ok(conv instanceof Conv && linear.width === 16 && linear.weight.length === 64 * 16);
});

test("the rate rises and falls as in the package's recipes", () => {
  const rates = [0, 1, 2, 3, 4, 7].map((step) => triangular(step, 8, 0.25));
  assert.deepEqual(
    rates.map((rate) => Math.round(1e4 * rate) / 1e4),
    [0.25, 0.75, 0.9167, 0.75, 0.5833, 0.0833],
  );
  assert.equal(triangular(100, 8, 0.25), 0);
});

// The training in the page: gradients, optimisers and statistics against PyTorch, and the tiles
// against plain loops. What PyTorch says stands in the file that TRAINING_FIXTURE names, which
// tests/pages/test_training_js.py writes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { readDigits } from "../../../mnist_course/static/digits.js";
import { forward } from "../../../mnist_course/static/engine.js";
import { readGuest } from "../../../mnist_course/static/guest.js";
import { writeNetwork } from "../../../mnist_course/static/network-file.js";
import { Network } from "../../../mnist_course/static/network.js";
import { Optimizer, triangular } from "../../../mnist_course/static/optimizers.js";
import { products } from "../../../mnist_course/static/products.js";
import { BatchNorm, Conv } from "../../../mnist_course/static/trainable.js";
import { Trainer } from "../../../mnist_course/static/trainer.js";
import { lossScale, short, thinned } from "../../../mnist_course/static/training-charts.js";
import { Run } from "../../../mnist_course/static/training-run.js";
import {
  PATIENTS,
  START,
  checked,
  patientSettings,
  planOf,
  readAddress,
  writeAddress,
} from "../../../mnist_course/static/training-settings.js";
import { bytesOf, generator, lastOf } from "./helpers.mjs";

/** @import { DigitSet, LayerPlan, OptimizerSettings, Report, Settings } from "../../../mnist_course/static/types" */
/** @typedef {Record<string, number[]>} Numbers */
/** @typedef {{plan: LayerPlan[], channels: number, size: number, batch: number, pixels: number[], labels: number[], smoothing: number, masks: number[][], start: Numbers, loss: number, gradients: Numbers, means: number[][], variances: number[][], answers: number[]}} Step */
/** @typedef {{plan: LayerPlan[], settings: OptimizerSettings, rates: number[], pixels: number[], labels: number[], start: Numbers, losses: number[], end: Numbers}} Training */

const path = process.env.TRAINING_FIXTURE;
/** @type {{steps: Step[], trainings: Training[], packed: {content: string, labels: number[], pixels: number[]}}} */
const fixture = path ? JSON.parse(readFileSync(path, "utf8")) : {};
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
    const { buffer, tile, outer, sums, blend, largest, spread } = products(65536, way);
    const floats = new Float32Array(buffer);
    floats.set(numbers);
    const tables = new Int32Array(buffer, 4 * 5000, 8);
    tables.set([0, 40, 80, 120, 0, 32, 64, 96]);
    tile(400, 20000, 8000, 20016, 24000, 3, 20, 40);
    outer(20000, 20016, 0, 4, 8, 100, 8000, 48, 28000, 32);
    sums(2000, 4000, 2320, 32, 26000);
    blend(2000, 4000, 31000, 2320, 32, 8000);
    floats[500] = floats[508]; // two that are the largest, perhaps
    largest(2000, 32, 64, 96, 29008, 29040);
    spread(2000, 32, 64, 96, 29008, 8000, 30000, 29040);
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
    /needs more than 40 MiB: take fewer channels/,
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

// ---------------------------------------------------------------- digits, and a file of a network

test("packed digits are unpacked as they were, and damaged ones are refused", withPyTorch, async () => {
  const { content, labels, pixels } = fixture.packed;
  const bytes = bytesOf(content);
  const digits = await readDigits(bytes, "noise");
  assert.deepEqual([...digits.labels], labels);
  assert.deepEqual([...digits.pixels], pixels);
  assert.equal(digits.training, 9);
  await assert.rejects(readDigits(bytes.slice(0, -20), "noise"), /damaged or cut short/);
  await assert.rejects(readDigits(new Uint8Array(100), "noise"), /damaged or cut short/);
  const { stream } = { stream: new Blob([new Uint8Array(100)]).stream() };
  const zeros = new Response(stream.pipeThrough(new CompressionStream("deflate")));
  await assert.rejects(readDigits(new Uint8Array(await zeros.arrayBuffer()), ""), /not those of this book/);
});

/**
 * Digits that are easily told apart: a bright block for each, somewhere else, and noise.
 *
 * @param {number} training
 * @param {number} heldOut
 * @returns {DigitSet}
 */
function blocks(training, heldOut) {
  const random = generator(4);
  const count = training + heldOut;
  const labels = Uint8Array.from({ length: count }, () => Math.floor(10 * random()));
  const pixels = new Uint8Array(784 * count);
  for (let n = 0; n < count; n++) {
    const [top, left] = [2 + 12 * (labels[n] % 2), 2 + 5 * Math.floor(labels[n] / 2)];
    for (let p = 0; p < 784; p++) {
      const [row, column] = [Math.floor(p / 28), p % 28];
      const inside = row >= top && row < top + 8 && column >= left && column < left + 4;
      // The corner stays blank in every picture.
      pixels[784 * n + p] = p === 0 ? 0 : Math.floor(inside ? 155 + 100 * random() : 60 * random());
    }
  }
  return { pixels, labels, training, source: "blocks" };
}

const BLOCKS = blocks(600, 200);

/** Settings of a patient, with as few digits. @param {number} patient @param {Partial<Settings>} [others] */
const ofPatient = (patient, others = {}) => ({ ...patientSettings(patient), digits: 600, ...others });

/** @param {Settings} settings @param {number} steps */
function trained(settings, steps) {
  const trainer = new Trainer(BLOCKS, settings);
  for (let step = 0; step < steps; step++) trainer.step();
  trainer.measure(true);
  return trainer;
}

for (const settings of [
  { ...START, channels: 8 },
  { ...START, channels: 8, norm: false, activation: "relu", dropout: 0.3 },
  ofPatient(0),
  ofPatient(0, { norm: true, activation: "none" }),
]) {
  const { network, norm, activation } = settings;
  test(`the pad takes what was trained here as a guest: ${network}, norm ${norm}, ${activation}`, () => {
    const trainer = trained(settings, 20);
    const normalize = network === "clinic" ? { mean: 0.1307, std: 0.3081 } : null;
    const model = readGuest(writeNetwork(trainer.network, { name: "mine", normalize }));
    assert.equal(model.name, "mine");
    for (const n of [0, 1, 2]) {
      const image = Float32Array.from(BLOCKS.pixels.subarray(784 * n, 784 * (n + 1)), (byte) => byte / 255);
      const { probs } = forward(model, image);
      assert.ok(distance([...probs], trainer.read(image)) < 1e-3);
    }
  });
}

test("what the file does not know is not written", () => {
  const options = { name: "", normalize: null };
  const tanh = trained(ofPatient(0, { activation: "tanh" }), 1);
  assert.throws(() => writeNetwork(tanh.network, options), /knows ReLU and GELU, and not tanh/);
  const broken = trained(ofPatient(4), 2);
  assert.throws(() => writeNetwork(broken.network, options), /no longer numbers/);
});

// ---------------------------------------------------------------- a training, and its patients

test("a training learns, and the same seed gives the same training", () => {
  const settings = { ...START, channels: 8, steps: 40, digits: 600 };
  const [first, second, other] = [1, 1, 2].map((seed) => trained({ ...settings, seed }, 40));
  assert.ok(lastOf(first.scores).unseen > 0.95, `${lastOf(first.scores).unseen}`);
  assert.ok(first.scores[0].unseen < 0.5);
  assert.deepEqual(first.losses, second.losses);
  assert.notDeepEqual(first.losses, other.losses);
});

test("without SIMD a training is the same but for rounding", () => {
  const losses = /** @type {const} */ (["fused", "plain"]).map((way) => {
    const trainer = new Trainer(BLOCKS, ofPatient(0), way);
    for (let step = 0; step < 5; step++) trainer.step();
    return trainer.losses;
  });
  assert.ok(distance(losses[0], losses[1]) < 1e-4);
});

test("each patient has its own symptom, and the cure takes it away", () => {
  const healthy = trained(ofPatient(0), 60);
  assert.ok(lastOf(healthy.scores).unseen > 0.9 && lastOf(healthy.losses) < 1);
  const sick = PATIENTS.map((_, index) => trained(ofPatient(index + 1), 60));
  const unseen = sick.map(({ scores }) => lastOf(scores).unseen);
  const ratios = sick.map(({ layers }) => layers.map(({ ratio }) => ratio));
  assert.deepEqual(ratios[0], [0, 0, 0]); // 1: nothing moves, though there is a gradient
  assert.ok(sick[0].layers.every(({ gradient }) => gradient > 0));
  assert.ok(unseen[1] < 0.3 && ratios[1].every((ratio) => ratio > 0)); // 2: moves, and guesses
  const early = trained(ofPatient(3), 3); // 3: thrown about by more than itself
  assert.ok(Math.max(...early.layers.map(({ ratio }) => ratio)) > 0.5);
  assert.ok(sick[3].losses.every(Number.isNaN)); // 4: from the first step on
  assert.ok(Math.min(...sick[4].losses) > 1.46); // 5: the floor
  assert.ok(Math.min(...trained(ofPatient(0, { optimizer: "adam", rate: 0.003 }), 60).losses) < 1.46);
  assert.deepEqual(ratios[6].slice(0, 2), [0, 0]); // 7: only the last layer learns
  assert.ok(ratios[6][2] > 0);
  assert.ok(unseen[7] < 0.2 && lastOf(sick[7].losses) < 1); // 8: a good loss, and yet
  const unsure = trained(ofPatient(9), 4); // 9: asked five times, it gives several answers
  assert.ok(new Set([1, 2, 3, 4, 5].map(() => unsure.accuracy(600, 200, true))).size > 1);
  assert.ok(unseen[9] < lastOf(sick[9].scores).training - 0.3); // 10: the other pictures
  PATIENTS.forEach(({ cure }, index) => {
    const cured = trained({ ...ofPatient(index + 1), ...cure, patient: 0, rate: 0.03, momentum: 0.9 }, 60);
    assert.ok(lastOf(cured.scores).unseen > 0.8, `patient ${index + 1}: ${lastOf(cured.scores).unseen}`);
  });
});

test("the digit that is watched is seen as the patient measures it", () => {
  const [healthy, sick] = [trained(ofPatient(8), 60), trained(ofPatient(10), 60)].map((trainer) =>
    trainer.frame(),
  );
  for (let p = 0; p < 784; p++)
    assert.equal(sick.digit[p], healthy.digit[28 * (p % 28) + Math.floor(p / 28)]);
  assert.ok(distance(sick.probabilities, healthy.probabilities) > 0.01);
});

test("the table counts the weights that a layer has in PyTorch", () => {
  const weights = (/** @type {number} */ patient) =>
    trained(ofPatient(patient), 1).layers.map((layer) => layer.weights);
  assert.deepEqual(weights(0), [5 * 5 * 8, 5 * 5 * 8 * 16, 16 * 4 * 4 * 10]);
});

test("gradients that are never cleared are momentum 1", () => {
  const settings = { rate: 0.01, optimizer: /** @type {const} */ ("sgd") };
  const uncleared = trained(ofPatient(6, { ...settings, momentum: 0 }), 12).losses;
  const rolling = trained(ofPatient(0, { ...settings, momentum: 1 }), 12).losses;
  assert.ok(distance(uncleared, rolling) < 1e-3, `${uncleared}\n${rolling}`);
});

test("what can be changed while it trains is changed, and what cannot begins anew", () => {
  const trainer = trained({ ...START, channels: 8, steps: 100 }, 3);
  const { settings } = trainer;
  const same = trainer.change({ ...settings, rate: 0.5, batch: 16, activation: "relu", dropout: 0.5 });
  assert.equal(same, trainer);
  trainer.step();
  assert.equal(trainer.steps, 4);
  assert.ok(trainer.layers[0].zeros);
  for (const other of [{ channels: 16 }, { norm: false }, { seed: 2 }, { patient: 1 }]) {
    const fresh = trainer.change({ ...settings, ...other });
    assert.notEqual(fresh, trainer);
    assert.equal(fresh.steps, 0);
  }
});

test("a run obeys in order, tells what it sees, and says what went wrong", async () => {
  const compressed = new Blob([packedBlocks()]).stream().pipeThrough(new CompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(compressed).arrayBuffer());
  /** @type {Report[]} */
  const told = [];
  const run = new Run((report) => told.push(report), false);
  const settings = ofPatient(0);
  await run.receive({ type: "run" }); // before there is anything to run: nothing
  run.receive({ type: "start", bytes, source: "blocks", settings });
  run.receive({ type: "step" });
  run.receive({ type: "read", image: new Float32Array(784) });
  run.receive({ type: "change", settings: { ...settings, seed: 2 } });
  await run.receive({ type: "save" });
  run.channel.port1.close();
  assert.deepEqual(
    told.map(({ type }) => type),
    ["ready", "frame", "frame", "answer", "frame", "answer", "file"],
  );
  const frames = told.flatMap((report) => (report.type === "frame" ? [report] : []));
  assert.deepEqual(
    frames.map(({ frame, fresh }) => [frame.steps, frame.losses.length, fresh]),
    [
      [0, 0, true],
      [1, 1, false],
      [0, 0, true],
    ],
  );
  const bad = new Run((report) => told.push(report), false);
  await bad.receive({ type: "start", bytes: bytes.slice(0, 50), source: "", settings });
  bad.channel.port1.close();
  const last = lastOf(told);
  assert.ok(last.type === "failed" && /cut short/.test(last.reason));
});

/** BLOCKS as the packed file has them before it is compressed. */
function packedBlocks() {
  const { labels, pixels, training } = BLOCKS;
  const count = labels.length;
  const bytes = new Uint8Array(16 + count + 392 * count);
  bytes.set(new TextEncoder().encode("DGIT"));
  new DataView(bytes.buffer).setUint32(4, count, true);
  new DataView(bytes.buffer).setUint32(8, training, true);
  new DataView(bytes.buffer).setUint32(12, 8, true);
  bytes.set(labels, 16);
  for (let pair = 0, at = 16 + count; pair < 14 * count; pair++) {
    for (let column = 0, i = 56 * pair; column < 28; column++, i++, at++) {
      bytes[at] = Math.round((pixels[i] / 255) * 7) | (Math.round((pixels[i + 28] / 255) * 7) << 4);
    }
  }
  return bytes;
}

// ---------------------------------------------------------------- settings, and how they are shown

test("every setting survives the address, and what is none is left out", () => {
  for (const settings of [
    START,
    patientSettings(0),
    patientSettings(3),
    { ...START, rate: 0.5, optimizer: /** @type {const} */ ("sgd"), norm: false, activation: "leaky relu" },
    { ...patientSettings(9), dropout: 0.2, pace: /** @type {const} */ ("full") },
  ]) {
    assert.deepEqual(readAddress(writeAddress(settings)), settings);
  }
  assert.equal(writeAddress(START), "#train-here");
  assert.equal(writeAddress(patientSettings(3)), "#train-here?patient=3");
  assert.equal(readAddress("#exercises"), null);
  assert.deepEqual(
    readAddress("#train-here?rate=fast&optimizer=magic&patient=11x&batch=&__proto__=1"),
    START,
  );
  const cut = /** @type {Settings} */ (
    readAddress("#train-here?rate=1e9&channels=3&batch=100000&dropout=-1")
  );
  assert.deepEqual([cut.rate, cut.channels, cut.batch, cut.dropout], [100, 8, 256, 0]);
});

test("settings that make no sense are refused", () => {
  assert.deepEqual(
    [checked("rate", "0.5"), checked("rate", "nan"), checked("seed", "2.6"), checked("activation", "elu")],
    [0.5, undefined, 3, undefined],
  );
  assert.equal(checked("constructor", 1), undefined);
});

test("the plans are those of the package's network and of the clinic's", () => {
  const ops = (/** @type {Settings} */ settings) =>
    planOf(settings)
      .map(({ op }) => op)
      .join(" ");
  assert.equal(
    ops(START),
    "conv maxpool norm activation conv norm activation conv maxpool norm activation dropout linear",
  );
  assert.equal(ops(patientSettings(0)), "conv activation conv activation dropout linear");
  assert.equal(lastOf(planOf(patientSettings(5))).op, "softmax");
});

test("curves are thinned to what a screen can show, and numbers to what a table can", () => {
  assert.equal(thinned(Array(5000).fill(1)).length, 385);
  assert.deepEqual(thinned([3, 1]), [
    [1, 3],
    [2, 1],
  ]);
  assert.equal(lossScale([2.3, NaN, 1e9]).top, 12);
  assert.equal(lossScale([2.3, 0.5]).top, 2.6);
  assert.deepEqual([0, 0.00031, 0.0123, 1.5, NaN, Infinity].map(short), [
    "0",
    "3.1e\u22124",
    "0.0123",
    "1.50",
    "not a number",
    "\u221e",
  ]);
});

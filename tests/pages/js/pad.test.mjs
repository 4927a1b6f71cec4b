// The drawing pad without a browser: preprocessing, the engine, and what comes from strangers.
// Run with: node --test tests/pages/js/pad.test.mjs
//
// What Python says, it says in the file that PAD_FIXTURE names: tests/pages/test_pad_js.py writes it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { verdict } from "../../../mnist_course/static/answer.js";
import { forward, softmax } from "../../../mnist_course/static/engine.js";
import { occlusion } from "../../../mnist_course/static/occlusion.js";
import {
  MOST_BYTES,
  MOST_DIGITS,
  MOST_POINTS,
  MOST_STROKES,
  SamplesError,
  checkSample,
  merged,
  readSamples,
  writeSamples,
} from "../../../mnist_course/static/samples.js";
import { CHANNELS, WINDOWS, scalarTile, tiles } from "../../../mnist_course/static/simd.js";
import { SIZE, draw, preprocess } from "../../../mnist_course/static/strokes.js";
import { countRight, features, keptBack, redrawn, teach } from "../../../mnist_course/static/teach.js";
import { arithmetic, asMaps, placeOf } from "../../../mnist_course/static/walk.js";
import { ModelError, parseModel } from "../../../mnist_course/static/weights.js";
import { finished, generator, lastOf } from "./helpers.mjs";

/** @import { Model, Stroke } from "../../../mnist_course/static/types" */
/** @typedef {{name: string, file: string, images: string[], logits: number[][], worth: string}} Network */

const bytesOf = (/** @type {string} */ base64) => new Uint8Array(Buffer.from(base64, "base64"));
const floatsOf = (/** @type {string} */ base64) => new Float32Array(bytesOf(base64).buffer);
const path = process.env.PAD_FIXTURE;
/** @type {{drawings: {strokes: Stroke[], pixels: string}[], models: Network[]}} */
const fixture = path ? JSON.parse(readFileSync(path, "utf8")) : { drawings: [], models: [] };
const withPython = {
  skip: path ? false : "PAD_FIXTURE names no file: run pytest tests/pages/test_pad_js.py",
};

/** @type {Stroke[]} */
// prettier-ignore
const SEVEN = [[[20, 10], [80, 10], [44, 96]]];
/** @type {Stroke[]} */
// prettier-ignore
const ZERO = [[[50, 0], [20, 50], [50, 100], [80, 50], [50, 0]]];

const firstModel = () => parseModel(bytesOf(fixture.models[0].file));

/** The table of weights at the end of a network. @param {Model} model */
function headOf(model) {
  const head = lastOf(model.layers);
  assert.equal(head.op, "linear");
  return /** @type {Extract<typeof head, {op: "linear"}>} */ (head);
}

// ---------------------------------------------------------------- preprocessing

test("a picture is the same as in Python, to the last bit", withPython, () => {
  assert.ok(fixture.drawings.length > 100);
  for (const { strokes, pixels } of fixture.drawings) {
    assert.deepEqual(
      new Uint8Array(draw(strokes).buffer),
      bytesOf(pixels),
      JSON.stringify(strokes).slice(0, 200),
    );
  }
});

test("place and size of a drawing make no difference", () => {
  const random = generator(1);
  const expected = draw(SEVEN);
  for (let n = 0; n < 50; n++) {
    const [scale, x, y] = [10 ** (4 * random() - 2), 1000 * random(), 1000 * random()];
    const moved = draw(SEVEN.map((stroke) => stroke.map(([a, b]) => [a * scale + x, b * scale + y])));
    moved.forEach((value, k) => assert.ok(Math.abs(value - expected[k]) < 1e-6));
  }
});

test("an empty drawing is an empty picture", () => {
  for (const nothing of [[], [[]]]) {
    assert.equal(preprocess(nothing).length, SIZE * SIZE);
    assert.ok(preprocess(nothing).every((value) => value === 0));
  }
});

test("what is not a point is refused", () => {
  /** @type {any[]} */
  // prettier-ignore
  const points = [[1], [1, 2, 3], ["1", 2], [NaN, 1], [1, Infinity], [2e6, 0], null, "ab", { length: 2 }];
  for (const point of points) assert.throws(() => preprocess([[point]]), RangeError);
});

// ---------------------------------------------------------------- the engine

test("logits are those of PyTorch within 1e-4, with WebAssembly and without", withPython, () => {
  for (const withAssembly of [true, false]) {
    const { Module } = WebAssembly;
    if (!withAssembly) Reflect.set(WebAssembly, "Module", undefined);
    const models = fixture.models.map((each) => ({ ...each, model: parseModel(bytesOf(each.file)) }));
    WebAssembly.Module = Module;
    for (const { name, model, images, logits: said } of models) {
      images.forEach((base64, index) => {
        const { logits, probs } = forward(model, floatsOf(base64));
        const expected = said[index];
        const difference = Math.max(...expected.map((value, k) => Math.abs(value - logits[k])));
        assert.ok(difference < 1e-4, `${name}: ${difference}`);
        assert.ok(Math.abs(probs.reduce((a, b) => a + b, 0) - 1) < 1e-9);
      });
    }
  }
});

test("every layer's answer has the shape that the network says", withPython, () => {
  for (const { file } of fixture.models) {
    const model = parseModel(bytesOf(file));
    const { activations, logits } = forward(model, new Float32Array(784));
    assert.equal(activations.length, model.layers.length);
    activations.forEach(({ shape, data }) =>
      assert.equal(
        data.length,
        shape.reduce((a, b) => a * b, 1),
      ),
    );
    assert.deepEqual(lastOf(activations).data, logits);
  }
});

test("the tile in WebAssembly computes what the one in JavaScript computes", () => {
  const random = generator(2);
  const length = 37;
  const weights = Array.from({ length: length * CHANNELS }, () => random() - 0.5);
  const windows = Array.from({ length: length * WINDOWS }, random);
  const at = weights.length;
  const sums = at + windows.length;
  const { memory, tile } = tiles(4 * (sums + CHANNELS * WINDOWS));
  const other = new Float32Array(memory.length);
  for (const each of [memory, other]) {
    each.set(weights, 0);
    each.set(windows, at);
  }
  tile(0, 4 * at, 4 * sums, 4 * sums);
  scalarTile(other, 0, at, sums, sums);
  assert.notEqual(String(tile), String(scalarTile));
  for (let k = 0; k < CHANNELS * WINDOWS; k++) assert.ok(Math.abs(memory[sums + k] - other[sums + k]) < 1e-5);
  assert.ok(memory.subarray(sums, sums + CHANNELS * WINDOWS).some((value) => value !== 0));
});

test("an image of another size is refused", withPython, () => {
  assert.throws(() => forward(firstModel(), new Float32Array(100)), /expected 784 pixels, got 100/);
});

test("softmax is safe for large logits", () => {
  assert.deepEqual([...softmax(Float32Array.of(1000, 1000))], [0.5, 0.5]);
});

// ---------------------------------------------------------------- looking into it

test("what a piece of the drawing is worth is the same as in Python", withPython, () => {
  for (const { name, file, images, worth } of fixture.models) {
    const found = finished(occlusion(parseModel(bytesOf(file)), floatsOf(images[5]), 5));
    const expected = floatsOf(worth);
    assert.equal(expected.length, SIZE * SIZE);
    const most = Math.max(...expected.map(Math.abs));
    assert.ok(most > 1e-3, `${name}: ${most}`);
    found.forEach((value, k) =>
      assert.ok(Math.abs(value - expected[k]) < 0.01 * most, `${name}: ${value} ${expected[k]}`),
    );
  }
});

test("nothing in an empty drawing is worth anything", withPython, () => {
  const worth = finished(occlusion(firstModel(), new Float32Array(784), 3));
  assert.ok(worth.every((value) => value === 0));
});

test("every number of every layer is the sum of its parts", withPython, () => {
  const random = generator(4);
  for (const { name, file, images } of fixture.models) {
    const model = parseModel(bytesOf(file));
    const image = floatsOf(images[3]);
    const { activations } = forward(model, image);
    model.layers.forEach((layer, index) => {
      if (layer.op === "gelu") return; // not a sum
      const before = index ? activations[index - 1] : { shape: [1, 28, 28], data: image };
      const { data, shape } = activations[index];
      const [C, H, W] = asMaps(shape);
      for (let n = 0; n < 30; n++) {
        const k = n === 0 ? 0 : n === 1 ? data.length - 1 : Math.floor(random() * data.length);
        const place = placeOf(k, shape);
        assert.ok(place[0] < C && place[1] < H && place[2] < W);
        const { parts, bias, total } = arithmetic(layer, before.data, place);
        assert.ok(
          Math.abs(total - data[k]) < 1e-4 * (1 + Math.abs(data[k])),
          `${name}, ${layer.name}: ${total} ${data[k]}`,
        );
        if (bias !== null) {
          const sum = parts.reduce(
            (all, { values, weights }) =>
              values.reduce((one, value, i) => one + value * (weights?.[i] ?? 1), all),
            bias,
          );
          assert.ok(Math.abs(total - sum) < 1e-4 * (1 + Math.abs(total)));
        }
      }
    });
  }
});

test("the window of a number is where its values come from", withPython, () => {
  const model = firstModel();
  const layer = model.layers.find(({ op }) => op === "conv");
  assert.ok(layer);
  const x = Float32Array.from({ length: 784 }, (_, k) => k);
  const { window, parts } = arithmetic(layer, x, [0, 5, 9]);
  assert.deepEqual([window.top, window.left, window.rows, window.columns], [4, 8, 3, 3]);
  assert.deepEqual(
    parts[0].values,
    [0, 1, 2].flatMap((u) => [0, 1, 2].map((v) => (4 + u) * 28 + 8 + v)),
  );
});

test("flat inputs are taken apart map by map", withPython, () => {
  const model = firstModel();
  const { activations } = forward(model, floatsOf(fixture.models[0].images[0]));
  const maps = activations[activations.length - 3].shape;
  const { parts, total } = arithmetic(
    headOf(model),
    activations[activations.length - 2].data,
    [7, 0, 0],
    maps,
  );
  assert.equal(parts.length, maps[0]);
  assert.equal(parts[0].values.length, maps[1] * maps[2]);
  assert.ok(Math.abs(total - lastOf(activations).data[7]) < 1e-4);
});

// ---------------------------------------------------------------- teaching

/** Sevens and zeros, which a network with random weights cannot know. */
const LESSON = [
  { label: 7, strokes: SEVEN },
  { label: 0, strokes: ZERO },
].flatMap(({ label, strokes }) =>
  [0, 1, 2].map((n) => {
    const slanted = strokes.map((stroke) => stroke.map(([x, y]) => [x + n * y * 0.1, y]));
    return { label, strokes: /** @type {Stroke[]} */ (slanted), time: n };
  }),
);

test("teaching changes the last layer only, and what is taught is then read rightly", withPython, () => {
  const model = firstModel();
  /** @type {number[]} */
  const shares = [];
  const lesson = teach(model, LESSON);
  let step = lesson.next();
  for (; !step.done; step = lesson.next()) shares.push(step.value);
  const taught = step.value;
  assert.ok(shares.every((share, k) => share <= 1 && (!k || share >= shares[k - 1])));
  assert.ok(countRight(model, LESSON) < LESSON.length);
  assert.equal(countRight(taught, LESSON), LESSON.length);
  assert.deepEqual(taught.layers.slice(0, -1), model.layers.slice(0, -1));
  assert.notDeepEqual(headOf(taught).weight, headOf(model).weight);
  const again = finished(teach(model, LESSON));
  assert.deepEqual(headOf(again).weight, headOf(taught).weight, "the same digits teach the same");
});

test("a strong spring keeps the weights where they were", withPython, () => {
  const model = firstModel();
  const distance = (/** @type {number} */ spring) => {
    const { weight } = headOf(finished(teach(model, LESSON, { copies: 1, steps: 30, spring })));
    return Math.hypot(...weight.map((value, k) => value - headOf(model).weight[k]));
  };
  const [loose, tight] = [distance(0.01), distance(10)];
  assert.ok(tight < 0.2 * loose, `${tight} ${loose}`);
});

test("the longer the lesson, the lower the loss on it", withPython, () => {
  const model = firstModel();
  const loss = (/** @type {Model} */ network) =>
    -LESSON.reduce(
      (sum, { label, strokes }) => sum + Math.log(forward(network, preprocess(strokes)).probs[label]),
      0,
    );
  const losses = [1, 5, 20].map((steps) =>
    loss(finished(teach(model, LESSON, { copies: 1, steps, spring: 0 }))),
  );
  assert.ok(losses[0] < loss(model) && losses[1] < losses[0] && losses[2] < losses[1], String(losses));
});

test("features are what the last layer is given", withPython, () => {
  const model = firstModel();
  const image = preprocess(SEVEN);
  const head = headOf(model);
  const x = features(model, image);
  const { logits } = forward(model, image);
  const logit = head.bias[4] + x.reduce((sum, value, i) => sum + value * head.weight[4 * x.length + i], 0);
  assert.ok(Math.abs(logit - logits[4]) < 1e-4);
});

test("digits drawn again differ a little, and every third of a label is kept back", () => {
  const random = generator(5);
  const again = redrawn(SEVEN, random);
  assert.notDeepEqual(again, SEVEN);
  assert.deepEqual(
    again.map((stroke) => stroke.length),
    SEVEN.map((stroke) => stroke.length),
  );
  const { taughtWith, checkedWith } = keptBack(
    [1, 1, 2, 1, 1, 2, 1, 2].map((label, time) => ({ label, strokes: SEVEN, time })),
  );
  assert.deepEqual(
    checkedWith.map(({ time }) => time),
    [3, 7],
  );
  assert.equal(taughtWith.length, 6);
});

// ---------------------------------------------------------------- files from strangers

/**
 * Something fails with an error of a class, whose message fits all patterns.
 *
 * @param {() => void} act
 * @param {new () => Error} kind
 * @param {RegExp[]} reasons
 */
const fails = (act, kind, ...reasons) =>
  assert.throws(
    act,
    (error) => error instanceof kind && reasons.every((reason) => reason.test(error.message)),
  );

/** @param {any} bytes @param {RegExp} reason */
const refused = (bytes, reason) => fails(() => parseModel(bytes), ModelError, reason);

test("bytes that are not weights are refused", () => {
  refused("text", /not bytes/);
  refused(new Uint8Array(0), /not one that the course exported/);
  refused(new Uint8Array(1000), /not one that the course exported/);
  refused(
    new TextEncoder().encode("<script>alert(1)</script> and more text"),
    /not one that the course exported/,
  );
  refused(new Uint8Array(33 << 20), /too large/);
});

test("weights that were damaged or cut short are refused", withPython, () => {
  const file = bytesOf(fixture.models[0].file);
  const random = generator(3);
  for (let n = 0; n < 20; n++) {
    const damaged = file.slice();
    damaged[8 + Math.floor(random() * (file.length - 8))] ^= 1 << Math.floor(8 * random());
    refused(damaged, /damaged or cut short/);
    refused(file.slice(0, 17 + Math.floor(random() * (file.length - 17))), /damaged or cut short/);
  }
});

/** A file with a valid checksum around any header and data. @param {unknown} header */
function file(header, data = new Uint8Array(0)) {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const content = new Uint8Array([...text, ...data]);
  let crc = 0xffffffff;
  for (const byte of content) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  const start = new Uint8Array(16);
  start.set(new TextEncoder().encode("MNISTNET"));
  new DataView(start.buffer).setUint32(8, text.length, true);
  new DataView(start.buffer).setUint32(12, ~crc >>> 0, true);
  return new Uint8Array([...start, ...content]);
}

const network = (/** @type {unknown[]} */ ...layers) => file({ version: 1, input: [1, 28, 28], layers });
const place = (/** @type {number[]} */ ...shape) => ({ dtype: "float32", shape, offset: 0 });
const conv = {
  op: "conv",
  name: "c",
  out: 1,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 1,
  weight: place(1, 1, 3, 3),
  bias: place(1),
};

test("weights that do not fit together are refused with the reason", () => {
  refused(file("{"), /header cannot be read/);
  refused(file("null"), /version undefined is not known/);
  refused(file({ version: 2 }), /version 2 is not known/);
  refused(file({ version: 1, input: [1, 28, 28] }), /header is incomplete/);
  refused(file({ version: 1, input: [1, -28, 28], layers: [] }), /header is incomplete/);
  refused(network(), /ends in shape 1,28,28, and not in ten logits/);
  refused(network({ op: "constructor" }), /does not know the layer "constructor"/);
  refused(network({ op: "__proto__" }), /does not know the layer/);
  refused(network(null), /does not know the layer/);
  refused(network(conv), /lies outside the file/);
  refused(network({ ...conv, weight: undefined }), /tensor of shape 1,1,3,3 is missing/);
  refused(network({ ...conv, weight: { ...conv.weight, dtype: "int8" } }), /neither float16 nor float32/);
  refused(network({ ...conv, stride: [0, 1] }), /settings make no sense/);
  refused(network({ ...conv, groups: 2 }), /channels do not fit/);
  refused(network({ ...conv, out: 1e9 }), /channels do not fit/);
  refused(network({ op: "linear", name: "l", out: 10 }), /needs flat input/);
  refused(network({ op: "flatten", name: "f" }, { op: "relu", name: "r" }, conv), /needs feature maps/);
  refused(network({ op: "flatten", name: "f" }, { op: "linear", name: "l", out: 65536 }), /too large/);
  const nan = new Uint8Array(new Float32Array(10).fill(NaN).buffer);
  refused(file({ version: 1, input: [1, 28, 28], layers: [conv] }, nan), /not a finite number/);
});

test("a file of digits is read as it was written", () => {
  const digits = [{ label: 7, strokes: SEVEN, time: 1763700000000 }];
  assert.deepEqual(readSamples(writeSamples(digits)), digits);
  assert.deepEqual(merged(digits, readSamples(writeSamples(digits))), digits);
});

test("digits that are not digits are refused with the reason", () => {
  const digit = { label: 7, strokes: SEVEN, time: 0 };
  /** @param {RegExp} reason @param {object} change */
  const is = (reason, change) => {
    const text = JSON.stringify({ version: 1, digits: [digit, { ...digit, ...change }] });
    fails(() => readSamples(text), SamplesError, /digit 2/, reason);
  };
  for (const label of ["7", "<img src=x onerror=alert(1)>", 10, -1, 1.5, null, true, [7], NaN])
    is(/label/, { label });
  for (const strokes of [[], null, "text", {}, Array(MOST_STROKES + 1).fill([[1, 2]])])
    is(/strokes/, { strokes });
  for (const stroke of [[], Array(MOST_POINTS + 1).fill([1, 2])]) is(/points/, { strokes: [stroke] });
  for (const point of [[1], [1, 2, 3], ["1", 2], [null, 1], [1e7, 0], { 0: 1, 1: 2, length: 2 }])
    is(/pair of numbers/, { strokes: [[point]] });
  for (const time of ["now", -1, 1.5, null]) is(/time/, { time });
});

test("nothing but label, strokes and time comes out of a file", () => {
  const copy = checkSample(
    JSON.parse('{"label":1,"strokes":[[[1,2]]],"__proto__":{"x":1},"html":"<b>","time":5}'),
  );
  assert.deepEqual(Object.keys(copy), ["label", "strokes", "time"]);
});

test("a file that is huge, not JSON or not ours is refused", () => {
  /** @param {string} text @param {RegExp} reason */
  const throws = (text, reason) => fails(() => readSamples(text), SamplesError, reason);
  throws(" ".repeat(MOST_BYTES + 1), /larger than 4 MB/);
  throws("<html>", /not JSON/);
  throws("[]", /not a file of digits/);
  throws('{"version":1}', /no list of digits/);
  throws(JSON.stringify({ version: 1, digits: Array(MOST_DIGITS + 1).fill(0) }), /more than 2000/);
});

test("digits are merged as long as together they can be read again", () => {
  const [one, other] = [1, 2].map((label) => ({ label, strokes: SEVEN, time: 5 }));
  const bytes = writeSamples([one, other]).length;
  assert.deepEqual(readSamples(writeSamples(merged([one], [other], bytes))), [one, other]);
  fails(() => merged([one], [other], bytes - 1), SamplesError, /larger than .* MB; download them/);
  assert.deepEqual(merged([one], [{ ...one }], bytes - 1), [one]);
  const many = Array.from({ length: MOST_DIGITS }, (_, time) => ({ ...one, time }));
  fails(() => merged(many, [other]), SamplesError, /more than 2000 digits; delete some/);
});

// ---------------------------------------------------------------- honesty

test("the pad names a digit only when it is rather sure, and none for nothing, a dot, a line or a blot", () => {
  const one = (/** @type {number} */ share) =>
    Array.from({ length: 10 }, (_, k) => (k === 7 ? share : (1 - share) / 9));
  const image = preprocess(SEVEN);
  /** @type {Stroke} */
  // prettier-ignore
  const line = [[10, 50], [90, 50]];
  assert.equal(verdict([], [], new Float32Array(784)).kind, "empty");
  assert.equal(verdict([[[5, 5]]], one(0.99), image).kind, "small");
  const said = [0.99, 0.7, 0.3].map((share) => verdict(SEVEN, one(share), image));
  assert.deepEqual(
    said.map(({ kind }) => kind),
    ["sure", "leaning", "unsure"],
  );
  assert.deepEqual(
    said.map(({ digit }) => digit),
    [7, 7, -1],
  );
  assert.equal(verdict(SEVEN, one(0.99), new Float32Array(784).fill(0.4)).kind, "unsure");
  assert.equal(verdict([line], one(0.99), image).kind, "unsure");
  assert.match(verdict(SEVEN, one(1), image).text, /Over 99/);
});

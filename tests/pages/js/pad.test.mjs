// The drawing pad without a browser: preprocessing, the engine, teaching, and what it says.
// Run with: node --test tests/pages/js/pad.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import { verdict } from "../../../mnist_course/static/answer.js";
import { forward, softmax } from "../../../mnist_course/static/engine.js";
import { occlusion } from "../../../mnist_course/static/occlusion.js";
import { CHANNELS, WINDOWS, scalarTile, tiles } from "../../../mnist_course/static/simd.js";
import { SIZE, draw, preprocess } from "../../../mnist_course/static/strokes.js";
import { countRight, features, keptBack, redrawn, teach } from "../../../mnist_course/static/teach.js";
import { stopsAmong } from "../../../mnist_course/static/tour.js";
import { arithmetic, asMaps, placeOf } from "../../../mnist_course/static/walk.js";
import { parseModel } from "../../../mnist_course/static/weights.js";
import {
  SEVEN,
  ZERO,
  bytesOf,
  finished,
  firstModel,
  fixture,
  floatsOf,
  generator,
  headOf,
  lastOf,
  withPython,
} from "./helpers.mjs";

/** @import { Model, Stroke } from "../../../mnist_course/static/types" */

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

// ---------------------------------------------------------------- a tour

test("a tour stops at the first maps, the first pooling, and what the last layer is given", () => {
  const rows = (/** @type {string} */ ops) => ops.split(" ").map((op) => ({ op, shape: [1, 28, 28] }));
  const course = "input normalize conv relu maxpool conv relu maxpool conv relu maxpool flatten linear";
  assert.deepEqual(stopsAmong(rows(course)), { first: 3, pooled: 4, last: 10 });
  assert.deepEqual(stopsAmong(rows("input conv affine gelu conv gelu flatten linear")), {
    first: 3,
    pooled: -1,
    last: 5,
  });
  assert.deepEqual(stopsAmong(rows("input conv avgpool flatten linear")), { first: 1, pooled: -1, last: 2 });
  assert.deepEqual(stopsAmong(rows("input flatten linear relu linear")), { first: -1, pooled: -1, last: 3 });
  assert.deepEqual(stopsAmong(rows("input flatten linear")), { first: -1, pooled: -1, last: -1 });
  assert.deepEqual(stopsAmong(rows("input conv flatten linear")), { first: 1, pooled: -1, last: -1 });
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

// The arithmetic of the interactive figures, against the plainest loops that compute the same.
// Run with: node --test tests/pages/js/figures.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  PRESETS,
  correlate,
  decodePixels,
  products,
  relu,
  weightText,
} from "../../../mnist_course/static/correlate.js";
import { mix } from "../../../mnist_course/static/dom.js";
import {
  BACK,
  FORWARD,
  GIVEN,
  LAST,
  sentence,
  slopes,
  values,
} from "../../../mnist_course/static/graph-steps.js";
import { clamp, count, format, outputSize, range, whole } from "../../../mnist_course/static/numbers.js";
import {
  CONV,
  POOL,
  STACKS,
  dependencies,
  problem,
  receptiveFields,
  sizes,
} from "../../../mnist_course/static/stacks.js";
import { explain, span, taps, unread } from "../../../mnist_course/static/windows.js";
import { generator, lastOf } from "./helpers.mjs";

/** @import { Row, StackLayer } from "../../../mnist_course/static/types" */

/** @param {() => number} random @param {number} low @param {number} high */
const integer = (random, low, high) => low + Math.floor(random() * (high - low + 1));

/** Every combination of sizes worth trying: n, k, s, p, d. */
function* settings() {
  for (const n of range(1, 13))
    for (const k of range(1, 6))
      for (const s of range(1, 5)) {
        for (const p of range(0, 4)) for (const d of range(1, 4)) yield { n, k, s, p, d };
      }
}

/** Windows, found by laying them on the padded row one after the other. @param {Row} row */
function windows({ n, k, s, p, d }) {
  const found = [];
  for (let start = -p; start + d * (k - 1) < n + p; start += s) {
    const window = [];
    for (let u = 0; u < k; u += 1) window.push(start + u * d);
    found.push(window);
  }
  return found;
}

test("the playground computes what four nested loops compute", () => {
  const random = generator(1);
  for (const width of [3, 4, 7, 28]) {
    const height = width === 4 ? 6 : width;
    const image = Array.from({ length: height * width }, random);
    const kernel = Array.from({ length: 9 }, () => random() * 4 - 2);
    const bias = random() - 0.5;
    const output = correlate(image, width, kernel, bias);
    assert.equal(output.length, (height - 2) * (width - 2));
    for (let i = 0; i < height - 2; i += 1)
      for (let j = 0; j < width - 2; j += 1) {
        let sum = bias;
        for (let u = 0; u < 3; u += 1)
          for (let v = 0; v < 3; v += 1) sum += kernel[3 * u + v] * image[(i + u) * width + j + v];
        assert.ok(Math.abs(output[i * (width - 2) + j] - sum) < 1e-12);
      }
  }
});

test("the nine products are pixel times weight, row by row, and add up to the output", () => {
  const image = range(0, 16).map((value) => value / 16);
  const kernel = range(1, 10);
  const nine = products(image, 4, kernel, 1, 1);
  assert.deepEqual(
    nine.map(({ pixel }) => pixel * 16),
    [5, 6, 7, 9, 10, 11, 13, 14, 15],
  );
  assert.deepEqual(
    nine.map(({ weight }) => weight),
    kernel,
  );
  const sum = nine.reduce((total, { product }) => total + product, 0);
  assert.ok(Math.abs(sum - correlate(image, 4, kernel)[3]) < 1e-12);
});

test("presets do what their names say", () => {
  const step = range(0, 25).map((index) => (index % 5 >= 2 ? 1 : 0)); // dark from column 2 on
  const flat = Array(25).fill(0.5);
  const [vertical, horizontal] = [
    correlate(step, 5, PRESETS["Vertical edge"]),
    correlate(step, 5, PRESETS["Horizontal edge"]),
  ];
  assert.deepEqual([...vertical], [3, 3, 0, 3, 3, 0, 3, 3, 0]);
  assert.ok(horizontal.every((value) => value === 0));
  assert.deepEqual([...correlate(step, 5, PRESETS.Identity)], [0, 1, 1, 0, 1, 1, 0, 1, 1]);
  for (const [name, total] of Object.entries({
    Blur: 0.5,
    Sharpen: 0.5,
    Emboss: 0.5,
    "Sobel, vertical": 0,
    "Sobel, horizontal": 0,
  })) {
    assert.ok(
      correlate(flat, 5, PRESETS[name]).every((value) => Math.abs(value - total) < 1e-12),
      name,
    );
  }
});

test("pixels are read from base64, and ReLU cuts off what is negative", () => {
  assert.deepEqual([...decodePixels(Buffer.from([0, 51, 255]).toString("base64"))], [0, 0.2, 1]);
  assert.deepEqual([-2, 0, 3].map(relu), [0, 0, 3]);
});

test("the output size is the number of windows that fit, for all small sizes", () => {
  for (const each of settings())
    assert.equal(outputSize(each.n, each), windows(each).length, JSON.stringify(each));
});

test("taps are the places of each window", () => {
  for (const each of settings())
    windows(each).forEach((window, output) => assert.deepEqual(taps(each, output), window));
});

test("pixels that no window reads are dropped behind the last window, or skipped before its end", () => {
  for (const each of settings()) {
    const all = windows(each);
    if (!all.length) continue;
    const read = new Set(all.flat());
    const end = lastOf(all)[0] + span(each);
    const missed = range(0, each.n).filter((pixel) => !read.has(pixel));
    const { dropped, skipped } = unread(each);
    assert.deepEqual(
      [...skipped, ...dropped].sort((a, b) => a - b),
      missed,
      JSON.stringify(each),
    );
    assert.ok(dropped.every((pixel) => pixel >= end) && skipped.every((pixel) => pixel < end));
  }
});

test("the explanation says why nothing fits, what is lost, and what is only padding", () => {
  assert.match(explain({ n: 3, k: 3, s: 1, p: 0, d: 2 }), /No window fits.*= 5 places.*= 3\. PyTorch raises/);
  assert.match(explain({ n: 10, k: 3, s: 2, p: 0, d: 1 }), /4 outputs.*leaves 1 over.*pixel 9 is never read/);
  assert.match(explain({ n: 6, k: 1, s: 2, p: 1, d: 1 }), /leaves 1 over, but only padding/);
  assert.match(explain({ n: 7, k: 1, s: 3, p: 0, d: 1 }), /Pixels 1, 2, 4 and 5 are stepped over/);
  assert.match(
    explain({ n: 4, k: 1, s: 1, p: 1, d: 1 }),
    /Every pixel is read\. 2 outputs of the row see nothing but padding/,
  );
  assert.match(
    explain({ n: 1, k: 1, s: 1, p: 0, d: 1 }),
    /A row of 1 pixel gives 1 output;.*Every pixel is read\.$/,
  );
});

/**
 * The units of the last layer that are not zero when only one pixel is: all weights are one.
 *
 * @param {StackLayer[]} layers
 * @param {number} n
 * @param {number} pixel
 */
function answers(layers, n, pixel) {
  let row = range(0, n).map((each) => Number(each === pixel));
  for (const layer of layers) {
    row = windows({ ...layer, n: row.length }).map((window) =>
      window.reduce((sum, place) => sum + (row[place] ?? 0), 0),
    );
  }
  return row;
}

test("a unit depends on exactly the pixels that change it", () => {
  const random = generator(2);
  let tried = 0;
  while (tried < 200) {
    const n = integer(random, 4, 16);
    const layers = range(0, integer(random, 1, 4)).map(() => ({
      ...CONV,
      k: integer(random, 1, 4),
      s: integer(random, 1, 3),
      p: integer(random, 0, 2),
      d: integer(random, 1, 2),
    }));
    const units = lastOf(sizes(layers, n));
    if (!units) continue;
    tried += 1;
    const changes = range(0, n).map((pixel) => answers(layers, n, pixel));
    assert.equal(changes[0].length, units);
    for (const unit of range(0, units)) {
      const expected = range(0, n).filter((pixel) => changes[pixel][unit] > 0);
      assert.deepEqual(dependencies(layers, n, layers.length, unit)[0], expected);
    }
  }
});

test("the recursion gives the first and the last pixel of what a unit far from the border sees", () => {
  const random = generator(3);
  for (let tried = 0; tried < 200; tried += 1) {
    const n = 200;
    const layers = range(0, integer(random, 1, 4)).map(() => ({
      ...CONV,
      k: integer(random, 1, 4),
      s: integer(random, 1, 2),
      p: integer(random, 0, 3),
      d: integer(random, 1, 2),
    }));
    const { r, j, start } = lastOf(receptiveFields(layers));
    const unit = Math.floor(lastOf(sizes(layers, n)) / 2);
    const pixels = dependencies(layers, n, layers.length, unit)[0];
    assert.equal(pixels[0], start + unit * j);
    assert.equal(lastOf(pixels), start + unit * j + r - 1);
  }
});

test("two 3 x 3 convolutions see as much as one 5 x 5; the course's network sees 22 x 22", () => {
  const last = (/** @type {string} */ name) => lastOf(receptiveFields(STACKS[name]));
  assert.deepEqual(last("Two 3 × 3 convolutions"), last("One 5 × 5 convolution"));
  assert.deepEqual(last("The course's network"), { r: 22, j: 8, start: -7 });
  assert.deepEqual(sizes(STACKS["The course's network"], 28), [28, 28, 14, 14, 7, 7, 3]);
});

test("stacks that PyTorch would refuse are refused with the reason", () => {
  const conv = { ...CONV, p: 0 };
  assert.equal(problem([conv], 3), "");
  assert.match(problem([conv, conv], 3), /Layer 2 \(convolution\).*spans 3 places.*only 1/);
  assert.match(problem([{ ...POOL, p: 2 }], 8), /at most half/);
  for (const stack of Object.values(STACKS)) assert.equal(problem(stack, 28), "");
});

test("a weight has at most three decimals, none that are zero, and keeps all its other zeros", () => {
  assert.deepEqual([100, -10, 0.5, -1 / 9, 1.25, 0, 1e40].map(weightText), [
    "100",
    "\u221210",
    "0.5",
    "\u22120.111",
    "1.25",
    "0",
    "1e+40",
  ]);
});

test("numbers are written with a true minus sign, and zero has none", () => {
  assert.deepEqual(
    [1.005, -2.5, -0.001, 0].map((value) => format(value)),
    ["1.00", "\u22122.50", "0.00", "0.00"],
  );
  assert.equal(whole(-7), "\u22127");
  assert.deepEqual(
    [0, 1, 2].map((number) => count(number, "pixel")),
    ["0 pixels", "1 pixel", "2 pixels"],
  );
  assert.deepEqual(
    [-1, 1, 9].map((value) => clamp(value, 0, 4)),
    [0, 1, 4],
  );
  assert.deepEqual(mix([0, 0, 0], [100, 50, 10], 0.5), [50, 25, 5]);
});

test("the slopes of the graph are what a small step measures", () => {
  const random = generator(9);
  for (let round = 0; round < 500; round += 1) {
    const [x, w1, b, w2, t] = Array.from({ length: 5 }, () => integer(random, -9, 9));
    const numbers = { x, w1, b, w2, t };
    if (w1 * x + b === 0) continue; // at the kink nothing can be measured
    const claimed = slopes(numbers);
    for (const name of /** @type {const} */ (["x", "w1", "b", "w2"])) {
      const [up, down] = [1e-5, -1e-5].map((step) => values({ ...numbers, [name]: numbers[name] + step }).L);
      const measured = (up - down) / 2e-5;
      assert.ok(Math.abs(measured - claimed[name]) < 1e-3 * (1 + Math.abs(claimed[name])), name);
    }
  }
});

test("the graph finds each value once, then each slope once, and says so", () => {
  const numbers = { x: 2, w1: 3, b: -1, w2: 2, t: 7 };
  const wires = Object.keys(values(numbers)).sort();
  assert.deepEqual([...GIVEN, ...FORWARD.flat()].sort(), wires);
  assert.deepEqual(BACK.flat().sort(), wires);
  assert.ok(range(0, LAST + 1).every((step) => sentence(numbers, step).length > 20));
  assert.match(sentence(numbers, 8), /w₂ gets 6 · 5 = 30, h gets 6 · 2 = 12/);
  assert.match(sentence({ ...numbers, w1: -3 }, 9), /shut/);
});

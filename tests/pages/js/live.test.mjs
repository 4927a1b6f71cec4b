// The arithmetic of the figures that are set: walks, softmax and pooling against PyTorch, and what
// an address says. What PyTorch computes stands in the file that LIVE_FIXTURE names, which
// tests/pages/test_live_js.py writes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  difference,
  edges,
  moved,
  pooled,
  pooledSide,
  windowOf,
} from "../../../mnist_course/static/shifting.js";
import { crossEntropy, slopes, softmax } from "../../../mnist_course/static/softmax.js";
import {
  aFlag,
  aList,
  toNumber,
  aWhole,
  aWord,
  allowed,
  readState,
  sharing,
  writeState,
} from "../../../mnist_course/static/state.js";
import { BOUND, GROUNDS, places } from "../../../mnist_course/static/valley-walks.js";
import { generator } from "./helpers.mjs";

/** @import { Pool } from "../../../mnist_course/static/shifting.js" */
/** @import { Walk } from "../../../mnist_course/static/valley-walks.js" */
/** @typedef {{logits: number[], temperature: number, label: number, probabilities: number[], loss: number, slopes: number[]}} Answer */
/** @typedef {Pool & {pixels: number[], right: number, down: number, map: string, digit: number[], edges: number[], pooled: number[]}} Shift */

const path = process.env.LIVE_FIXTURE;
/** @type {{walks: {walk: Walk, path: number[][]}[], answers: Answer[], shifts: Shift[]}} */
const fixture = path ? JSON.parse(readFileSync(path, "utf8")) : {};
const withPyTorch = {
  skip: path ? false : "LIVE_FIXTURE names no file: run pytest tests/pages/test_live_js.py",
};

/** Numbers are those expected, relative to their size. @param {ArrayLike<number>} found @param {number[]} expected */
function near(found, expected, tolerance = 1e-9) {
  assert.equal(found.length, expected.length);
  expected.forEach((value, i) => {
    const away = Math.abs(found[i] - value);
    assert.ok(away <= tolerance * (1 + Math.abs(value)), `${found[i]} for ${value} at ${i}`);
  });
}

test("a walk goes where PyTorch's optimiser goes, also where it explodes", withPyTorch, () => {
  for (const { walk, path: expected } of fixture.walks) {
    const found = places(walk);
    assert.equal(found.length, expected.length, JSON.stringify(walk));
    near(found.flat(), expected.flat(), 1e-6);
  }
});

test("probabilities, loss and slopes are PyTorch's at every temperature", withPyTorch, () => {
  for (const { logits, temperature, label, probabilities, loss, slopes: gradient } of fixture.answers) {
    near(softmax(logits, temperature), probabilities);
    near([crossEntropy(logits, temperature, label)], [loss]);
    near(slopes(logits, temperature, label), gradient);
  }
});

test("a moved digit, its map and its pooled map are PyTorch's", withPyTorch, () => {
  for (const shift of fixture.shifts) {
    const digit = moved(
      Float64Array.from(shift.pixels, (byte) => byte / 255),
      shift.right,
      shift.down,
    );
    const map = shift.map === "edges" ? edges(digit) : digit;
    near(digit, shift.digit, 1e-6); // a digit's pixels are float32 there
    near(map, shift.edges, 1e-6);
    near(pooled(map, shift), shift.pooled, 1e-6);
  }
});

test("the slopes of the grounds are what a small step measures", () => {
  const random = generator(5);
  for (const [name, { loss, slopes: slopesAt }] of Object.entries(GROUNDS)) {
    for (let tried = 0; tried < 100; tried += 1) {
      const [a, b] = [20 * random() - 10, 8 * random() - 4];
      const [da, db] = slopesAt(a, b);
      near([(loss(a + 1e-5, b) - loss(a - 1e-5, b)) / 2e-5], [da], 1e-5);
      near([(loss(a, b + 1e-5) - loss(a, b - 1e-5)) / 2e-5], [db], 1e-5);
      assert.ok(loss(a, b) >= 0, name);
    }
  }
});

test("gradient descent in both quadratic valleys ends at the bound, and not below it", () => {
  for (const ground of ["valley", "turned"]) {
    for (const share of [0.99, 1.01]) {
      const walk = { ground, rule: "descent", rate: share * BOUND, momentum: 0, start: [3, 1], steps: 300 };
      const [a, b] = places(walk)[300];
      assert.equal(Math.hypot(a, b) > 3, share > 1);
    }
  }
});

test("a shift by a multiple of the stride moves the pooled map along, and others change it", () => {
  const random = generator(6);
  const digit = Float64Array.from({ length: 784 }, (_, i) => {
    const inside = [Math.floor(i / 28), i % 28].every((place) => place > 7 && place < 20);
    return inside ? random() : 0;
  });
  /** @type {Pool} */
  const pool = { window: 2, stride: 2, kind: "max" };
  const before = pooled(digit, pool);
  assert.deepEqual(moved(before, 2, -1), pooled(moved(digit, 4, -2), pool));
  assert.ok(difference(moved(before, 0, 0), pooled(moved(digit, 1, 0), pool)).cells.length > 20);
  assert.deepEqual(difference(before, before), { cells: [], share: 0 });
  assert.equal(pooledSide({ ...pool, window: 3, stride: 2 }), 13);
  assert.deepEqual(
    windowOf(
      Float64Array.from({ length: 16 }, (_, i) => i),
      pool,
      1,
      0,
    ),
    [8, 9, 12, 13],
  );
});

const SPEC = {
  rate: toNumber(0, 1),
  steps: aWhole(0, 9),
  rule: aWord(["adam", "sgd"]),
  on: aFlag,
  start: aList(2, toNumber(-5, 5)),
};
const USUAL = { rate: 0.5, steps: 3, rule: "sgd", on: false, start: [1, 2] };

test("an address says what differs, and is read as it was written", () => {
  assert.equal(writeState("valley", USUAL, USUAL), "#valley");
  const other = { rate: 0.25, steps: 4, rule: "adam", on: true, start: [-1, 2.5] };
  const hash = writeState("valley", other, USUAL);
  assert.match(hash, /^#valley\?rate=0.25&steps=4&rule=adam&on=true&start=/);
  assert.deepEqual(readState(hash, "valley", SPEC), other);
  assert.equal(readState(hash, "other", SPEC), null);
  assert.deepEqual(readState("#valley", "valley", SPEC), {});
});

test("what an address may not say is left out, or brought within its bounds", () => {
  const hash = "#valley?rate=7&steps=2.4&rule=__proto__&on=1&start=1,2,3&toString=5&constructor={}";
  assert.deepEqual(readState(hash, "valley", SPEC), { rate: 1, steps: 2 });
  for (const value of ["NaN", "null", "[]", '"x"', "1e999", "{"]) {
    assert.deepEqual(readState(`#valley?rate=${value}`, "valley", SPEC), {});
  }
  assert.deepEqual(allowed(SPEC, { start: [9, "2"], rate: undefined }), {});
});

/** A widget's model with a kernel behind it that hears. @param {Record<string, any>} values */
function modelOf(values) {
  /** @type {Map<string, Set<() => void>>} */
  const listeners = new Map();
  return {
    values,
    saved: 0,
    get: (/** @type {string} */ name) => values[name],
    set(/** @type {string} */ name, /** @type {unknown} */ value) {
      values[name] = value;
      for (const react of listeners.get(`change:${name}`) ?? []) react();
    },
    save_changes() {
      this.saved += 1;
    },
    send() {},
    on(/** @type {string} */ event, /** @type {() => void} */ react) {
      listeners.set(event, (listeners.get(event) ?? new Set()).add(react));
    },
    off(/** @type {string} */ event, /** @type {() => void} */ react) {
      listeners.get(event)?.delete(react);
    },
  };
}

test("a widget hears what the reader changes, and the figure what others set", () => {
  const model = modelOf({ ...USUAL, options: { extra: 7 } });
  /** @type {any[]} */
  const taken = [];
  /** @type {any} */
  let mounted = null;
  const render = sharing((_, options, tell) => {
    mounted = { options, tell };
    return { take: (values) => void taken.push(values), destroy: () => void (mounted = null) };
  }, SPEC);
  const close = render({ model, el: /** @type {any} */ (null) });
  assert.deepEqual(mounted.options, { ...USUAL, extra: 7 });
  mounted.tell({ rate: 0.1, steps: 3 });
  assert.deepEqual([model.values.rate, model.saved, taken.length], [0.1, 1, 0]);
  model.set("rule", "adam"); // from Python, or from a slider that is linked
  assert.deepEqual(taken, [{ ...USUAL, rate: 0.1, rule: "adam" }]);
  close();
  model.set("rule", "sgd");
  assert.equal(taken.length, 1);
  assert.equal(mounted, null);
});

// Drawn digits: what comes from strangers.
// Run with: node --test tests/pages/js/samples.test.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  MOST_BYTES,
  MOST_DIGITS,
  MOST_POINTS,
  MOST_STROKES,
  SamplesError,
  checkSample,
  decode,
  merged,
  readSamples,
  writeSamples,
} from "../../../mnist_course/static/samples.js";
import { SEVEN, fails } from "./helpers.mjs";

/** @import { Sample } from "../../../mnist_course/static/types" */

/** @typedef {{name: string, text?: string, hex?: string, digits?: Sample[], refused?: string}} Case */

// The same table is read in Python, by tests/package/test_samples.py.
/** @type {Case[]} */
const CASES = JSON.parse(readFileSync(new URL("../../samples.json", import.meta.url), "utf8"));

for (const { name, text, hex, digits, refused } of CASES) {
  const bytes = text === undefined ? Buffer.from(hex ?? "", "hex") : Buffer.from(text);
  const read = () => readSamples(decode(bytes));
  test(`a file is read by the same rule as in Python: ${name}`, () => {
    if (refused === undefined) assert.deepEqual(read(), digits);
    else fails(read, SamplesError, new RegExp(refused));
  });
}

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

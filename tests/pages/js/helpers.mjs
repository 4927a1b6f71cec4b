// What the tests of the pad and of the figures share.
//
// What Python says, it says in the file that PAD_FIXTURE names: tests/pages/test_pad_js.py writes it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { parseModel } from "../../../mnist_course/static/weights.js";

/** @import { Model, Stroke } from "../../../mnist_course/static/types" */
/** @typedef {{name: string, file: string, images: string[], logits: number[][], worth: string}} Network */

export const bytesOf = (/** @type {string} */ base64) => new Uint8Array(Buffer.from(base64, "base64"));
export const floatsOf = (/** @type {string} */ base64) => new Float32Array(bytesOf(base64).buffer);
const path = process.env.PAD_FIXTURE;
/** @type {{drawings: {strokes: Stroke[], pixels: string}[], models: Network[], exported: Network[]}} */
export const fixture = path
  ? JSON.parse(readFileSync(path, "utf8"))
  : { drawings: [], models: [], exported: [] };
export const withPython = {
  skip: path ? false : "PAD_FIXTURE names no file: run pytest tests/pages/test_pad_js.py",
};

/** @type {Stroke[]} */
// prettier-ignore
export const SEVEN = [[[20, 10], [80, 10], [44, 96]]];
/** @type {Stroke[]} */
// prettier-ignore
export const ZERO = [[[50, 0], [20, 50], [50, 100], [80, 50], [50, 0]]];

/** The first of the networks that Python has written. */
export const firstModel = () => parseModel(bytesOf(fixture.models[0].file));

/** A file of weights with a valid checksum around any header and data. @param {unknown} header */
export function file(header, data = new Uint8Array(0)) {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const content = new Uint8Array(text.length + data.length);
  content.set(text);
  content.set(data, text.length);
  let crc = 0xffffffff;
  for (const byte of content) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  const start = new Uint8Array(16);
  start.set(new TextEncoder().encode("MNISTNET"));
  new DataView(start.buffer).setUint32(8, text.length, true);
  new DataView(start.buffer).setUint32(12, ~crc >>> 0, true);
  const whole = new Uint8Array(start.length + content.length);
  whole.set(start);
  whole.set(content, start.length);
  return whole;
}

/** The table of weights at the end of a network. @param {Model} model */
export function headOf(model) {
  const head = lastOf(model.layers);
  assert.equal(head.op, "linear");
  return /** @type {Extract<typeof head, {op: "linear"}>} */ (head);
}

/**
 * Something fails with an error of a class, whose message fits all patterns.
 *
 * @param {() => void} act
 * @param {new () => Error} kind
 * @param {RegExp[]} reasons
 */
export const fails = (act, kind, ...reasons) =>
  assert.throws(
    act,
    (error) => error instanceof kind && reasons.every((reason) => reason.test(error.message)),
  );

/**
 * Random numbers in [0, 1) that are the same in every run.
 *
 * @param {number} seed
 */
export function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * What a generator returns.
 *
 * @template Result
 * @param {Generator<unknown, Result>} work
 */
export function finished(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/**
 * The last of some values, of which there is one at least.
 *
 * @template Value
 * @param {Value[]} values
 */
export const lastOf = (values) => values[values.length - 1];

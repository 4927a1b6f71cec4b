// A network of two layers in single numbers, step by step: L = (w2 · max(0, w1 · x + b) − t)².

import { whole } from "./numbers.js";

/** @typedef {{x: number, w1: number, b: number, w2: number, t: number}} Numbers what is chosen */
/** @typedef {"x" | "w1" | "a" | "b" | "z" | "h" | "w2" | "y" | "L"} Wire */

/** @type {Wire[]} What is known before the first step. */
export const GIVEN = ["x", "w1", "b", "w2"];

/** The wires whose values each step forward finds, and then whose slopes each step back finds. */
/** @type {Wire[][]} */
export const FORWARD = [["a"], ["z"], ["h"], ["y"], ["L"]];
/** @type {Wire[][]} */
export const BACK = [["L"], ["y"], ["w2", "h"], ["z"], ["a", "b"], ["w1", "x"]];

/**
 * The value of every wire.
 *
 * @param {Numbers} numbers
 * @returns {Record<Wire, number>}
 */
export function values({ x, w1, b, w2, t }) {
  const a = w1 * x;
  const z = a + b;
  const h = Math.max(0, z);
  const y = w2 * h;
  return { x, w1, b, w2, a, z, h, y, L: (y - t) ** 2 };
}

/**
 * The slope of the loss with respect to every wire, by the chain rule.
 *
 * @param {Numbers} numbers
 * @returns {Record<Wire, number>}
 */
export function slopes(numbers) {
  const { x, w1, w2, z, h, y } = values(numbers);
  const dy = 2 * (y - numbers.t);
  const dh = dy * w2;
  const dz = z > 0 ? dh : 0;
  // + 0 turns -0 into 0, which reads better.
  return {
    L: 1,
    y: dy + 0,
    w2: dy * h + 0,
    h: dh + 0,
    z: dz + 0,
    a: dz + 0,
    b: dz + 0,
    w1: dz * x + 0,
    x: dz * w1 + 0,
  };
}

/** @param {number} number in brackets if it is negative */
const factor = (number) => (number < 0 ? `(${whole(number)})` : whole(number));

/**
 * What happens in a step, in a sentence; step 0 comes before the first.
 *
 * @param {Numbers} numbers
 * @param {number} step
 */
export function sentence(numbers, step) {
  const { x, w1, a, b, z, h, w2, y, L } = values(numbers);
  const d = slopes(numbers);
  const difference = y - numbers.t;
  const open = z > 0;
  return [
    "The numbers that are given. Step forward.",
    `Forward: a = w₁ · x = ${factor(w1)} · ${factor(x)} = ${whole(a)}.`,
    `Forward: z = a + b = ${whole(a)} + ${factor(b)} = ${whole(z)}.`,
    `Forward: ReLU ${open ? "lets" : "makes 0 of"} ${whole(z)}${open ? " through" : ""}, so h = ${whole(h)}.`,
    `Forward: y = w₂ · h = ${factor(w2)} · ${factor(h)} = ${whole(y)}.`,
    `Forward: L = (y − t)² = (${whole(y)} − ${factor(numbers.t)})² = ${whole(L)}.`,
    "Now back. The slope of the loss with respect to itself is 1.",
    `Back: the square hands on 1 times twice the difference, 2 · ${factor(difference)} = ${whole(d.y)}.`,
    `Back: × hands each factor the slope times the other one: w₂ gets ${factor(d.y)} · ${factor(h)} = ${whole(d.w2)}, h gets ${factor(d.y)} · ${factor(w2)} = ${whole(d.h)}.`,
    `Back: ReLU is ${open ? "open, so the slope passes" : "shut, so nothing passes"}: ${whole(d.z)}.`,
    `Back: + hands the same slope to both: ${whole(d.a)}.`,
    `Back: × again: w₁ gets ${factor(d.a)} · ${factor(x)} = ${whole(d.w1)}, x gets ${factor(d.a)} · ${factor(w1)} = ${whole(d.x)}. Every slope is known.`,
  ][step];
}

/** The number of the last step. */
export const LAST = FORWARD.length + BACK.length;

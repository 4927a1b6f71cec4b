// Losses of two weights, and how optimisers walk down them from a place that is given.

import { range } from "./numbers.js";
import { Optimizer } from "./optimizers.js";

/** @typedef {{loss: (a: number, b: number) => number, slopes: (a: number, b: number) => [number, number]}} Ground */
/** @typedef {{ground: string, rule: string, rate: number, momentum: number, start: number[], steps: number}} Walk */

const FLAT = 1; // the two curvatures of the long valley
const STEEP = 25;

/** The long valley, turned by so many radians. @param {number} angle @returns {Ground} */
function turned(angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return {
    loss: (a, b) => (FLAT * (c * a + s * b) ** 2 + STEEP * (c * b - s * a) ** 2) / 2,
    slopes(a, b) {
      const along = FLAT * (c * a + s * b);
      const across = STEEP * (c * b - s * a);
      return [c * along - s * across, s * along + c * across];
    },
  };
}

/** A valley whose floor is a parabola. @type {Ground} */
const bent = {
  loss: (a, b) => (0.2 * a ** 2 + STEEP * (b + 2 - a ** 2 / 20) ** 2) / 2,
  slopes(a, b) {
    const across = STEEP * (b + 2 - a ** 2 / 20);
    return [0.2 * a - (across * a) / 10, across];
  },
};

/** Two hollows with a pass between them; the left one is deeper. @type {Ground} */
const double = {
  loss: (a, b) => (a ** 2 - 36) ** 2 / 288 + a / 4 + 2 + (STEEP * b ** 2) / 2,
  slopes: (a, b) => [(a * (a ** 2 - 36)) / 72 + 1 / 4, STEEP * b],
};

/** @type {Record<string, Ground>} */
export const GROUNDS = { valley: turned(0), turned: turned(Math.PI / 6), bent, double };

/** Gradient descent on the two quadratics is stable for rates below this. */
export const BOUND = 2 / STEEP;

/**
 * All places of a walk, its start first. It ends early where a number is no longer one.
 *
 * @param {Walk} walk
 * @returns {[number, number][]}
 */
export function places({ ground, rule, rate, momentum, start, steps }) {
  const { slopes } = GROUNDS[ground];
  const weights = { name: "w", value: Float64Array.from(start), gradient: new Float64Array(2) };
  const optimizer = rule === "adam" || rule === "nesterov" ? rule : "sgd";
  const kept = rule === "descent" ? 0 : momentum;
  const settings = /** @type {const} */ ({ optimizer, rate, momentum: kept, beta2: 0.999, decay: 0 });
  const walker = new Optimizer();
  /** @type {[number, number][]} */
  const path = [[start[0], start[1]]];
  for (const _ of range(0, steps)) {
    const [a, b] = path[path.length - 1];
    if (!Number.isFinite(a) || !Number.isFinite(b)) break;
    weights.gradient.set(slopes(a, b));
    walker.step([weights], settings);
    path.push([weights.value[0], weights.value[1]]);
  }
  return path;
}

// How the weights follow the gradients: SGD and Adam as PyTorch defines them, and the rate's schedule.

/** @import { OptimizerSettings } from "./types" */
/** @typedef {Float32Array | Float64Array} Numbers */
/** @typedef {{name: string, value: Numbers, gradient: Numbers}} Parameter */

/** What an optimiser keeps of a parameter. @typedef {{first: Numbers, second: Numbers}} Moments */

export class Optimizer {
  /** @type {Map<string, Moments>} */
  moments = new Map();
  steps = 0;

  /**
   * Change the parameters by one step.
   *
   * @param {Parameter[]} parameters
   * @param {OptimizerSettings} settings as they are now: they may change from step to step
   */
  step(parameters, settings) {
    this.steps++;
    const update = settings.optimizer === "adam" ? adam : sgd;
    for (const each of parameters) update(each, this.momentsOf(each), settings, this.steps);
  }

  /** @param {Parameter} parameter */
  momentsOf({ name, value }) {
    const known = this.moments.get(name);
    if (known) return known;
    const made = { first: value.slice().fill(0), second: value.slice().fill(0) };
    this.moments.set(name, made);
    return made;
  }

  /** Forget the past: another kind of optimiser begins. */
  forget() {
    this.moments.clear();
    this.steps = 0;
  }
}

/**
 * v = momentum v + g, and the weights move by -rate v; with Nesterov's momentum by -rate (g + momentum v).
 *
 * @param {Parameter} parameter
 * @param {Moments} moments
 * @param {OptimizerSettings} settings
 */
function sgd({ value, gradient }, { first }, { optimizer, rate, momentum, decay }) {
  const nesterov = optimizer === "nesterov";
  for (let i = 0; i < value.length; i++) {
    const slope = gradient[i] + decay * value[i];
    const velocity = momentum * first[i] + slope;
    first[i] = velocity;
    value[i] -= rate * (nesterov ? slope + momentum * velocity : velocity);
  }
}

/**
 * Running means of the gradient and of its square, each divided by the share of its sum of weights
 * that has been seen; the weights move by -rate mean / (root of the square + 1e-8).
 *
 * @param {Parameter} parameter
 * @param {Moments} moments
 * @param {OptimizerSettings} settings
 * @param {number} steps
 */
function adam({ value, gradient }, { first, second }, { rate, momentum, beta2, decay }, steps) {
  const seen = 1 - momentum ** steps;
  const root = Math.sqrt(1 - beta2 ** steps);
  for (let i = 0; i < value.length; i++) {
    const slope = gradient[i] + decay * value[i];
    const mean = first[i] + (1 - momentum) * (slope - first[i]);
    const square = beta2 * second[i] + (1 - beta2) * slope * slope;
    first[i] = mean;
    second[i] = square;
    value[i] -= ((rate / seen) * mean) / (Math.sqrt(square) / root + 1e-8);
  }
}

/**
 * The share of the peak rate at a step, counted from 0: it rises linearly, then falls to zero, as in
 * `Recipe.learning_rate_at` with the schedule "triangular".
 *
 * @param {number} step
 * @param {number} steps of the whole training
 * @param {number} warmup the share of the steps in which it rises
 */
export function triangular(step, steps, warmup) {
  const progress = Math.min(1, (step + 0.5) / steps);
  return progress < warmup ? progress / warmup : (1 - progress) / (1 - warmup);
}

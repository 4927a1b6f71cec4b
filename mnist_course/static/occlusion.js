// Why this answer? Cover a piece of the picture, let the network read again, and see what the answer
// loses. This is the twin of explain.occlusion in Python.

import { forward } from "./engine.js";
import { range } from "./numbers.js";
import { SIZE } from "./strokes.js";

/** @import { Model } from "./types" */

export const WINDOW = 6; // pixels, the side of the piece that is covered
export const STEP = 2; // pixels from one piece to the next, so that nine pieces cover each pixel

/**
 * log(p / (1 - p)) of one class: how far its logit lies above those of all others together.
 *
 * @param {ArrayLike<number>} logits
 * @param {number} digit
 */
export function logOdds(logits, digit) {
  const others = Array.from(logits).filter((_, each) => each !== digit);
  const largest = Math.max(...others);
  return logits[digit] - largest - Math.log(others.reduce((sum, z) => sum + Math.exp(z - largest), 0));
}

/**
 * What each pixel is worth to an answer: by how much its log-odds fall when a window over it is
 * covered with paper, as the mean over all windows that cover it. A window without ink changes
 * nothing and is not read.
 *
 * A generator, so that a page stays alive: it yields after each reading, and returns the result.
 *
 * @param {Model} model
 * @param {Float32Array} image 784 pixels
 * @param {number} digit the class that is asked about
 * @returns {Generator<void, Float32Array>} 784 numbers: positive speaks for the digit
 */
export function* occlusion(model, image, digit) {
  const worth = new Float32Array(SIZE * SIZE);
  const whole = logOdds(forward(model, image).logits, digit);
  for (let top = STEP - WINDOW; top < SIZE; top += STEP) {
    for (let left = STEP - WINDOW; left < SIZE; left += STEP) {
      const pixels = pixelsUnder(top, left);
      if (!pixels.some((k) => image[k] > 0)) continue;
      const covered = image.slice();
      for (const k of pixels) covered[k] = 0;
      const fall = whole - logOdds(forward(model, covered).logits, digit);
      for (const k of pixels) worth[k] += fall / (WINDOW / STEP) ** 2;
      yield;
    }
  }
  return worth;
}

/** The pixels of the picture under a window. @param {number} top @param {number} left */
function pixelsUnder(top, left) {
  const columns = range(Math.max(0, left), Math.min(SIZE, left + WINDOW));
  const rows = range(Math.max(0, top), Math.min(SIZE, top + WINDOW));
  return rows.flatMap((row) => columns.map((column) => row * SIZE + column));
}

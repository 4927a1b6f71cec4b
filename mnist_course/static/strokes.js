// From pen strokes to the picture that a network trained on MNIST expects.
//
// The strokes are scaled and moved as vectors, so that their longer side fills MNIST's 20-pixel
// box and their centre of mass lies where MNIST's does, and then drawn once with a brush as wide
// as MNIST's. This is the twin of strokes.py: the same arithmetic in the same order, equal to
// the last bit. Whoever changes one changes the other.

/** @import { Stroke } from "./types" */

export const SIZE = 28; // width and height of the picture, in pixels
export const BOX = 20; // longest side of the digit in the picture, brush included
export const RADIUS = 1.35; // of the brush; its edge fades over half a pixel on either side
export const CENTRE = 14.5; // where the centre of mass goes, from the edge
export const LIMIT = 1e6; // largest coordinate that is taken for a drawing
const TINY = 1e-300; // a drawing whose longer side is not larger is a dot: rounding has taken its shape

/**
 * Draw pen strokes as MNIST would have them; place and size of the drawing make no difference.
 *
 * @param {Stroke[]} strokes
 * @returns {Float32Array<ArrayBuffer>} 784 pixels, row by row, from 0 (paper) to 1 (ink)
 * @throws {RangeError} if a point is not a pair of finite numbers up to 1e6
 */
export function preprocess(strokes) {
  return Float32Array.from(draw(strokes));
}

/**
 * Like preprocess, before the result is rounded to float32.
 *
 * @param {Stroke[]} strokes
 */
export function draw(strokes) {
  const drawing = strokes.filter((stroke) => stroke.length);
  if (!drawing.length) return new Float64Array(SIZE * SIZE);
  const [x0, y0, x1, y1] = inkBox(drawing);
  const side = Math.max(x1 - x0, y1 - y0);
  const scale = side > TINY ? (BOX - 2 * RADIUS - 1) / side : 0;
  const x = (x0 + x1) / 2,
    y = (y0 + y1) / 2,
    half = SIZE / 2;
  /** The picture with the middle of the drawing at a place. @param {number} tx @param {number} ty */
  const at = (tx, ty) =>
    rasterize(
      drawing.map((stroke) => stroke.map(([px, py]) => [(px - x) * scale + tx, (py - y) * scale + ty])),
    );
  const [mx, my] = centreOfMass(at(half, half));
  return at(half + (CENTRE - mx), half + (CENTRE - my));
}

/**
 * The smallest box around all points: [left, top, right, bottom].
 *
 * @param {Stroke[]} strokes
 */
export function inkBox(strokes) {
  let x0 = Infinity,
    y0 = Infinity,
    x1 = -Infinity,
    y1 = -Infinity;
  for (const stroke of strokes) {
    for (const point of stroke) {
      if (point?.length !== 2 || !isCoordinate(point[0]) || !isCoordinate(point[1])) {
        throw new RangeError(`expected points [x, y] of finite numbers up to ${LIMIT}`);
      }
      const [x, y] = point;
      if (x < x0) x0 = x;
      if (x > x1) x1 = x;
      if (y < y0) y0 = y;
      if (y > y1) y1 = y;
    }
  }
  return [x0, y0, x1, y1];
}

/** @param {unknown} value */
export const isCoordinate = (value) => typeof value === "number" && Math.abs(value) <= LIMIT;

/**
 * Draw strokes, in pixels, with a round brush of soft edge: how much of each pixel is ink.
 *
 * @param {Stroke[]} strokes
 */
export function rasterize(strokes) {
  const nearest = new Float64Array(SIZE * SIZE).fill(Infinity); // squared distance to the strokes
  const reach = RADIUS + 1; // pixels further away get no ink: leave them at infinity
  for (const stroke of strokes) {
    for (let i = 0; i < Math.max(1, stroke.length - 1); i++) {
      const [ax, ay] = stroke[i],
        [bx, by] = stroke[Math.min(i + 1, stroke.length - 1)];
      const dx = bx - ax,
        dy = by - ay,
        length = dx * dx + dy * dy;
      const left = Math.max(0, Math.floor(Math.min(ax, bx) - reach));
      const right = Math.min(SIZE - 1, Math.ceil(Math.max(ax, bx) + reach));
      const top = Math.max(0, Math.floor(Math.min(ay, by) - reach));
      const bottom = Math.min(SIZE - 1, Math.ceil(Math.max(ay, by) + reach));
      for (let row = top; row <= bottom; row++) {
        for (let column = left; column <= right; column++) {
          const px = column + 0.5 - ax,
            py = row + 0.5 - ay;
          // Where along the segment, from 0 to 1, the nearest point lies.
          let along = length > 0 ? (px * dx + py * dy) / length : 0;
          along = along < 0 ? 0 : along > 1 ? 1 : along;
          const ex = px - along * dx,
            ey = py - along * dy;
          const distance = ex * ex + ey * ey,
            k = row * SIZE + column;
          if (distance < nearest[k]) nearest[k] = distance;
        }
      }
    }
  }
  for (let k = 0; k < nearest.length; k++) {
    const ink = RADIUS + 0.5 - Math.sqrt(nearest[k]);
    nearest[k] = ink < 0 ? 0 : ink > 1 ? 1 : ink;
  }
  return nearest;
}

/**
 * Centre of mass [x, y] of a picture with ink, in pixels from its upper left corner.
 *
 * @param {Float64Array} image
 */
export function centreOfMass(image) {
  let mass = 0,
    x = 0,
    y = 0;
  for (let row = 0, k = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++, k++) {
      mass += image[k];
      x += image[k] * (column + 0.5);
      y += image[k] * (row + 0.5);
    }
  }
  return [x / mass, y / mass];
}

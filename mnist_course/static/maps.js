// Pictures of numbers: feature maps side by side on a canvas, in the colours of the theme.

import { brush, themeColour } from "./dom.js";
import { count } from "./numbers.js";

/** @import { Palettes, Plot, Shape } from "./types" */

/**
 * The colours of the theme at an element.
 *
 * @param {Element} root
 * @returns {Palettes}
 */
export function palettes(root) {
  const [paper, ink, negative, positive] = ["paper", "ink", "negative", "positive"].map((name) =>
    themeColour(root, name),
  );
  /** `n` colours from one to another. @param {number[]} from @param {number[]} to @param {number} n */
  const ramp = (from, to, n) =>
    Array.from({ length: n }, (_, i) => from.map((v, c) => v + ((to[c] - v) * i) / (n - 1)));
  const pack = (/** @type {number[][]} */ colours) =>
    Uint32Array.from(
      colours,
      ([r, g, b]) => (255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r),
    );
  return {
    signed: pack([...ramp(negative, paper, 128), ...ramp(paper, positive, 128)]),
    ink: pack(ramp(paper, ink, 256)),
  };
}

/**
 * How the maps of a layer are laid out, at most `width` CSS pixels wide.
 *
 * @param {Shape} shape
 * @param {number} width
 * @returns {Plot}
 */
export function layout([C, H = 1, W = 1], width) {
  const single = H * W === 1;
  const zoom = single ? (C <= 32 ? 20 : 5) : W >= 10 ? 2 : W >= 5 ? 3 : 5;
  const gap = single ? 0 : 1;
  const most = Math.max(1, Math.floor((width / zoom + gap) / (W + gap)));
  const rows = Math.ceil(C / most);
  return { columns: Math.ceil(C / rows), rows, zoom, gap, H, W };
}

/**
 * Paint the numbers of a layer side by side.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Shape} shape
 * @param {Float32Array | null | undefined} data without it the fields stay blank
 * @param {Plot} plot
 * @param {Palettes} colours
 * @param {boolean} signed whether negative numbers have a colour of their own
 */
export function paintMaps(canvas, [C], data, { columns, rows, gap, H, W }, colours, signed) {
  const width = columns * (W + gap) - gap;
  const height = rows * (H + gap) - gap;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const picture = brush(canvas).createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  let most = 1e-9;
  for (let i = 0; data && i < data.length; i++) most = Math.max(most, Math.abs(data[i]));
  const palette = signed ? colours.signed : colours.ink;
  const zero = signed ? 127.5 : 0;
  const scale = (signed ? 127.5 : 255) / most;
  for (let c = 0, k = 0; c < C; c++) {
    const corner = Math.floor(c / columns) * (H + gap) * width + (c % columns) * (W + gap);
    for (let row = 0; row < H; row++) {
      for (let column = 0; column < W; column++, k++) {
        const level = data ? Math.max(0, zero + scale * data[k]) : zero;
        pixels[corner + row * width + column] = palette[Math.round(level)];
      }
    }
  }
  brush(canvas).putImageData(picture, 0, 0);
}

const FIELD = { columns: 1, rows: 1, zoom: 1, gap: 0, H: 28, W: 28 };

/**
 * Paint 784 numbers as one picture: pixels, or with a sign what they are worth.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array | null} image
 * @param {Palettes} colours
 * @param {boolean} [signed]
 */
export const paintImage = (canvas, image, colours, signed = false) =>
  paintMaps(canvas, [1], image, FIELD, colours, signed);

/** Which layers answer with numbers of either sign. */
export const SIGNED = new Set(["normalize", "conv", "affine", "linear", "gelu"]);

/**
 * A shape in words: `24 maps of 28 × 28`, `10 numbers`.
 *
 * @param {Shape} shape
 */
export function described([C, H = 1, W = 1]) {
  return H * W === 1 ? count(C, "number") : `${count(C, "map")} of ${H} \u00d7 ${W}`;
}

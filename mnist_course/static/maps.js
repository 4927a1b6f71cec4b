// Pictures of numbers: feature maps side by side on a canvas, in the colours of the theme.

import { count, themeColour } from "./dom.js";

/** 256 colours from the negative through the paper to the positive, and from the paper to the ink. */
export function palettes(root) {
  const [paper, ink, negative, positive] = ["paper", "ink", "negative", "positive"].map((name) => themeColour(root, name));
  const ramp = (from, to, n) => Array.from({ length: n }, (_, i) => from.map((v, c) => v + ((to[c] - v) * i) / (n - 1)));
  const pack = (colours) => Uint32Array.from(colours, ([r, g, b]) => (255 << 24) | (Math.round(b) << 16) | (Math.round(g) << 8) | Math.round(r));
  return { signed: pack([...ramp(negative, paper, 128), ...ramp(paper, positive, 128)]), ink: pack(ramp(paper, ink, 256)) };
}

/** How the maps of a layer are laid out on a canvas: `{columns, rows, zoom}`, at most `width` wide. */
export function layout([C, H = 1, W = 1], width) {
  if (H * W === 1) {
    const zoom = C <= 32 ? 20 : 5, most = Math.max(1, Math.floor(width / zoom));
    const rows = Math.ceil(C / most);
    return { columns: Math.ceil(C / rows), rows, zoom, gap: 0, H, W };
  }
  const zoom = W >= 20 ? 2 : W >= 10 ? 2 : W >= 5 ? 3 : 5;
  const most = Math.max(1, Math.floor((width / zoom + 1) / (W + 1)));
  const rows = Math.ceil(C / most);
  return { columns: Math.ceil(C / rows), rows, zoom, gap: 1, H, W };
}

/** The activations of a layer side by side; `data` null leaves the fields blank. */
export function paintMaps(canvas, [C], data, { columns, rows, gap, H, W }, colours, signed) {
  const width = columns * (W + gap) - gap, height = rows * (H + gap) - gap;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const pixels = new Uint32Array(picture.data.buffer);
  let most = 1e-9;
  for (let i = 0; data && i < data.length; i++) most = Math.max(most, Math.abs(data[i]));
  const palette = signed ? colours.signed : colours.ink;
  const zero = signed ? 127.5 : 0, scale = (signed ? 127.5 : 255) / most;
  for (let c = 0, k = 0; c < C; c++) {
    const corner = Math.floor(c / columns) * (H + gap) * width + (c % columns) * (W + gap);
    for (let row = 0; row < H; row++) {
      for (let column = 0; column < W; column++, k++) {
        pixels[corner + row * width + column] = palette[data ? Math.max(0, Math.round(zero + scale * data[k])) : Math.round(zero)];
      }
    }
  }
  context.putImageData(picture, 0, 0);
}

export const paintImage = (canvas, image, colours) =>
  paintMaps(canvas, [1], image, { columns: 1, rows: 1, gap: 0, H: 28, W: 28 }, colours, false);

/** Which layers answer with numbers of either sign. */
export const SIGNED = new Set(["normalize", "conv", "affine", "linear", "gelu"]);

export function described(shape) {
  if (shape.length === 1) return count(shape[0], "number");
  return shape[1] * shape[2] === 1 ? count(shape[0], "number") : `${count(shape[0], "map")} of ${shape[1]} \u00d7 ${shape[2]}`;
}

// Inside the network: what every layer answers, and a walk through it: point at any number and see
// the arithmetic that made it.

import { arrowStep, clamp, count, format, h, named } from "./dom.js";
import { SIGNED, described, layout, paintMaps } from "./maps.js";
import { arithmetic, asMaps, placeOf } from "./walk.js";

export const LAYERS_STYLE = `
.cl-digitpad .dp-layer { margin-top:0.85rem; }
.cl-digitpad .dp-layer p { margin-bottom:0.25rem; font-size:0.875rem; color:var(--cl-muted); }
.cl-digitpad .dp-layer b, .cl-digitpad .dp-walk b { color:var(--cl-ink); font-weight:600; }
.cl-digitpad .dp-maps { position:relative; width:fit-content; }
.cl-digitpad .dp-maps canvas[tabindex] { cursor:crosshair; touch-action:manipulation; }
.cl-digitpad .dp-marks { position:absolute; inset:0; pointer-events:none; overflow:hidden; }
.cl-digitpad .dp-marks i { position:absolute; outline:2px solid var(--cl-mark); }
.cl-digitpad .dp-marks i.dp-faint { outline-width:1px; opacity:0.55; }
.cl-digitpad .dp-walk { margin:0.6rem 0 0; padding:0.7rem 0.85rem; border-radius:6px; background:var(--cl-panel); font-size:0.875rem; }
.cl-digitpad .dp-walk > * + * { margin-top:0.5rem; }
.cl-digitpad .dp-sum { display:flex; flex-wrap:wrap; gap:0.3rem 0.5rem; align-items:center; }
.cl-digitpad .dp-grid { display:grid; gap:1px; font-size:0.6875rem; font-variant-numeric:tabular-nums; text-align:right; }
.cl-digitpad .dp-grid span { min-width:2.2rem; padding:0.12rem 0.22rem; border-radius:2px;
  background:color-mix(in srgb, var(--cl-tint) var(--cl-share), var(--cl-paper)); }
.cl-digitpad .dp-grid[data-fine] span { min-width:0.8rem; height:0.8rem; padding:0; }
.cl-digitpad .dp-grid span[data-largest] { outline:2px solid var(--cl-mark); }
@container (max-width: 34rem) {
  .cl-digitpad .dp-grid { font-size:0.625rem; }
  .cl-digitpad .dp-grid span { min-width:1.75rem; padding-inline:0.1rem; }
  .cl-digitpad .dp-sum > span:first-child { flex-basis:100%; }
}
`;

const MOST_PARTS = 3; // input maps whose products are written out

/**
 * @param {{inks: function(): object}} options the colours, as maps.js has them
 * @returns {object} `element`; `show(image, answer, model)` whenever one of them is another;
 *   `resize(width)`
 */
export function layersView({ inks }) {
  const list = h("div", {});
  const element = h("details", {}, h("summary", {}, "Inside the network", h("span", {}, "every layer, while you draw")), list);
  const walk = h("div", { class: "dp-walk", role: "status", "aria-live": "polite" });
  let rows = []; // the input and every layer: {name, shape, signed, canvas, marks, box, plan, data}
  let width = 0, selected = null; // {index of a row, place: [channel, row, column]}
  let now = { image: null, answer: null, model: null };

  /** Make room for each layer, once for a network. */
  function arrange(shapes, alive) {
    const key = JSON.stringify([shapes, alive]);
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    selected = null;
    let signed = false;
    rows = [{ name: "input", op: "input", shape: [1, 28, 28] }, ...shapes].map(({ name, op, shape }, index) => {
      signed = index > 0 && (SIGNED.has(op) || (signed && op !== "relu"));
      const words = described(shape), pointed = alive && index > 0;
      const canvas = h("canvas", pointed
        ? { role: "application", tabindex: 0, "aria-roledescription": "feature maps", "aria-label": `${name}: ${words}. Arrow keys choose a number and show how it is computed.` }
        : { role: "img", "aria-label": `${name}: ${words}` });
      const marks = h("div", { class: "dp-marks", "aria-hidden": "true" });
      const row = { name, op, shape, signed, canvas, marks };
      row.box = h("div", { class: "dp-layer" }, h("p", {}, h("b", {}, name), ` \u00b7 ${words}`), h("div", { class: "dp-maps" }, canvas, marks));
      if (pointed) listen(row, index);
      return row;
    });
    list.replaceChildren(
      h("p", { class: "dp-small" }, "What each layer answers to your drawing, from the first to the last. Ink is a large number; where a layer also answers below zero, orange is positive and blue negative.",
        alive ? " Point at any number to see how it is computed." : ""),
      ...rows.map(({ box }) => box));
  }

  function listen(row, index) {
    const { canvas } = row;
    const point = (event) => {
      const box = canvas.getBoundingClientRect(), { columns, gap, H, W } = row.plan;
      const x = clamp(Math.floor(((event.clientX - box.left) / box.width) * canvas.width), 0, canvas.width - 1);
      const y = clamp(Math.floor(((event.clientY - box.top) / box.height) * canvas.height), 0, canvas.height - 1);
      const channel = Math.floor(y / (H + gap)) * columns + Math.floor(x / (W + gap));
      if (channel < row.shape[0]) select(index, [channel, Math.min(H - 1, y % (H + gap)), Math.min(W - 1, x % (W + gap))]);
    };
    // A finger that comes down may be about to scroll: it points once it has tapped.
    let finger = false;
    canvas.addEventListener("pointerdown", (event) => {
      finger = event.pointerType === "touch";
      if (!finger) point(event);
    });
    canvas.addEventListener("click", (event) => finger && point(event));
    canvas.addEventListener("pointermove", (event) => event.pointerType === "mouse" && event.buttons && point(event));
    canvas.addEventListener("keydown", (event) => {
      const step = arrowStep(event);
      if (!step && event.key !== "Enter" && event.key !== " " && event.key !== "Escape") return;
      event.preventDefault();
      if (event.key === "Escape") return select(null);
      if (!step) return select(index, selected?.index === index ? selected.place : [0, 0, 0]);
      if (selected?.index !== index) return select(index, [0, 0, 0]);
      // Up, down and to the side as one sees it: from the edge of a map into its neighbour.
      const { columns, H, W } = row.plan, [channel, i, j] = selected.place;
      const y = Math.floor(channel / columns) * H + i + step[0], x = (channel % columns) * W + j + step[1];
      if (y < 0 || x < 0 || x >= columns * W) return;
      const next = Math.floor(y / H) * columns + Math.floor(x / W);
      if (next < row.shape[0]) select(index, [next, y % H, x % W]);
    });
  }

  function select(index, place) {
    const row = rows[index], before = row?.box.getBoundingClientRect().top;
    selected = row ? { index, place } : null;
    showWalk();
    // The panel may have gone away above: keep what is pointed at where it is.
    if (row) scrollBy(0, row.box.getBoundingClientRect().top - before);
  }

  function show(image, answer, model) {
    now = { image, answer, model };
    if (!element.open || width <= 0) return;
    const { activations } = answer ?? {};
    const shapes = activations ?? model?.layers.map(({ name, op, output }) => ({ name, op, shape: output }));
    if (!shapes) return;
    // The arithmetic needs the weights: those of the network that answered, if it is the one here.
    const alive = Boolean(model) && shapes.length === model.layers.length && shapes.every(({ name }, k) => name === model.layers[k].name);
    arrange(shapes.map(({ name, op, shape }) => ({ name, op, shape })), alive);
    rows.forEach((row, index) => {
      row.data = index ? activations?.[index - 1].data : image;
      row.plan = layout(row.shape, width);
      paintMaps(row.canvas, row.shape, row.data, row.plan, inks(), row.signed);
      row.canvas.style.width = `${row.canvas.width * row.plan.zoom}px`;
      row.canvas.style.height = `${row.canvas.height * row.plan.zoom}px`;
    });
    showWalk();
  }

  function showWalk() {
    for (const { marks } of rows) marks.replaceChildren();
    if (!selected || !rows[selected.index]?.data) return walk.remove();
    const { index, place } = selected, row = rows[index], before = rows[index - 1], layer = now.model.layers[index - 1];
    // Behind a flatten, go back to the maps.
    const source = before.op === "flatten" ? rows[index - 2] : before;
    const result = arithmetic(layer, before.data, place, source.shape);
    const from = layer.op === "linear" ? source : before;
    const [, H, W] = asMaps(row.shape), value = row.data[(place[0] * H + place[1]) * W + place[2]];
    mark(row, place[0], { top: place[1], left: place[2], rows: 1, columns: 1, stepRow: 1, stepColumn: 1 });
    const strongest = [...result.parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
    const written = strongest.slice(0, MOST_PARTS);
    for (const part of result.parts) mark(from, part.channel, result.window, !written.includes(part));
    walk.replaceChildren(...told(row, from, layer, place, result, written, value));
    if (row.box.nextSibling !== walk) row.box.after(walk);
  }

  /** A frame around a window of a map. */
  function mark({ marks, plan: { columns, gap, zoom, H, W } }, channel, { top, left, rows: high, columns: wide, stepRow, stepColumn }, faint = false) {
    const x = (channel % columns) * (W + gap) + left, y = Math.floor(channel / columns) * (H + gap) + top;
    const frame = h("i", faint ? { class: "dp-faint" } : {});
    Object.assign(frame.style, { left: `${x * zoom}px`, top: `${y * zoom}px`,
      width: `${((wide - 1) * stepColumn + 1) * zoom}px`, height: `${((high - 1) * stepRow + 1) * zoom}px` });
    marks.append(frame);
  }

  /** What the panel says of one number. */
  function told(row, from, layer, [channel, i, j], { window, parts, bias, total }, written, value) {
    const flat = asMaps(row.shape)[1] * asMaps(row.shape)[2] === 1;
    const title = h("p", {}, h("b", {}, flat ? `${row.name}, number ${channel}` : `${row.name}, map ${channel}, row ${i}, column ${j}`),
      ` = ${format(value, 3)}`, row === rows.at(-1) ? `, the logit of ${named(channel)}` : "");
    const lines = [title];
    const back = followed(written[0]);
    if (layer.op === "conv" || layer.op === "linear") {
      const products = parts.length * parts[0].values.length;
      const rest = parts.length - written.length;
      lines.push(
        h("p", {}, `It looks at ${count(products, "number")} of ${from.name}`,
          parts.length > 1 ? `, ${parts[0].values.length > 1 ? `${window.rows} \u00d7 ${window.columns} in each of ` : ""}${count(parts.length, "map")}` : "",
          ", multiplies each by its weight, and adds them up:"),
        ...written.map((part) => h("div", { class: "dp-sum" },
          h("span", {}, from.shape[0] > 1 ? `map ${part.channel}` : ""),
          grid(part.values, window.columns, from.signed), "\u00d7", grid(part.weights, window.columns, true),
          h("span", {}, `\u2192 ${format(part.sum, 3)}`))),
        h("p", {}, `${written.map(({ sum }) => signed(sum)).join(" ")}`,
          rest > 0 ? ` ${signed(parts.reduce((sum, part) => sum + part.sum, 0) - written.reduce((sum, part) => sum + part.sum, 0))} from the other ${count(rest, "map")}` : "",
          ` ${signed(bias)} bias = `, h("b", {}, format(total, 3))));
    } else if (layer.op === "maxpool" || layer.op.endsWith("avgpool")) {
      const [part] = parts, inside = part.values.map((each) => (Number.isFinite(each) ? each : 0));
      lines.push(h("div", { class: "dp-sum" },
        layer.op === "maxpool" ? "The largest of" : "The mean of", grid(inside, window.columns, from.signed, layer.op === "maxpool" ? part.values.indexOf(total) : -1),
        h("span", {}, `in map ${part.channel} of ${from.name}: `, h("b", {}, format(total, 3)))));
    } else {
      const [{ values: [x], weights }] = parts;
      const sum = {
        relu: `max(0, ${format(x, 3)}) = `, gelu: `GELU(${format(x, 3)}) = `, flatten: `the same number, from map ${parts[0].channel}, row ${window.top}, column ${window.left}: `,
      }[layer.op] ?? (weights ? `${format(x, 3)} \u00d7 ${format(weights[0], 3)} ${signed(bias)} = ` : "");
      lines.push(h("p", {}, sum, h("b", {}, format(value, 3))));
    }
    if (back) {
      const button = h("button", { type: "button" }, `Go back to ${rows[back.index].name}`);
      button.addEventListener("click", () => {
        const { index, place } = back;
        select(index, place);
        rows[index].canvas.focus({ preventScroll: true });
      });
      lines.push(button);
    }
    return lines;

    /** Where the number that counts most comes from, unless it is a pixel of the input. */
    function followed(part) {
      if (from === rows[0]) return null;
      const weight = part.values.map((each, k) => (part.weights ? Math.abs(each * part.weights[k]) : each));
      const k = weight.indexOf(Math.max(...weight));
      const place = layer.op === "linear" ? placeOf(part.channel * part.values.length + k, from.shape)
        : [part.channel, window.top + Math.floor(k / window.columns) * window.stepRow, window.left + (k % window.columns) * window.stepColumn];
      const [, H, W] = asMaps(from.shape);
      return place[1] >= 0 && place[1] < H && place[2] >= 0 && place[2] < W ? { index: rows.indexOf(from), place } : null;
    }
  }

  element.addEventListener("toggle", () => show(now.image, now.answer, now.model));

  return {
    element,
    show,
    resize(to) {
      width = to;
    },
  };
}

const signed = (value) => `${value < 0 ? "\u2212" : "+"} ${Math.abs(value).toFixed(3)}`;

/** Numbers as a table of coloured cells; `largest` is framed. */
function grid(values, columns, anySign, largest = -1) {
  const most = Math.max(1e-9, ...values.map(Math.abs)), fine = columns > 5;
  const cells = values.map((value, k) => {
    const cell = h("span", { "data-largest": k === largest }, fine ? "" : format(value, 2));
    cell.style.setProperty("--cl-tint", anySign ? `var(--cl-${value < 0 ? "negative" : "positive"})` : "var(--cl-edge)");
    cell.style.setProperty("--cl-share", `${Math.round((60 * Math.abs(value)) / most)}%`);
    return cell;
  });
  const element = h("div", { class: "dp-grid", "data-fine": fine }, ...cells);
  element.style.gridTemplateColumns = `repeat(${columns}, auto)`;
  return element;
}

// How many windows fit? Input size, kernel, stride, padding and dilation, in a row and in a picture.

import {
  addStyle,
  arrowStep,
  clamp,
  count,
  frame,
  h,
  onPoint,
  outputSize,
  range,
  set,
  slider,
  statusLine,
  svg,
  watchWidth,
  whole,
} from "./dom.js";

const START = { n: 10, k: 3, s: 2, p: 0, d: 1 };
const CONTROLS = [
  ["n", "Input size n", 1, 20],
  ["k", "Kernel size k", 1, 7],
  ["s", "Stride s", 1, 5],
  ["p", "Padding p", 0, 4],
  ["d", "Dilation d", 1, 3],
];

/** How many places a dilated kernel spans, from its first to its last. */
export function span({ k, d }) {
  return d * (k - 1) + 1;
}

/** The pixels that the window of one output reads; numbers outside 0 ... n - 1 are padding. */
export function taps({ k, s, p, d }, output) {
  return range(0, k).map((u) => output * s - p + u * d);
}

/** The pixels that no window reads: `dropped` lie behind the last window, because of the floor;
 *  `skipped` lie between the places that the windows read. */
export function unread(settings) {
  const { n, s, p } = settings;
  const outputs = outputSize(n, settings);
  const read = new Set(range(0, outputs).flatMap((output) => taps(settings, output)));
  const missed = range(0, n).filter((pixel) => !read.has(pixel));
  const end = (outputs - 1) * s - p + span(settings);
  return { dropped: missed.filter((pixel) => pixel >= end), skipped: missed.filter((pixel) => pixel < end) };
}

/** What there is to say about the settings, in sentences. */
export function explain(settings) {
  const { n, s, p } = settings;
  const outputs = outputSize(n, settings);
  const padded = n + 2 * p;
  if (!outputs) {
    return `No window fits: the kernel spans d(k \u2212 1) + 1 = ${span(settings)} places, but the padded row has only n + 2p = ${padded}. PyTorch raises an error. Make k or d smaller, or n or p larger.`;
  }
  const sentences = [
    `A row of ${count(n, "pixel")} gives ${count(outputs, "output")}; a picture of ${n} × ${n} gives ${outputs} × ${outputs}.`,
  ];
  const { dropped, skipped } = unread(settings);
  const rest = (padded - span(settings)) % s;
  if (dropped.length) {
    sentences.push(
      `The division leaves ${rest} over, and the floor drops it: ${list(dropped)} never read, for another step of ${s} would leave the row.`,
    );
  } else if (rest) {
    sentences.push(`The division leaves ${rest} over, but only padding is dropped there.`);
  }
  if (skipped.length) sentences.push(`${capital(list(skipped))} stepped over: no window reads there.`);
  if (!dropped.length && !skipped.length) sentences.push("Every pixel is read.");
  const empty = range(0, outputs).filter((output) =>
    taps(settings, output).every((pixel) => pixel < 0 || pixel >= n),
  );
  if (empty.length) {
    sentences.push(
      `${count(empty.length, "output")} of the row ${empty.length === 1 ? "sees" : "see"} nothing but padding.`,
    );
  }
  return sentences.join(" ");
}

/** `pixel 9 is`, `pixels 2, 5 and 8 are`. */
function list(pixels) {
  if (pixels.length === 1) return `pixel ${pixels[0]} is`;
  return `pixels ${pixels.slice(0, -1).join(", ")} and ${pixels.at(-1)} are`;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

const STYLE = `
.cl-output-size .os-sliders { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));
  gap:0 2rem; }
.cl-output-size .os-formula { margin:0.75rem 0 0; padding:0.5rem 0.75rem; border-radius:6px; background:var(--cl-panel);
  display:flex; flex-wrap:wrap; gap:0.6rem 2rem; font-variant-numeric:tabular-nums; }
.cl-output-size .os-formula div { white-space:nowrap; }
.cl-output-size .os-fraction { display:inline-grid; vertical-align:middle; text-align:center; line-height:1.35; }
.cl-output-size .os-fraction > :first-child { border-bottom:1px solid; padding:0 0.2em; }
.cl-output-size .os-floor { display:inline-block; vertical-align:middle; padding:0 0.35em; border-inline:1.5px solid;
  background:linear-gradient(currentcolor, currentcolor) left bottom / 5px 1.5px no-repeat,
    linear-gradient(currentcolor, currentcolor) right bottom / 5px 1.5px no-repeat; }
.cl-output-size .os-head { font-weight:600; margin:1rem 0 0.35rem; }
.cl-output-size .os-head small { font-weight:400; font-size:0.875rem; color:var(--cl-muted); }
.cl-output-size .os-pair { display:grid; grid-template-columns:1fr 1fr; gap:0 1.25rem; align-items:start; }
.cl-output-size .os-read { fill:var(--cl-soft); stroke:var(--cl-edge); stroke-width:0.75; }
.cl-output-size .os-padding { fill:none; stroke:var(--cl-edge); stroke-width:0.75; stroke-dasharray:2 2; }
.cl-output-size .os-unread { fill:none; stroke:var(--cl-warning); stroke-width:1.25; }
.cl-output-size .os-fine path { stroke-width:0.3; }
.cl-output-size .os-rail { stroke:var(--cl-line); stroke-width:2; }
.cl-output-size .os-tap { fill:var(--cl-edge); }
.cl-output-size .os-on { fill:var(--cl-mark); }
.cl-output-size .os-cell { fill:var(--cl-panel); stroke:var(--cl-edge); stroke-width:0.75; }
.cl-output-size text { fill:var(--cl-ink); font:11px system-ui, sans-serif; text-anchor:middle; dominant-baseline:central; }
.cl-output-size text.os-muted { fill:var(--cl-muted); text-anchor:end; }
`;

/** One path of squares with side `size`; `places` are their corners, `[x, y]`. */
function squares(places, size) {
  return places.map(([x, y]) => `M${x} ${y}h${size}v${size}h${-size}z`).join("");
}

/** One path of crossed squares. */
function crosses(places, size) {
  return (
    squares(places, size) +
    places.map(([x, y]) => `M${x} ${y}l${size} ${size}m0 ${-size}l${-size} ${size}`).join("")
  );
}

const path = (name, d) => svg("path", { class: name, d });

/** Text with its letters in italics, as formulas have them. */
function italic(text) {
  return h(
    "span",
    {},
    ...text.split(/([a-z])/).map((part) => (/[a-z]/.test(part) ? h("i", {}, part) : part)),
  );
}

/** The formula: with letters, with numbers, and worked out. */
function formula({ n, k, s, p, d }) {
  const rest = n + 2 * p - d * (k - 1) - 1;
  const floor = Math.floor(rest / s);
  const line = (top, bottom, ...after) => {
    const spoken = `o = floor((${top}) / ${bottom}) + 1${after.join("")}`;
    const fraction = h("span", { class: "os-fraction" }, italic(top), italic(bottom));
    return h(
      "div",
      { role: "math", "aria-label": spoken },
      italic("o = "),
      h("span", { class: "os-floor" }, fraction),
      " + 1",
      ...after.slice(0, 1),
      h("b", {}, ...after.slice(1)),
    );
  };
  return [
    line("n + 2p \u2212 d(k \u2212 1) \u2212 1", "s"),
    line(`${n} + 2·${p} \u2212 ${d}·(${k} \u2212 1) \u2212 1`, String(s)),
    line(whole(rest), String(s), ` = ${whole(floor)} + 1 = `, whole(floor + 1)),
  ];
}

/** Put the explorer into `el`. Options: `n`, `k`, `s`, `p`, `d` to begin with. */
export function mount(el, options = {}) {
  const settings = { ...START, ...options };
  const chosen = { row: 1, column: 2 };

  const root = frame(el, {
    name: "output-size",
    title: "How large is the output?",
    hint: "Move the sliders. Then point at a window or at an output pixel, or focus the output and use the arrow keys.",
  });
  addStyle("output-size", STYLE);
  const sliders = CONTROLS.map(([name, label, min, max]) =>
    slider(label, {
      min,
      max,
      value: settings[name],
      onInput(value) {
        settings[name] = value;
        update();
      },
    }),
  );
  const worked = h("div", { class: "os-formula", role: "group", "aria-label": "Formula of the output size" });
  const result = statusLine();
  const rowHead = h("p", { class: "os-head" });
  const row = h("div", { class: "cl-point cl-scroll", role: "img" });
  const inputHead = h("p", { class: "os-head" });
  const input = h("div", { role: "img" });
  const outputHead = h("p", { class: "os-head" });
  const output = h("div", {
    class: "cl-point",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "picture with a movable pixel",
    "aria-label": "Output; arrow keys move to another pixel",
  });
  const reading = statusLine();
  const key = (name, draw, text) =>
    h(
      "span",
      {},
      svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, path(name, draw([[1, 1]], 12))),
      text,
    );
  root.append(
    h("div", { class: "os-sliders" }, ...sliders.map(({ element }) => element)),
    worked,
    result,
    rowHead,
    row,
    h("div", { class: "os-pair" }, h("div", {}, inputHead, input), h("div", {}, outputHead, output)),
    h(
      "div",
      { class: "cl-legend" },
      key("os-read", squares, "pixel that is read"),
      key("os-unread", crosses, "pixel that is never read"),
      key("os-padding", squares, "padding, zeros"),
      key("os-on", squares, "the chosen window and its output"),
    ),
    reading,
  );

  let width = 0;
  let outputs = 0;
  let geometry; // how the row and the pictures are laid out
  const [rowMark, inputMark, outputMark] = range(0, 3).map(() => path("os-on", ""));

  function update() {
    outputs = outputSize(settings.n, settings);
    worked.replaceChildren(...formula(settings));
    result.textContent = explain(settings);
    set(result, { "data-kind": outputs ? null : "warning" });
    if (width) draw();
  }

  const inside = (place) => place >= 0 && place < settings.n;

  function draw() {
    const { n, p } = settings;
    const { dropped, skipped } = unread(settings);
    const missed = new Set(outputs ? [...dropped, ...skipped] : range(0, n));
    const kind = (place) => (!inside(place) ? "padding" : missed.has(place) ? "unread" : "read");
    const places = range(-p, n + p);
    geometry = { ...drawRow(places, kind), ...drawPictures(places, kind) };
    choose(chosen.row, chosen.column);
  }

  /** The row, and under it one line for each window. */
  function drawRow(places, kind) {
    const { n, p } = settings;
    rowHead.replaceChildren(
      "One row ",
      h("small", {}, `${places.length} places, ${count(outputs, "window")}`),
    );
    const label = 26;
    const cell = clamp(Math.floor((width - label - 2) / places.length), 5, 30);
    const line = Math.min(cell, 16);
    const x = (place) => label + (place + p) * cell + 1;
    const group = (name) => places.filter((place) => kind(place) === name).map((place) => [x(place), 1]);
    const top = cell + 8;
    const y = (number) => top + number * line;
    const dot = Math.max(3, line - 4);
    const mark = (number) =>
      squares(
        taps(settings, number).map((place) => [x(place) + (cell - 1 - dot) / 2, y(number) + 2]),
        dot,
      );
    const numbers =
      cell >= 16
        ? places
            .filter(inside)
            .map((place) => svg("text", { x: x(place) + (cell - 1) / 2, y: 1 + cell / 2 }, String(place)))
        : [];
    const step = line >= 12 ? 1 : 5;
    row.replaceChildren(
      svg(
        "svg",
        { width: x(n + p) + 1, height: y(outputs) + 2, "aria-hidden": "true" },
        path("os-padding", squares(group("padding"), cell - 2)),
        path("os-read", squares(group("read"), cell - 2)),
        path("os-unread", crosses(group("unread"), cell - 2)),
        ...numbers,
        ...range(0, outputs).map((number) =>
          path(
            "os-rail",
            `M${x(taps(settings, number)[0]) + cell / 2 - 1} ${y(number) + line / 2}h${(span(settings) - 1) * cell}`,
          ),
        ),
        ...range(0, outputs).map((number) => path("os-tap", mark(number))),
        ...range(0, outputs, step).map((number) =>
          svg("text", { class: "os-muted", x: label - 5, y: y(number) + line / 2 }, `y${number}`),
        ),
        rowMark,
      ),
    );
    set(row, {
      "aria-label": `A row of ${count(n, "pixel")}, ${p} padded on each side, and ${count(outputs, "window")} under it`,
    });
    return { mark, y, line };
  }

  /** The same in two dimensions: the picture, and the output beside it. */
  function drawPictures(places, kind) {
    const { n, p } = settings;
    inputHead.replaceChildren("Input ", h("small", {}, `${n} × ${n}${p ? ` + padding ${p}` : ""}`));
    outputHead.replaceChildren("Output ", h("small", {}, outputs ? `${outputs} × ${outputs}` : "none"));
    const half = (width - 20) / 2 - 2;
    const side = clamp(Math.floor(half / places.length), 3, 26);
    // Drawn to the same scale, unless the cells were too small for a finger.
    const large = clamp(Math.floor(half / Math.max(1, outputs)), side, Math.max(side, 14));
    const fine = side < 8 ? "os-fine" : null;
    const at = (place) => (place + p) * side + 1;
    const grid = places.flatMap((r) => places.map((c) => [r, c]));
    const kindAt = (r, c) =>
      ["padding", "unread", "read"].find((each) => kind(r) === each || kind(c) === each);
    const corners = (name) => grid.filter(([r, c]) => kindAt(r, c) === name).map(([r, c]) => [at(c), at(r)]);
    input.replaceChildren(
      svg(
        "svg",
        { class: fine, width: at(n + p) + 1, height: at(n + p) + 1, "aria-hidden": "true" },
        path("os-padding", squares(corners("padding"), side - 1)),
        path("os-read", squares(corners("read"), side - 1)),
        path("os-unread", crosses(corners("unread"), side - 1)),
        inputMark,
      ),
    );
    set(input, { "aria-label": `The input picture, ${n} by ${n}; the chosen window is marked` });
    const all = range(0, outputs);
    const cells = all.flatMap((r) => all.map((c) => [c * large + 1, r * large + 1]));
    output.replaceChildren(
      svg(
        "svg",
        { width: outputs * large + 2, height: outputs * large + 2, "aria-hidden": "true" },
        path("os-cell", squares(cells, large - 1)),
        outputMark,
      ),
    );
    set(output, { tabindex: outputs ? 0 : -1 });
    return { at, side, large };
  }

  function choose(r, c) {
    if (!outputs) {
      reading.hidden = true;
      return;
    }
    chosen.row = clamp(r, 0, outputs - 1);
    chosen.column = clamp(c, 0, outputs - 1);
    const { mark, at, side, large } = geometry;
    const rows = taps(settings, chosen.row);
    const columns = taps(settings, chosen.column);
    set(rowMark, { d: mark(chosen.column) });
    set(inputMark, {
      d: squares(
        rows.flatMap((i) => columns.map((j) => [at(j), at(i)])),
        side - 1,
      ),
    });
    set(outputMark, { d: squares([[chosen.column * large + 1, chosen.row * large + 1]], large - 1) });
    const name = (places) => places.map((place) => (inside(place) ? place : "padding")).join(", ");
    reading.hidden = false;
    reading.textContent = `Output in row ${chosen.row}, column ${chosen.column} reads rows ${name(rows)} and columns ${name(columns)}.`;
  }

  onPoint(row, (_, y) => {
    const { height } = row.getBoundingClientRect();
    if (outputs) choose(chosen.row, Math.floor((y * height - geometry.y(0)) / geometry.line));
  });
  onPoint(output, (x, y) => {
    const box = output.getBoundingClientRect();
    if (outputs)
      choose(
        Math.floor((y * box.height - 1) / geometry.large),
        Math.floor((x * box.width - 1) / geometry.large),
      );
  });
  output.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (!step) return;
    event.preventDefault();
    choose(chosen.row + step[0], chosen.column + step[1]);
  });

  update();
  const stop = watchWidth(row, (next) => {
    width = next;
    draw();
  });
  return {
    destroy() {
      stop();
      el.replaceChildren();
    },
  };
}

export default {
  render({ model, el }) {
    const figure = mount(el, model.get("options"));
    return () => figure.destroy();
  },
};

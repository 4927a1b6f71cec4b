// Which pixels does a unit see? A stack of layers, and the way from any unit back to the input.

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
  statusLine,
  svg,
  watchWidth,
  whole,
} from "./dom.js";

const MOST_LAYERS = 8;
const CONV = { kind: "conv", k: 3, s: 1, p: 1, d: 1 };
const POOL = { kind: "pool", k: 2, s: 2, p: 0, d: 1 };
const FIELDS = [
  ["k", "kernel size", 1, 9],
  ["s", "stride", 1, 4],
  ["p", "padding", 0, 8],
  ["d", "dilation", 1, 8],
];

/** Stacks to start from. */
export const STACKS = {
  "The course's network": [CONV, POOL, CONV, POOL, CONV, POOL],
  "Two 3 × 3 convolutions": [
    { ...CONV, p: 0 },
    { ...CONV, p: 0 },
  ],
  "One 5 × 5 convolution": [{ ...CONV, k: 5, p: 0 }],
  "Stride instead of pooling": [
    { ...CONV, s: 2 },
    { ...CONV, s: 2 },
    { ...CONV, s: 2 },
  ],
  "Growing dilation": [{ ...CONV }, { ...CONV, p: 2, d: 2 }, { ...CONV, p: 4, d: 4 }],
};

/** The number of units of each level in a row: the input, then each layer; 0 where none fits. */
export function sizes(layers, n) {
  const result = [n];
  for (const layer of layers) result.push(result.at(-1) && outputSize(result.at(-1), layer));
  return result;
}

/** Receptive field `r`, jump `j` and first pixel `start` of unit 0, for the input and each layer:
 *  r' = r + d (k - 1) j, j' = j s, start' = start - p j. */
export function receptiveFields(layers) {
  const result = [{ r: 1, j: 1, start: 0 }];
  for (const { k, s, p, d } of layers) {
    const { r, j, start } = result.at(-1);
    result.push({ r: r + d * (k - 1) * j, j: j * s, start: start - p * j });
  }
  return result;
}

/** The units of every level, from the input up to `level`, that `unit` of that level depends on.
 *  Padding is not among them. */
export function dependencies(layers, n, level, unit) {
  const counts = sizes(layers, n);
  const result = [[unit]];
  for (let below = level - 1; below >= 0; below -= 1) {
    const { k, s, p, d } = layers[below];
    const read = new Set(result[0].flatMap((each) => range(0, k).map((u) => each * s - p + u * d)));
    result.unshift([...read].filter((each) => each >= 0 && each < counts[below]).sort((a, b) => a - b));
  }
  return result;
}

/** Why PyTorch would refuse a stack, or an empty string. */
export function problem(layers, n) {
  const counts = sizes(layers, n);
  for (const [index, { kind, k, p, d }] of layers.entries()) {
    const name = `Layer ${index + 1} (${NAMES[kind]})`;
    if (kind === "pool" && 2 * p > d * (k - 1) + 1)
      return `${name}: PyTorch allows a pooling layer at most half its window as padding.`;
    if (!counts[index + 1]) {
      return `${name}: the window spans ${d * (k - 1) + 1} places, but the padded row has only ${counts[index] + 2 * p}. No window fits.`;
    }
  }
  return "";
}

const NAMES = { conv: "convolution", pool: "pooling" };

const STYLE = `
.cl-receptive-field .rf-body { display:grid; gap:1rem 1.5rem; margin-top:0.6rem; grid-template-columns:minmax(0,1fr) auto;
  grid-template-areas:"edit square" "units units" "table table"; }
.cl-receptive-field .rf-body > * { min-width:0; }
.cl-receptive-field .rf-layers { list-style:none; margin:0 0 0.6rem; padding:0; }
.cl-receptive-field .rf-layers li { display:grid; gap:0.25rem; align-items:center; margin:0 0 0.25rem;
  grid-template-columns:1.1rem minmax(0,6rem) repeat(4,minmax(0,4rem)) 2.25rem; }
.cl-receptive-field .rf-layers li > * { min-width:0; }
.cl-receptive-field .rf-layers .rf-names { font-size:0.8125rem; color:var(--cl-muted); text-align:center; }
.cl-receptive-field .rf-layers input { width:100%; text-align:center; padding-inline:0.1rem; appearance:textfield; }
.cl-receptive-field .rf-layers input::-webkit-inner-spin-button { display:none; }
.cl-receptive-field .rf-layers select { width:100%; padding-inline:0.2rem; }
.cl-receptive-field .rf-layers button { padding:0; }
.cl-receptive-field .rf-short { display:none; }
.cl-receptive-field .rf-head { font-weight:600; margin-bottom:0.35rem; }
.cl-receptive-field .rf-head small { font-weight:400; font-size:0.875rem; color:var(--cl-muted); }
.cl-receptive-field .rf-unit { fill:var(--cl-panel); stroke:var(--cl-edge); stroke-width:0.75; }
.cl-receptive-field .rf-seen { fill:var(--cl-accent); stroke:var(--cl-paper); stroke-width:0.75; }
.cl-receptive-field .rf-chosen { fill:var(--cl-mark); }
.cl-receptive-field .rf-cone { fill:var(--cl-accent); opacity:0.16; }
.cl-receptive-field .rf-pixels { fill:var(--cl-accent); opacity:0.6; }
.cl-receptive-field .rf-bracket { fill:none; stroke:var(--cl-mark); stroke-width:2; }
.cl-receptive-field .rf-picture { fill:var(--cl-panel); stroke:var(--cl-edge); vector-effect:non-scaling-stroke; }
.cl-receptive-field .rf-window { fill:none; stroke:var(--cl-mark); stroke-width:2; vector-effect:non-scaling-stroke; }
.cl-receptive-field text { fill:var(--cl-muted); font:12px system-ui, sans-serif; }
.cl-receptive-field text.rf-current { fill:var(--cl-ink); font-weight:650; }
.cl-receptive-field th, .cl-receptive-field td { padding:0.2rem 0.75rem 0.2rem 0; text-align:left; border:0;
  border-bottom:1px solid var(--cl-line); font-weight:400; vertical-align:baseline; background:none; white-space:nowrap; }
.cl-receptive-field thead th { color:var(--cl-muted); font-size:0.8125rem; vertical-align:bottom; }
.cl-receptive-field thead small { display:block; font-size:inherit; color:var(--cl-ink); }
.cl-receptive-field tr[aria-current] > * { background:var(--cl-panel); }
.cl-receptive-field tr[aria-current] > :first-child { box-shadow:inset 4px 0 var(--cl-mark); }
.cl-receptive-field tr > :first-child { padding-left:0.6rem; }
@container (max-width: 36rem) {
  .cl-receptive-field .rf-body { grid-template-columns:minmax(0,1fr); grid-template-areas:"edit" "units" "square" "table"; }
  .cl-receptive-field .rf-layers li { grid-template-columns:minmax(4.5rem,1fr) repeat(4,minmax(0,2.5rem)) 2.1rem; }
  .cl-receptive-field .rf-layers li > :first-child, .cl-receptive-field .rf-long { display:none; }
  .cl-receptive-field .rf-short { display:inline; }
  .cl-receptive-field table { font-size:0.8125rem; }
  .cl-receptive-field th, .cl-receptive-field td { padding-right:0.25rem; white-space:normal; }
  .cl-receptive-field thead small, .cl-receptive-field tbody th { white-space:nowrap; }
  .cl-receptive-field td span { display:block; white-space:nowrap; }
  .cl-receptive-field tr > :nth-child(2) { display:none; }
  .cl-receptive-field tr > :first-child { padding-left:0.4rem; }
}
`;

/** `3 x 3`, unbroken. */
const times = (size) => `${size}\u00a0×\u00a0${size}`;

const rectangle = (x, y, width, height) => `M${x} ${y}h${width}v${height}h${-width}z`;

/** Put the figure into `el`. Options: `n`, the width of the input; `layers`, a list of
 *  `{kind: "conv" | "pool", k, s, p, d}`. */
export function mount(el, options = {}) {
  const n = options.n ?? 28;
  const stacks = options.layers ? { "Given here": options.layers, ...STACKS } : STACKS;
  let layers;
  let level;
  let unit;

  const root = frame(el, {
    name: "receptive-field",
    title: "What does a unit see?",
    hint: "Change the layers, then point at a unit of any of them. With the keyboard: focus the picture; left and right move along the layer, up and down to another one.",
  });
  addStyle("receptive-field", STYLE);
  const stack = h(
    "select",
    {},
    ...Object.keys(stacks).map((name) => h("option", { value: name }, name)),
    h("option", { value: "", disabled: true }, "Your own"),
  );
  const editor = h("ol", { class: "rf-layers", "aria-label": "Layers, from the input on" });
  const addConv = h("button", { type: "button" }, "Add convolution");
  const addPool = h("button", { type: "button" }, "Add pooling");
  const warning = statusLine();
  const head = h(
    "p",
    { class: "rf-head" },
    "From the unit back to the input ",
    h("small", {}, `one row of the picture, ${n} pixels`),
  );
  const picture = h("div", {
    class: "cl-point cl-scroll",
    tabindex: 0,
    role: "application",
    "aria-roledescription": "picture with a movable unit",
    "aria-label":
      "Layers and their units; left and right arrows move along the layer, up and down to another layer",
  });
  const status = statusLine();
  const body = h("tbody", {});
  const columns = [
    ["layer"],
    ["units"],
    ["receptive field", "r + d(k \u2212 1)j"],
    ["jump", "j · s"],
    ["unit 0 starts at", "start \u2212 p · j"],
  ];
  const table = h(
    "table",
    {},
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ...columns.map(([name, sum]) =>
          h("th", { scope: "col" }, name, ...(sum ? [h("small", {}, sum)] : [])),
        ),
      ),
    ),
    body,
  );
  const square = h("div", { role: "img" });
  const area = (name, ...children) => h("div", { style: `grid-area:${name}` }, ...children);
  root.append(
    h("div", { class: "cl-row" }, h("label", {}, "Layers", stack)),
    h(
      "div",
      { class: "rf-body" },
      area("edit", editor, h("div", { class: "cl-row" }, addConv, addPool), warning),
      area("units", head, picture, status),
      area("square", h("p", { class: "rf-head" }, "In the picture"), square),
      area("table", h("p", { class: "rf-head" }, "The recursion, layer by layer"), table),
    ),
  );

  let width = 0;
  let counts;
  let fields;
  let rows;

  /** The levels that exist: all, or those before the layer where no window fits. */
  const levels = () => range(0, counts.length).filter((each) => counts[each] > 0);
  const top = () => levels().length - 1;
  const title = (each) =>
    each === 0 ? "input" : `${each} ${layers[each - 1].kind} ${times(layers[each - 1].k)}`;

  function edited() {
    stack.value = "";
    update();
  }

  function edit() {
    const field = (layer, number, [name, label, min, max]) => {
      const input = h("input", {
        type: "number",
        min,
        max,
        step: 1,
        value: layer[name],
        "aria-label": `Layer ${number}, ${label}`,
      });
      input.addEventListener("input", () => {
        const valid = input.value !== "" && input.validity.valid;
        set(input, { "aria-invalid": valid ? null : "true" });
        if (!valid) return;
        layer[name] = input.valueAsNumber;
        edited();
      });
      return input;
    };
    const names = h(
      "li",
      { class: "rf-names", "aria-hidden": "true" },
      h("span", {}),
      h("span", {}),
      ...FIELDS.map(([short, long]) =>
        h("span", {}, h("span", { class: "rf-long" }, long), h("span", { class: "rf-short" }, short)),
      ),
    );
    editor.replaceChildren(
      names,
      ...layers.map((layer, index) => {
        const kind = h(
          "select",
          { "aria-label": `Layer ${index + 1}, kind` },
          ...Object.keys(NAMES).map((value) => h("option", { value, selected: layer.kind === value }, value)),
        );
        kind.addEventListener("change", () => {
          layer.kind = kind.value;
          edited();
        });
        const remove = h(
          "button",
          { type: "button", "aria-label": `Remove layer ${index + 1}`, disabled: layers.length === 1 },
          "×",
        );
        remove.addEventListener("click", () => {
          layers.splice(index, 1);
          edit();
          edited();
          editor.querySelectorAll("button")[Math.min(index, layers.length - 1)].focus();
        });
        return h(
          "li",
          {},
          h("span", {}, String(index + 1)),
          kind,
          ...FIELDS.map((each) => field(layer, index + 1, each)),
          remove,
        );
      }),
    );
    set(addConv, { disabled: layers.length >= MOST_LAYERS });
    set(addPool, { disabled: layers.length >= MOST_LAYERS });
  }

  function update() {
    counts = sizes(layers, n);
    fields = receptiveFields(layers);
    const trouble = problem(layers, n);
    warning.textContent = trouble;
    warning.hidden = !trouble;
    set(warning, { "data-kind": "warning" });
    level = Math.min(level, top());
    body.replaceChildren(
      ...levels().map((each) => {
        const { r, j, start } = fields[each];
        const text = (sum, value) =>
          h(
            "td",
            {},
            ...(sum
              ? [h("span", {}, `${sum} `), h("b", {}, `= ${whole(value)}`)]
              : [h("b", {}, whole(value))]),
          );
        if (each === 0)
          return h(
            "tr",
            {},
            h("th", { scope: "row" }, "input"),
            h("td", {}, String(n)),
            text("", r),
            text("", j),
            text("", start),
          );
        const { k, s, p, d } = layers[each - 1];
        const below = fields[each - 1];
        const from = whole(below.start);
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, `${each} ${layers[each - 1].kind}`),
          h("td", {}, String(counts[each])),
          text(`${below.r} + ${d}·${k - 1}·${below.j}`, r),
          text(`${below.j}·${s}`, j),
          text(`${from} \u2212 ${p}·${below.j}`, start),
        );
      }),
    );
    if (width) draw();
  }

  function draw() {
    const first = (each) => fields[each].start;
    const last = (each) => fields[each].start + (counts[each] - 1) * fields[each].j + fields[each].r;
    const left = Math.min(...levels().map(first));
    const right = Math.max(...levels().map(last));
    const cell = (width - 2) / (right - left);
    const pitch = 46;
    const thick = 16;
    const x = (place) => 1 + (place - left) * cell;
    const y = (each) => 22 + (top() - each) * pitch;
    /** Left edge and width of a unit: centred over what it sees, as wide as the jump. */
    const box = (each, index) => {
      const { r, j, start } = fields[each];
      return [x(start + index * j + (r - j) / 2), j * cell];
    };
    const gap = cell > 6 ? 1.5 : 0.75;
    const unitPath = (each, units) =>
      units
        .map((index) => {
          const [corner, wide] = box(each, index);
          return rectangle(corner + gap / 2, y(each), Math.max(0.5, wide - gap), thick);
        })
        .join("");
    const labels = levels().map((each) =>
      svg(
        "text",
        { x: 1, y: y(each) - 5 },
        `${title(each)}: ${count(counts[each], each ? "unit" : "pixel")}`,
      ),
    );
    const cones = svg("path", { class: "rf-cone", d: "" });
    const seen = svg("path", { class: "rf-seen", d: "" });
    const marked = svg("path", { class: "rf-seen rf-chosen", d: "" });
    const bracket = svg("path", { class: "rf-bracket", d: "" });
    const bottom = y(0) + thick;
    const ends = [svg("text", { y: bottom + 26 }), svg("text", { y: bottom + 26, "text-anchor": "end" })];
    picture.replaceChildren(
      svg(
        "svg",
        { width, height: bottom + 34, "aria-hidden": "true" },
        cones,
        ...levels().map((each) =>
          svg("path", { class: "rf-unit", d: unitPath(each, range(0, counts[each])) }),
        ),
        seen,
        marked,
        bracket,
        ...labels,
        ...ends,
      ),
    );
    rows = {
      y,
      pitch,
      box,
      unitPath,
      labels,
      cones,
      seen,
      marked,
      bracket,
      bottom,
      x,
      thick,
      left,
      right,
      ends,
    };
    choose(level, unit);
  }

  function choose(nextLevel, nextUnit) {
    level = clamp(nextLevel, 0, top());
    unit = clamp(nextUnit, 0, counts[level] - 1);
    const { r, j, start } = fields[level];
    const from = start + unit * j;
    const to = from + r - 1;
    const seen = dependencies(layers, n, level, unit);
    const pixels = seen[0];
    describe(from, to, pixels);
    [...body.children].forEach((each, index) =>
      set(each, { "aria-current": index === level ? "true" : null }),
    );
    if (!rows) return;
    const { y, box, unitPath, labels, cones, marked, bracket, bottom, x, thick, ends } = rows;
    labels.forEach((label, index) => set(label, { class: index === level ? "rf-current" : null }));
    set(rows.seen, {
      d: range(0, level)
        .map((each) => unitPath(each, seen[each]))
        .join(""),
    });
    set(marked, { d: unitPath(level, [unit]) });
    const edges = (each) => {
      const [a] = box(each, seen[each][0]);
      const [b, wide] = box(each, seen[each].at(-1));
      return [a, b + wide];
    };
    set(cones, {
      d: range(1, level + 1)
        .filter((each) => seen[each - 1].length)
        .map((each) => {
          const [a, b] = edges(each);
          const [c, d] = edges(each - 1);
          return `M${a} ${y(each) + thick}H${b}L${d} ${y(each - 1)}H${c}z`;
        })
        .join(""),
    });
    set(bracket, { d: `M${x(from) + 1} ${bottom + 4}v6H${x(to + 1) - 1}v-6` });
    ends.forEach((text, index) => {
      const wide = x(to + 1) - x(from);
      text.textContent = wide < 60 ? (index ? "" : label(from, to)) : whole(index ? to : from);
      set(text, { x: index ? x(to + 1) : clamp(x(from), 1, rows.x(rows.right) - 60) });
    });
    drawSquare(from, to, pixels);
  }

  const label = (from, to) => (from === to ? whole(from) : `${whole(from)} \u2026 ${whole(to)}`);

  function describe(from, to, pixels) {
    const { r } = fields[level];
    const inside = range(from, to + 1).filter((pixel) => pixel >= 0 && pixel < n).length;
    const name = level
      ? `Unit ${unit} of layer ${level} (${NAMES[layers[level - 1].kind]})`
      : `Pixel ${unit} of the input`;
    const one = level ? (inside ? `the pixel ${from}` : `the place ${whole(from)}, which is padding`) : "itself";
    const parts = [`${name} sees ${r === 1 ? one : `the ${r} places ${label(from, to)}`}`];
    if (r > 1 && inside < r) parts.push(`${r - inside} of them in the padding`);
    const unseen = inside - pixels.length;
    const more =
      unseen > 0
        ? ` ${count(unseen, "pixel")} among them ${unseen === 1 ? "is" : "are"} never read on the way.`
        : "";
    status.textContent = `${parts.join(", ")}.${level ? ` In the picture that is a square of ${times(r)}.` : ""}${more}`;
  }

  function drawSquare(from, to, pixels) {
    const { left, right } = rows;
    const cells = pixels.flatMap((row) => pixels.map((column) => rectangle(column, row, 1, 1))).join("");
    const size = right - left;
    square.replaceChildren(
      svg(
        "svg",
        {
          viewBox: `${left - 0.5} ${left - 0.5} ${size + 1} ${size + 1}`,
          width: 180,
          height: 180,
          "aria-hidden": "true",
        },
        svg("rect", { class: "rf-picture", x: 0, y: 0, width: n, height: n }),
        svg("path", { class: "rf-pixels", d: cells }),
        svg("rect", { class: "rf-window", x: from, y: from, width: to - from + 1, height: to - from + 1 }),
      ),
    );
    set(square, {
      "aria-label": `The picture, ${n} by ${n}, and the square that unit ${unit}, ${unit} sees: rows and columns ${whole(from)} to ${whole(to)}`,
    });
  }

  stack.addEventListener("change", () => take(stack.value));
  for (const [button, layer] of [
    [addConv, CONV],
    [addPool, POOL],
  ]) {
    button.addEventListener("click", () => {
      layers.push({ ...layer });
      level = layers.length;
      edit();
      edited();
    });
  }
  onPoint(picture, (px, py) => {
    const box = picture.getBoundingClientRect();
    const near = levels().reduce((best, each) => {
      const away = (level) => Math.abs(rows.y(level) + rows.thick / 2 - py * box.height);
      return away(each) < away(best) ? each : best;
    }, 0);
    const [origin, wide] = rows.box(near, 0);
    choose(near, Math.floor((px * box.width - origin) / wide));
  });
  picture.addEventListener("keydown", (event) => {
    const step = arrowStep(event);
    if (!step) return;
    event.preventDefault();
    if (step[0])
      choose(
        level - Math.sign(step[0]),
        Math.round(
          ((unit + 0.5) / counts[level]) * counts[clamp(level - Math.sign(step[0]), 0, top())] - 0.5,
        ),
      );
    else choose(level, unit + step[1]);
  });

  function take(name) {
    stack.value = name;
    layers = stacks[name].map((layer) => ({ ...layer }));
    level = layers.length;
    unit = Math.floor(sizes(layers, n).at(-1) / 2);
    edit();
    update();
  }

  take(Object.keys(stacks)[0]);
  const stop = watchWidth(picture, (next) => {
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

// Walks down a valley: choose a place, a rule and a rate, and see the path.

import {
  addStyle,
  button,
  choice,
  frame,
  h,
  mix,
  onArrows,
  paint,
  set,
  slider,
  statusLine,
  svg,
  themeColour,
  watchTheme,
  watchWidth,
} from "./dom.js";
import { clamp, count, format } from "./numbers.js";
import { aList, toNumber, aWhole, aWord, allowed, connect, sharing } from "./state.js";
import { short } from "./training-charts.js";
import { BOUND, GROUNDS, places } from "./valley-walks.js";

/** @import { State, Tell } from "./state.js" */
/** @import { Walk } from "./valley-walks.js" */

const WIDE = 11; // of the picture, from the middle to each side
const HIGH = 5;
const MOST = 300; // steps
const NAMES = {
  valley: "a long valley",
  turned: "the same, turned",
  bent: "a bent valley",
  double: "two hollows",
};
const RULES = { descent: "gradient descent", momentum: "momentum", nesterov: "Nesterov", adam: "Adam" };

const SPEC = {
  ground: aWord(Object.keys(NAMES)),
  rule: aWord(Object.keys(RULES)),
  rate: toNumber(0.001, 10),
  momentum: toNumber(0, 0.99),
  start: aList(2, toNumber(-WIDE, WIDE)),
  steps: aWhole(0, MOST),
};
/** @type {State} */
const USUAL = { ground: "valley", rule: "descent", rate: 0.04, momentum: 0.9, start: [10, 2], steps: 0 };

const STYLE = `
.cl-valley {
  .va-controls { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr)); gap:0.25rem 2rem; margin:0.6rem 0; }
  .va-picture { position:relative; margin-top:0.6rem; border:1px solid var(--cl-edge); line-height:0; overflow:hidden; cursor:crosshair; touch-action:manipulation; }
  .va-picture canvas { width:100%; height:auto; image-rendering:auto; }
  .va-picture svg { position:absolute; inset:0; width:100%; height:100%; }
  .va-path { fill:none; stroke:var(--cl-negative); stroke-width:1.75; }
  .va-dots { fill:var(--cl-negative); }
  .va-kept { fill:none; stroke:var(--cl-muted); stroke-width:1.5; stroke-dasharray:5 3; }
  .va-start { fill:none; stroke:var(--cl-ink); stroke-width:2; }
  .va-now { fill:var(--cl-mark); stroke:var(--cl-paper); stroke-width:1.5; }
  .va-buttons { margin-top:0.75rem; }
  .cl-slider { grid-template-columns:minmax(5rem,auto) minmax(4rem,1fr) 3.5rem; }
}
`;

/**
 * The bands of equal loss, as numbers from 0 (low) to 1, one for each pixel.
 *
 * @param {string} ground
 * @param {number} width
 * @param {number} height
 */
function bands(ground, width, height) {
  const { loss } = GROUNDS[ground];
  const values = new Float64Array(width * height);
  values.forEach((_, i) => {
    const a = (((i % width) + 0.5) / width) * 2 * WIDE - WIDE;
    const b = HIGH - ((Math.floor(i / width) + 0.5) / height) * 2 * HIGH;
    values[i] = Math.min(1, Math.floor(1.6 * Math.sqrt(loss(a, b))) / 30);
  });
  return values;
}

/** A number as a rate or a place is written. @param {number} value */
const near = (value) =>
  Math.abs(value) < 1000 ? format(value) : `${value < 0 ? "\u2212" : ""}${short(Math.abs(value))}`;

/**
 * What a walk has come to, in sentences, and whether it is lost.
 *
 * @param {State} state
 * @param {[number, number][]} path
 */
function tale({ ground, rule, rate, start }, path) {
  const [a, b] = path[path.length - 1];
  const { loss } = GROUNDS[ground];
  const [before, now] = [loss(start[0], start[1]), loss(a, b)];
  const done = `After ${count(path.length - 1, "step")}`;
  const steep = rule === "descent" && (ground === "valley" || ground === "turned") && rate > BOUND;
  const why = steep ? ` The rate is above 2/h = ${format(BOUND)}, the most that this valley bears.` : "";
  if (!Number.isFinite(now))
    return { text: `${done} the weights are no numbers any more.${why}`, lost: true };
  const where = `${done}: w\u2080 = ${near(a)}, w\u2081 = ${near(b)}, loss ${short(now)}`;
  if (now > before) return { text: `${where}, more than at the start.${why}`, lost: true };
  return { text: `${where}.${why}`, lost: false };
}

class Valley {
  status = statusLine();
  canvas = h("canvas");
  overlay = svg("svg", { "aria-hidden": "true" });
  picture = h(
    "div",
    {
      class: "va-picture",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "picture with a movable start",
    },
    this.canvas,
    this.overlay,
  );
  width = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  timer;
  ground = ""; // that the canvas shows
  walked = { key: "", path: /** @type {[number, number][]} */ ([]) };
  /** Walks to compare with, each with the state that it comes from. @type {{key: string, path: [number, number][]}[]} */
  kept = [];

  /** @param {HTMLElement} root @param {State} state @param {Tell} tell */
  constructor(root, state, tell) {
    this.root = root;
    this.state = state;
    this.tell = tell;
    const change = (/** @type {State} */ values) => this.change(values);
    this.controls = {
      ground: choice("Loss", NAMES, (ground) => change({ ground })),
      rule: choice("Rule", RULES, (rule) => change({ rule })),
      rate: slider("Rate", {
        ...{ min: -3, max: 1, step: 0.01, value: 0, text: (power) => String(rateOf(power)) },
        onInput: (power) => change({ rate: rateOf(power) }),
      }),
      momentum: slider("Momentum", {
        ...{ min: 0, max: 0.99, step: 0.01, value: 0, text: format },
        onInput: (momentum) => change({ momentum }),
      }),
    };
    this.run = button("Run", () => this.toggle());
    this.keeper = button("Keep this path", () => this.keep());
    const { ground, rule, rate, momentum } = this.controls;
    root.append(
      h("div", { class: "cl-row" }, ground.element, rule.element),
      h("div", { class: "va-controls" }, rate.element, momentum.element),
      this.picture,
      h(
        "div",
        { class: "cl-row va-buttons" },
        button("\u25c0 Undo", () => this.walk(this.state.steps - 1)),
        button("Step \u25b6", () => this.walk(this.state.steps + 1)),
        this.run,
        button("Back to the start", () => this.walk(0)),
        this.keeper,
      ),
      this.status,
    );
    this.picture.addEventListener("click", (event) => this.place(event));
    onArrows(this.picture, (rows, columns) => {
      const [a, b] = this.state.start;
      this.begin(a + columns / 4, b - rows / 4);
    });
    this.show();
  }

  /** Set by the reader. @param {State} values */
  change(values) {
    Object.assign(this.state, values);
    this.show();
    this.tell(values);
  }

  /** Set from outside. @param {State} values */
  take(values) {
    Object.assign(this.state, allowed(SPEC, values));
    this.show();
  }

  /** @param {MouseEvent} event */
  place(event) {
    const box = this.picture.getBoundingClientRect();
    const across = (event.clientX - box.left) / box.width;
    const down = (event.clientY - box.top) / box.height;
    this.begin((2 * across - 1) * WIDE, (1 - 2 * down) * HIGH);
  }

  /** Another start. @param {number} a @param {number} b */
  begin(a, b) {
    const rounded = [clamp(a, -WIDE, WIDE), clamp(b, -HIGH, HIGH)].map(
      (each) => Math.round(each * 100) / 100,
    );
    this.change({ start: rounded });
  }

  /** @param {number} steps */
  walk(steps) {
    this.pause();
    this.change({ steps: clamp(steps, 0, MOST) });
  }

  toggle() {
    if (this.timer) return this.pause();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.walk(MOST);
    if (this.state.steps === MOST) this.change({ steps: 0 });
    this.run.textContent = "Pause";
    set(this.status, { "aria-live": "off" }); // a voice could not follow
    this.timer = setInterval(() => {
      if (document.hidden) return;
      this.change({ steps: this.state.steps + 1 });
      if (this.state.steps === MOST || this.path.length <= this.state.steps) this.pause();
    }, 50);
  }

  pause() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.run.textContent = "Run";
    set(this.status, { "aria-live": "polite" });
  }

  /** Keep this path, to compare others with; if it is kept already, forget all. */
  keep() {
    this.kept = this.isKept() ? [] : [...this.kept.slice(-3), this.walked];
    this.show();
  }

  isKept() {
    return this.kept.some(({ key }) => key === this.walked.key);
  }

  get path() {
    const key = JSON.stringify(this.state);
    if (this.walked.key !== key) {
      const walk = /** @type {Walk} */ (this.state);
      this.walked = { key, path: places(walk) };
    }
    return this.walked.path;
  }

  show() {
    const { state, controls, status } = this;
    controls.ground.show(state.ground);
    controls.rule.show(state.rule);
    controls.rate.show(Math.log10(state.rate));
    controls.momentum.show(state.momentum);
    controls.momentum.element.hidden = state.rule === "descent";
    const { text, lost } = tale(state, this.path);
    this.keeper.textContent = this.isKept() ? "Forget kept paths" : "Keep this path";
    status.textContent = text;
    set(status, { "data-kind": lost ? "warning" : null });
    const [a, b] = state.start.map((/** @type {number} */ each) => format(each));
    set(this.picture, {
      "aria-label": `The loss from above, and the path from w\u2080 = ${a}, w\u2081 = ${b}; click to start elsewhere, or move the start with the arrow keys`,
    });
    this.draw();
  }

  /** @param {number} width */
  resize(width) {
    this.width = width;
    this.ground = "";
    this.draw();
  }

  repaint() {
    this.ground = "";
    this.draw();
  }

  draw() {
    const { width, state, overlay } = this;
    if (!width) return;
    const height = Math.round((width * HIGH) / WIDE);
    if (this.ground !== state.ground) {
      this.ground = state.ground;
      const [paper, line] = ["paper", "line"].map((name) => themeColour(this.root, name));
      const values = bands(state.ground, width, height);
      paint(this.canvas, values, width, (value) =>
        mix(paper, line, value + ((30 * value) % 2 > 0.5 ? 0.35 : 0)),
      );
    }
    const x = (/** @type {number} */ a) => clamp(((a + WIDE) / 2 / WIDE) * width, -9 * width, 9 * width);
    const y = (/** @type {number} */ b) => clamp(((HIGH - b) / 2 / HIGH) * height, -9 * width, 9 * width);
    const line = (/** @type {[number, number][]} */ path) =>
      `M${path
        .filter((place) => place.every(Number.isFinite))
        .map(([a, b]) => `${x(a)} ${y(b)}`)
        .join("L")}`;
    const seen = this.path.filter((place) => place.every(Number.isFinite));
    const [now, start] = [seen[seen.length - 1], seen[0]];
    set(overlay, { viewBox: `0 0 ${width} ${height}` }).replaceChildren(
      ...this.kept.map(({ path }) => svg("path", { class: "va-kept", d: line(path) })),
      svg("path", { class: "va-path", d: line(seen) }),
      ...seen.slice(1, -1).map(([a, b]) => svg("circle", { class: "va-dots", cx: x(a), cy: y(b), r: 2.25 })),
      svg("circle", { class: "va-start", cx: x(start[0]), cy: y(start[1]), r: 6 }),
      svg("circle", { class: "va-now", cx: x(now[0]), cy: y(now[1]), r: 4.5 }),
    );
  }
}

/** Three figures of the rate that a place of the slider means. @param {number} power */
const rateOf = (power) => Number((10 ** power).toPrecision(3));

/**
 * Put the valley into `el`.
 *
 * @param {HTMLElement} el
 * @param {State} [options] to begin with
 * @param {Tell | null} [tell] the kernel behind a widget
 */
export function mount(el, options = {}, tell = null) {
  const root = frame(el, {
    name: "valley",
    title: "Down the valley",
    hint: "Click where the walk should start. Choose a rule and a rate, then step or run. The whole path follows what you change.",
    keys: "With the keyboard: focus the picture; the arrow keys move the start.",
  });
  addStyle("valley", STYLE);
  return connect("valley", SPEC, { ...USUAL, ...allowed(SPEC, options) }, tell, (state, change) => {
    const figure = new Valley(root, state, change);
    const stops = [
      watchWidth(figure.picture, (width) => figure.resize(width)),
      watchTheme(() => figure.repaint()),
    ];
    return {
      take: (values) => figure.take(values),
      destroy() {
        figure.pause();
        for (const stop of stops) stop();
        el.replaceChildren();
      },
    };
  });
}

export default { render: sharing(mount, SPEC) };

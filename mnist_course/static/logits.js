// Ten logits that can be moved: what softmax, the temperature, the loss and a threshold make of them.

import { addStyle, button, frame, h, set, slider, statusLine } from "./dom.js";
import { DIGITS, clamp, format, named, replaced } from "./numbers.js";
import { crossEntropy, slopes, softmax } from "./softmax.js";
import { aList, toNumber, aWhole, allowed, connect, sharing } from "./state.js";

/** @import { State, Tell } from "./state.js" */

const REACH = 10; // of a slider, to each side
const SPEC = {
  logits: aList(10, toNumber(-1000, 1000)),
  temperature: toNumber(0.05, 20),
  label: aWhole(0, 9),
  threshold: toNumber(0, 1),
};
/** @type {State} */
const USUAL = { logits: [0, 0, 0, 0, 4, 0, 0, 1, 0, 3], temperature: 1, label: 4, threshold: 0.9 };

const STYLE = `
.cl-logits {
  .lo-rows { display:grid; grid-template-columns:1.5rem 2rem minmax(5rem,1.3fr) 3.2rem minmax(4rem,1fr) 3.6rem minmax(4rem,1fr) 3.6rem; gap:0 0.6rem; align-items:center; font-variant-numeric:tabular-nums; font-size:0.875rem; }
  .lo-rows > div { display:contents; }
  .lo-rows .lo-head > * { color:var(--cl-muted); font-size:0.8125rem; align-self:end; line-height:1.2; padding-bottom:0.25rem; }
  .lo-rows b { text-align:right; font-weight:400; }
  .lo-rows [data-best] > * { font-weight:650; }
  .lo-rows input[type="range"] { width:100%; min-width:0; min-height:2rem; }
  .lo-rows input[type="radio"] { width:1.15rem; height:1.15rem; justify-self:center; }
  .lo-bar { position:relative; height:0.8rem; border-radius:3px; background:var(--cl-panel); overflow:hidden; }
  .lo-bar i { position:absolute; inset-block:0; background:var(--cl-edge); }
  [data-best] .lo-bar:not(.lo-slope) i { background:var(--cl-accent); }
  .lo-bar u { position:absolute; inset-block:0; width:2px; background:var(--cl-mark); }
  .lo-slope i[data-sign="+"] { background:var(--cl-positive); }
  .lo-slope i[data-sign="-"] { background:var(--cl-negative); }
  .lo-more { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr)); gap:0.25rem 2rem; margin:0.75rem 0; }
  .cl-slider { grid-template-columns:minmax(6.5rem,auto) minmax(4rem,1fr) 3.2rem; }
  @container (max-width: 38rem) {
    .lo-rows { grid-template-columns:1rem 1.6rem minmax(2.5rem,1.2fr) 2.4rem minmax(1.2rem,1fr) 2.8rem 2.6rem; gap:0 0.2rem; font-size:0.75rem; }
    .lo-rows .lo-slope { display:none; }
  }
  @media (forced-colors: active) { .lo-bar i { forced-color-adjust:none; background:Highlight !important; } }
}
`;

const percent = (/** @type {number} */ share) =>
  `${format(100 * share, share > 0.9995 && share < 1 ? 2 : 1)}\u00a0%`;
let figures = 0; // for the names of the radio buttons

/**
 * One digit's row.
 *
 * @param {number} digit
 * @param {string} group
 * @param {{move: (value: number) => void, choose: () => void}} react
 */
function row(digit, group, { move, choose }) {
  const right = h("input", { type: "radio", name: group, "aria-label": `The right answer is ${digit}` });
  const range = h("input", {
    type: "range",
    min: -REACH,
    max: REACH,
    step: 0.1,
    "aria-label": `Logit of ${digit}`,
  });
  const logit = h("b");
  const bar = h("i");
  const line = h("u");
  const probability = h("b");
  const push = h("i");
  const slope = h("b");
  range.addEventListener("input", () => move(range.valueAsNumber));
  right.addEventListener("change", choose);
  const element = h(
    "div",
    {},
    h("span", {}, String(digit)),
    right,
    range,
    logit,
    h("div", { class: "lo-bar" }, bar, line),
    probability,
    h("div", { class: "lo-bar lo-slope" }, push),
    slope,
  );
  return { element, right, range, logit, bar, line, probability, push, slope };
}

class Logits {
  status = statusLine();
  slopeHead = h("span");

  /** @param {HTMLElement} root @param {State} state @param {Tell} tell */
  constructor(root, state, tell) {
    this.state = state;
    this.given = [...state.logits];
    this.tell = tell;
    const group = `lo-${++figures}`;
    this.rows = DIGITS.map((digit) =>
      row(digit, group, {
        move: (value) => this.change({ logits: replaced(this.state.logits, digit, value) }),
        choose: () => this.change({ label: digit }),
      }),
    );
    this.temperature = slider("Temperature T", {
      ...{ min: -1, max: 1, step: 0.05, value: 0, text: (power) => format(10 ** power) },
      onInput: (power) => this.change({ temperature: Number((10 ** power).toPrecision(3)) }),
    });
    this.threshold = slider("Sure from p =", {
      ...{ min: 0, max: 1, step: 0.01, value: 0, text: format },
      onInput: (threshold) => this.change({ threshold }),
    });
    root.append(
      this.table(),
      h("div", { class: "lo-more" }, this.temperature.element, this.threshold.element),
    );
    root.append(this.buttons(), this.status);
    this.show();
  }

  table() {
    const head = ["", "y", "logit z", "", "probability p", "", "", this.slopeHead];
    const cells = head.map((each, i) =>
      each instanceof Node ? each : h("span", { class: i === 6 ? "lo-slope" : null }, each),
    );
    const rows = this.rows.map(({ element }) => element);
    return h("div", { class: "lo-rows" }, h("div", { class: "lo-head" }, ...cells), ...rows);
  }

  buttons() {
    const all = (/** @type {(z: number, digit: number) => number} */ f) => {
      this.change({ logits: this.state.logits.map(f) });
    };
    const down = () => {
      const { logits, temperature, label } = this.state;
      const gradient = slopes(logits, temperature, label);
      all((z, digit) => clamp(z - gradient[digit], -1000, 1000));
    };
    return h(
      "div",
      { class: "cl-row" },
      button("One step against the slopes", down),
      button("All + 1", () => all((z) => clamp(z + 1, -1000, 1000))),
      button("All equal", () => all(() => 0)),
      button("As at first", () => this.change({ logits: [...this.given] })),
    );
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

  show() {
    const { logits, temperature, label, threshold } = this.state;
    const p = softmax(logits, temperature);
    const gradient = slopes(logits, temperature, label);
    const best = p.indexOf(Math.max(...p));
    this.rows.forEach((each, digit) => {
      set(each.element, { "data-best": digit === best });
      each.right.checked = digit === label;
      if (each.range.valueAsNumber !== logits[digit]) each.range.value = String(logits[digit]);
      set(each.range, { "aria-valuetext": `${format(logits[digit], 1)}, probability ${percent(p[digit])}` });
      each.logit.textContent = format(logits[digit], 1);
      each.bar.style.width = `${100 * p[digit]}%`;
      each.line.style.left = `calc(${100 * threshold}% - 1px)`;
      each.probability.textContent = percent(p[digit]);
      const share = clamp(gradient[digit] * temperature, -1, 1);
      Object.assign(each.push.style, {
        left: `${50 + 50 * Math.min(0, share)}%`,
        width: `${50 * Math.abs(share)}%`,
      });
      set(each.push, { "data-sign": share < 0 ? "-" : "+" });
      each.slope.textContent = format(gradient[digit], 3);
    });
    this.temperature.show(Math.log10(temperature));
    this.threshold.show(threshold);
    this.slopeHead.textContent = temperature === 1 ? "p \u2212 y" : "(p \u2212 y) / T";
    this.status.textContent = this.tale(p, best);
  }

  /** @param {number[]} p @param {number} best */
  tale(p, best) {
    const { logits, temperature, label, threshold } = this.state;
    const ties = p.filter((each) => each === p[best]).length;
    const sure = p[best] >= threshold ? "sure enough to answer" : "not sure enough to answer";
    const answer =
      ties > 1
        ? `${ties} digits share the largest probability, ${percent(p[best])}: ${sure}.`
        : `It reads ${named(best)} with ${percent(p[best])}, ${sure}${best === label ? "" : ", and wrong"}.`;
    const loss = format(crossEntropy(logits, temperature, label), 3);
    return `${answer} The right answer, ${label}, has ${percent(p[label])}, so the loss is ${loss}.`;
  }
}

/**
 * Put the logits into `el`.
 *
 * @param {HTMLElement} el
 * @param {State} [options] to begin with
 * @param {Tell | null} [tell] the kernel behind a widget
 */
export function mount(el, options = {}, tell = null) {
  const root = frame(el, {
    name: "logits",
    title: "From logits to an answer, and back",
    hint: "Move the logits, and choose the right digit (y). The orange and blue bars are the slopes of the loss: a step goes against them.",
  });
  addStyle("logits", STYLE);
  return connect("logits", SPEC, { ...USUAL, ...allowed(SPEC, options) }, tell, (state, change) => {
    const figure = new Logits(root, state, change);
    return { take: (values) => figure.take(values), destroy: () => el.replaceChildren() };
  });
}

export default { render: sharing(mount, SPEC) };

// My digits: label what was drawn, keep it, take it along, and teach the network with it.

import { clamp, count, h, named, set, unhurried } from "./dom.js";
import { paintImage } from "./maps.js";
import { preprocess } from "./strokes.js";
import { DigitsError, LIMITS, checkDigit, merged, readDigits, writeDigits } from "./samples.js";
import { countRight, isTeachable, keptBack, teach } from "./teach.js";

const DIGITS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const FEWEST = 5; // digits to teach with
const SHOWN = 60; // saved digits, until the reader asks for all

export const MINE_STYLE = `
.cl-digitpad .dp-labels { display:flex; flex-wrap:wrap; gap:0.35rem; align-items:center; margin-top:0.6rem; }
.cl-digitpad .dp-labels button { min-width:2.5rem; min-height:2.5rem; padding:0; font-weight:600; }
.cl-digitpad .dp-labels > span { margin-right:0.4rem; }
.cl-digitpad .dp-digits { display:flex; flex-wrap:wrap; gap:0.45rem; margin:0.75rem 0; padding:0; list-style:none; }
.cl-digitpad .dp-digits li { margin:0; }
.cl-digitpad .dp-digits button { display:block; position:relative; width:3.1rem; padding:0.3rem 0.3rem 0.1rem; font-size:0.8125rem; line-height:1.3; }
.cl-digitpad .dp-digits canvas { width:100%; height:auto; }
.cl-digitpad .dp-digits button::after { position:absolute; inset:0; display:grid; place-items:center; font-size:1.75rem;
  color:var(--cl-warning); background:color-mix(in srgb, var(--cl-paper) 75%, transparent); border-radius:4px; }
.cl-digitpad .dp-digits button:focus-visible::after { content:"\\00d7"; }
@media (hover: hover) { .cl-digitpad .dp-digits button:hover::after { content:"\\00d7"; } }
@media (hover: none) { .cl-digitpad .dp-digits button:not(:focus-visible)::after { content:"\\00d7"; place-items:start end;
  padding:0 0.15rem; font-size:1.125rem; line-height:1; background:none; } }
.cl-digitpad .dp-more { margin-top:0.75rem; }
.cl-digitpad .dp-more button { margin-left:0.6rem; }
.cl-digitpad .dp-told { margin-top:0.6rem; }
.cl-digitpad .dp-note[data-kind="warning"] { color:var(--cl-warning); font-weight:550; }
.cl-digitpad .dp-teach { margin-top:0.9rem; }
.cl-digitpad .dp-teach table { width:auto; margin:0.6rem 0; }
.cl-digitpad .dp-teach :is(th,td) { padding:0.15rem 1rem 0.15rem 0; border:0; background:none; text-align:left; font-weight:inherit; }
.cl-digitpad .dp-teach td { text-align:right; }
@container (max-width: 34rem) {
  .cl-digitpad .dp-labels { display:grid; grid-template-columns:repeat(5,minmax(0,1fr)); }
  .cl-digitpad .dp-labels > span { grid-column:1/-1; }
}
`;

const button = (text, act, attributes = {}) => {
  const element = h("button", { type: "button", ...attributes }, text);
  element.addEventListener("click", act);
  return element;
};

/**
 * @param {{shelf: object, inks: function(): object, drawing: function(): number[][][],
 *   clear: function(): void, network: function(): object|null,
 *   take: (function(object|null): void)|null}} options
 *   where digits are kept; the colours; what is drawn, and how to start anew; the network as it
 *   came, and what to do with a taught one (null: with the one that came): without `take` there is
 *   no teaching
 * @returns {object} `element`; `show()` whenever the drawing, the colours or the network are
 *   others; `destroy()`
 */
export function mineView({ shelf, inks, drawing, clear, network, take }) {
  const element = h("details", {}, h("summary", {}, "My digits", h("span", {})));
  const note = h("p", { class: "dp-small dp-note", role: "status", "aria-live": "polite" });
  const back = button("Take it back", () => takeBack(), { hidden: true });
  const labels = DIGITS.map((each) => button(String(each), () => keep(each), { "aria-label": `Save the drawing as ${named(each)}` }));
  const list = h("ul", { class: "dp-digits", "aria-label": "Saved digits" });
  const many = h("span", {}), more = h("p", { class: "dp-small dp-more" }, many, button("Show all", () => {
    shown = Infinity;
    showShelf();
  }));
  const download = button("Download", () => offer());
  const file = h("input", { type: "file", accept: ".json,application/json", class: "dp-hidden", tabindex: -1, "aria-hidden": "true" });
  const load = button("Import \u2026", () => file.click());
  const forget = button("Delete all", () => forgetAll());
  const learn = button("Teach the network", () => learnThem()), unlearn = button("Undo the teaching", () => reset());
  const report = h("div", {});
  element.append(
    h("p", { class: "dp-small" }, "Draw, then say which digit it is. Saved digits can teach a network your hand."),
    h("div", { class: "dp-labels", role: "group", "aria-label": "Save the drawing as" }, h("span", {}, "This is a"), ...labels),
    more, list,
    h("div", { class: "cl-row" }, download, load, forget, file), h("div", { class: "cl-row dp-told" }, note, back));
  if (take) element.append(h("div", { class: "dp-teach" }, h("div", { class: "cl-row" }, learn, unlearn), report));

  function tell(text, kind = "") {
    note.textContent = text;
    note.dataset.kind = kind;
    set(back, { hidden: true });
  }

  /** Put digits on the shelf, and say so. */
  function store(digits, text) {
    if (shelf.set(digits)) tell(text);
    else tell(`${text} This browser does not keep them, though: download them before you leave the page.`, "warning");
  }

  function keep(label) {
    try {
      const one = checkDigit({ label, strokes: drawing(), time: Date.now() });
      store(merged(shelf.get(), [one]), `Saved as ${named(label)}. Draw the next one.`);
      clear();
    } catch (error) {
      refuse("The drawing was not saved", error);
    }
  }

  function refuse(what, error) {
    if (!(error instanceof DigitsError)) throw error;
    tell(`${what}: ${error.message}.`, "warning");
  }

  function offer() {
    const text = writeDigits(shelf.get());
    const link = h("a", { download: "my-digits.json", href: URL.createObjectURL(new Blob([text], { type: "application/json" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    const said = `${count(shelf.get().length, "digit")} written to my-digits.json.`;
    if (text.length <= LIMITS.bytes) tell(said);
    else tell(`${said} A file larger than ${LIMITS.bytes >> 20} MB is not read again, though: delete some digits, and download the others once more.`, "warning");
  }

  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    try {
      if (chosen.size > LIMITS.bytes) throw new DigitsError(`it is larger than ${LIMITS.bytes >> 20} MB`);
      const before = shelf.get(), after = merged(before, readDigits(await chosen.text()));
      store(after, `${count(after.length - before.length, "new digit")} imported.`);
    } catch (error) {
      refuse("The file was not imported", error);
    }
  });

  let deleted = null; // what can be taken back: {digit, at}

  function remove(digit) {
    const digits = shelf.get();
    deleted = { digit, at: digits.indexOf(digit) };
    store(digits.filter((other) => other !== digit), `Deleted ${named(digit.label)}.`);
    set(back, { hidden: false });
  }

  function takeBack() {
    const digits = shelf.get(), { digit, at } = deleted, had = back.matches(":focus");
    try {
      store(merged(digits.slice(0, at), [digit, ...digits.slice(at)]), `Took back ${named(digit.label)}.`);
      if (had) focusOn(at - shelf.get().length + list.children.length);
    } catch (error) {
      refuse("It was not taken back", error);
    }
  }

  let forgetting = 0;
  function forgetAll() {
    if (!forgetting) {
      forget.textContent = "Really delete all?";
      forgetting = setTimeout(spare, 4000);
      return;
    }
    spare();
    store([], "All saved digits are deleted.");
  }
  function spare() {
    clearTimeout(forgetting);
    forgetting = 0;
    forget.textContent = "Delete all";
  }

  // --- teaching

  let lesson = null; // under way: its stop()
  let taught = false;

  function halt() {
    lesson?.();
    lesson = null;
  }

  async function learnThem() {
    if (lesson) return;
    const digits = shelf.get(), before = network(), { taughtWith, checkedWith } = keptBack(digits);
    const run = unhurried(teach(before, taughtWith), (share) => tell(`Learning \u2026 ${Math.round(100 * share)}\u00a0%`));
    lesson = run.stop;
    showTeaching();
    const after = await run.result;
    if (lesson === run.stop) lesson = null; // else it was stopped, and another may have begun
    if (!after || before !== network()) return showTeaching(); // stopped, or another network came meanwhile
    taught = true;
    take(after);
    const trial = globalThis.MNIST_COURSE_TRIAL ?? [];
    const lines = [["digits you taught it", taughtWith], ["digits of yours that were kept back", checkedWith], ["digits of three other hands", trial]];
    report.replaceChildren(
      h("table", {},
        h("thead", {}, h("tr", {}, ...["read rightly", "before", "taught"].map((word, k) => h(k ? "td" : "th", {}, word)))),
        h("tbody", {}, ...lines.filter(([, some]) => some.length).map(([name, some]) =>
          h("tr", {}, h("th", { scope: "row" }, name), ...[before, after].map((one) => h("td", {}, `${countRight(one, some)} of ${some.length}`)))))),
      h("p", { class: "dp-small" }, checkedWith.length
        ? "What counts are the digits that it was not taught. The last line shows what it may have forgotten."
        : "Save three or more of each digit: every third is then kept back, to check whether it helps with digits that it was not taught."));
    tell("The network has learned your digits. It reads with what it learned until you undo it or leave the page.");
    showTeaching();
  }

  function reset() {
    halt();
    taught = false;
    report.replaceChildren();
    take(null);
    tell("The network is again as it came.");
    showTeaching();
    (learn.disabled ? load : learn).focus();
  }

  function showTeaching() {
    const enough = shelf.get().length >= FEWEST;
    // While a lesson is under way the button only says so: disabled, it would lose the focus.
    set(learn, { disabled: !enough || !isTeachable(network()), "aria-disabled": lesson && "true", title: enough ? null : `Save at least ${count(FEWEST, "digit")} first` });
    set(unlearn, { hidden: !taught });
  }

  // --- what stands there

  let shown = SHOWN;
  const prepared = new WeakMap(); // the pictures of saved digits
  function picture(digit) {
    if (!prepared.has(digit)) prepared.set(digit, preprocess(digit.strokes));
    return prepared.get(digit);
  }

  function focusOn(place) {
    (list.children[clamp(place, 0, list.children.length - 1)]?.firstChild ?? load).focus({ preventScroll: true });
  }

  function showShelf() {
    const digits = shelf.get(), had = element.querySelector(":focus"), at = [...list.children].indexOf(had?.parentElement);
    element.querySelector("summary span").textContent = digits.length ? `${digits.length} saved ${shelf.place}` : take ? "save what you draw, and teach the network" : "save what you draw";
    set(download, { disabled: !digits.length });
    set(forget, { disabled: !digits.length });
    showTeaching();
    if (element.open) showDigits(digits);
    // What had the focus is gone, or is of no use now: on to what stands where it stood.
    if (had && (!had.isConnected || had.disabled || had.closest("[hidden]"))) focusOn(at);
  }

  function showDigits(digits) {
    const recent = digits.slice(-shown);
    many.textContent = `The newest ${recent.length} of ${digits.length}.`;
    set(more, { hidden: recent.length === digits.length });
    list.replaceChildren(...recent.map((each) => {
      const canvas = h("canvas", { "aria-hidden": "true" });
      paintImage(canvas, picture(each), inks());
      const tile = button(canvas, () => remove(each), { "aria-label": `Delete ${named(each.label)}`, title: "Delete" });
      tile.append(String(each.label));
      return h("li", {}, tile);
    }));
    set(list, { hidden: !recent.length });
  }
  element.addEventListener("toggle", showShelf);
  const stop = shelf.watch(showShelf);

  return {
    element,
    /** The drawing has changed. */
    drawn() {
      const ready = drawing().length > 0;
      for (const each of labels) set(each, { disabled: !ready });
    },
    /** The colours, or the network, have changed. */
    show: showShelf,
    /** Another network came: nothing is taught yet. */
    renew() {
      halt();
      taught = false;
      report.replaceChildren();
      showShelf();
    },
    destroy() {
      stop?.();
      halt();
      spare();
    },
  };
}

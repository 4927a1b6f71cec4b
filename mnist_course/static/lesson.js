// Teaching the network what a reader has drawn, and what came of it.

import { button, h, set } from "./dom.js";
import { count } from "./numbers.js";
import { countRight, isTeachable, keptBack, teach } from "./teach.js";
import { unhurried } from "./unhurried.js";

/** @import { Model, Sample, Shelf } from "./types" */

const FEWEST = 5; // digits to teach with

/**
 * How many digits of each kind two networks read correctly, as a table.
 *
 * @param {[name: string, digits: Sample[]][]} kinds
 * @param {Model} before
 * @param {Model} after
 */
function comparison(kinds, before, after) {
  const [title, ...columns] = ["read correctly", "before", "taught"];
  const head = h("tr", {}, h("th", {}, title), ...columns.map((word) => h("td", {}, word)));
  const rows = kinds
    .filter(([, digits]) => digits.length)
    .map(([name, digits]) => {
      const cells = [before, after].map((model) =>
        h("td", {}, `${countRight(model, digits)} of ${digits.length}`),
      );
      return h("tr", {}, h("th", { scope: "row" }, name), ...cells);
    });
  return h("table", {}, h("thead", {}, head), h("tbody", {}, ...rows));
}

export class LessonView {
  report = h("div");
  /** Whether the network reads with what it was taught. */
  taught = false;
  /** Stops the lesson that is under way. @type {(() => void) | null} */
  stop = null;

  /**
   * @param {object} options
   * @param {Shelf} options.shelf
   * @param {() => Model | null} options.network as it came
   * @param {(taught: Model | null) => void} options.take what to do with a taught network; null
   *   stands for the one that came
   * @param {(text: string) => void} options.tell
   * @param {HTMLElement} options.beside gets the focus where the button for teaching is of no use
   */
  constructor({ shelf, network, take, tell, beside }) {
    this.shelf = shelf;
    this.network = network;
    this.take = take;
    this.tell = tell;
    this.beside = beside;
    this.learn = button("Teach the network", () => this.teach());
    this.unlearn = button("Undo the teaching", () => this.undo());
    this.element = h(
      "div",
      { class: "dp-teach" },
      h("div", { class: "cl-row" }, this.learn, this.unlearn),
      this.report,
    );
  }

  async teach() {
    const before = this.network();
    if (this.stop || !before) return;
    const { taughtWith, checkedWith } = keptBack(this.shelf.get());
    const report = (/** @type {number} */ share) =>
      this.tell(`Learning \u2026 ${Math.round(100 * share)}\u00a0%`);
    const run = unhurried(teach(before, taughtWith), report);
    this.stop = run.stop;
    this.show();
    const after = await run.result;
    if (this.stop === run.stop) this.stop = null; // else it was stopped, and another may have begun
    if (!after || before !== this.network()) return this.show(); // stopped, or another network came
    this.taught = true;
    this.take(after);
    this.report.replaceChildren(
      comparison(
        [
          ["digits you taught it", taughtWith],
          ["digits of yours that were kept back", checkedWith],
          ["digits of three other hands", globalThis.MNIST_COURSE_TRIAL ?? []],
        ],
        before,
        after,
      ),
      h(
        "p",
        { class: "dp-small" },
        checkedWith.length
          ? "What counts are the digits that it was not taught. The last line shows what it may have forgotten."
          : "Save three or more of each digit: every third is then kept back, to check whether it helps with digits that it was not taught.",
      ),
    );
    this.tell(
      "The network has learned your digits. It reads with what it learned until you undo it or leave the page.",
    );
    this.show();
  }

  undo() {
    this.reset();
    this.take(null);
    this.tell("The network is again as it came.");
    this.show();
    (this.learn.disabled ? this.beside : this.learn).focus();
  }

  /** Nothing is taught, and no lesson is under way. */
  reset() {
    this.stop?.();
    this.stop = null;
    this.taught = false;
    this.report.replaceChildren();
  }

  show() {
    const enough = this.shelf.get().length >= FEWEST;
    // While a lesson is under way the button only says so: disabled, it would lose the focus.
    set(this.learn, {
      disabled: !enough || !isTeachable(this.network()),
      "aria-disabled": this.stop && "true",
      title: enough ? null : `Save at least ${count(FEWEST, "digit")} first`,
    });
    set(this.unlearn, { hidden: !this.taught });
  }
}

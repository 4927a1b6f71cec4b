// The digits that a browser keeps: several pages change them, and what is stored may be anything.
// Run with: node --test tests/pages/js/shelf.test.mjs

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import {
  MOST_DIGITS,
  SamplesError,
  merged,
  readSamples,
  without,
} from "../../../mnist_course/static/samples.js";
import { Kernel } from "../../../mnist_course/static/kernel.js";
import { BrowserShelf } from "../../../mnist_course/static/shelf.js";
import { SEVEN, fails, generator } from "./helpers.mjs";

/** @import { Sample } from "../../../mnist_course/static/types" */

const KEY = "mnist-course-digits";

/** A storage as browsers have it, that can be full. */
class Storage {
  /** @type {Map<string, string>} */
  items = new Map();
  full = false;
  blocked = false;

  getItem(/** @type {string} */ key) {
    if (this.blocked) throw new Error("SecurityError");
    return this.items.get(key) ?? null;
  }

  setItem(/** @type {string} */ key, /** @type {string} */ text) {
    if (this.full || this.blocked) throw new Error("QuotaExceededError");
    this.items.set(key, text);
  }

  removeItem(/** @type {string} */ key) {
    this.items.delete(key);
  }
}

let storage = new Storage();
/** What pages hear, as `[name, react]`. @type {[string, (event: any) => void][]} */
let listeners = [];

beforeEach(() => {
  storage = new Storage();
  listeners = [];
  Reflect.defineProperty(globalThis, "localStorage", { value: storage, configurable: true });
  Reflect.defineProperty(globalThis, "sessionStorage", { value: new Storage(), configurable: true });
  Reflect.set(globalThis, "addEventListener", (/** @type {any[]} */ ...given) =>
    listeners.push([given[0], given[1]]),
  );
});

/** @param {string} name @param {object} event */
const happen = (name, event) => {
  for (const [wanted, react] of listeners) if (wanted === name) react(event);
};

/** @param {number} label @param {number} [time] @returns {Sample} */
const digit = (label, time = label) => ({ label, strokes: SEVEN, time });
const add = (/** @type {Sample} */ one) => (/** @type {Sample[]} */ digits) => merged(digits, [one]);
const remove = (/** @type {Sample} */ one) => (/** @type {Sample[]} */ digits) => without(digits, [one]);
const labels = (/** @type {Sample[]} */ digits) => digits.map(({ label }) => label);
const stored = () => storage.getItem(KEY) ?? "";

test("what another page has saved or deleted stays so, though this page has not heard of it", () => {
  const [here, there] = [new BrowserShelf(), new BrowserShelf()];
  here.change(add(digit(1)));
  here.change(add(digit(2)));
  there.change(add(digit(7)));
  there.change(remove(digit(1)));
  here.change(add(digit(3)));
  assert.deepEqual(labels(readSamples(stored())), [2, 7, 3]);
  there.change(remove(digit(2)));
  here.change(remove(digit(3)));
  assert.deepEqual(labels(readSamples(stored())), [7]);
});

test("a page that comes back from the browser's memory shows what is stored now", () => {
  const here = new BrowserShelf();
  let told = 0;
  here.watch(() => told++);
  here.change(add(digit(1)));
  const before = told;
  new BrowserShelf().change(add(digit(7)));
  happen("pageshow", { persisted: true });
  assert.deepEqual(labels(here.get()), [1, 7]);
  assert.equal(told, before + 1);
  happen("pageshow", { persisted: true });
  assert.equal(told, before + 1, "nothing has changed");
});

test("whatever pages do, and in whatever order, each sees all that was saved and not deleted", () => {
  const random = generator(7);
  for (let run = 0; run < 50; run++) {
    storage.items.clear();
    const shelves = [new BrowserShelf(), new BrowserShelf(), new BrowserShelf()];
    /** @type {Set<number>} */
    const expected = new Set();
    for (let step = 0; step < 40; step++) {
      const shelf = shelves[Math.floor(3 * random())];
      const time = Math.floor(20 * random());
      storage.full = random() < 0.2; // then it stays with the page, until there is room again
      if (random() < 0.6) {
        shelf.change(add(digit(time % 10, time)));
        expected.add(time);
      } else if (shelf.get().some((each) => each.time === time)) {
        shelf.change(remove(digit(time % 10, time)));
        expected.delete(time);
      }
      if (storage.full) {
        storage.full = false;
        assert.ok(shelf.change((digits) => digits));
      }
      const kept = stored() ? readSamples(stored()) : [];
      assert.deepEqual(new Set(kept.map(({ time }) => time)), expected);
    }
    happen("pageshow", {});
    for (const shelf of shelves) {
      assert.deepEqual(new Set(shelf.get().map(({ time }) => time)), expected);
    }
  }
});

test("what cannot be stored lives with the page, and is stored as soon as there is room", () => {
  const shelf = new BrowserShelf();
  shelf.change(add(digit(1)));
  storage.full = true;
  assert.equal(shelf.change(add(digit(2))), false);
  assert.equal(shelf.change(remove(digit(1))), false);
  assert.deepEqual(labels(shelf.get()), [2]);
  assert.deepEqual(labels(readSamples(stored())), [1]);
  storage.full = false;
  assert.equal(shelf.change(add(digit(3))), true);
  assert.deepEqual(labels(readSamples(stored())), [2, 3]);
});

test("a change that is refused changes nothing", () => {
  const shelf = new BrowserShelf();
  shelf.change(add(digit(1)));
  const before = stored();
  const refuse = () => {
    throw new SamplesError("no");
  };
  fails(() => shelf.change(refuse), SamplesError, /no/);
  assert.equal(stored(), before);
  assert.deepEqual(labels(shelf.get()), [1]);
});

// ---------------------------------------------------------------- what cannot be read

const good = [1, 2, 3].map((label) => digit(label));

test("one damaged digit among others is kept aside, and the others are there", () => {
  const damaged = { label: "x", strokes: [[[1, 2]]], html: "<b>" };
  const text = JSON.stringify({ version: 1, digits: [good[0], damaged, ...good.slice(1), 5] });
  storage.setItem(KEY, text);
  const shelf = new BrowserShelf();
  assert.deepEqual(shelf.get(), good);
  assert.deepEqual(shelf.aside, [damaged, 5]);
  assert.equal(stored(), text, "looking changes nothing");
  shelf.change(add(digit(7)));
  shelf.change(remove(digit(2)));
  assert.deepEqual(labels(readSamples(stored())), [1, 3, 7]);
  assert.deepEqual(new BrowserShelf().aside, [damaged, 5]);
  for (const each of new BrowserShelf().get()) shelf.change(remove(each));
  assert.deepEqual(new BrowserShelf().aside, [damaged, 5], "it stays when all others are deleted");
  shelf.forgetAside();
  assert.equal(storage.getItem(KEY), null);
});

for (const others of [{ aside: { mine: 5 } }, { aside: 7 }, { more: [1] }, { aside: ["a"], more: null }]) {
  test(`what stands beside the digits is kept aside, too: ${JSON.stringify(others)}`, () => {
    storage.setItem(KEY, JSON.stringify({ version: 1, digits: [good[0]], ...others }));
    const shelf = new BrowserShelf();
    const { aside } = shelf;
    for (const value of Object.values(others).flat())
      assert.ok(JSON.stringify(aside).includes(JSON.stringify(value)));
    shelf.change(add(digit(7)));
    const again = new BrowserShelf();
    assert.deepEqual([labels(again.get()), again.aside], [[1, 7], aside]);
  });
}

test("an empty text holds nothing that could be lost", () => {
  storage.setItem(KEY, "");
  const shelf = new BrowserShelf();
  assert.deepEqual([shelf.get(), shelf.aside], [[], []]);
  shelf.change(add(digit(7)));
  assert.deepEqual(labels(readSamples(stored())), [7]);
});

test("what is stored once is not forgotten when the browser shuts its storage, nor lost when it opens again", () => {
  const shelf = new BrowserShelf();
  shelf.change(add(digit(1)));
  storage.blocked = true;
  happen("pageshow", {});
  assert.equal(shelf.change(add(digit(2))), false);
  assert.deepEqual(labels(shelf.get()), [1, 2]);
  storage.blocked = false;
  new BrowserShelf().change(add(digit(5)));
  assert.equal(shelf.change(add(digit(3))), true);
  assert.deepEqual(labels(readSamples(stored())), [1, 5, 2, 3]);
});

for (const text of [
  "<b>",
  "null",
  "7",
  "[]",
  "{}",
  '{"version":0,"digits":[]}',
  '{"version":1,"digits":{}}',
  "{",
]) {
  test(`what is not ours is kept aside: ${text}`, () => {
    storage.setItem(KEY, text);
    const shelf = new BrowserShelf();
    assert.deepEqual([shelf.get(), shelf.aside], [[], [text]]);
    assert.equal(stored(), text);
    assert.ok(shelf.change(add(digit(7))));
    const again = new BrowserShelf();
    assert.deepEqual([labels(again.get()), again.aside], [[7], [text]]);
  });
}

test("more digits than may be saved are all there, and can be deleted", () => {
  const many = Array.from({ length: MOST_DIGITS + 3 }, (_, time) => digit(1, time));
  storage.setItem(KEY, JSON.stringify({ version: 1, digits: many }));
  const shelf = new BrowserShelf();
  assert.equal(shelf.get().length, MOST_DIGITS + 3);
  fails(() => shelf.change(add(digit(2))), SamplesError, /more than 2000 digits; delete some/);
  shelf.change(remove(many[0]));
  assert.equal(new BrowserShelf().get().length, MOST_DIGITS + 2);
});

for (const version of [2, 2.5, 1e9]) {
  test(`digits of version ${version} are left alone`, () => {
    const text = JSON.stringify({ version, digits: good, more: 1 });
    storage.setItem(KEY, text);
    const shelf = new BrowserShelf();
    assert.deepEqual([shelf.get(), shelf.aside, shelf.newer], [[], [], true]);
    assert.equal(shelf.change(add(digit(7))), false);
    assert.deepEqual(labels(shelf.get()), [7], "it lives with the page");
    shelf.change(remove(digit(7)));
    assert.equal(stored(), text);
  });
}

// ---------------------------------------------------------------- digits that no kernel has kept yet

/** A widget whose kernel answers only when it is told to. @param {Sample[]} samples */
function widget(samples = []) {
  /** @type {Record<string, any>} */
  const state = { samples, kept: samples.length, place: "in my-digits.json" };
  /** @type {[string, () => void][]} */
  const heard = [];
  return {
    get: (/** @type {string} */ name) => state[name],
    set: (/** @type {string} */ name, /** @type {any} */ value) => void (state[name] = value),
    save_changes() {},
    on: (/** @type {string} */ name, /** @type {() => void} */ react) => heard.push([name, react]),
    off() {},
    keep() {
      state.kept = state.samples.length;
      for (const [name, react] of heard) if (name === "change:kept") react();
    },
  };
}

/** @param {ReturnType<typeof widget>} model */
const shelfOf = (model) => new Kernel(/** @type {any} */ (model)).shelf;

/** @param {number} time @returns {Sample} */
const drawn = (time) => ({ label: 7, strokes: SEVEN, time });

test("what a kernel has not kept comes to the next one", () => {
  const gone = shelfOf(widget());
  gone.change((digits) => [...digits, drawn(1)]);
  gone.change((digits) => [...digits, drawn(2)]);
  gone.change((digits) => without(digits, [drawn(1)])); // deleted again: it is not wanted
  const model = widget([drawn(3)]);
  assert.deepEqual(shelfOf(model).get(), [drawn(3), drawn(2)]);
  model.keep();
  assert.deepEqual(shelfOf(widget()).get(), []);
});

test("what a kernel has kept comes to no other one", () => {
  const model = widget();
  shelfOf(model).change((digits) => [...digits, drawn(1)]);
  model.keep();
  assert.deepEqual(shelfOf(widget()).get(), []);
});

test("a tab without storage saves digits all the same", () => {
  Reflect.defineProperty(globalThis, "sessionStorage", { value: undefined, configurable: true });
  const shelf = shelfOf(widget());
  shelf.change((digits) => [...digits, drawn(1)]);
  assert.deepEqual(shelf.get(), [drawn(1)]);
});

// The answers that a browser keeps: what is stored may be anything, or nothing can be stored.
// Run with: node --test tests/pages/js/answers.test.mjs

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { Answers, score } from "../../../mnist_course/static/answers.js";

const KEY = "mnist-course-answers";

/** @type {Map<string, string>} */
let items = new Map();
let blocked = false;

beforeEach(() => {
  items = new Map();
  blocked = false;
  const refuse = () => {
    if (blocked) throw new Error("SecurityError");
  };
  const storage = {
    getItem: (/** @type {string} */ key) => (refuse(), items.get(key) ?? null),
    setItem: (/** @type {string} */ key, /** @type {string} */ text) => (refuse(), items.set(key, text)),
  };
  Reflect.defineProperty(globalThis, "localStorage", { value: storage, configurable: true });
});

test("the first choice decides, and later ones are remembered", () => {
  const answers = new Answers();
  answers.note("ask-a", "two", false);
  answers.note("ask-a", "three", true);
  answers.note("ask-a", "two", false);
  answers.note("ask-b", "one", true);
  assert.deepEqual(answers.get("ask-a")?.tried, ["two", "three"]);
  assert.deepEqual(answers.count(["ask-a", "ask-b", "ask-c"]), { answered: 2, right: 1 });
  assert.deepEqual(new Answers().count(["ask-b"]), { answered: 1, right: 1 });
});

test("two pages do not lose each other's answers", () => {
  const [one, two] = [new Answers(), new Answers()];
  one.note("ask-a", "x", true);
  two.note("ask-b", "y", true);
  one.look();
  assert.equal(one.count(["ask-a", "ask-b"]).answered, 2);
});

test("forgetting some leaves the others", () => {
  const answers = new Answers();
  answers.note("ask-a", "x", true);
  answers.note("ask-b", "y", true);
  answers.forget(["ask-a", "ask-unknown"]);
  assert.deepEqual(Object.keys(JSON.parse(items.get(KEY) ?? "").answers), ["ask-b"]);
});

test("what is stored may be anything", () => {
  for (const text of [
    "",
    "{",
    "null",
    "3",
    "[]",
    '{"answers": [1]}',
    '{"answers": {"ask-a": {"tried": []}}}',
  ]) {
    items.set(KEY, text);
    const answers = new Answers();
    assert.equal(answers.count(["ask-a"]).answered, 0, text);
    answers.note("ask-a", "x", true);
    assert.equal(new Answers().count(["ask-a"]).right, 1, text);
  }
});

test("what a newer edition stored is left alone", () => {
  const newer = '{"version":2,"answers":{"ask-a":{}}}';
  items.set(KEY, newer);
  const answers = new Answers();
  answers.note("ask-b", "x", true);
  assert.equal(items.get(KEY), newer);
  assert.equal(answers.count(["ask-b"]).answered, 1);
});

test("where nothing can be stored, answers live as long as the page", () => {
  blocked = true;
  const answers = new Answers();
  answers.note("ask-a", "x", true);
  answers.look();
  assert.equal(answers.keeps, false);
  assert.equal(answers.count(["ask-a"]).answered, 1);
});

test("the score says what is left", () => {
  assert.equal(score({ answered: 0, right: 0 }, 1), "1 question. Click the answer that you believe.");
  assert.equal(score({ answered: 3, right: 2 }, 4), "2 of 3 right at first try, 1 question to go.");
  assert.equal(score({ answered: 4, right: 2 }, 4), "2 of 4 right at first try.");
});

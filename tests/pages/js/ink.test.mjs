// What becomes ink on the sheet, and what does not: pens, palms, fingers and thumbs.
// Run with: node --test tests/pages/js/ink.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import { Drawing, FIELD } from "../../../mnist_course/static/drawing.js";
import { Pointers } from "../../../mnist_course/static/pointers.js";
import { generator } from "./helpers.mjs";

const SIDE = 320; // CSS pixels of the sheet

/** A sheet without a browser: pointers that do something at a time, and the ink that comes of it. */
class Paper {
  pointers = new Pointers();
  drawing = new Drawing();
  time = 10000;
  scrolled = 0;

  /** @param {ReturnType<Pointers["down"]>} action @param {number} [x] @param {number} [y] */
  act(action, x = 0, y = 0) {
    if (action === "replace" || action === "drop") this.drawing.drop();
    if (action === "replace" || action === "begin") this.drawing.begin(x, y);
    if (action === "extend") this.drawing.extend(x, y);
    if (action === "end") this.drawing.end();
    if (action === "scroll") {
      if (this.drawing.stroke) this.drawing.drop();
      this.scrolled++;
    }
  }

  /** @param {number} milliseconds */
  wait(milliseconds) {
    this.time += milliseconds;
    return this;
  }

  /** @param {string} kind @param {number} id @param {number} x @param {number} y @param {boolean} [first] */
  down(kind, id, x, y, first = true) {
    if (kind === "touch") this.act(this.pointers.land(id, first, this.time));
    this.act(this.pointers.down({ id, kind, x, y, time: this.time }), x, y);
    return this;
  }

  /** @param {string} kind @param {number} id @param {number} x @param {number} y @param {boolean} [pressed] */
  move(kind, id, x, y, pressed = true) {
    const size = { width: SIDE, height: SIDE };
    this.act(this.pointers.move({ id, kind, x, y, time: this.time, pressed, ...size }), x, y);
    return this;
  }

  /** @param {number} id */
  up(id) {
    this.act(this.pointers.up(id, this.time));
    return this;
  }

  /** @param {number} id */
  cancel(id) {
    this.act(this.pointers.cancel(id));
    return this;
  }

  /** A stroke down the middle, of 100 pixels. @param {string} kind @param {number} id */
  stroke(kind, id) {
    return this.down(kind, id, 150, 100)
      .wait(20)
      .move(kind, id, 150, 150)
      .wait(20)
      .move(kind, id, 150, 200)
      .up(id);
  }

  /** How many points each stroke has. */
  get ink() {
    return this.drawing.strokes.map((stroke) => stroke.length);
  }
}

test("mouse, pen and finger each draw", () => {
  for (const kind of ["mouse", "pen", "touch"]) assert.deepEqual(new Paper().stroke(kind, 1).ink, [3]);
});

// ---------------------------------------------------------------- palms

test("a pen takes the sheet over from the palm that landed before it, and the palm leaves no ink", () => {
  const paper = new Paper().stroke("mouse", 9).down("touch", 1, 300, 300).wait(700).stroke("pen", 2);
  paper.move("touch", 1, 305, 280).up(1);
  assert.deepEqual(paper.ink, [3, 3]);
  paper.drawing.go(-1);
  assert.deepEqual(paper.ink, [3], "undo does not bring the palm back");
});

test("a palm that has been lifted just before the pen comes leaves no ink", () => {
  assert.deepEqual(new Paper().down("touch", 1, 300, 300).wait(40).up(1).wait(200).stroke("pen", 2).ink, [3]);
  const before = new Paper().stroke("touch", 1).wait(3000).stroke("pen", 2);
  assert.deepEqual(before.ink, [3, 3], "a finger's stroke of a while ago stays");
});

test("a palm that comes while the pen writes, or between its strokes, draws nothing", () => {
  const paper = new Paper().down("pen", 2, 100, 100).wait(50).down("touch", 1, 300, 300);
  paper.move("pen", 2, 150, 150).move("touch", 1, 290, 290).up(2).wait(300).up(1);
  paper.wait(300).down("touch", 3, 300, 300).wait(100).up(3).wait(100).stroke("pen", 2);
  assert.deepEqual(paper.ink, [2, 3]);
  assert.deepEqual(paper.wait(3000).stroke("touch", 4).ink, [2, 3, 3], "later a finger draws again");
});

test("a pen that hovers over the sheet keeps the palm from drawing", () => {
  const paper = new Paper().move("pen", 2, 100, 100, false).wait(200).down("touch", 1, 300, 300);
  assert.deepEqual(paper.ink, []);
});

test("what the system takes back leaves no ink, and undo and redo are as they were", () => {
  for (const kind of ["touch", "pen", "mouse"]) {
    const paper = new Paper().stroke("mouse", 7).stroke("mouse", 7);
    paper.drawing.go(-1);
    paper.down(kind, 1, 50, 50).wait(20).move(kind, 1, 60, 60).cancel(1);
    assert.deepEqual(paper.ink, [3]);
    assert.ok(paper.drawing.canRedo);
    paper.drawing.go(1);
    assert.deepEqual(paper.ink, [3, 3]);
  }
});

test("a finger draws beside a thumb or a palm that rests on the sheet", () => {
  const paper = new Paper().down("touch", 1, 10, 300).wait(900).move("touch", 1, 12, 302);
  paper.down("touch", 2, 150, 100, false).move("touch", 2, 150, 200).move("touch", 1, 13, 300).up(2).up(1);
  assert.deepEqual(paper.ink, [2]);
});

// ---------------------------------------------------------------- gestures

test("two fingers that land together draw nothing, whatever they do, until both are lifted", () => {
  for (const elsewhere of [false, true]) {
    const paper = new Paper().down("touch", 1, 100, 100).wait(60);
    if (elsewhere) paper.act(paper.pointers.land(2, false, paper.time));
    else paper.down("touch", 2, 200, 200, false);
    paper.wait(30).move("touch", 1, 60, 60).move("touch", 2, 240, 240).up(2);
    paper.wait(500).move("touch", 1, 20, 20).down("touch", 3, 100, 100, false).up(3).up(1);
    assert.deepEqual(paper.ink, []);
    assert.equal(paper.drawing.canUndo, false);
    assert.deepEqual(paper.wait(500).stroke("touch", 4).ink, [3]);
  }
});

test("a finger that lands together with one beside the sheet draws nothing; long after it, it does", () => {
  for (const [wait, ink] of /** @type {[number, number[]][]} */ ([
    [100, []],
    [1000, [2]],
  ])) {
    const paper = new Paper();
    paper.act(paper.pointers.land(1, true, paper.time));
    paper.wait(wait).down("touch", 2, 100, 100, false).move("touch", 2, 150, 150).up(2);
    assert.deepEqual(paper.ink, ink);
  }
});

test("a second finger that comes later draws nothing, and the first goes on", () => {
  const paper = new Paper().down("touch", 1, 100, 100).wait(200).move("touch", 1, 100, 150).wait(200);
  paper.down("touch", 2, 200, 200, false).move("touch", 2, 250, 250).move("touch", 1, 100, 200).up(2).up(1);
  assert.deepEqual(paper.ink, [3]);
});

test("a thumb that scrolls over the sheet draws nothing, and scrolls", () => {
  const out = new Paper().down("touch", 1, 150, 200);
  for (let y = 190; y > -60; y -= 10) out.wait(8).move("touch", 1, 150 + (200 - y) / 6, y);
  assert.deepEqual([out.up(1).ink, out.scrolled > 2, out.drawing.canUndo], [[], true, false]);
  const along = new Paper().down("touch", 1, SIDE - 8, 250);
  for (let y = 250; y > 100; y -= 10) along.wait(8).move("touch", 1, SIDE - 10, y);
  assert.deepEqual([along.up(1).ink, along.scrolled > 2], [[], true]);
});

test("what looks a little like scrolling is drawn: a one, a seven that leaves the sheet, a line across, a mouse", () => {
  const one = new Paper().down("touch", 1, 160, 20);
  for (let y = 20; y < SIDE + 20; y += 20) one.move("touch", 1, 160, y);
  const seven = new Paper().down("touch", 1, 60, 40).move("touch", 1, 250, 40);
  for (let y = 40; y < SIDE + 80; y += 20) seven.move("touch", 1, 250 - y / 4, y);
  const across = new Paper().down("touch", 1, 4, 100).move("touch", 1, 150, 110).move("touch", 1, 350, 115);
  const mouse = new Paper().down("mouse", 1, 160, 200).move("mouse", 1, 160, -100);
  for (const paper of [one, seven, across, mouse]) {
    paper.up(1);
    assert.deepEqual([paper.ink.length, paper.scrolled], [1, 0]);
  }
});

// ---------------------------------------------------------------- what is lost

test("a pointer that was lifted without a word ends its stroke, and the sheet goes on", () => {
  for (const kind of ["mouse", "pen", "touch"]) {
    const paper = new Paper().down(kind, 1, 100, 100).wait(400).move(kind, 1, 150, 150).wait(5000);
    paper.move(kind, 1, 200, 200, false);
    assert.deepEqual([paper.ink, paper.pointers.active], [[2], null]);
    const again = new Paper().down(kind, 1, 100, 100).wait(400).move(kind, 1, 150, 150).wait(5000);
    assert.deepEqual(again.stroke(kind, 1).ink, [2, 3], "it comes down a second time");
  }
});

test("whatever pointers do, there is ink only of what is down, and afterwards a finger draws", () => {
  const random = generator(11);
  const any = (/** @type {string[]} */ some) => some[Math.floor(some.length * random())];
  for (let run = 0; run < 300; run++) {
    const paper = new Paper();
    for (let step = 0; step < 30; step++) {
      const kind = any(["mouse", "pen", "touch", "touch", "touch"]);
      const id = kind === "mouse" ? 1 : kind === "pen" ? 2 : 3 + Math.floor(3 * random());
      const [x, y] = [400 * random() - 40, 400 * random() - 40];
      const what = any(["down", "move", "move", "move", "up", "cancel", "wait"]);
      if (what === "down") paper.down(kind, id, x, y, paper.pointers.fingers.size === 0);
      else if (what === "move") paper.move(kind, id, x, y, random() < 0.9);
      else if (what === "up") paper.up(id);
      else if (what === "cancel") paper.cancel(id);
      else paper.wait(600 * random());
      assert.ok(!paper.drawing.stroke || paper.pointers.active);
      assert.ok(paper.drawing.strokes.flat(2).every((value) => value >= 0 && value <= FIELD));
    }
    for (const id of [1, 2, 3, 4, 5]) paper.up(id);
    const before = paper.ink.length;
    paper.wait(5000).stroke("touch", 6);
    assert.deepEqual(paper.ink.slice(before), [3]);
  }
});

// The network that a reader brings in a file: what is taken, and what is said of what is not.
// Run with: node --test tests/pages/js/guest.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import { forward } from "../../../mnist_course/static/engine.js";
import { MOST_BYTES, readGuest, shownName, weightsOf } from "../../../mnist_course/static/guest.js";
import { ModelError } from "../../../mnist_course/static/weights.js";
import { bytesOf, file, fixture, floatsOf, generator, withPython } from "./helpers.mjs";

test("a file from the command line is taken, and its logits are PyTorch's within 1e-3", withPython, () => {
  assert.equal(fixture.exported.length, 2);
  for (const { name, file, images, logits: said } of fixture.exported) {
    const model = readGuest(bytesOf(file));
    images.forEach((image, index) => {
      const { logits } = forward(model, floatsOf(image));
      const difference = Math.max(...said[index].map((value, k) => Math.abs(value - logits[k])));
      assert.ok(difference < 1e-3, `${name}: ${difference}`);
    });
  }
});

/**
 * A file with one linear layer, which is taken unless something in it is changed.
 *
 * @param {object} [changes] of the layer
 * @param {Float32Array<ArrayBuffer>} [values]
 */
function linear(changes = {}, values = new Float32Array(7850)) {
  const weight = { dtype: "float32", shape: [10, 784], offset: 40 };
  const bias = { dtype: "float32", shape: [10], offset: 0 };
  const layers = [
    { op: "flatten", name: "f" },
    { op: "linear", name: "l", out: 10, weight, bias, ...changes },
  ];
  return file({ version: 1, input: [1, 28, 28], layers }, new Uint8Array(values.buffer));
}

test("the weights of a network are counted", () => {
  assert.equal(weightsOf(readGuest(linear())), 7850);
});

const text = (/** @type {string} */ written) => new TextEncoder().encode(written);
const latin = (/** @type {string} */ written) => Uint8Array.from(written, (letter) => letter.charCodeAt(0));
const filled = (/** @type {number} */ value) => linear({}, new Float32Array(7850).fill(value));
const huge = { dtype: "float32", shape: [10, 65536], offset: 0 };

/** What may be in a file, what is said of it, and what is advised. @type {Record<string, [Uint8Array, RegExp, RegExp]>} */
const HOSTILE = {
  nothing: [new Uint8Array(0), /is empty/, /Choose a \.mnistnet file/],
  "a PNG": [latin("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), /a picture/, /Choose a \.mnistnet/],
  "a JPEG": [latin("\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\x01\0\x60"), /a picture/, /Choose a \.mnistnet/],
  "a photograph of a phone": [latin("\0\0\0\x24ftypheic\0\0\0\0mif1"), /a picture/, /Choose a \.mnistnet/],
  "a PyTorch checkpoint": [
    latin("PK\x03\x04\0\0\x08\x08\0\0\0\0"),
    /PyTorch checkpoint/,
    /mnist_course export/,
  ],
  safetensors: [latin('\x7b\0\0\0\0\0\0\0{"bias":{"dtype"'), /\.safetensors/, /mnist_course export/],
  "an ONNX file": [latin("\x08\x0a\x12\x07pytorch"), /perhaps an ONNX/, /mnist_course export/],
  "saved digits": [text('{"version":1,"digits":[]}'), /is JSON/, /Choose a \.mnistnet/],
  "a list as JSON": [text(" [1, 2]"), /is JSON/, /Choose a \.mnistnet/],
  "a web page": [text("<img src=x onerror=alert(1)>"), /not a network of this course/, /Choose a \.mnistnet/],
  "a film of 5 MB": [new Uint8Array(5 << 20), /larger than 4 MB/, /int8/],
  "our first letters": [text("MNISTNET"), /not one that the course exported/, /Export/],
  "a header that is no JSON": [file("{"), /header cannot be read/, /Export/],
  "a header that is null": [file("null"), /version undefined is not known/, /Export/],
  "a header that is a list": [file("[]"), /version undefined is not known/, /Export/],
  "a header that is a word": [file('"MNISTNET"'), /version undefined is not known/, /Export/],
  "layers that are no list": [
    file({ version: 1, input: [1, 28, 28], layers: { length: 1 } }),
    /incomplete/,
    /Export/,
  ],
  "larger pictures": [file({ version: 1, input: [3, 32, 32], layers: [] }), /shape 3,32,32/, /28 × 28/],
  "nine answers": [linear({ out: 9 }), /tensor of shape 9,784 is missing/, /Export/],
  "no answers": [file({ version: 1, input: [1, 28, 28], layers: [] }), /not in ten logits/, /ten outputs/],
  "a weight of another shape": [linear({ weight: huge }), /tensor of shape 10,784 is missing/, /Export/],
  "a huge layer": [linear({ out: 65536, weight: { ...huge, shape: [65536, 784] } }), /too large/, /Export/],
  "a tensor that is larger than the file": [linear({}, new Float32Array(7849)), /outside the file/, /Export/],
  "weights that are NaN": [filled(NaN), /not a finite number/, /smaller learning rate/],
  "weights that are infinite": [filled(-Infinity), /not a finite number/, /smaller learning rate/],
};

for (const [name, [bytes, reason, advice]] of Object.entries(HOSTILE)) {
  test(`a file is refused with a reason and an advice: ${name}`, () => {
    assert.throws(
      () => readGuest(bytes),
      (error) => error instanceof ModelError && reason.test(error.reason) && advice.test(error.advice),
    );
  });
}

test("a file that is cut short or changed anywhere is refused", () => {
  const whole = linear();
  const random = generator(8);
  for (let n = 0; n < 30; n++) {
    const damaged = whole.slice();
    damaged[8 + Math.floor(random() * (whole.length - 8))] ^= 1 << Math.floor(8 * random());
    for (const each of [damaged, whole.slice(0, 16 + Math.floor(random() * (whole.length - 16)))])
      assert.throws(() => readGuest(each), /damaged or cut short|not one that the course exported/);
  }
});

test("a file of 4 MB is read, and one byte more is not", () => {
  const most = linear({}, new Float32Array(7850 + (MOST_BYTES - linear().length) / 4));
  assert.ok(MOST_BYTES - most.length < 4);
  assert.equal(readGuest(most).layers.length, 2);
  assert.throws(() => readGuest(new Uint8Array(MOST_BYTES + 1)), { reason: "it is larger than 4 MB" });
});

test("what is not seen in a file's name is left out, and a long one is cut", () => {
  assert.equal(shownName("a\u202egnp.tentsinm\n\0.mnistnet"), "agnp.tentsinm.mnistnet");
  assert.equal(shownName("<b>my</b>.mnistnet"), "<b>my</b>.mnistnet"); // it is shown as text
  assert.equal([...shownName("\u{1f600}".repeat(300))].length, 60);
  assert.equal(shownName("\u200b"), "your file");
});

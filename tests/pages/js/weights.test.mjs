// The weights of the pad: what comes from strangers.
// Run with: node --test tests/pages/js/weights.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import { forward } from "../../../mnist_course/static/engine.js";
import { ModelError, parseModel } from "../../../mnist_course/static/weights.js";
import { bytesOf, fails, file, fixture, generator, headOf, withPython } from "./helpers.mjs";

/** @param {any} bytes @param {RegExp} reason */
const refused = (bytes, reason) => fails(() => parseModel(bytes), ModelError, reason);

test("bytes that are not weights are refused", () => {
  refused("text", /not bytes/);
  refused(new Uint8Array(0), /not one that the course exported/);
  refused(new Uint8Array(1000), /not one that the course exported/);
  refused(
    new TextEncoder().encode("<script>alert(1)</script> and more text"),
    /not one that the course exported/,
  );
  refused(new Uint8Array(33 << 20), /too large/);
});

test("weights that were damaged or cut short are refused", withPython, () => {
  const whole = bytesOf(fixture.models[0].file);
  const random = generator(3);
  for (let n = 0; n < 20; n++) {
    const damaged = whole.slice();
    damaged[8 + Math.floor(random() * (whole.length - 8))] ^= 1 << Math.floor(8 * random());
    refused(damaged, /damaged or cut short/);
    refused(whole.slice(0, 17 + Math.floor(random() * (whole.length - 17))), /damaged or cut short/);
  }
});

const network = (/** @type {unknown[]} */ ...layers) => file({ version: 1, input: [1, 28, 28], layers });
const place = (/** @type {number[]} */ ...shape) => ({ dtype: "float32", shape, offset: 0 });
const conv = {
  op: "conv",
  name: "c",
  out: 1,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 1,
  weight: place(1, 1, 3, 3),
  bias: place(1),
};

test("weights that do not fit together are refused with the reason", () => {
  refused(file("{"), /header cannot be read/);
  refused(file("null"), /version undefined is not known/);
  refused(file({ version: 2 }), /version 2 is not known/);
  refused(file({ version: 1, input: [1, 28, 28] }), /header is incomplete/);
  refused(file({ version: 1, input: [1, -28, 28], layers: [] }), /header is incomplete/);
  for (const input of [
    [1, 14, 14],
    [4, 14, 14],
    [28, 28, 1],
    [784, 1, 1],
  ])
    refused(file({ version: 1, input, layers: [] }), /pictures of shape \d+,\d+,\d+, and not 1,28,28/);
  refused(network(), /ends in shape 1,28,28, and not in ten logits/);
  refused(network({ op: "constructor" }), /does not know the layer "constructor"/);
  refused(network({ op: "__proto__" }), /does not know the layer/);
  refused(network(null), /does not know the layer/);
  refused(network(conv), /lies outside the file/);
  refused(network({ ...conv, weight: undefined }), /tensor of shape 1,1,3,3 is missing/);
  for (const dtype of ["int4", "toString", "__proto__", 8, null])
    refused(network({ ...conv, weight: { ...conv.weight, dtype } }), /neither int8, float16 nor float32/);
  refused(network({ ...conv, stride: [0, 1] }), /settings make no sense/);
  refused(network({ ...conv, groups: 2 }), /channels do not fit/);
  refused(network({ ...conv, out: 1e9 }), /channels do not fit/);
  refused(network({ op: "linear", name: "l", out: 10 }), /needs flat input/);
  refused(network({ op: "flatten", name: "f" }, { op: "relu", name: "r" }, conv), /needs feature maps/);
  refused(network({ op: "flatten", name: "f" }, { op: "linear", name: "l", out: 65536 }), /too large/);
  const nan = new Uint8Array(new Float32Array(10).fill(NaN).buffer);
  refused(file({ version: 1, input: [1, 28, 28], layers: [conv] }, nan), /not a finite number/);
});

test("what is no text where one belongs stops nobody", () => {
  for (const odd of [{ toString: 1 }, [{ toString: 1 }], { toString: null, valueOf: 3 }, 7, null, [], true]) {
    refused(file({ version: odd }), /version .* is not known/);
    refused(file({ version: 1, input: odd, layers: [] }), /header is incomplete/);
    refused(network({ op: odd }), /does not know the layer/);
    refused(network({ ...conv, name: odd }), /lies outside the file/);
    refused(network({ ...conv, weight: { ...conv.weight, shape: odd } }), /shape 1,1,3,3 is missing/);
    refused(network({ ...conv, weight: { ...conv.weight, dtype: odd } }), /neither int8/);
    refused(network({ ...conv, weight: { ...conv.weight, offset: odd } }), /outside the file|out of step/);
    refused(network({ ...conv, stride: odd }), /settings make no sense/);
  }
  const header = { version: 1, input: [1, 28, 28], name: { toString: 1 } };
  const layers = [flatten, linear(784, 10)].map((layer) => ({ ...layer, name: { toString: 1 } }));
  const model = parseModel(file({ ...header, layers }, new Uint8Array(2 * 7850)));
  assert.deepEqual([model.name, ...model.layers.map(({ name }) => name)], ["", "", ""]);
});

test("whole numbers are multiplied by the step of their channel, and without steps they are refused", () => {
  const whole = (/** @type {object} */ change) => ({
    op: "linear",
    name: "l",
    out: 10,
    weight: { dtype: "int8", shape: [10, 784], offset: 80, steps: place(10), ...change },
    bias: { ...place(10), offset: 40 },
  });
  const data = new Uint8Array(80 + 7840);
  data.set(new Uint8Array(Float32Array.from({ length: 10 }, (_, k) => 2 ** -k).buffer));
  new Int8Array(data.buffer, 80).forEach((_, k, numbers) => (numbers[k] = (k % 255) - 127));
  const written = (/** @type {object} */ change, numbers = data) =>
    file({ version: 1, input: [1, 28, 28], layers: [{ op: "flatten", name: "f" }, whole(change)] }, numbers);
  const { weight } = headOf(parseModel(written({})));
  assert.deepEqual(
    weight,
    Float32Array.from({ length: 7840 }, (_, k) => ((k % 255) - 127) * 2 ** -Math.floor(k / 784)),
  );
  for (const steps of [undefined, null, 5, { ...place(10), dtype: "int8" }])
    refused(written({ steps }), /steps of whole numbers are missing/);
  refused(written({ steps: place(9) }), /tensor of shape 10 is missing/);
  refused(written({ steps: { ...place(10), offset: 7900 } }), /outside the file/);
  refused(written({}, data.subarray(0, 7900)), /outside the file/);
  refused(written({ offset: 81 }), /outside the file/);
  const wild = data.slice();
  wild.set(new Uint8Array(Float32Array.of(3e38).buffer)); // times 127 there is no such float32
  refused(written({}, wild), /not a finite number/);
});

// ---------------------------------------------------------------- small files that ask for much

/**
 * How many numbers typed arrays are made for while something runs.
 *
 * @param {() => void} act
 */
function allocated(act) {
  let count = 0;
  const kinds = { Float32Array, Float64Array, Int32Array, Uint32Array };
  try {
    for (const [name, Kind] of Object.entries(kinds)) {
      const Counted = class extends /** @type {any} */ (Kind) {
        constructor(/** @type {any[]} */ ...given) {
          super(...given);
          count += this.length;
        }
      };
      Reflect.set(globalThis, name, Counted);
    }
    act();
  } finally {
    Object.assign(globalThis, kinds);
  }
  return count;
}

/**
 * A network, with room for its tensors where they are told to lie.
 *
 * @param {number} bytes
 * @param {unknown[]} layers
 */
const roomy = (bytes, ...layers) => file({ version: 1, input: [1, 28, 28], layers }, new Uint8Array(bytes));

/** @template Value @param {number} times @param {(index: number) => Value} make */
const many = (times, make) => Array.from({ length: times }, (_, index) => make(index));

const flatten = { op: "flatten", name: "f" };

/** @param {number} inputs @param {number} out @param {number} [offset] */
const linear = (inputs, out, offset = 0) => {
  const tensor = (/** @type {number[]} */ ...shape) => ({ dtype: "float16", shape, offset });
  return { op: "linear", name: "l", out, weight: tensor(out, inputs), bias: tensor(out) };
};

/** A convolution that makes maps of n × n out of 28 × 28. @param {number} out @param {number} n */
const enlarging = (out, n) => ({
  ...conv,
  out,
  kernel: [1, 1],
  padding: [(n - 28) / 2, (n - 28) / 2],
  weight: place(out, 1, 1, 1),
  bias: place(out),
});

/** @param {number} channels @param {number} k */
const square = (channels, k) => ({
  ...conv,
  out: channels,
  kernel: [k, k],
  padding: [(k - 1) / 2, (k - 1) / 2],
  weight: place(channels, channels, k, k),
  bias: place(channels),
});

const BOMBS = {
  "200 linear layers on one tensor": [
    2 << 22,
    flatten,
    linear(784, 2048),
    ...many(200, () => linear(2048, 2048)),
  ],
  "200 rectifiers on large maps": [64, enlarging(1, 1000), ...many(200, () => ({ op: "relu", name: "r" }))],
  "60 GELUs on large maps": [64, enlarging(1, 1000), ...many(60, () => ({ op: "gelu", name: "g" }))],
  "means over 160,000 numbers, 360,000 times": [
    64,
    enlarging(1, 1000),
    { op: "avgpool", name: "p", kernel: [400, 400], stride: [1, 1], padding: [0, 0] },
  ],
  "40 convolutions, each with windows of its own": [
    4096,
    enlarging(16, 500),
    ...many(40, () => square(16, 1)),
  ],
  "20 convolutions of 33 × 33": [64 * 64 * 33 * 33 * 4, enlarging(64, 28), ...many(20, () => square(64, 33))],
  "a header of ten megabytes": [0, { op: "relu", name: "x".repeat(10 << 20) }],
};

for (const [name, [bytes, ...layers]] of Object.entries(BOMBS)) {
  test(`a small file that asks for much is refused before anything is made for it: ${name}`, () => {
    const bomb = roomy(/** @type {number} */ (bytes), ...layers);
    const made = allocated(() => refused(bomb, /too (much|large)|larger than the file/));
    assert.ok(made < 1000, `${made} numbers`);
  });
}

test("large networks that a learner may well build are taken", () => {
  const wide = [
    [784, 2048],
    [2048, 1024],
    [1024, 10],
  ];
  let end = 0;
  const layers = wide.map(([inputs, out]) => {
    const layer = linear(inputs, out, end);
    layer.bias.offset += 2 * inputs * out;
    end += 2 * (inputs + 1) * out;
    return layer;
  });
  assert.equal(parseModel(roomy(end, flatten, ...layers)).layers.length, 4);

  end = 0;
  const deep = [
    [1, 64],
    [64, 64],
    [64, 128],
    [128, 128],
    [128, 256],
  ].flatMap(([inputs, out], index) => {
    const layer = { ...conv, out, weight: { ...place(out, inputs, 3, 3), offset: end }, bias: place(out) };
    end += 4 * out * (inputs * 9 + 1);
    const pool = { op: "maxpool", name: "p", kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    return [layer, { op: "relu", name: "r" }, ...(index % 2 ? [pool] : [])];
  });
  const head = linear(256, 10, 0);
  const model = parseModel(
    roomy(end + 4 * 257 * 10, ...deep, { op: "globalavgpool", name: "g" }, flatten, head),
  );
  assert.equal(forward(model, new Float32Array(784)).logits.length, 10);
});

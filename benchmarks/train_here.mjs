// Where the time of a step goes, layer by layer, and how far the products are from what a tile can do
// at best. Called by train_here.py, which gives the address of the modules.
//
// Seconds are those of the processor, not of the clock, so that other programs disturb them little.

const modules = process.argv[2];
const { Network } = await import(`${modules}/network.js`);
const { START, planOf } = await import(`${modules}/training-settings.js`);
const { Room } = await import(`${modules}/products.js`);
const { Conv } = await import(`${modules}/trainable.js`);

const BATCH = 128;
const ROUNDS = 40;

/** Seconds of the processor that a call takes, the mean of many. @param {() => void} act */
function seconds(act) {
  for (let i = 0; i < 5; i++) act();
  const begun = process.cpuUsage();
  for (let i = 0; i < ROUNDS; i++) act();
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1e6 / ROUNDS;
}

/** Multiplications and additions a second of a tile whose numbers all lie in the nearest cache. */
function peak() {
  const room = new Room(1 << 20);
  const { tile } = room.products;
  const [w, x, y, table] = [room.floats(8 * 256), room.floats(4 * 256), room.floats(64), room.integers(8)];
  table.set([0, 1024, 2048, 3072, 0, 32, 64, 96]);
  const [from, to] = [table.byteOffset, table.byteOffset + 16];
  const calls = 5000;
  const taken = seconds(() => {
    for (let i = 0; i < calls; i++) tile(w.byteOffset, from, x.byteOffset, to, y.byteOffset, 1, 1024, 0);
  });
  return (2 * 4 * 8 * 256 * calls) / taken;
}

let state = 1;
const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
const network = new Network(planOf(START), { capacity: BATCH, random });
network.initialize();
for (let i = 0; i < network.input.length; i++) network.input[i] = random();
const labels = Uint8Array.from({ length: BATCH }, () => Math.floor(10 * random()));
network.forward(BATCH, true);
network.backward(labels, 0.2);

const layers = [];
let x = network.input;
for (const layer of network.layers) {
  const input = x;
  const forward = seconds(() => layer.forward(input, BATCH, true));
  x = layer.forward(input, BATCH, true);
  const slope = network.room.floats(x.length).fill(1e-3);
  const backward = seconds(() => layer.backward(slope));
  const row = { layer: layer.name ?? layer.constructor.name, forward, backward };
  if (layer instanceof Conv) {
    const operations = 2 * BATCH * layer.size ** 2 * layer.length * layer.width;
    Object.assign(row, {
      forward_gflops: operations / forward / 1e9,
      backward_gflops: ((layer.dx ? 2 : 1) * operations) / backward / 1e9,
    });
  }
  layers.push(row);
}
console.log(JSON.stringify({ way: network.room.products.way, peak_gflops: peak() / 1e9, layers }));

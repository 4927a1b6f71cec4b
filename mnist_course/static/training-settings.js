// What can be set of a training, its ten patients, and how both stand in an address.

import { clamp } from "./numbers.js";

/** @import { LayerPlan, Settings } from "./types" */

/** The recipe "sprint" of the package; `digits` and `steps` are cut to what there is. @type {Settings} */
export const START = {
  network: "fast",
  channels: 24,
  norm: true,
  activation: "gelu",
  dropout: 0,
  optimizer: "adam",
  rate: 0.02,
  momentum: 0.7,
  schedule: "triangular",
  batch: 128,
  smoothing: 0.2,
  digits: 60000,
  steps: 192,
  seed: 1,
  pace: "watch",
  patient: 0,
};

/** The same, smaller: what a phone begins with. @type {Settings} */
export const SMALL = { ...START, channels: 16, batch: 64 };

/** The healthy network of the clinic (book/17-diagnosis.md). @type {Partial<Settings>} */
const CLINIC = {
  network: "clinic",
  channels: 8,
  norm: false,
  activation: "relu",
  optimizer: "sgd",
  rate: 0.03,
  momentum: 0.9,
  schedule: "constant",
  batch: 50,
  smoothing: 0,
  digits: 2500,
  steps: 100,
};

/** Words that a setting may be. @type {Record<string, string[]>} */
export const CHOICES = {
  network: ["fast", "clinic"],
  activation: ["gelu", "relu", "leaky relu", "tanh", "sigmoid", "none"],
  optimizer: ["sgd", "nesterov", "adam"],
  schedule: ["triangular", "constant"],
  pace: ["slow", "watch", "full"],
};

/** From where to where a number may be. @type {Record<string, [low: number, high: number, whole: boolean]>} */
export const RANGES = {
  channels: [8, 32, true],
  dropout: [0, 0.9, false],
  rate: [1e-6, 100, false],
  momentum: [0, 1, false],
  batch: [2, 256, true],
  smoothing: [0, 0.9, false],
  digits: [20, 60000, true],
  steps: [1, 5000, true],
  seed: [1, 999999, true],
  patient: [0, 10, true],
};

/** Changes of these begin with new weights; all others can be made while it trains. */
export const STRUCTURE = /** @type {const} */ (["network", "channels", "norm", "seed", "patient"]);

/**
 * The patients of chapter 17: what they complain of, what is wrong, and how they are trained.
 *
 * @type {{name: string, complaint: string, diagnosis: string, settings: Partial<Settings>, cure: Partial<Settings>}[]}
 */
export const PATIENTS = [
  {
    name: "The flat line",
    complaint: "It runs without any error, but the loss does not fall.",
    diagnosis:
      "The optimiser holds the parameters of another network, so these never move. Make the optimiser after the network.",
    settings: {},
    cure: {},
  },
  {
    name: "The student who guesses",
    complaint: "The weights change, and the accuracy is little better than guessing.",
    diagnosis: "Images and labels were shuffled apart. Shuffle both with one permutation.",
    settings: {},
    cure: {},
  },
  {
    name: "Died young",
    complaint: "In the first steps something happens. Then it stays at 2.30.",
    diagnosis:
      "The learning rate is far too high and has killed the ReLUs. Begin again with a thirtieth of the rate.",
    settings: { rate: 1 },
    cure: { rate: 0.03 },
  },
  {
    name: "Not a number",
    complaint: "nan, from the first step, at whatever rate.",
    diagnosis:
      "Each pixel was divided by its own standard deviation, which is zero where no digit has ink. Use one mean and one standard deviation for all pixels.",
    settings: { rate: 1e-6 },
    cure: { rate: 0.03 },
  },
  {
    name: "The floor",
    complaint: "It learns, but the loss does not go below 1.46.",
    diagnosis: "Softmax twice: the network ends with one, and the loss has its own. End with logits.",
    settings: { optimizer: "adam", rate: 0.003 },
    cure: {},
  },
  {
    name: "It was going so well",
    complaint: "The loss fell beautifully. Then it came back.",
    diagnosis:
      "The gradients are never cleared, so every step adds up all before it. Clear them in each step.",
    settings: { rate: 0.05, momentum: 0 },
    cure: {},
  },
  {
    name: "A good beginner",
    complaint: "It learns, only badly.",
    diagnosis:
      "The convolutions sit in a Python list, so the optimiser never sees them and only the last layer learns. Use nn.ModuleList.",
    settings: {},
    cure: {},
  },
  {
    name: "One hand does not know",
    complaint: "The loss falls as it should. The accuracy stays at 10 %.",
    diagnosis:
      "The network is healthy and the accuracy is wrong: labels of shape (N, 1) are compared with answers of shape (N,), each with each. Take labels of shape (N,).",
    settings: {},
    cure: {},
  },
  {
    name: "It answers differently each time",
    complaint: "The accuracy is lower than it should be, and differs whenever I measure.",
    diagnosis:
      "It is measured in training mode: dropout drops, and batch norm follows the batch. Call eval().",
    settings: { norm: true, dropout: 0.6 },
    cure: {},
  },
  {
    name: "The pride of the class",
    complaint: "It learns the training digits perfectly well. On the others it is worse than my cat.",
    diagnosis: "Rows and columns of the held-out digits are exchanged. Exchange them back.",
    settings: {},
    cure: {},
  },
];

/** All settings of a patient; of 0 the healthy network of the clinic. @param {number} number @returns {Settings} */
export function patientSettings(number) {
  const own = number ? PATIENTS[number - 1].settings : {};
  return { ...START, ...CLINIC, ...own, patient: number };
}

/**
 * A setting as it is allowed, or undefined.
 *
 * @param {string} name
 * @param {unknown} value
 */
export function checked(name, value) {
  if (Object.hasOwn(CHOICES, name)) return CHOICES[name].includes(String(value)) ? String(value) : undefined;
  if (name === "norm") return value === true || value === "true" || value === "1";
  if (!Object.hasOwn(RANGES, name) || value === "" || value === null) return undefined;
  const [low, high, whole] = RANGES[name];
  const number = Number(value);
  if (!Number.isFinite(number)) return undefined;
  const inside = clamp(whole ? Math.round(number) : number, low, high);
  return name === "channels" ? 8 * Math.max(1, Math.round(inside / 8)) : inside;
}

/**
 * The settings that an address names; a patient, or the clinic, brings its own.
 *
 * @param {string} hash "#train-here?rate=0.5&optimizer=sgd"
 * @returns {Settings | null} null where it speaks of something else
 */
export function readAddress(hash) {
  if (!/^#train-here(\?|$)/.test(hash)) return null;
  const given = new URLSearchParams(hash.slice(hash.indexOf("?") + 1));
  const patient = Number(checked("patient", given.get("patient")) ?? 0);
  const clinic = patient > 0 || given.get("network") === "clinic";
  const settings = clinic ? patientSettings(patient) : { ...START };
  for (const name of Object.keys(START)) {
    const value = given.has(name) ? checked(name, given.get(name)) : undefined;
    if (value !== undefined) Object.assign(settings, { [name]: value });
  }
  return settings;
}

/** The shortest address for settings. @param {Settings} settings @param {string} [against] of a race */
export function writeAddress(settings, against = "") {
  const usual = settings.network === "clinic" ? patientSettings(settings.patient) : START;
  const parts = new URLSearchParams();
  if (settings.patient) parts.set("patient", String(settings.patient));
  else if (settings.network === "clinic") parts.set("network", "clinic");
  for (const [name, value] of Object.entries(settings)) {
    if (value !== Reflect.get(usual, name) && !parts.has(name)) parts.set(name, String(value));
  }
  if (against) parts.set("against", against);
  return `#train-here${parts.size ? "?" : ""}${parts}`;
}

/** The layers that settings mean. @param {Settings} settings @returns {LayerPlan[]} */
export function planOf({ network, channels, norm, activation, dropout, patient }) {
  const fast = network === "fast";
  const outputs = fast ? [channels, 2 * channels, 4 * channels] : [channels, 2 * channels];
  const kernels = fast ? [6, 3, 3] : [5, 5];
  const strides = fast ? [2, 1, 1] : [2, 2];
  /** @type {LayerPlan[]} */
  const plan = outputs.flatMap((count, index) => {
    const number = index + 1;
    /** @type {LayerPlan[]} */
    const block = [
      {
        op: "conv",
        name: `conv${number}`,
        outputs: count,
        kernel: kernels[index],
        stride: strides[index],
        bias: !norm,
      },
    ];
    if (fast && index !== 1) block.push({ op: "maxpool" });
    // The clinic's norms are PyTorch's, those of the fast network the package's.
    if (norm) block.push({ op: "norm", name: `norm${number}`, momentum: fast ? 0.3 : 0.1, scale: !fast });
    block.push({ op: "activation", name: `activation${number}`, kind: activation });
    return block;
  });
  plan.push({ op: "dropout", share: dropout });
  plan.push({ op: "linear", name: "linear", outputs: 10, bias: !fast, ...(fast ? { std: 0.02 } : {}) });
  if (patient === 5) plan.push({ op: "softmax" });
  return plan;
}

// The types that the modules share, for `python -m tools.javascript`. Nothing here runs.

// ---------------------------------------------------------------- drawings

/** x to the right and y downwards, in any unit. */
export type Point = [x: number, y: number];
export type Stroke = Point[];

/** A drawn digit, as samples.py has it. */
export interface Sample {
  label: number;
  strokes: Stroke[];
  /** When it was saved, in milliseconds since 1970. */
  time: number;
}

// ---------------------------------------------------------------- networks

/** [channels, rows, columns] of feature maps, or [numbers]. */
export type Shape = number[];
/** A setting for rows and for columns. */
export type Pair = [number, number];

interface Named {
  name: string;
  input: Shape;
  output: Shape;
}

export interface NormalizeLayer extends Named {
  op: "normalize";
  mean: number;
  std: number;
}

export interface AffineLayer extends Named {
  op: "affine";
  scale: Float32Array;
  shift: Float32Array;
}

export interface ConvLayer extends Named {
  op: "conv";
  kernel: Pair;
  stride: Pair;
  padding: Pair;
  dilation: Pair;
  groups: number;
  /** [output channels, input channels of a group, rows, columns] */
  weight: Float32Array;
  bias: Float32Array;
  plan: Plan;
}

export interface PoolLayer extends Named {
  op: "maxpool" | "avgpool";
  kernel: Pair;
  stride: Pair;
  padding: Pair;
}

export interface LinearLayer extends Named {
  op: "linear";
  /** [outputs, inputs] */
  weight: Float32Array;
  bias: Float32Array;
}

export interface GeluLayer extends Named {
  op: "gelu";
  /** Whether it is the approximation by tanh. */
  tanh: boolean;
}

export interface PlainLayer extends Named {
  op: "relu" | "globalavgpool" | "flatten";
}

export type Layer =
  NormalizeLayer | AffineLayer | ConvLayer | PoolLayer | LinearLayer | GeluLayer | PlainLayer;

/** A network, as parseModel reads it. */
export interface Model {
  name: string;
  input: Shape;
  layers: Layer[];
}

/** Where a convolution finds its numbers, in memory that all convolutions of a network share. */
export interface Plan extends Tiles {
  /** Values of a window: input channels of a group × rows × columns. */
  length: number;
  /** How many tiles there are, in windows and in output channels of a group. */
  quads: number;
  octets: number;
  /** Where its kernels, the windows and the sums begin. */
  kernels: number;
  windows: number;
  sums: number;
  /** For each value of each window its index in the input, or -1 for the padding. */
  sources: Int32Array;
}

export interface Tiles {
  memory: Float32Array;
  tile: (w: number, x: number, y: number, end: number) => void;
}

/** Memory, and what computes in it (see products.js). */
export interface Products {
  /** Who computes: WebAssembly that may round a product and a sum together, that does not, or JavaScript. */
  way: "fused" | "simd" | "plain";
  buffer: ArrayBufferLike;
  tile: (
    w: number,
    xs: number,
    x: number,
    ys: number,
    y: number,
    rows: number,
    length: number,
    skip: number,
  ) => void;
  outer: (
    xs: number,
    end: number,
    a: number,
    b: number,
    c: number,
    d: number,
    dy: number,
    pitch: number,
    g: number,
    step: number,
  ) => void;
  sums: (a: number, b: number, end: number, pitch: number, out: number) => void;
  blend: (a: number, b: number, y: number, end: number, pitch: number, factors: number) => void;
  largest: (x: number, right: number, down: number, across: number, y: number, end: number) => void;
  spread: (
    x: number,
    right: number,
    down: number,
    across: number,
    y: number,
    dy: number,
    dx: number,
    end: number,
  ) => void;
}

/** Weights that are learned, and the gradient of the loss by them. */
export interface Parameter {
  /** As PyTorch names it: "conv1.weight". */
  name: string;
  value: Float32Array;
  gradient: Float32Array;
}

export interface OptimizerSettings {
  optimizer: "sgd" | "nesterov" | "adam";
  rate: number;
  /** Of SGD, and the first beta of Adam. */
  momentum: number;
  /** Of Adam, for the square of the gradient. */
  beta2: number;
  /** Of the weights. */
  decay: number;
}

/** A layer of a network that learns, before it is built. */
export type LayerPlan =
  | { op: "conv"; name: string; outputs: number; kernel: number; stride: number; bias: boolean }
  /** `std`: its first weights are normal. */
  | { op: "linear"; name: string; outputs: number; bias: boolean; std?: number }
  | { op: "norm"; name: string; momentum: number; scale: boolean }
  | { op: "activation"; name: string; kind: string }
  | { op: "dropout"; share: number }
  | { op: "maxpool" | "softmax" };

/** All that can be set of a training. */
export interface Settings {
  network: "fast" | "clinic";
  /** Of the first convolution; each further one has twice as many. */
  channels: number;
  norm: boolean;
  activation: string;
  dropout: number;
  optimizer: "sgd" | "nesterov" | "adam";
  rate: number;
  momentum: number;
  schedule: "triangular" | "constant";
  batch: number;
  smoothing: number;
  /** To learn from. */
  digits: number;
  steps: number;
  seed: number;
  pace: "slow" | "watch" | "full";
  /** Of the clinic; 0 is none of them. */
  patient: number;
}

/** Digits: the first `training` are to learn from, the others are held out. */
export interface DigitSet {
  pixels: Uint8Array;
  labels: Uint8Array;
  training: number;
  source: string;
}

/** Accuracies after a step; `whole` with all digits that are held out. */
export interface Score {
  step: number;
  training: number;
  unseen: number;
  whole: boolean;
}

/** What a layer with weights is doing. */
export interface LayerReport {
  name: string;
  weights: number;
  /** Euclid's length of its gradient. */
  gradient: number;
  /** By what share of themselves its weights changed in the last step. */
  ratio: number;
  /** The share of zeros behind it; null behind the last. */
  zeros: number | null;
}

/** What was told of a training so far. */
export interface Track {
  losses: number[];
  scores: Score[];
  latest: Frame | null;
}

/** What can be seen of a training at a time. */
export interface Frame {
  steps: number;
  goal: number;
  rate: number;
  losses: number[];
  scores: Score[];
  layers: LayerReport[];
  /** Of the first layer, in PyTorch's order. */
  kernels: Float32Array;
  gradients: Float32Array;
  kernel: number;
  /** Of one digit, behind the first two activations: (size, size, channels). */
  maps: { size: number; channels: number; values: Float32Array }[];
  digit: Uint8Array;
  probabilities: number[];
  finished: boolean;
}

/** What a training is told. */
export type Order =
  | { type: "start"; bytes: Uint8Array; source: string; settings: Settings }
  | { type: "change" | "reset"; settings: Settings }
  | { type: "run" | "pause" | "step" | "save" }
  | { type: "read"; image: Float32Array };

/** What a training says. */
export type Report =
  | { type: "ready"; source: string; training: number; heldOut: number; way: string; worker: boolean }
  | { type: "frame"; frame: Frame; speed: number; running: boolean; fresh: boolean }
  | { type: "answer"; probabilities: number[] }
  | { type: "file"; bytes: Uint8Array }
  | { type: "refused"; reason: string }
  | { type: "failed"; reason: string };

/** What a layer made of a picture. */
export interface Activation {
  name: string;
  op: string;
  shape: Shape;
  data: Float32Array;
}

/** [channel, row, column] in feature maps. */
export type Place = [channel: number, row: number, column: number];

/** The part of each map that a number is computed from. */
export interface Window {
  top: number;
  left: number;
  rows: number;
  columns: number;
  /** From one value to the next. */
  stepRow: number;
  stepColumn: number;
}

/** What one map has to do with a number. */
export interface Part {
  channel: number;
  /** The values in the window, row by row. */
  values: number[];
  /** What they are multiplied with, if they are. */
  weights: number[] | null;
  /** The sum of the products. */
  sum: number;
}

/** The arithmetic behind one number. */
export interface Sum {
  window: Window;
  parts: Part[];
  /** What is added at the end, if something is. */
  bias: number | null;
  total: number;
}

/** What a network says about a drawing, and who computed it. */
export interface Answer {
  probs: ArrayLike<number>;
  activations?: Activation[];
  source: "page" | "kernel";
  ms: number;
  /** By how much the kernel's probabilities differ from the page's; null if only one has read. */
  agreed: number | null;
}

// ---------------------------------------------------------------- the parts of the pad

/** Colours for numbers, as 32 bits: from the negative to the positive, from the paper to the ink. */
export interface Palettes {
  signed: Uint32Array;
  ink: Uint32Array;
}

/** How the maps of a layer are laid out on a canvas. */
export interface Plot {
  columns: number;
  rows: number;
  /** CSS pixels of a number. */
  zoom: number;
  /** Numbers left blank between two maps. */
  gap: number;
  H: number;
  W: number;
}

/** Where saved digits are kept. */
export interface Shelf {
  /** In words: "in this browser". */
  readonly place: string;
  /** Whether something was changed and is not kept there yet, as while a kernel is busy. */
  readonly waiting: boolean;
  /** What was saved and cannot be read. */
  aside: unknown[];
  /** Whether a newer edition has saved the digits, so that this one leaves them alone. */
  newer: boolean;
  forgetAside(): void;
  get(): Sample[];
  /**
   * Change the digits as they are now, wherever they were changed last. Returns whether they are
   * stored; what the change throws is thrown, and then nothing has changed.
   */
  change(edit: (digits: Sample[]) => Sample[]): boolean;
  /**
   * Call a function whenever the digits have changed, and another when it is known where they are
   * kept. Returns a function that stops it.
   */
  watch(changed: () => void, settled?: () => void): () => void;
}

/** What a kernel is asked: to read drawing number `number`. */
export interface Question {
  number: number;
  image: Float32Array;
  /** Whether the activations are wanted, too. */
  layers: boolean;
}

export type KernelAnswer = { number: number } & (
  { error: string } | { error?: undefined; probs: Float32Array; activations?: Activation[]; ms: number }
);

// ---------------------------------------------------------------- figures

/** Kernel size, stride, padding and dilation. */
export interface Windows {
  k: number;
  s: number;
  p: number;
  d: number;
}

/** Windows in a row of n pixels. */
export interface Row extends Windows {
  n: number;
}

/** A layer of the receptive field. */
export interface StackLayer extends Windows {
  kind: "conv" | "pool";
}

/** What a unit of a level sees: receptive field, jump, and the first pixel of unit 0. */
export interface Field {
  r: number;
  j: number;
  start: number;
}

/** Attributes of an element; false, null and undefined stand for none. */
export type Attributes = Record<string, string | number | boolean | null | undefined>;

/** A figure that stands in a page. */
export interface Mounted {
  destroy(): void;
}

/** The side of a widget that JavaScript sees (anywidget). */
export interface WidgetModel {
  get(name: string): any;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown, callbacks?: undefined, buffers?: ArrayBufferLike[]): void;
  on(event: string, react: (...given: any[]) => void): void;
  off(event: string, react: (...given: any[]) => void): void;
}

declare global {
  /** The weights beside a page, as base64 (tools/page_weights.py). */
  var MNIST_COURSE_WEIGHTS: string | undefined;
  /** Digits in other hands, to try a taught network on. */
  var MNIST_COURSE_TRIAL: Sample[] | undefined;
  /** In a bundle: the code of each module, by name, in the order in which they need each other. */
  var scopes: Record<string, () => unknown> | undefined;
  /** Digits to train with (tools/page_digits.py); `data` is base64. */
  var MNIST_COURSE_DIGITS: { source: string; notice: string; data: string } | undefined;
}

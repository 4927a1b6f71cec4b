// A list of layers to edit: kind, kernel size, stride, padding and dilation of each.

import { button, h, numberOf, select, set } from "./dom.js";
import { CONV, NAMES, POOL } from "./stacks.js";

/** @import { StackLayer, Windows } from "./types" */

const MOST_LAYERS = 8;
/** @type {[name: keyof Windows, label: string, min: number, max: number][]} */
const FIELDS = [
  ["k", "kernel size", 1, 9],
  ["s", "stride", 1, 4],
  ["p", "padding", 0, 8],
  ["d", "dilation", 1, 8],
];

/** The names over the fields, long and short. */
function heading() {
  const names = FIELDS.map(([short, long]) =>
    h("span", {}, h("span", { class: "rf-long" }, long), h("span", { class: "rf-short" }, short)),
  );
  return h("li", { class: "rf-names", "aria-hidden": "true" }, h("span"), h("span"), ...names);
}

export class StackEditor {
  list = h("ol", { class: "rf-layers", "aria-label": "Layers, from the input on" });
  /** @type {StackLayer[]} */
  layers = [];

  /** @param {(added: boolean) => void} edited called after each change; whether a layer was added */
  constructor(edited) {
    this.edited = edited;
    this.adders = [
      button("Add convolution", () => this.add(CONV)),
      button("Add pooling", () => this.add(POOL)),
    ];
    this.element = h("div", {}, this.list, h("div", { class: "cl-row" }, ...this.adders));
  }

  /**
   * Show layers, which are changed where they are.
   *
   * @param {StackLayer[]} layers
   */
  show(layers) {
    this.layers = layers;
    this.list.replaceChildren(heading(), ...layers.map((layer, index) => this.item(layer, index)));
    for (const adder of this.adders) set(adder, { disabled: layers.length >= MOST_LAYERS });
  }

  /** @param {StackLayer} layer */
  add(layer) {
    this.layers.push({ ...layer });
    this.show(this.layers);
    this.edited(true);
  }

  /** @param {number} index */
  remove(index) {
    this.layers.splice(index, 1);
    this.show(this.layers);
    this.edited(false);
    this.list.querySelectorAll("button")[Math.min(index, this.layers.length - 1)].focus();
  }

  /**
   * @param {StackLayer} layer
   * @param {number} index
   */
  item(layer, index) {
    const name = `Layer ${index + 1}`;
    const kind = select(Object.keys(NAMES), { "aria-label": `${name}, kind` });
    kind.value = layer.kind;
    kind.addEventListener("change", () => {
      layer.kind = kind.value === "conv" ? "conv" : "pool";
      this.edited(false);
    });
    const remove = button("×", () => this.remove(index), {
      "aria-label": `Remove layer ${index + 1}`,
      disabled: this.layers.length === 1,
    });
    const fields = FIELDS.map((field) => this.field(layer, name, field));
    return h("li", {}, h("span", {}, String(index + 1)), kind, ...fields, remove);
  }

  /**
   * @param {StackLayer} layer
   * @param {string} layerName
   * @param {(typeof FIELDS)[number]} field
   */
  field(layer, layerName, [name, label, min, max]) {
    const input = h("input", {
      type: "number",
      min,
      max,
      step: 1,
      value: layer[name],
      "aria-label": `${layerName}, ${label}`,
    });
    input.addEventListener("input", () => {
      const value = numberOf(input);
      if (value === null) return;
      layer[name] = value;
      this.edited(false);
    });
    return input;
  }
}

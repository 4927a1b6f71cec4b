// From logits to probabilities, to the loss, and back to the slopes of the logits.

/**
 * The probabilities of logits that are divided by a temperature.
 *
 * @param {number[]} logits
 * @param {number} temperature
 */
export function softmax(logits, temperature) {
  const largest = Math.max(...logits);
  const powers = logits.map((z) => Math.exp((z - largest) / temperature));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/**
 * -log p of the right class, for logits of any size.
 *
 * @param {number[]} logits
 * @param {number} temperature
 * @param {number} label
 */
export function crossEntropy(logits, temperature, label) {
  const largest = Math.max(...logits);
  const sum = logits.reduce((total, z) => total + Math.exp((z - largest) / temperature), 0);
  return Math.log(sum) - (logits[label] - largest) / temperature;
}

/**
 * The slope of the loss with respect to each logit: (p - y) / T.
 *
 * @param {number[]} logits
 * @param {number} temperature
 * @param {number} label
 */
export function slopes(logits, temperature, label) {
  return softmax(logits, temperature).map((p, digit) => (p - Number(digit === label)) / temperature);
}

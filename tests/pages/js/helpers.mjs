// What the tests of the pad and of the figures share.

/**
 * Random numbers in [0, 1) that are the same in every run.
 *
 * @param {number} seed
 */
export function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/**
 * What a generator returns.
 *
 * @template Result
 * @param {Generator<unknown, Result>} work
 */
export function finished(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/**
 * The last of some values, of which there is one at least.
 *
 * @template Value
 * @param {Value[]} values
 */
export const lastOf = (values) => values[values.length - 1];

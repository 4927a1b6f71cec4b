// Long work in slices, so that the page stays alive.

const SLICE = 12; // milliseconds

/**
 * Run a generator to its end, some milliseconds at a time.
 *
 * @template Step, Result
 * @param {Generator<Step, Result>} work
 * @param {(last: Step) => void} [report] called after each slice with what was yielded last
 * @returns {{result: Promise<Result | undefined>, stop: () => void}} what the generator returns, or
 *   undefined if it was stopped
 */
export function unhurried(work, report = () => {}) {
  let stopped = false;
  const result = new Promise((resolve, reject) => {
    function slice() {
      if (stopped) return resolve(undefined);
      const end = performance.now() + SLICE;
      try {
        let step = work.next();
        while (!step.done && performance.now() < end) step = work.next();
        if (step.done) return resolve(step.value);
        report(step.value);
        setTimeout(slice);
      } catch (error) {
        reject(error);
      }
    }
    setTimeout(slice);
  });
  return {
    result,
    stop: () => {
      stopped = true;
    },
  };
}

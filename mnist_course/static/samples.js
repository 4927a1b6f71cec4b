// Digits that a reader drew and labelled: checked, kept in the browser, written to a file.
//
// A digit is {label, strokes, time}: the strokes, not a picture, so that it can be prepared again.
// Whatever comes from a file or from storage is a stranger's until checkDigits has copied it.

export const VERSION = 1;
export const LIMITS = { bytes: 4 << 20, digits: 2000, strokes: 50, points: 2000, coordinate: 1e6 };

/** Why digits were refused, in a sentence for the reader. */
export class DigitsError extends Error {}

const check = (condition, reason) => {
  if (!condition) throw new DigitsError(reason);
};

const isList = (value, most) => Array.isArray(value) && value.length > 0 && value.length <= most;
const isCoordinate = (value) => typeof value === "number" && Math.abs(value) <= LIMITS.coordinate;

/** A copy of a digit that holds nothing but what a digit holds.
 *  @throws {DigitsError} if it is not one */
export function checkDigit(digit, name = "this digit") {
  check(typeof digit === "object" && digit !== null, `${name} is not an object`);
  const { label, strokes, time = 0 } = digit;
  check(Number.isInteger(label) && label >= 0 && label <= 9, `the label of ${name} is not a whole number from 0 to 9`);
  check(isList(strokes, LIMITS.strokes), `${name} does not have 1 to ${LIMITS.strokes} strokes`);
  check(Number.isSafeInteger(time) && time >= 0, `the time of ${name} is not in milliseconds`);
  const copy = strokes.map((stroke) => {
    check(isList(stroke, LIMITS.points), `a stroke of ${name} does not have 1 to ${LIMITS.points} points`);
    return stroke.map((point) => {
      check(isList(point, 2) && point.length === 2 && point.every(isCoordinate), `a point of ${name} is not a pair of numbers`);
      return [point[0], point[1]];
    });
  });
  return { label, strokes: copy, time };
}

/** Copies of a list of digits. @throws {DigitsError} if one of them is not a digit, or too many */
export function checkDigits(digits) {
  check(Array.isArray(digits), "there is no list of digits in it");
  check(digits.length <= LIMITS.digits, `it holds more than ${LIMITS.digits} digits`);
  return digits.map((digit, index) => checkDigit(digit, `digit ${index + 1}`));
}

/** The digits in the text of a `my-digits.json`. @throws {DigitsError} that says why not */
export function readDigits(text, mostBytes = LIMITS.bytes) {
  check(text.length <= mostBytes, `it is larger than ${LIMITS.bytes >> 20} MB`);
  let content;
  try {
    content = JSON.parse(text);
  } catch {
    check(false, "it is not JSON");
  }
  check(content?.version === VERSION, "it is not a file of digits from this course");
  return checkDigits(content.digits);
}

// A digit is never changed: each is written out once, and not all two thousand for every new one.
const texts = new WeakMap();

/** The text of one digit: the same for two that are the same. */
function textOf(digit) {
  const { label, strokes, time } = digit;
  if (!texts.has(digit)) texts.set(digit, JSON.stringify({ label, strokes, time }));
  return texts.get(digit);
}

/** The text of a `my-digits.json`. */
export function writeDigits(digits) {
  return `{"version":${VERSION},"digits":[${digits.map(textOf).join()}]}`;
}

/** `digits`, and those of `others` that are not among them. @throws {DigitsError} if together they
 *  are too many, or too large to be read again */
export function merged(digits, others) {
  const known = new Set(digits.map(textOf));
  const all = [...digits, ...checkDigits(others).filter((digit) => !known.has(textOf(digit)) && known.add(textOf(digit)))];
  check(all.length <= LIMITS.digits, `all together would be more than ${LIMITS.digits} digits; delete some first`);
  check(writeDigits(all).length <= LIMITS.bytes, `all together would be larger than ${LIMITS.bytes >> 20} MB; download them, then delete some`);
  return all;
}

const STORED = "mnist-course-digits";
let shelf = null;

/**
 * The digits of this browser, one shelf for all pads of a page, and for other pages of the book.
 *
 * Storage may be full, blocked, or hold what is not ours: then the digits live as long as the page.
 *
 * @returns {{get(): object[], set(digits): boolean, watch(changed): function}} `set` tells whether
 *   the digits were stored
 */
export function browserShelf() {
  if (shelf) return shelf;
  const watchers = new Set();
  const stored = () => {
    try {
      const text = localStorage.getItem(STORED);
      return text === null ? [] : readDigits(text, Infinity); // the browser has a limit of its own
    } catch {
      return [];
    }
  };
  let digits = stored();
  const tell = () => watchers.forEach((changed) => changed());
  globalThis.addEventListener("storage", (event) => {
    if (event.key !== STORED && event.key !== null) return;
    digits = stored();
    tell();
  });
  shelf = {
    place: "in this browser",
    get: () => digits,
    set(next) {
      digits = next;
      let kept = true;
      try {
        if (next.length) localStorage.setItem(STORED, writeDigits(next));
        else localStorage.removeItem(STORED);
      } catch {
        kept = false;
      }
      tell();
      return kept;
    },
    watch(changed) {
      watchers.add(changed);
      return () => watchers.delete(changed);
    },
  };
  return shelf;
}

// The digits beside a page, packed by tools/page_digits.py: how to read them.

/** @import { DigitSet } from "./types" */

const PIXELS = 784;
const MAGIC = 0x54494744; // the letters DGIT

/** What is wrong with packed digits, in a sentence that a reader can be shown. */
export class DigitsError extends Error {}

/** @param {string} reason */
const damaged = (reason) => new DigitsError(`The digits cannot be used: ${reason}. Load the page again.`);

/**
 * Read packed digits: compressed, then a number that says what they are, how many digits there are,
 * how many of them are to learn from, how many shades a pixel has; the labels; and the pixels, two
 * in a byte, row 2i in the lower and row 2i + 1 in the upper half.
 *
 * @param {Uint8Array} bytes
 * @param {string} source what they are
 * @returns {Promise<DigitSet>}
 * @throws {DigitsError} if they are damaged
 */
export async function readDigits(bytes, source) {
  if (typeof DecompressionStream === "undefined") {
    throw new DigitsError("This browser is too old to unpack the digits. One from 2023 or later can.");
  }
  let data;
  try {
    const stream = new Blob([bytes.slice()]).stream().pipeThrough(new DecompressionStream("deflate"));
    data = new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw damaged("they are damaged or cut short");
  }
  return unpack(data, source);
}

/** @param {Uint8Array} data @param {string} source @returns {DigitSet} */
function unpack(data, source) {
  if (data.length < 16) throw damaged("they are cut short");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [magic, count, training, shades] = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
  if (magic !== MAGIC) throw damaged("they are not those of this book");
  const fits = data.length === 16 + count + (count * PIXELS) / 2 && training > 0 && training < count;
  if (!fits || shades < 2 || shades > 16) throw damaged("their size does not fit");
  const labels = data.slice(16, 16 + count);
  if (labels.some((label) => label > 9)) throw damaged("a label is not a digit");
  const pixels = new Uint8Array(count * PIXELS);
  const bytes = Uint8Array.from({ length: 16 }, (_, shade) => Math.round((255 * shade) / (shades - 1)));
  for (let at = 16 + count, pair = 0; at < data.length; pair++) {
    for (let column = 0, i = 56 * pair; column < 28; column++, i++, at++) {
      pixels[i] = bytes[data[at] & 15];
      pixels[i + 28] = bytes[data[at] >> 4];
    }
  }
  return { pixels, labels, training, source };
}

/** The bytes that a string of base64 stands for. @param {string} text */
export function fromBase64(text) {
  try {
    const letters = atob(text);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  } catch {
    throw damaged("they are not in base64");
  }
}

/** The address of `course-digits.js`: it lies beside the script that this code came with. */
const beside = (() => {
  if (typeof document === "undefined") return "";
  const script = document.currentScript;
  return script instanceof HTMLScriptElement && script.src
    ? new URL("course-digits.js", script.src).href
    : "";
})();

/** The script with the digits, while it is being loaded. @type {Promise<void> | null} */
let loading = null;

/**
 * The packed digits beside the page, fetched when they are first asked for: as a script, for a page
 * that was opened from a disk may load nothing else.
 *
 * @returns {Promise<{bytes: Uint8Array, source: string}>}
 */
export async function pageDigits() {
  if (!globalThis.MNIST_COURSE_DIGITS) {
    loading ??= loadScript(beside);
    try {
      await loading;
    } catch (error) {
      loading = null; // it may be there next time
      throw error;
    }
  }
  const packed = globalThis.MNIST_COURSE_DIGITS;
  if (typeof packed?.data !== "string") throw damaged("they did not arrive whole");
  return { bytes: fromBase64(packed.data), source: String(packed.source) };
}

/** @param {string} address @returns {Promise<void>} */
function loadScript(address) {
  return new Promise((resolve, reject) => {
    const failed = new DigitsError(
      "The digits could not be loaded: course-digits.js does not lie beside the page's scripts, or the network is gone.",
    );
    if (!address) return reject(failed);
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve();
    script.onerror = () => {
      script.remove();
      reject(failed);
    };
    document.head.append(script);
  });
}

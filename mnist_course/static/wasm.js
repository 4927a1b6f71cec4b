// Bytes of WebAssembly: the few instructions that the tiles need, and a module around them.
//
// A local is a parameter or a variable of a function, by its number; parameters come first.

/** @typedef {{name: string, parameters: number, locals: number[], code: number[]}} Code */

export const I32 = 0x7f;
export const V128 = 0x7b;
const END = 0x0b;

/**
 * An unsigned number in WebAssembly's variable length (LEB128).
 *
 * @param {number} value
 * @returns {number[]}
 */
function leb(value) {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >>> 7)];
}

/** @param {number} id @param {number[]} bytes */
const section = (id, ...bytes) => [id, ...leb(bytes.length), ...bytes];
/** @param {string} word */
const text = (word) => [word.length, ...Array.from(word, (letter) => letter.charCodeAt(0))];

/** @param {number} local */
export const get = (local) => [0x20, local];
/** @param {number} local */
export const put = (local) => [0x21, local];
/** i32.add @param {number} local @param {number} bytes below 64 */
export const advance = (local, bytes) => [...get(local), 0x41, bytes, 0x6a, ...put(local)];
/** i32.add @param {number} local @param {number} other */
export const add = (local, other) => [...get(local), ...get(other), 0x6a, ...put(local)];
/** i32.load @param {number} local @param {number} address @param {number} offset */
export const fetchInteger = (local, address, offset) => [...get(address), 0x28, 2, offset, ...put(local)];
/** v128.load @param {number} local @param {number} address @param {number} offset */
export const load = (local, address, offset) => [...get(address), 0xfd, 0x00, 4, offset, ...put(local)];
/** v128.load32_splat @param {number} local @param {number} address @param {number} offset */
export const splat = (local, address, offset) => [...get(address), 0xfd, 0x09, 2, offset, ...put(local)];
/** v128.load32_splat at a sum of two locals @param {number} local @param {number} address @param {number} other */
export const splatAt = (local, address, other) => [
  ...[...get(address), ...get(other), 0x6a],
  ...[0xfd, 0x09, 2, 0, ...put(local)],
];
/** v128.store @param {number} address @param {number} offset @param {number} local */
export const store = (address, offset, local) => [...get(address), ...get(local), 0xfd, 0x0b, 4, offset];
/** f32x4.mul, f32x4.add @param {number} sum @param {number} a @param {number} b */
export const addProduct = (sum, a, b) => [
  ...[...get(sum), ...get(a), ...get(b)],
  ...[0xfd, 0xe6, 1, 0xfd, 0xe4, 1],
  ...put(sum),
];
/** f32x4.relaxed_madd, which rounds once or twice @param {number} sum @param {number} a @param {number} b */
export const fuseProduct = (sum, a, b) => [
  ...[...get(a), ...get(b), ...get(sum)],
  ...[0xfd, 0x85, 2],
  ...put(sum),
];
/** f32x4.add of what lies in memory to a local, and back @param {number} address @param {number} offset @param {number} local */
export const addTo = (address, offset, local) => [
  ...[...get(address), ...get(address), 0xfd, 0x00, 4, offset],
  ...[...get(local), 0xfd, 0xe4, 1, 0xfd, 0x0b, 4, offset],
];
/** v128.load from a sum of two locals @param {number} local @param {number} address @param {number} other */
export const loadAt = (local, address, other) => [
  ...[...get(address), ...get(other), 0x6a],
  ...[0xfd, 0x00, 4, 0, ...put(local)],
];
/** v128.store to a sum of two locals @param {number} address @param {number} other @param {number} local */
export const storeAt = (address, other, local) => [
  ...[...get(address), ...get(other), 0x6a],
  ...[...get(local), 0xfd, 0x0b, 4, 0],
];
/** f32x4.add @param {number} into @param {number} a @param {number} b */
export const plus = (into, a, b) => [...get(a), ...get(b), 0xfd, 0xe4, 1, ...put(into)];
/** f32x4.max @param {number} into @param {number} a @param {number} b */
export const larger = (into, a, b) => [...get(a), ...get(b), 0xfd, 0xe9, 1, ...put(into)];
/** f32x4.eq @param {number} into @param {number} a @param {number} b */
export const equal = (into, a, b) => [...get(a), ...get(b), 0xfd, 0x41, ...put(into)];
/** v128.and @param {number} into @param {number} a @param {number} b */
export const both = (into, a, b) => [...get(a), ...get(b), 0xfd, 0x4e, ...put(into)];
/** v128.andnot: a and not b @param {number} into @param {number} a @param {number} b */
export const without = (into, a, b) => [...get(a), ...get(b), 0xfd, 0x4f, ...put(into)];
/** v128.or @param {number} into @param {number} a @param {number} b */
export const either = (into, a, b) => [...get(a), ...get(b), 0xfd, 0x50, ...put(into)];
/** A loop that is run again while one local is below another @param {number} low @param {number} high @param {number[]} body */
export const whileBelow = (low, high, ...body) => [
  ...[0x03, 0x40, ...body],
  ...[...get(low), ...get(high), 0x49, 0x0d, 0, END],
];

/**
 * A module with a memory and functions of whole numbers that return nothing, all exported.
 *
 * @param {number} pages of 64 KiB
 * @param {Code[]} functions
 */
export function assemble(pages, functions) {
  const types = functions.flatMap(({ parameters }) => [0x60, parameters, ...Array(parameters).fill(I32), 0]);
  const exported = functions.flatMap(({ name }, index) => [...text(name), 0, index]);
  const bodies = functions.flatMap(({ locals, code }) => {
    const body = [...leb(locals.length), ...locals.flatMap((type) => [1, type]), ...code, END];
    return [...leb(body.length), ...body];
  });
  const count = functions.length;
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic number, version 1
    ...section(1, count, ...types),
    ...section(3, count, ...functions.map((_, index) => index)), // their types
    ...section(5, 1, 0, ...leb(pages)), // one memory
    ...section(7, count + 1, ...text("memory"), 2, 0, ...exported),
    ...section(10, count, ...bodies),
  ]);
}

// Scans JSON (RFC 8259) into a table of its values, in one pass and without recursion, so that deep nesting cannot overflow
// the stack.
import { sequenceAt } from "./binary";
import { hexValue } from "./base64";

/** Maximum nesting of arrays and objects; deeper texts are rejected. */
export const JSON_DEPTH: i32 = 64;

/** Size of a row: start and end of the text, and the next row that is not within the value; i32 each. */
export const VALUE_BYTES: i32 = 12;
export const END: usize = 4;
export const NEXT: usize = 8;

// State of the scan, in globals, since field accesses cost fuel. Only one scan runs at a time.
// @ts-ignore: decorator
@lazy let base: usize = 0;
// @ts-ignore: decorator
@lazy let at: usize = 0;
// @ts-ignore: decorator
@lazy let end: usize = 0;
// @ts-ignore: decorator
@lazy let count: i32 = 0;
// @ts-ignore: decorator
@lazy let capacity: i32 = 0;
// @ts-ignore: decorator
@lazy let table: usize = 0;

/** A growing table; grows in place if it is the last object of the arena. */
// @ts-ignore: decorator
@final
export class JsonTable {
  private rows: StaticArray<u8>;
  /** Number of rows: values and keys in the order of their start. */
  count: i32 = 0;

  /** `length`: size of the text in bytes, to estimate the initial capacity. */
  constructor(length: i32) {
    // A value typically has about twenty bytes, at least two.
    this.rows = new StaticArray<u8>(VALUE_BYTES * (16 + (length >> 4)));
  }

  // @ts-ignore: decorator
  @inline
  get address(): usize {
    return changetype<usize>(this.rows);
  }

  get capacity(): i32 {
    return this.rows.length / VALUE_BYTES;
  }

  grow(): void {
    const rows = this.capacity + (this.capacity >> 1);
    this.rows = changetype<StaticArray<u8>>(__renew(changetype<usize>(this.rows), <usize>(VALUE_BYTES * rows)));
  }
}

/** Fills the table; false if the bytes are not JSON. */
export function readJson(from: usize, length: i32, into: JsonTable): bool {
  base = from;
  at = from;
  end = from + length;
  count = 0;
  table = into.address;
  capacity = into.capacity;
  const ok = readValues(into);
  into.count = count;
  return ok;
}

function readValues(into: JsonTable): bool {
  // The innermost open array or object and its closing byte. While it is open, NEXT is the enclosing one.
  let inside = -1;
  let closing = 0;
  let depth = 0;
  while (true) {
    let byte = next();
    if (byte == 0x7b || byte == 0x5b) {
      if (depth++ == JSON_DEPTH) return false;
      const node = begin(into);
      store<i32>(row(node), inside, NEXT);
      inside = node;
      closing = byte + 2;
      at++;
      byte = next();
      // An empty one ends here; an object continues with a key.
      if (byte != closing) {
        if (closing == 0x5d || readKey(byte, into)) continue;
        return false;
      }
    } else if (!readScalar(byte, into)) return false;
    // After a value: closes everything that ends here; then a comma, or the end of the text.
    while (true) {
      byte = next();
      if (!depth) return byte < 0;
      if (byte == closing) {
        const around = load<i32>(row(inside), NEXT);
        finish(inside, ++at);
        inside = around;
        if (--depth) closing = <i32>load<u8>(base + load<i32>(row(inside))) + 2;
        continue;
      }
      if (byte != 0x2c) return false;
      at++;
      if (closing == 0x7d && !readKey(next(), into)) return false;
      break;
    }
  }
}

// @ts-ignore: decorator
@inline
function row(node: i32): usize {
  return table + <usize>(VALUE_BYTES * node);
}

function begin(into: JsonTable): i32 {
  if (count == capacity) {
    into.grow();
    table = into.address;
    capacity = into.capacity;
  }
  store<i32>(row(count), <i32>(at - base));
  return count++;
}

// @ts-ignore: decorator
@inline
function finish(node: i32, to: usize): void {
  store<i32>(row(node), <i32>(to - base), END);
  store<i32>(row(node), count, NEXT);
}

/** The next byte that is not white space, or -1 at the end. */
// @ts-ignore: decorator
@inline
function next(): i32 {
  const byte = at < end ? <i32>load<u8>(at) : -1;
  return byte > 0x20 ? byte : skipSpace();
}

function skipSpace(): i32 {
  let from = at;
  let byte = -1;
  while (from < end) {
    byte = <i32>load<u8>(from);
    if (byte > 0x20 || !isSpace(byte)) break;
    byte = -1;
    // Indented texts have much white space: skips 16 bytes at once.
    if (++from + 16 > end) continue;
    const block = v128.load(from);
    const low = v128.or(i8x16.eq(block, i8x16.splat(0x20)), i8x16.eq(block, i8x16.splat(0x0a)));
    const high = v128.or(i8x16.eq(block, i8x16.splat(0x0d)), i8x16.eq(block, i8x16.splat(0x09)));
    const others = ~i8x16.bitmask(v128.or(low, high)) & 0xffff;
    from += others ? ctz(others) : 16;
  }
  at = from;
  return byte;
}

// @ts-ignore: decorator
@inline
function isSpace(byte: i32): bool {
  return byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09;
}

/** Scans a key and its colon. */
function readKey(first: i32, into: JsonTable): bool {
  if (first != 0x22 || !readScalar(first, into) || next() != 0x3a) return false;
  at++;
  return true;
}

function readScalar(first: i32, into: JsonTable): bool {
  const node = begin(into);
  const to = first == 0x22 ? endOfString(at + 1) : first >= 0x61 ? endOfWord(first) : endOfNumber(first);
  if (!to) return false;
  finish(node, to);
  at = to;
  return true;
}

/** End of `true`, `false` or `null`; 0 if it is none of them. */
function endOfWord(first: i32): usize {
  // The last four letters, little-endian.
  const from = first == 0x66 ? at + 1 : at;
  if (from + 4 > end) return 0;
  const letters = load<u32>(from);
  const is = first == 0x74 ? letters == 0x65757274 : first == 0x66 ? letters == 0x65736c61 : letters == 0x6c6c756e;
  return is ? from + 4 : 0;
}

/** End of a string, after its closing quote; 0 if it is invalid. */
function endOfString(start: usize): usize {
  let from = start;
  while (from < end) {
    if (from + 16 <= end) {
      const block = v128.load(from);
      // Less than a space as a signed byte: control characters and bytes above ASCII.
      const marks = v128.or(i8x16.eq(block, i8x16.splat(0x22)), i8x16.eq(block, i8x16.splat(0x5c)));
      const others = i8x16.bitmask(v128.or(marks, i8x16.lt_s(block, i8x16.splat(0x20))));
      if (!others) {
        from += 16;
        continue;
      }
      from += ctz(others);
    }
    const byte = <i32>load<u8>(from);
    if (byte == 0x22) return from + 1;
    if (byte < 0x20) return 0;
    if (byte == 0x5c) {
      if (from + 1 >= end || escapeAt(from + 1, end) < 0) return 0;
      from += load<u8>(from + 1) == 0x75 ? 6 : 2;
    } else {
      const size = byte < 0x80 ? 1 : sequenceAt(from, end);
      if (size < 0) return 0;
      from += size;
    }
  }
  return 0;
}

/** The code unit of an escape, whose letter is at `at`, or -1 if it is invalid. */
export function escapeAt(letter: usize, end: usize): i32 {
  const byte = <i32>load<u8>(letter);
  switch (byte) {
    case 0x22:
    case 0x5c:
    case 0x2f:
      return byte;
    case 0x62:
      return 0x08;
    case 0x66:
      return 0x0c;
    case 0x6e:
      return 0x0a;
    case 0x72:
      return 0x0d;
    case 0x74:
      return 0x09;
    case 0x75: {
      if (letter + 5 > end) return -1;
      let unit = 0;
      for (let i: usize = 1; i < 5; i++) {
        const digit = hexValue(load<u8>(letter + i));
        if (digit < 0) return -1;
        unit = (unit << 4) | digit;
      }
      return unit;
    }
    default:
      return -1;
  }
}

/** End of a number; 0 if it is invalid. */
function endOfNumber(first: i32): usize {
  let from = at + 1;
  let byte = first;
  if (byte == 0x2d) byte = byteAt(from++);
  if (<u32>byte - 0x30 > 9) return 0;
  // A leading zero must not be followed by digits; the caller then finds an unexpected byte.
  const zero = byte == 0x30;
  byte = byteAt(from);
  while (!zero && <u32>byte - 0x30 < 10) byte = byteAt(++from);
  if (byte == 0x2e) {
    from = endOfDigits(from + 1);
    if (!from) return 0;
    byte = byteAt(from);
  }
  if ((byte | 0x20) != 0x65) return from;
  byte = byteAt(++from);
  return endOfDigits(byte == 0x2b || byte == 0x2d ? from + 1 : from);
}

/** The byte at an address; NUL at the end. */
// @ts-ignore: decorator
@inline
function byteAt(address: usize): i32 {
  return address < end ? <i32>load<u8>(address) : 0;
}

/** End of one or more digits; 0 if there is none. */
function endOfDigits(start: usize): usize {
  let from = start;
  while (from < end && <u32>load<u8>(from) - 0x30 < 10) from++;
  return from > start ? from : 0;
}

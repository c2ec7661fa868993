// Reads JSON (RFC 8259) into a table of its values. One pass; no recursion: a text must not use up the stack.
import { sequenceAt } from "./binary";
import { hexValue } from "./base64";

/** How deep lists and maps may lie in each other; what is deeper is not read. */
export const JSON_DEPTH: i32 = 64;

/** Bytes of the table for each value: where its text begins, where it ends, the first value that does not lie within it. */
export const VALUE_BYTES: i32 = 12;
export const END: usize = 4;
export const NEXT: usize = 8;

// What is being read: globals, since each read of a field would cost fuel. Nothing else is read meanwhile.
// @ts-ignore: decorator
@lazy let base: usize = 0;
// @ts-ignore: decorator
@lazy let at: usize = 0;
// @ts-ignore: decorator
@lazy let end: usize = 0;
// @ts-ignore: decorator
@lazy let count: i32 = 0;
// @ts-ignore: decorator
@lazy let room: i32 = 0;
// @ts-ignore: decorator
@lazy let table: usize = 0;

/** A table that grows: at the end of the arena it does so in place. */
// @ts-ignore: decorator
@final
export class JsonTable {
  private rows: StaticArray<u8>;
  /** How many values and keys there are, in the order in which they begin. */
  count: i32 = 0;

  /** For a text of so many bytes. */
  constructor(length: i32) {
    // A value has some twenty bytes in most texts, and two at least.
    this.rows = new StaticArray<u8>(VALUE_BYTES * (16 + (length >> 4)));
  }

  // @ts-ignore: decorator
  @inline
  get address(): usize {
    return changetype<usize>(this.rows);
  }

  get room(): i32 {
    return this.rows.length / VALUE_BYTES;
  }

  grow(): void {
    const rows = this.room + (this.room >> 1);
    this.rows = changetype<StaticArray<u8>>(__renew(changetype<usize>(this.rows), <usize>(VALUE_BYTES * rows)));
  }
}

/** Fills the table; false when these bytes are not JSON. */
export function readJson(from: usize, length: i32, into: JsonTable): bool {
  base = from;
  at = from;
  end = from + length;
  count = 0;
  table = into.address;
  room = into.room;
  const ok = readValues(into);
  into.count = count;
  return ok;
}

function readValues(into: JsonTable): bool {
  // The innermost list or map that is open, and the byte that ends it. While it is open, NEXT is the one around it.
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
      // An empty one is over at once; a map goes on with a key.
      if (byte != closing) {
        if (closing == 0x5d || readKey(byte, into)) continue;
        return false;
      }
    } else if (!readScalar(byte, into)) return false;
    // Behind a value: all that ends here is closed, then comes another value, or the end of the text.
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
  if (count == room) {
    into.grow();
    table = into.address;
    room = into.room;
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

/** The next byte that is no space, or -1. */
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
    // Indented texts are half spaces.
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

/** A key and its colon. */
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

/** Of `true`, `false` or `null`; 0: it is none. */
function endOfWord(first: i32): usize {
  // The last four letters, little-endian.
  const from = first == 0x66 ? at + 1 : at;
  if (from + 4 > end) return 0;
  const letters = load<u32>(from);
  const is = first == 0x74 ? letters == 0x65757274 : first == 0x66 ? letters == 0x65736c61 : letters == 0x6c6c756e;
  return is ? from + 4 : 0;
}

/** Behind its closing quote; 0: it is no string. */
function endOfString(start: usize): usize {
  let from = start;
  while (from < end) {
    if (from + 16 <= end) {
      const block = v128.load(from);
      // Below a space as signed number: control characters, and all beyond ASCII.
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

/** The code unit of the escape whose letter is at an address, or -1. */
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

/** Of a number; 0: it is none. */
function endOfNumber(first: i32): usize {
  let from = at + 1;
  let byte = first;
  if (byte == 0x2d) byte = byteAt(from++);
  if (<u32>byte - 0x30 > 9) return 0;
  // Nothing follows a zero in front: what does makes no JSON.
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

/** NUL behind the end. */
// @ts-ignore: decorator
@inline
function byteAt(address: usize): i32 {
  return address < end ? <i32>load<u8>(address) : 0;
}

/** Where one or more digits end; 0: there is none. */
function endOfDigits(start: usize): usize {
  let from = start;
  while (from < end && <u32>load<u8>(from) - 0x30 < 10) from++;
  return from > start ? from : 0;
}

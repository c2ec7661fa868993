import { Bytes, copyBytes, decodeUtf8, sequenceAt, toUtf8 } from "./binary";
import { hexValue } from "./base64";
import { findKeyEnd, unescapeKey } from "./key-path";
import { readNumber } from "./number";

/** How deep lists and maps may lie in each other; what is deeper is not read. */
export const JSON_DEPTH: i32 = 64;

/** Numbers for each value: where its text begins, where it ends, and the first value that does not lie within it. */
const WIDTH: i32 = 3;

/**
 * JSON (RFC 8259), strict: UTF-8 without a byte order mark, nothing behind the value, at most 64 levels.
 *
 *     const body = Json.parse(bytes);
 *     const name = body ? body.find("user.name") : null;
 *     if (name && name.isString) …
 */
export namespace Json {
  /** The value that these bytes are; null when they are not JSON. The bytes must stay as they are while it is used. */
  export function parse(bytes: Bytes): JsonValue | null {
    const document = new JsonDocument(bytes);
    return document.read() ? new JsonValue(document, 0) : null;
  }

  /** The value that this text is; null when it is not JSON. */
  export function parseText(text: string): JsonValue | null {
    return parse(toUtf8(text));
  }
}

/** A value of a JSON text. Reading one part of it reads nothing else. */
// @ts-ignore: decorator
@final
export class JsonValue {
  /** The entry that was asked for last, and its value: going through all takes one pass. */
  private lastIndex: i32 = 0;
  private lastNode: i32 = 0;

  // Made by `Json` alone.
  constructor(
    private document: JsonDocument,
    private node: i32,
  ) {}

  /** Is it a map: `{…}`? */
  get isObject(): bool {
    return this.document.byteOf(this.node) == 0x7b;
  }

  /** Is it a list: `[…]`? */
  get isArray(): bool {
    return this.document.byteOf(this.node) == 0x5b;
  }

  /** Is it a text? */
  get isString(): bool {
    return this.document.byteOf(this.node) == 0x22;
  }

  /** Is it a number? */
  get isNumber(): bool {
    const byte = this.document.byteOf(this.node);
    return byte == 0x2d || (byte >= 0x30 && byte <= 0x39);
  }

  /** Is it `true` or `false`? */
  get isBool(): bool {
    const byte = this.document.byteOf(this.node);
    return byte == 0x74 || byte == 0x66;
  }

  /** Is it `null`? */
  get isNull(): bool {
    return this.document.byteOf(this.node) == 0x6e;
  }

  /** The text that it is; null when it is none. An escaped half of a surrogate pair stays half. */
  asString(): string | null {
    return this.isString ? this.document.textOf(this.node) : null;
  }

  /**
   * The number that it is; NaN when it is none. A whole number up to 2^53 is exact, and one of 15 digits or less as near
   * as can be; one with an exponent beyond 22 is exact to 15 digits.
   */
  asNumber(): f64 {
    return this.isNumber ? this.document.numberOf(this.node) : NaN;
  }

  /** Is it `true`? */
  asBool(): bool {
    return this.document.byteOf(this.node) == 0x74;
  }

  /** How many entries the list or map has; 0 for any other value. */
  get count(): i32 {
    let count = 0;
    const step = this.isObject ? 2 : 1;
    for (let at = this.node + 1, end = this.document.next(this.node); at < end; at = this.document.next(at)) count++;
    return count / step;
  }

  /** The value of this key; of the last of it, when there are several, as everywhere. Null when there is none. */
  get(key: string): JsonValue | null {
    if (!this.isObject) return null;
    let found = -1;
    for (let at = this.node + 1, end = this.document.next(this.node); at < end; ) {
      const value = this.document.next(at);
      if (this.document.textIs(at, key)) found = value;
      at = this.document.next(value);
    }
    return found < 0 ? null : new JsonValue(this.document, found);
  }

  /** Entry `index` of the list; null outside, or when it is no list. */
  at(index: i32): JsonValue | null {
    return this.isArray ? this.entry(index) : null;
  }

  /**
   * The value at a path of keys and indices with dots between, as `user.roles.0`; null when there is none. A dot in a
   * key is written `\.`; a key with dots is found by its plain text as well (`https://example.com/tenant`), where keys
   * without lead to nothing.
   */
  find(path: string): JsonValue | null {
    let end = findKeyEnd(path, 0);
    let value = this.under(path.substring(0, end));
    while (end < path.length) {
      const found = value ? value.find(path.substring(end + 1)) : null;
      if (found) return found;
      end = findKeyEnd(path, end + 1);
      value = this.under(path.substring(0, end));
    }
    return value;
  }

  /** The key of entry `index` of the map; empty outside, or when it is no map. */
  keyAt(index: i32): string {
    const node = this.isObject ? this.locate(index) : -1;
    return node < 0 ? "" : this.document.textOf(node);
  }

  /** The value of entry `index` of the map or list; null outside. */
  valueAt(index: i32): JsonValue | null {
    return this.entry(index);
  }

  /** Its text as it stands. */
  raw(): Bytes {
    const from = this.document.start(this.node);
    return copyBytes(this.document.from + from, this.document.end(this.node) - from);
  }

  private under(escaped: string): JsonValue | null {
    const key = unescapeKey(escaped);
    return this.isArray ? this.at(indexOf(key)) : this.get(key);
  }

  private entry(index: i32): JsonValue | null {
    let node = this.locate(index);
    if (node >= 0 && this.isObject) node = this.document.next(node);
    return node < 0 ? null : new JsonValue(this.document, node);
  }

  /** The node of entry `index`: its key in a map, its value in a list; -1 outside. */
  private locate(index: i32): i32 {
    if (index < 0 || (!this.isObject && !this.isArray)) return -1;
    if (index < this.lastIndex || !this.lastNode) {
      this.lastIndex = 0;
      this.lastNode = this.node + 1;
    }
    const end = this.document.next(this.node);
    while (this.lastNode < end && this.lastIndex < index) {
      this.lastNode = this.document.next(this.lastNode);
      if (this.isObject) this.lastNode = this.document.next(this.lastNode);
      this.lastIndex++;
    }
    if (this.lastNode < end) return this.lastNode;
    this.lastNode = 0;
    return -1;
  }
}

function indexOf(key: string): i32 {
  let index = 0;
  for (let i = 0; i < key.length; i++) {
    const digit = key.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9 || i > 8) return -1;
    index = index * 10 + digit;
  }
  return key.length ? index : -1;
}

/** Before each value but the first stands one of these, so there are no more values than of them. */
function countAtMost(from: usize, length: i32): i32 {
  let count = 1;
  for (let i = 0; i < length; i++) {
    const byte = load<u8>(from + i);
    if (byte == 0x2c || byte == 0x3a || byte == 0x5b || byte == 0x7b) count++;
  }
  return count;
}

/** A text of JSON, and a table of its values in the order in which they begin; keys are values as well. */
// @ts-ignore: decorator
@final
export class JsonDocument {
  readonly from: usize;
  /** How many values and keys there are. */
  count: i32 = 0;
  private length: i32;
  private at: i32 = 0;
  private table: StaticArray<i32>;
  private open: StaticArray<i32> = new StaticArray<i32>(JSON_DEPTH);
  private depth: i32 = 0;

  constructor(readonly bytes: Bytes) {
    this.from = changetype<usize>(bytes);
    this.length = bytes.length;
    this.table = new StaticArray<i32>(WIDTH * countAtMost(changetype<usize>(bytes), bytes.length));
  }

  start(node: i32): i32 {
    return this.table[WIDTH * node];
  }

  end(node: i32): i32 {
    return this.table[WIDTH * node + 1];
  }

  next(node: i32): i32 {
    return this.table[WIDTH * node + 2];
  }

  byteOf(node: i32): i32 {
    return this.byte(this.start(node));
  }

  /** Fills the table; false when this is not JSON. No recursion: a text must not use up the stack. */
  read(): bool {
    while (true) {
      this.skipSpace();
      if (this.at >= this.length) return false;
      const byte = this.byte(this.at);
      if (byte == 0x7b || byte == 0x5b) {
        if (this.depth == JSON_DEPTH) return false;
        unchecked((this.open[this.depth++] = this.add(this.at)));
        this.at++;
        this.skipSpace();
        // An empty one is over at once; a map goes on with a key.
        if (this.at < this.length && this.byte(this.at) == byte + 2) this.close();
        else if (byte == 0x5b) continue;
        else if (this.readKey()) continue;
        else return false;
      } else if (!this.readScalar(byte)) return false;
      // Behind a value: all that ends here is closed, then comes another value, or the end of the text.
      while (true) {
        this.skipSpace();
        if (!this.depth) return this.at == this.length;
        if (this.at >= this.length) return false;
        const opened = this.byteOf(unchecked(this.open[this.depth - 1]));
        const after = this.byte(this.at);
        if (after == opened + 2) {
          this.close();
          continue;
        }
        if (after != 0x2c) return false;
        this.at++;
        if (opened == 0x7b) {
          this.skipSpace();
          if (!this.readKey()) return false;
        }
        break;
      }
    }
  }

  /** The text of a string, its escapes undone. */
  textOf(node: i32): string {
    const from = this.start(node) + 1;
    const to = this.end(node) - 1;
    let at = from;
    while (at < to && this.byte(at) != 0x5c) at++;
    if (at == to) return decodeUtf8(this.from + from, to - from, false)!;
    let text = "";
    let begin = from;
    while (at < to) {
      text += decodeUtf8(this.from + begin, at - begin, false)!;
      text += String.fromCharCode(this.escapeAt(at + 1));
      at += this.byte(at + 1) == 0x75 ? 6 : 2;
      begin = at;
      while (at < to && this.byte(at) != 0x5c) at++;
    }
    return text + decodeUtf8(this.from + begin, to - begin, false)!;
  }

  /** Is this the text of a string? */
  textIs(node: i32, text: string): bool {
    const from = this.start(node) + 1;
    const length = this.end(node) - 1 - from;
    // As long as it is plain, a byte is a character.
    for (let i = 0; i < length; i++) {
      const byte = this.byte(from + i);
      if (byte == 0x5c || byte > 0x7f) return this.textOf(node) == text;
      if (i >= text.length || text.charCodeAt(i) != byte) return false;
    }
    return length == text.length;
  }

  numberOf(node: i32): f64 {
    return readNumber(this.from + this.start(node), this.from + this.end(node));
  }

  // @ts-ignore: decorator
  @inline
  private byte(at: i32): i32 {
    return <i32>load<u8>(this.from + at);
  }

  private add(start: i32): i32 {
    unchecked((this.table[WIDTH * this.count] = start));
    return this.count++;
  }

  private finish(node: i32, end: i32): void {
    unchecked((this.table[WIDTH * node + 1] = end));
    unchecked((this.table[WIDTH * node + 2] = this.count));
    this.at = end;
  }

  private close(): void {
    this.finish(unchecked(this.open[--this.depth]), this.at + 1);
  }

  private skipSpace(): void {
    while (this.at < this.length) {
      const byte = this.byte(this.at);
      if (byte != 0x20 && byte != 0x0a && byte != 0x0d && byte != 0x09) return;
      this.at++;
    }
  }

  /** A key and its colon. */
  private readKey(): bool {
    if (this.at >= this.length || this.byte(this.at) != 0x22 || !this.readScalar(0x22)) return false;
    this.skipSpace();
    return this.at < this.length && this.byte(this.at++) == 0x3a;
  }

  private readScalar(first: i32): bool {
    const start = this.at;
    let end = -1;
    if (first == 0x22) end = this.endOfString(start + 1);
    else if (first == 0x74) end = this.endOfWord(start, "true");
    else if (first == 0x66) end = this.endOfWord(start, "false");
    else if (first == 0x6e) end = this.endOfWord(start, "null");
    else end = this.endOfNumber(start);
    if (end < 0) return false;
    this.finish(this.add(start), end);
    return true;
  }

  private endOfWord(start: i32, word: string): i32 {
    if (start + word.length > this.length) return -1;
    for (let i = 0; i < word.length; i++) {
      if (this.byte(start + i) != word.charCodeAt(i)) return -1;
    }
    return start + word.length;
  }

  private endOfString(start: i32): i32 {
    let at = start;
    while (at < this.length) {
      const byte = this.byte(at);
      if (byte == 0x22) return at + 1;
      if (byte < 0x20) return -1;
      if (byte == 0x5c) {
        if (at + 1 >= this.length || this.escapeAt(at + 1) < 0) return -1;
        at += this.byte(at + 1) == 0x75 ? 6 : 2;
      } else {
        const size = byte < 0x80 ? 1 : sequenceAt(this.from + at, this.from + this.length);
        if (size < 0) return -1;
        at += size;
      }
    }
    return -1;
  }

  /** The code unit of the escape whose letter is at `at`, or -1. */
  private escapeAt(at: i32): i32 {
    switch (this.byte(at)) {
      case 0x22:
      case 0x5c:
      case 0x2f:
        return this.byte(at);
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
        if (at + 5 > this.length) return -1;
        let unit = 0;
        for (let i = 1; i < 5; i++) {
          const digit = hexValue(this.byte(at + i));
          if (digit < 0) return -1;
          unit = (unit << 4) | digit;
        }
        return unit;
      }
      default:
        return -1;
    }
  }

  private endOfNumber(start: i32): i32 {
    let at = start;
    if (this.byte(at) == 0x2d) at++;
    const whole = this.endOfDigits(at);
    // No zeros in front.
    if (whole < 0 || (this.byte(at) == 0x30 && whole > at + 1)) return -1;
    at = whole;
    if (at < this.length && this.byte(at) == 0x2e) {
      at = this.endOfDigits(at + 1);
      if (at < 0) return -1;
    }
    if (at < this.length && (this.byte(at) | 0x20) == 0x65) {
      at++;
      if (at < this.length && (this.byte(at) == 0x2b || this.byte(at) == 0x2d)) at++;
      at = this.endOfDigits(at);
    }
    return at;
  }

  /** Where one or more digits end; -1 when there is none. */
  private endOfDigits(start: i32): i32 {
    let at = start;
    while (at < this.length && this.byte(at) >= 0x30 && this.byte(at) <= 0x39) at++;
    return at > start ? at : -1;
  }
}

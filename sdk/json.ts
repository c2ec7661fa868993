import { Bytes, copyBytes, decodeUtf8, toUtf8 } from "./binary";
import { END, JsonTable, NEXT, VALUE_BYTES, escapeAt, readJson } from "./json-scan";
import { findKeyEnd, unescapeKey } from "./key-path";
import { readNumber } from "./number";

/**
 * Parses JSON (RFC 8259). Strict: UTF-8 without a byte order mark, nothing after the value, at most 64 levels.
 *
 *     const body = Json.parse(bytes);
 *     const name = body ? body.find("user.name") : null;
 *     if (name && name.isString) …
 */
export namespace Json {
  /** Parses bytes; null if they are not JSON. The bytes must not be changed while the value is in use. */
  export function parse(bytes: Bytes): JsonValue | null {
    const document = new JsonDocument(bytes);
    return document.read() ? new JsonValue(document, 0) : null;
  }

  /** Parses text; null if it is not JSON. */
  export function parseText(text: string): JsonValue | null {
    return parse(toUtf8(text));
  }
}

/** A JSON value. Its parts are decoded only when accessed. */
// @ts-ignore: decorator
@final
export class JsonValue {
  /** Index and node of the last accessed entry, so that an iteration takes linear time. */
  private lastIndex: i32 = 0;
  private lastNode: i32 = 0;

  // Only the SDK creates it: `Json.parse`.
  constructor(
    private document: JsonDocument,
    private node: i32,
  ) {}

  /** Whether it is an object: `{…}`. */
  get isObject(): bool {
    return this.document.byteOf(this.node) == 0x7b;
  }

  /** Whether it is an array: `[…]`. */
  get isArray(): bool {
    return this.document.byteOf(this.node) == 0x5b;
  }

  /** Whether it is a string. */
  get isString(): bool {
    return this.document.byteOf(this.node) == 0x22;
  }

  /** Whether it is a number. */
  get isNumber(): bool {
    const byte = this.document.byteOf(this.node);
    return byte == 0x2d || (byte >= 0x30 && byte <= 0x39);
  }

  /** Whether it is `true` or `false`. */
  get isBool(): bool {
    const byte = this.document.byteOf(this.node);
    return byte == 0x74 || byte == 0x66;
  }

  /** Whether it is `null`. */
  get isNull(): bool {
    return this.document.byteOf(this.node) == 0x6e;
  }

  /** The string; null for any other value. An escaped lone surrogate is preserved. */
  asString(): string | null {
    return this.isString ? this.document.textOf(this.node) : null;
  }

  /**
   * The number; NaN for any other value. Exact for integers up to 2^53, correctly rounded for up to 15 digits with an exponent
   * within ±22, otherwise accurate to 15 digits.
   */
  asNumber(): f64 {
    return this.isNumber ? this.document.numberOf(this.node) : NaN;
  }

  /** Whether it is `true`. */
  asBool(): bool {
    return this.document.byteOf(this.node) == 0x74;
  }

  /** Number of entries of the array or object; 0 for any other value. */
  get count(): i32 {
    let count = 0;
    const step = this.isObject ? 2 : 1;
    for (let at = this.node + 1, end = this.document.next(this.node); at < end; at = this.document.next(at)) count++;
    return count / step;
  }

  /** The value of this key, or null. If the key is repeated, the last value, as in JSON.parse. */
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

  /** Entry `index` of the array; null out of range or for any other value. */
  at(index: i32): JsonValue | null {
    return this.isArray ? this.entry(index) : null;
  }

  /**
   * The value at a path of keys and indices separated by dots, such as `user.roles.0`, or null. A dot in a key is escaped as
   * `\.`. A key that contains dots is also found by its plain text (`https://example.com/tenant`) if no shorter key matches.
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

  /** The key of entry `index` of the object; empty out of range or for any other value. */
  keyAt(index: i32): string {
    const node = this.isObject ? this.locate(index) : -1;
    return node < 0 ? "" : this.document.textOf(node);
  }

  /** The value of entry `index` of the object or array; null out of range. */
  valueAt(index: i32): JsonValue | null {
    return this.entry(index);
  }

  /** A copy of its JSON text. */
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

  /** The node of entry `index`: its key in an object, its value in an array; -1 out of range. */
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

/** A JSON text and a table of its nodes (values and keys) in the order of their start. */
// @ts-ignore: decorator
@final
export class JsonDocument {
  readonly from: usize;
  private table: JsonTable;

  constructor(readonly bytes: Bytes) {
    this.from = changetype<usize>(bytes);
    this.table = new JsonTable(bytes.length);
  }

  /** Fills the table; false if the text is not JSON. */
  read(): bool {
    return readJson(this.from, this.bytes.length, this.table);
  }

  /** Number of nodes. */
  get count(): i32 {
    return this.table.count;
  }

  /** Address of the table. */
  get rows(): usize {
    return this.table.address;
  }

  start(node: i32): i32 {
    return load<i32>(this.row(node));
  }

  end(node: i32): i32 {
    return load<i32>(this.row(node), END);
  }

  next(node: i32): i32 {
    return load<i32>(this.row(node), NEXT);
  }

  byteOf(node: i32): i32 {
    return <i32>load<u8>(this.from + this.start(node));
  }

  /** Decodes a string. */
  textOf(node: i32): string {
    let at = this.from + this.start(node) + 1;
    const to = this.from + this.end(node) - 1;
    let begin = at;
    while (at < to && load<u8>(at) != 0x5c) at++;
    if (at == to) return decodeUtf8(begin, <i32>(to - begin), false)!;
    let text = "";
    while (at < to) {
      text += decodeUtf8(begin, <i32>(at - begin), false)!;
      text += String.fromCharCode(escapeAt(at + 1, to));
      at += load<u8>(at + 1) == 0x75 ? 6 : 2;
      begin = at;
      while (at < to && load<u8>(at) != 0x5c) at++;
    }
    return text + decodeUtf8(begin, <i32>(to - begin), false)!;
  }

  /** Whether the string equals `text`. */
  textIs(node: i32, text: string): bool {
    const from = this.from + this.start(node) + 1;
    const length = <i32>(this.from + this.end(node) - 1 - from);
    const units = text.length;
    // Fast path: in plain ASCII a byte is a character.
    for (let i = 0; i < length; i++) {
      const byte = load<u8>(from + i);
      if (byte == 0x5c || byte > 0x7f) return this.textOf(node) == text;
      if (i >= units || load<u16>(changetype<usize>(text) + (<usize>i << 1)) != <u16>byte) return false;
    }
    return length == units;
  }

  numberOf(node: i32): f64 {
    return readNumber(this.from + this.start(node), this.from + this.end(node));
  }

  // @ts-ignore: decorator
  @inline
  private row(node: i32): usize {
    return this.table.address + <usize>(VALUE_BYTES * node);
  }
}

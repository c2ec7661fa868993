import { Bytes, copyBytes, decodeUtf8, toUtf8 } from "./binary";
import { END, JsonTable, NEXT, VALUE_BYTES, escapeAt, readJson } from "./json-scan";
import { findKeyEnd, unescapeKey } from "./key-path";
import { readNumber } from "./number";

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

/** A text of JSON, and a table of its values in the order in which they begin; keys are values as well. */
// @ts-ignore: decorator
@final
export class JsonDocument {
  readonly from: usize;
  private table: JsonTable;

  constructor(readonly bytes: Bytes) {
    this.from = changetype<usize>(bytes);
    this.table = new JsonTable(bytes.length);
  }

  /** Fills the table; false when this is not JSON. */
  read(): bool {
    return readJson(this.from, this.bytes.length, this.table);
  }

  /** How many values and keys there are. */
  get count(): i32 {
    return this.table.count;
  }

  /** Where the table of values lies. */
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

  /** The text of a string, its escapes undone. */
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

  /** Is this the text of a string? */
  textIs(node: i32, text: string): bool {
    const from = this.from + this.start(node) + 1;
    const length = <i32>(this.from + this.end(node) - 1 - from);
    const units = text.length;
    // As long as it is plain, a byte is a character.
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

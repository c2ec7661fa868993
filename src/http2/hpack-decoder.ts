/** Decodes header blocks (RFC 7541) into heads. */
import { nameId } from "../http/fields.ts";
import { FIELD_WORDS, type Head, NAME, NAME_ID } from "../http/head.ts";
import { DynamicTable, ENTRY_OVERHEAD } from "./dynamic-table.ts";
import { decodeHuffman, MAX_EXPANSION } from "./huffman.ts";
import { STATIC, STATIC_BYTES, STATIC_ENTRIES } from "./static-table.ts";

/** `tooLarge`: the block was decoded, the head has only its first fields. `malformed` ends the connection. */
export const DECODED = { complete: 0, tooLarge: 1, malformed: 2 } as const;

export type ListLimits = {
  /** Sum over all fields of the bytes of name and value and ENTRY_OVERHEAD (RFC 9113 section 6.5.2). */
  readonly head: number;
  /** Number of fields: all cookies are one, pseudo-header fields are not counted. */
  readonly headers: number;
};

/** Bits of a field representation's first octet (RFC 7541 section 6). */
const INDEXED = 0x80;
const INDEXING = 0x40;
const SIZE_UPDATE = 0x20;

const HUFFMAN = 0x80;
const COLON = 0x3a;
const SPACE = 0x20;
const CR = 0x0d;
const LF = 0x0a;

export class HpackDecoder {
  readonly #table: DynamicTable;
  readonly #capacity: number;
  #block: Uint8Array = STATIC_BYTES;
  #at = 0;
  #end = 0;

  /** `capacity`: SETTINGS_HEADER_TABLE_SIZE as sent to the peer. */
  constructor(capacity: number) {
    this.#capacity = capacity;
    this.#table = new DynamicTable(capacity);
  }

  /**
   * Decodes a whole block. Fields, pseudo-header fields among them, are added to `head` as `name: value\r\n`; their
   * syntax is not checked. Beyond a limit, fields are decoded only for the table. Returns one of DECODED.
   */
  decode(block: Uint8Array, start: number, end: number, head: Head, limits: ListLimits): number {
    this.#block = block;
    this.#at = start;
    this.#end = end;
    let size = 0;
    let count = 0;
    let isFirst = true;
    let hasCookie = false;
    let isOver = false;
    while (this.#at < end) {
      const first = block[this.#at]!;
      if ((first & 0xe0) === SIZE_UPDATE) {
        if (!isFirst || !this.#resize()) return DECODED.malformed;
        continue;
      }
      isFirst = false;
      const before = head.end;
      const wasOver = isOver;
      const length = (first & INDEXED) !== 0 ? this.#indexed(head, wasOver) : this.#literal(head, first, wasOver);
      if (length < 0) return DECODED.malformed;
      size += length + ENTRY_OVERHEAD;
      if (!wasOver) {
        const at = (head.count - 1) * FIELD_WORDS;
        const isCookie = head.fields[at + NAME_ID] === NAME.cookie;
        // As in HTTP/1: a client may divide one Cookie into many, and pseudo-header fields are the request line there.
        if (!(isCookie && hasCookie) && head.bytes[head.fields[at]!] !== COLON) count++;
        hasCookie ||= isCookie;
        isOver = size > limits.head || count > limits.headers;
        if (isOver) head.count--;
      }
      if (isOver) head.end = before;
    }
    return isOver ? DECODED.tooLarge : DECODED.complete;
  }

  #resize(): boolean {
    const size = this.#integer(5);
    if (size < 0 || size > this.#capacity) return false;
    this.#table.resize(size);
    return true;
  }

  /** Adds a field that a table has, unless the limit is exceeded. Returns the length of name and value; -1: malformed. */
  #indexed(head: Head, isOver: boolean): number {
    const index = this.#integer(7);
    if (index <= 0) return -1;
    if (index <= STATIC_ENTRIES) {
      const at = 4 * index;
      const start = STATIC[at]!;
      const nameEnd = STATIC[at + 1]!;
      const valueEnd = STATIC[at + 2]!;
      if (!isOver) {
        const to = head.append(STATIC_BYTES, start, valueEnd + 2);
        head.push(to, to + nameEnd - start, to + nameEnd - start + 2, to + valueEnd - start, STATIC[at + 3]!);
      }
      return valueEnd - start - 2;
    }
    const table = this.#table;
    const number = table.added - (index - STATIC_ENTRIES - 1);
    if (!table.has(number)) return -1;
    const start = table.nameStart(number);
    const nameEnd = table.nameEnd(number);
    const valueEnd = table.valueEnd(number);
    if (!isOver) {
      const name = head.append(table.bytes, start, nameEnd);
      const value = separate(head);
      head.append(table.bytes, nameEnd, valueEnd);
      head.push(name, value - 2, value, head.end, table.nameId(number));
      endLine(head);
    }
    return valueEnd - start;
  }

  /** Adds a field whose value, and possibly name, is a literal; adds it to the table if it is to be indexed. */
  #literal(head: Head, first: number, isOver: boolean): number {
    const isIndexing = (first & INDEXING) !== 0;
    const index = this.#integer(isIndexing ? 6 : 4);
    const name = head.end;
    let id = index === 0 ? 0 : this.#name(head, index);
    if (id < 0 || (index === 0 && !this.#string(head))) return -1;
    const nameEnd = head.end;
    if (index === 0) id = nameId(head.bytes, name, nameEnd);
    const value = separate(head);
    if (!this.#string(head)) return -1;
    const valueEnd = head.end;
    if (isIndexing) this.#table.add(head.bytes, name, nameEnd, head.bytes, value, valueEnd, id);
    endLine(head);
    if (!isOver) head.push(name, nameEnd, value, valueEnd, id);
    return nameEnd - name + (valueEnd - value);
  }

  /** Appends the name of a table's entry. Returns its NAME; -1: there is none, or the index is malformed. */
  #name(head: Head, index: number): number {
    if (index < 0) return -1;
    if (index <= STATIC_ENTRIES) {
      head.append(STATIC_BYTES, STATIC[4 * index]!, STATIC[4 * index + 1]!);
      return STATIC[4 * index + 3]!;
    }
    const table = this.#table;
    const number = table.added - (index - STATIC_ENTRIES - 1);
    if (!table.has(number)) return -1;
    head.append(table.bytes, table.nameStart(number), table.nameEnd(number));
    return table.nameId(number);
  }

  /** Appends a string literal (RFC 7541 section 5.2); false: malformed. */
  #string(head: Head): boolean {
    if (this.#at >= this.#end) return false;
    const isHuffman = (this.#block[this.#at]! & HUFFMAN) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    if (length < 0 || length > this.#end - start) return false;
    this.#at = start + length;
    if (!isHuffman) {
      head.append(this.#block, start, start + length);
      return true;
    }
    head.reserve(Math.floor(length * MAX_EXPANSION));
    const end = decodeHuffman(this.#block, start, start + length, head.bytes, head.end);
    if (end < 0) return false;
    head.end = end;
    return true;
  }

  /** Reads an integer with a prefix of `bits` (RFC 7541 section 5.1); -1: incomplete, or over 2^28. */
  #integer(bits: number): number {
    const block = this.#block;
    const most = (1 << bits) - 1;
    let value = block[this.#at++]! & most;
    if (value < most) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) return -1;
      const byte = block[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return -1;
  }
}

/** Appends `: `; returns where the value begins. */
function separate(head: Head): number {
  head.reserve(2);
  head.bytes[head.end] = COLON;
  head.bytes[head.end + 1] = SPACE;
  head.end += 2;
  return head.end;
}

function endLine(head: Head): void {
  head.reserve(2);
  head.bytes[head.end] = CR;
  head.bytes[head.end + 1] = LF;
  head.end += 2;
}

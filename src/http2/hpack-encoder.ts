/** Encodes fields as header blocks (RFC 7541). */
import { DynamicTable } from "./dynamic-table.ts";
import { encodeHuffman, huffmanLength } from "./huffman.ts";
import { STATIC, STATIC_BYTES, STATIC_ENTRIES, staticIndexOf } from "./static-table.ts";

/** Largest table of a connection, in bytes, even if the peer allows a larger one. */
const CAPACITY = 4096;

/** Most bytes that `begin` writes. */
export const BEGIN_BOUND = 2 * 6;
/** Most bytes of an encoded field, in addition to its name and value. */
export const FIELD_BOUND = 3 * 6;

/** Secrets are never indexed, so that no length depends on them (RFC 7541 section 7.1.3). */
const SECRETS = ["authorization", "proxy-authorization", "cookie", "set-cookie"].map(staticIndexOf);

const INDEXED = 0x80;
const INDEXING = 0x40;
const SIZE_UPDATE = 0x20;
const NEVER_INDEXED = 0x10;
const HUFFMAN = 0x80;

const STATUS = staticIndexOf(":status");
const STATUSES = new Map([200, 204, 206, 304, 400, 404, 500].map((status, i) => [status, STATUS + i]));

/** Static entries by the hash of their name: each in its slot or the next free one. 0: free. */
const STATIC_SLOTS = 256;
const BY_NAME = new Uint8Array(STATIC_SLOTS);
for (let index = STATIC_ENTRIES; index > 0; index--) {
  let slot = hash(STATIC_BYTES, STATIC[4 * index]!, STATIC[4 * index + 1]!, 0) % STATIC_SLOTS;
  while (BY_NAME[slot] !== 0 && !isStaticName(BY_NAME[slot]!, STATIC_BYTES, STATIC[4 * index]!, STATIC[4 * index + 1]!))
    slot = (slot + 1) % STATIC_SLOTS;
  BY_NAME[slot] = index;
}

/** Slots of a connection for its recent fields, allocated by its first block. */
const SLOTS = 128;
const NONE = new Uint32Array(0);

export class HpackEncoder {
  /** The end of what has been written to the target. */
  end = 0;
  readonly #table = new DynamicTable(CAPACITY);
  #target: Uint8Array = STATIC_BYTES;
  /** The last field of each slot by hash, and the numbers of entries of the table by field and by name. */
  #seen = NONE;
  #fields = NONE;
  #names = NONE;
  /** The smallest and the last size of the table that the peer has not been sent; -1: none. */
  #least = -1;
  #last = -1;

  /** Applies SETTINGS_HEADER_TABLE_SIZE of the peer. */
  resize(size: number): void {
    const next = Math.min(size, CAPACITY);
    if (next === this.#table.maxSize && this.#last < 0) return;
    this.#table.resize(next);
    this.#least = this.#least < 0 ? next : Math.min(this.#least, next);
    this.#last = next;
  }

  /** Begins a block at `target[at]`. The target has room for BEGIN_BOUND, and for FIELD_BOUND more in each field. */
  begin(target: Uint8Array, at: number): void {
    this.#target = target;
    this.end = at;
    if (this.#seen === NONE) {
      const slots = new Uint32Array(3 * SLOTS);
      this.#seen = slots.subarray(0, SLOTS);
      this.#fields = slots.subarray(SLOTS, 2 * SLOTS);
      this.#names = slots.subarray(2 * SLOTS);
    }
    if (this.#last < 0) return;
    if (this.#least < this.#last) this.#integer(SIZE_UPDATE, 5, this.#least);
    this.#integer(SIZE_UPDATE, 5, this.#last);
    this.#least = this.#last = -1;
  }

  status(status: number): void {
    const index = STATUSES.get(status);
    if (index !== undefined) return this.#integer(INDEXED, 7, index);
    this.#integer(0, 4, STATUS);
    this.#integer(0, 7, 3);
    this.#target[this.end++] = 0x30 + Math.floor(status / 100);
    this.#target[this.end++] = 0x30 + (Math.floor(status / 10) % 10);
    this.#target[this.end++] = 0x30 + (status % 10);
  }

  /** Writes a static entry. */
  indexed(index: number): void {
    this.#integer(INDEXED, 7, index);
  }

  /** Writes a field with the name of a static entry. */
  named(index: number, values: Uint8Array, start: number, end: number): void {
    this.#field(index, STATIC_BYTES, STATIC[4 * index]!, STATIC[4 * index + 1]!, values, start, end);
  }

  /** Writes a field. Its name is in lower case. */
  field(bytes: Uint8Array, nameStart: number, nameEnd: number, valueStart: number, valueEnd: number): void {
    const index = findStatic(bytes, nameStart, nameEnd);
    this.#field(index, bytes, nameStart, nameEnd, bytes, valueStart, valueEnd);
  }

  #field(
    index: number,
    names: Uint8Array,
    nameStart: number,
    nameEnd: number,
    values: Uint8Array,
    start: number,
    end: number,
  ): void {
    if (SECRETS.includes(index)) {
      this.#integer(NEVER_INDEXED, 4, index);
      return this.#string(values, start, end, false);
    }
    const nameHash = hash(names, nameStart, nameEnd, 0);
    const fieldHash = hash(values, start, end, nameHash);
    const slot = fieldHash % SLOTS;
    const table = this.#table;
    const known = this.#fields[slot]!;
    if (this.#isEntry(known, names, nameStart, nameEnd, values, start, end))
      return this.#integer(INDEXED, 7, this.#indexOf(known));
    // A field is indexed the second time, so that values that do not repeat evict none that do.
    const isIndexing = this.#seen[slot] === fieldHash;
    this.#seen[slot] = fieldHash;
    this.#name(isIndexing, index, nameHash, names, nameStart, nameEnd);
    this.#string(values, start, end, isIndexing);
    if (!isIndexing) return;
    table.add(names, nameStart, nameEnd, values, start, end, 0);
    this.#fields[slot] = this.#names[nameHash % SLOTS] = table.added;
  }

  #name(isIndexing: boolean, index: number, nameHash: number, names: Uint8Array, start: number, end: number): void {
    const known = this.#names[nameHash % SLOTS]!;
    const number = index > 0 ? index : this.#isName(known, names, start, end) ? this.#indexOf(known) : 0;
    if (isIndexing) this.#integer(INDEXING, 6, number);
    else this.#integer(0, 4, number);
    if (number === 0) this.#string(names, start, end, isIndexing);
  }

  #isName(number: number, names: Uint8Array, start: number, end: number): boolean {
    const table = this.#table;
    if (!table.has(number)) return false;
    return equals(table.bytes, table.nameStart(number), table.nameEnd(number), names, start, end);
  }

  #isEntry(
    number: number,
    names: Uint8Array,
    nameStart: number,
    nameEnd: number,
    values: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const table = this.#table;
    return (
      this.#isName(number, names, nameStart, nameEnd) &&
      equals(table.bytes, table.nameEnd(number), table.valueEnd(number), values, start, end)
    );
  }

  #indexOf(number: number): number {
    return STATIC_ENTRIES + 1 + this.#table.added - number;
  }

  /** Writes a string literal (RFC 7541 section 5.2), as Huffman code if asked and shorter. */
  #string(bytes: Uint8Array, start: number, end: number, compresses: boolean): void {
    const length = compresses ? huffmanLength(bytes, start, end) : end - start;
    if (length < end - start) {
      this.#integer(HUFFMAN, 7, length);
      this.end = encodeHuffman(bytes, start, end, this.#target, this.end);
      return;
    }
    this.#integer(0, 7, end - start);
    const target = this.#target;
    let to = this.end;
    for (let i = start; i < end; i++) target[to++] = bytes[i]!;
    this.end = to;
  }

  /** Writes an integer with a prefix of `bits` (RFC 7541 section 5.1). */
  #integer(first: number, bits: number, value: number): void {
    const most = (1 << bits) - 1;
    if (value < most) {
      this.#target[this.end++] = first | value;
      return;
    }
    this.#target[this.end++] = first | most;
    let rest = value - most;
    for (; rest >= 0x80; rest >>>= 7) this.#target[this.end++] = (rest & 0x7f) | 0x80;
    this.#target[this.end++] = rest;
  }
}

function hash(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let result = 0x811c9dc5 ^ seed;
  for (let i = start; i < end; i++) result = Math.imul(result ^ bytes[i]!, 0x01000193);
  return (result ^ (result >>> 15)) >>> 0;
}

function findStatic(bytes: Uint8Array, start: number, end: number): number {
  let slot = hash(bytes, start, end, 0) % STATIC_SLOTS;
  while (BY_NAME[slot] !== 0 && !isStaticName(BY_NAME[slot]!, bytes, start, end)) slot = (slot + 1) % STATIC_SLOTS;
  return BY_NAME[slot]!;
}

function isStaticName(index: number, bytes: Uint8Array, start: number, end: number): boolean {
  return equals(STATIC_BYTES, STATIC[4 * index]!, STATIC[4 * index + 1]!, bytes, start, end);
}

function equals(a: Uint8Array, start: number, end: number, b: Uint8Array, from: number, to: number): boolean {
  if (end - start !== to - from) return false;
  for (let i = start, k = from; i < end; i++, k++) if (a[i] !== b[k]) return false;
  return true;
}

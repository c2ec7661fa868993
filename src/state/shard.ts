/**
 * One shard of the key-value store: a ring of records and the chains that find them. Everything here runs under the
 * shard's lock, and may stop at any step when its thread is terminated: a record exists once `head` has moved past it, so
 * chains, counts and unfinished operations can be rebuilt from the ring (`repair`).
 *
 * Eviction is at the tail, the oldest record first. A record read since it was written is kept once (CLOCK); one of a
 * namespace within its share is kept while the writer's namespace exceeds its own.
 */
import { STATUS } from "../abi/abi.ts";

import { WORK } from "../abi/prices.ts";
import { hashKey, type Seed } from "./hash.ts";
import type { Operation } from "./key-value.ts";
import { COUNTER, type Layout, MAX_NAMESPACES, pad, RECORD, SHARD, STATE } from "./layout.ts";

/** The store's memory, seen in three ways. */
export type Memory = {
  readonly words: Int32Array<SharedArrayBuffer>;
  readonly floats: Float64Array<SharedArrayBuffer>;
  readonly bytes: Buffer;
  /** Memory of this thread: SPARE_BYTES for records that are moved from the tail to the head. */
  readonly spare: Buffer;
};

/** Most records that one write moves from the tail to the head instead of evicting them. */
const SPARE_RECORDS = 256;
export const SPARE_BYTES = 128 * 1024;
/** Up to this length a loop is faster than `copy`. */
const LOOP_BYTES = 64;
const LARGEST_NUMBER = Number.MAX_SAFE_INTEGER;
const LONGEST_NUMBER = 17;
const MINUS = 45;
const ZERO = 48;

export class Shard {
  /** Index of the lock's word. */
  readonly lock: number;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #floats: Float64Array<SharedArrayBuffer>;
  readonly #bytes: Buffer;
  readonly #seed: Seed;
  readonly #base: number;
  /** Index of the first chain's word. */
  readonly #chains: number;
  readonly #mask: number;
  /** Index of the first word of the chains' bits. */
  readonly #bits: number;
  readonly #ring: number;
  readonly #ringSize: number;
  readonly #spared: Buffer;

  constructor({ words, floats, bytes, spare }: Memory, seed: Seed, layout: Layout, base: number) {
    this.#words = words;
    this.#floats = floats;
    this.#bytes = bytes;
    this.#spared = spare;
    this.#seed = seed;
    this.#base = base;
    this.lock = (base + SHARD.lock) >> 2;
    this.#chains = (base + SHARD.size) >> 2;
    this.#mask = layout.chains - 1;
    this.#bits = (base + layout.bits) >> 2;
    this.#ring = base + layout.ring;
    this.#ringSize = layout.ringSize;
  }

  // ── Operations ────────────────────────────────────────────────────────────────────────────────────────────────

  get(operation: Operation, hash: number): number {
    const at = this.#find(operation, hash);
    if (at < 0) return STATUS.absent;
    this.#words[(this.#ring + at) >> 2]! |= STATE.used;
    operation.version = this.#float(at, RECORD.version);
    return this.#give(at, operation);
  }

  set(operation: Operation, hash: number): number {
    this.#put(operation, this.#find(operation, hash), hash);
    return STATUS.ok;
  }

  compareAndSet(operation: Operation, hash: number): number {
    const at = this.#find(operation, hash);
    const present = at < 0 ? 0 : this.#float(at, RECORD.version);
    if (operation.version !== present) {
      operation.version = present;
      return 0;
    }
    this.#put(operation, at, hash);
    return 1;
  }

  increment(operation: Operation, hash: number): number {
    const at = this.#find(operation, hash);
    const before = at < 0 ? 0 : this.#number(at);
    const sum = before + operation.number;
    if (Number.isNaN(sum) || Math.abs(sum) > LARGEST_NUMBER) return STATUS.invalid;
    operation.number = sum;
    if (at < 0 || this.#word(at, RECORD.length) !== COUNTER) {
      // A text with a number becomes a counter and keeps its expiry time.
      const expires = at < 0 ? expiryOf(operation) : this.#float(at, RECORD.expires);
      if (at >= 0) this.#remove(at);
      this.#append(operation, hash, COUNTER, expires);
      return STATUS.ok;
    }
    // A single store each, which cannot be torn.
    this.#floats[this.#valueAt(at) >> 3] = sum;
    operation.version = this.#setFloat(at, RECORD.version, this.#nextVersion());
    this.#words[(this.#ring + at) >> 2]! |= STATE.used;
    return STATUS.ok;
  }

  delete(operation: Operation, hash: number): number {
    const at = this.#find(operation, hash);
    if (at < 0) return STATUS.absent;
    this.#remove(at);
    return STATUS.ok;
  }

  /** Whether a namespace has records in this shard. Reads without the lock: the result may be outdated. */
  hasRecords(namespace: number): boolean {
    return this.#words[(this.#base + SHARD.entries + 4 * namespace) >> 2]! > 0;
  }

  /** The first chain from `chain` on with records, the number of chains, or where `operation.work` reaches `most`. */
  nextChain(operation: Operation, chain: number, most: number): number {
    const words = this.#words;
    const end = this.#bits + ((this.#mask + 1) >> 5);
    let at = this.#bits + (chain >> 5);
    let bits = words[at]! & (-1 << (chain & 31));
    operation.work += WORK.chains;
    while (bits === 0) {
      if (++at === end || operation.work >= most) return (at - this.#bits) << 5;
      operation.work += WORK.chains;
      bits = words[at]!;
    }
    return ((at - this.#bits) << 5) | (31 - Math.clz32(bits & -bits));
  }

  /** Appends the chain's keys with the prefix to `out` at `written`; returns the new length, or -1 if not all fit. */
  listChain(operation: Operation, chain: number, written: number): number {
    const { namespace, now, out, outStart, cap, keyStart, keyEnd } = operation;
    const prefix = keyEnd - keyStart;
    let end = written;
    for (let link = this.#words[this.#chains + chain]!; link !== 0; ) {
      const at = link - 1;
      link = this.#word(at, RECORD.next);
      operation.work += WORK.record + prefix;
      const key = this.#word(at, RECORD.key);
      const length = key >>> 16;
      if ((key & 0xffff) !== namespace || length < prefix || this.#float(at, RECORD.expires) <= now) continue;
      const from = this.#ring + at + RECORD.size;
      if (!this.#sameBytes(from, operation.key, keyStart, keyEnd)) continue;
      if (end + 4 + length > cap) return -1;
      out.writeUInt32LE(length, outStart + end);
      copy(out, outStart + end + 4, this.#bytes, from, from + length);
      end += 4 + length;
    }
    return end;
  }

  // ── Records ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Returns the offset of the key's record, unless it has expired; or -1. */
  #find(operation: Operation, hash: number): number {
    const { namespace, key, keyStart, keyEnd } = operation;
    const wanted = namespace | ((keyEnd - keyStart) << 16);
    const words = this.#words;
    let link = words[this.#chains + (hash & this.#mask)]!;
    while (link !== 0) {
      const at = link - 1;
      const word = (this.#ring + at) >> 2;
      operation.work += WORK.record;
      if (words[word + (RECORD.hash >> 2)] === hash && words[word + (RECORD.key >> 2)] === wanted) {
        if (this.#sameBytes(this.#ring + at + RECORD.size, key, keyStart, keyEnd))
          return this.#unlessExpired(at, operation);
      }
      link = words[word + (RECORD.next >> 2)]!;
    }
    return -1;
  }

  #unlessExpired(at: number, { now }: Operation): number {
    if (this.#float(at, RECORD.expires) > now) return at;
    this.#expire(at);
    return -1;
  }

  #sameBytes(at: number, other: Buffer, start: number, end: number): boolean {
    const bytes = this.#bytes;
    for (let i = start; i < end; i++) if (bytes[at + i - start] !== other[i]) return false;
    return true;
  }

  /** Writes the value of a key; `at`: its current record, or -1. */
  #put(operation: Operation, at: number, hash: number): void {
    const { value, valueStart, valueEnd } = operation;
    const length = valueEnd - valueStart;
    const expires = expiryOf(operation);
    if (at < 0 || !this.#fitsInto(at, length)) {
      if (at >= 0) this.#remove(at);
      return this.#append(operation, hash, length, expires);
    }
    const state = (this.#ring + at) >> 2;
    this.#words[state]! |= STATE.writing;
    copy(this.#bytes, this.#valueAt(at), value, valueStart, valueEnd);
    this.#setWord(at, RECORD.length, length);
    this.#setFloat(at, RECORD.expires, expires);
    operation.version = this.#setFloat(at, RECORD.version, this.#nextVersion());
    this.#words[state] = (this.#words[state]! | STATE.used) & ~STATE.writing;
  }

  /** Whether the value fits the current record without wasting more than half of it. */
  #fitsInto(at: number, length: number): boolean {
    const room = this.#ring + at + this.#size(at) - this.#valueAt(at);
    return length <= room && room <= 2 * length + 64;
  }

  /** Writes a record at the head; it exists after the head has moved past it. */
  #append(operation: Operation, hash: number, length: number, expires: number): void {
    const { namespace, key, keyStart, keyEnd } = operation;
    const size = RECORD.size + pad(keyEnd - keyStart) + pad(length === COUNTER ? 8 : length);
    const at = this.#makeRoom(operation, size);
    this.#setWord(at, RECORD.hash, hash);
    this.#setWord(at, RECORD.key, namespace | ((keyEnd - keyStart) << 16));
    this.#setWord(at, RECORD.length, length);
    this.#setFloat(at, RECORD.expires, expires);
    operation.version = this.#setFloat(at, RECORD.version, this.#nextVersion());
    copy(this.#bytes, this.#ring + at + RECORD.size, key, keyStart, keyEnd);
    if (length === COUNTER) this.#floats[this.#valueAt(at) >> 3] = operation.number;
    else copy(this.#bytes, this.#valueAt(at), operation.value, operation.valueStart, operation.valueEnd);
    this.#commit(at, size | STATE.live);
  }

  #commit(at: number, state: number): void {
    this.#setWord(at, RECORD.state, state);
    this.#moveHead(at + (state & ~STATE.all));
    this.#link(at);
  }

  /** Links a record of the ring into its chain, and counts it. */
  #link(at: number): void {
    const chain = this.#word(at, RECORD.hash) & this.#mask;
    this.#setWord(at, RECORD.next, this.#words[this.#chains + chain]!);
    this.#words[this.#chains + chain] = at + 1;
    this.#words[this.#bits + (chain >> 5)]! |= 1 << (chain & 31);
    this.#count(this.#word(at, RECORD.key) & 0xffff, this.#size(at), 1);
  }

  /** Unlinks a record from its chain; its space is reused when the tail reaches it. */
  #remove(at: number): void {
    const words = this.#words;
    const chain = this.#word(at, RECORD.hash) & this.#mask;
    let slot = this.#chains + chain;
    while (words[slot] !== at + 1) slot = (this.#ring + words[slot]! - 1 + RECORD.next) >> 2;
    words[slot] = this.#word(at, RECORD.next);
    if (words[this.#chains + chain] === 0) words[this.#bits + (chain >> 5)]! &= ~(1 << (chain & 31));
    const size = this.#size(at);
    this.#setWord(at, RECORD.state, size);
    this.#count(this.#word(at, RECORD.key) & 0xffff, -size, -1);
  }

  #expire(at: number): void {
    this.#tally(SHARD.expired, this.#word(at, RECORD.key) & 0xffff);
    this.#remove(at);
  }

  #count(namespace: number, bytes: number, entries: number): void {
    const words = this.#words;
    const index = ((this.#base + SHARD.entries) >> 2) + namespace;
    const before = words[index]!;
    words[index] = before + entries;
    words[((this.#base + SHARD.bytes) >> 2) + namespace]! += bytes;
    if (before === 0 || before + entries === 0) words[(this.#base + SHARD.active) >> 2]! += entries;
  }

  #tally(what: number, namespace: number): void {
    this.#floats[((this.#base + what) >> 3) + namespace]!++;
  }

  #nextVersion(): number {
    return ++this.#floats[(this.#base + SHARD.version) >> 3]!;
  }

  // ── Values ────────────────────────────────────────────────────────────────────────────────────────────────────

  #give(at: number, { out, outStart, cap }: Operation): number {
    const length = this.#word(at, RECORD.length);
    const from = this.#valueAt(at);
    if (length !== COUNTER) {
      if (length <= cap) copy(out, outStart, this.#bytes, from, from + length);
      return length;
    }
    const text = String(this.#floats[from >> 3]!);
    if (text.length <= cap) for (let i = 0; i < text.length; i++) out[outStart + i] = text.charCodeAt(i);
    return text.length;
  }

  /** The number in a counter or a text; NaN if it is not an integer. */
  #number(at: number): number {
    const length = this.#word(at, RECORD.length);
    const from = this.#valueAt(at);
    if (length === COUNTER) return this.#floats[from >> 3]!;
    if (length === 0 || length > LONGEST_NUMBER) return Number.NaN;
    const negative = this.#bytes[from] === MINUS;
    if (negative && length === 1) return Number.NaN;
    let number = 0;
    for (let i = from + (negative ? 1 : 0); i < from + length; i++) {
      const digit = this.#bytes[i]! - ZERO;
      if (digit < 0 || digit > 9) return Number.NaN;
      number = number * 10 + digit;
    }
    return negative ? -number : number;
  }

  // ── Space ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Frees `size` bytes at the head and returns their offset. A ring is several times as large as any record. */
  #makeRoom(operation: Operation, size: number): number {
    const at = this.#reserve(size);
    return at >= 0 ? at : this.#clear(operation, size);
  }

  /** Records that are not evicted are copied out of the ring and appended again as soon as they fit. */
  #clear(operation: Operation, size: number): number {
    const share = this.#share();
    const spared = this.#spared;
    let records = SPARE_RECORDS;
    let [first, end] = [0, 0];
    for (;;) {
      if (first < end) {
        const length = spared.readInt32LE(first) & ~STATE.all;
        const back = this.#reserve(length);
        if (back >= 0) {
          copy(this.#bytes, this.#ring + back, spared, first, first + length);
          this.#commit(back, length | STATE.live);
          first += length;
          continue;
        }
      } else {
        const at = this.#reserve(size);
        if (at >= 0) return at;
      }
      const tail = this.#tail();
      const state = this.#word(tail, RECORD.state);
      const length = state & ~STATE.all;
      operation.work += WORK.removal;
      if ((state & STATE.live) === 0) this.#moveTail(tail + length);
      else if (this.#float(tail, RECORD.expires) <= operation.now) this.#drop(tail, SHARD.expired);
      else if (records > 0 && end + length <= SPARE_BYTES && this.#isSpared(tail, operation.namespace, share)) {
        records--;
        operation.work += length;
        copy(spared, end, this.#bytes, this.#ring + tail, this.#ring + tail + length);
        end += length;
        this.#remove(tail);
        this.#moveTail(tail + length);
      } else this.#drop(tail, SHARD.evicted);
    }
  }

  /** The equal share of each namespace, in bytes. */
  #share(): number {
    return this.#ringSize / Math.max(1, this.#words[(this.#base + SHARD.active) >> 2]!);
  }

  #isSpared(at: number, writer: number, share: number): boolean {
    if ((this.#word(at, RECORD.state) & STATE.used) !== 0) return true;
    const namespace = this.#word(at, RECORD.key) & 0xffff;
    const first = (this.#base + SHARD.bytes) >> 2;
    return namespace !== writer && this.#words[first + writer]! > share && this.#words[first + namespace]! <= share;
  }

  #drop(tail: number, why: number): void {
    const size = this.#size(tail);
    this.#tally(why, this.#word(tail, RECORD.key) & 0xffff);
    this.#remove(tail);
    this.#moveTail(tail + size);
  }

  /** Returns the offset of `size` contiguous free bytes, skipping the end of the ring if needed; or -1. */
  #reserve(size: number): number {
    const head = this.#head();
    const tail = this.#tail();
    // Head and tail are equal only if the ring is empty.
    if (head < tail) return tail - head > size ? head : -1;
    const left = this.#ringSize - head;
    if (left > size || (left === size && tail > 0)) return head;
    if (tail <= size) return -1;
    this.#setWord(head, RECORD.state, left);
    this.#words[(this.#base + SHARD.head) >> 2] = 0;
    return 0;
  }

  #head(): number {
    return this.#words[(this.#base + SHARD.head) >> 2]!;
  }

  #tail(): number {
    return this.#words[(this.#base + SHARD.tail) >> 2]!;
  }

  #moveHead(to: number): void {
    this.#words[(this.#base + SHARD.head) >> 2] = to === this.#ringSize ? 0 : to;
  }

  #moveTail(to: number): void {
    this.#words[(this.#base + SHARD.tail) >> 2] = to === this.#ringSize ? 0 : to;
  }

  // ── Repair ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Rebuilds chains and counts, drops incomplete records. Empties a ring that cannot be parsed: returns false. */
  repair(): boolean {
    const sound = this.#isWalkable();
    this.#words.fill(0, this.#chains, this.#ring >> 2);
    this.#words.fill(0, (this.#base + SHARD.bytes) >> 2, (this.#base + SHARD.evicted) >> 2);
    this.#words[(this.#base + SHARD.active) >> 2] = 0;
    if (!sound) {
      this.#moveHead(0);
      this.#moveTail(0);
      return false;
    }
    for (let at = this.#tail(); at !== this.#head(); at = this.#after(at)) {
      const state = this.#word(at, RECORD.state);
      if ((state & STATE.live) === 0) continue;
      if ((state & STATE.writing) !== 0 || !this.#isRecord(at)) this.#setWord(at, RECORD.state, state & ~STATE.all);
      else this.#relink(at);
    }
    return true;
  }

  #isWalkable(): boolean {
    const head = this.#head();
    const tail = this.#tail();
    for (const edge of [head, tail]) if (edge < 0 || edge >= this.#ringSize || edge % 8 !== 0) return false;
    let walked = 0;
    for (let at = tail; at !== head; at = this.#after(at)) {
      const size = this.#size(at);
      walked += size;
      if (size < 8 || at + size > this.#ringSize || walked > this.#ringSize) return false;
    }
    return true;
  }

  #after(at: number): number {
    const next = at + this.#size(at);
    return next === this.#ringSize ? 0 : next;
  }

  #isRecord(at: number): boolean {
    const size = this.#size(at);
    if (size < RECORD.size) return false;
    const key = this.#word(at, RECORD.key);
    const length = this.#word(at, RECORD.length);
    const need = RECORD.size + pad(key >>> 16) + pad(length === COUNTER ? 8 : length);
    if ((key & 0xffff) >= MAX_NAMESPACES || length < COUNTER || need > size) return false;
    const start = this.#ring + at + RECORD.size;
    return hashKey(this.#seed, key & 0xffff, this.#bytes, start, start + (key >>> 16)) === this.#word(at, RECORD.hash);
  }

  /** Of two records of one key, keeps the later one. */
  #relink(at: number): void {
    const key = this.#word(at, RECORD.key);
    const start = this.#ring + at + RECORD.size;
    const end = start + (key >>> 16);
    for (let link = this.#words[this.#chains + (this.#word(at, RECORD.hash) & this.#mask)]!; link !== 0; ) {
      const other = link - 1;
      link = this.#word(other, RECORD.next);
      const same = this.#word(other, RECORD.key) === key;
      if (same && this.#sameBytes(this.#ring + other + RECORD.size, this.#bytes, start, end)) this.#remove(other);
    }
    this.#link(at);
  }

  // ── Fields ────────────────────────────────────────────────────────────────────────────────────────────────────

  #word(at: number, field: number): number {
    return this.#words[(this.#ring + at + field) >> 2]!;
  }

  #setWord(at: number, field: number, value: number): void {
    this.#words[(this.#ring + at + field) >> 2] = value;
  }

  #float(at: number, field: number): number {
    return this.#floats[(this.#ring + at + field) >> 3]!;
  }

  #setFloat(at: number, field: number, value: number): number {
    this.#floats[(this.#ring + at + field) >> 3] = value;
    return value;
  }

  #size(at: number): number {
    return this.#word(at, RECORD.state) & ~STATE.all;
  }

  #valueAt(at: number): number {
    return this.#ring + at + RECORD.size + pad(this.#word(at, RECORD.key) >>> 16);
  }
}

function expiryOf({ now, ttl }: Operation): number {
  return ttl === 0 ? Number.POSITIVE_INFINITY : now + ttl;
}

function copy(target: Buffer, at: number, source: Buffer, start: number, end: number): void {
  const length = end - start;
  if (length > LOOP_BYTES) source.copy(target, at, start, end);
  else for (let i = 0; i < length; i++) target[at + i] = source[start + i]!;
}

/**
 * The key-value store that all data threads of the process share: one buffer of fixed size, cut into shards with a lock
 * each. No message crosses threads for it. Readers take the lock too: they mark what they read as used, and a reader
 * that only looked again afterwards would need as much of a fence.
 *
 * A thread that is ended inside a shard leaves it locked: the main thread mends and frees it (`forgetThread`). A thread
 * whose own stack ended there finds its mark later, and does the same (`repair`).
 */
import { randomFillSync } from "node:crypto";
import { LIMIT, STATUS } from "../abi/abi.ts";

import { WORK } from "../abi/prices.ts";
import { hashKey, type Seed } from "./hash.ts";
import type { KeyValue, Operation } from "./key-value.ts";
import { type Layout, layOut, MAX_NAMESPACES, PREFIX, SHARD } from "./layout.ts";
import { acquire, ownerOf, release } from "./lock.ts";
import { Shard, SPARE_BYTES } from "./shard.ts";

/** What one call of `list` may take, as bytes looked at; and while it holds a lock, which others may wait for. */
const LIST_WORK = 64 * 1024;
const HELD_WORK = 4 * 1024;

export type NamespaceUse = {
  readonly entries: number;
  readonly bytes: number;
  readonly evicted: number;
  readonly expired: number;
};

export class KeyValueStore implements KeyValue {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #floats: Float64Array<SharedArrayBuffer>;
  readonly #layout: Layout;
  readonly #seed: Seed;
  readonly #shards: readonly Shard[];
  /** This thread's number in locks. */
  readonly #owner: number;
  /** The shard that this thread is in, or was when its stack ended. */
  #inside: Shard | null = null;

  /** Memory for a new, empty store. What is never touched costs nothing. */
  static allocate(size: number): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(Math.floor(size / 8) * 8);
    randomFillSync(new Uint8Array(buffer, 0, 8));
    return buffer;
  }

  /** `thread`: the number of the data thread, or -1 for the main thread. */
  constructor(buffer: SharedArrayBuffer, thread: number) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#floats = new Float64Array(buffer);
    this.#layout = layOut(buffer.byteLength);
    this.#seed = { low: this.#words[0]!, high: this.#words[1]! };
    this.#owner = thread + 2;
    const memory = {
      words: this.#words,
      floats: this.#floats,
      bytes: Buffer.from(buffer),
      spare: Buffer.allocUnsafeSlow(SPARE_BYTES),
    };
    const { shards, shardSize } = this.#layout;
    this.#shards = Array.from(
      { length: shards },
      (_, index) => new Shard(memory, this.#seed, this.#layout, PREFIX + index * shardSize),
    );
  }

  get(operation: Operation): number {
    const hash = this.#hash(operation);
    const shard = this.#enter(hash, operation);
    if (shard === null) return STATUS.busy;
    const answer = shard.get(operation, hash);
    this.#leave(shard);
    if (answer > 0) operation.work += answer;
    return answer;
  }

  set(operation: Operation): number {
    if (operation.valueEnd - operation.valueStart > LIMIT.kvValue) return STATUS.tooLarge;
    const hash = this.#hash(operation);
    const shard = this.#enter(hash, operation);
    if (shard === null) return STATUS.busy;
    const answer = shard.set(operation, hash);
    this.#leave(shard);
    return answer;
  }

  compareAndSet(operation: Operation): number {
    if (operation.valueEnd - operation.valueStart > LIMIT.kvValue) return STATUS.tooLarge;
    const hash = this.#hash(operation);
    const shard = this.#enter(hash, operation);
    if (shard === null) return STATUS.busy;
    const answer = shard.compareAndSet(operation, hash);
    this.#leave(shard);
    return answer;
  }

  increment(operation: Operation): number {
    if (!Number.isSafeInteger(operation.number)) return STATUS.invalid;
    const hash = this.#hash(operation);
    const shard = this.#enter(hash, operation);
    if (shard === null) return STATUS.busy;
    const answer = shard.increment(operation, hash);
    this.#leave(shard);
    return answer;
  }

  delete(operation: Operation): number {
    const hash = this.#hash(operation);
    const shard = this.#enter(hash, operation);
    if (shard === null) return STATUS.busy;
    const answer = shard.delete(operation, hash);
    this.#leave(shard);
    return answer;
  }

  list(operation: Operation): number {
    const { shards, chains } = this.#layout;
    operation.work = 0;
    const { cursor } = operation;
    if (!Number.isInteger(cursor) || cursor < 0 || cursor > shards * chains) return STATUS.invalid;
    let written = 0;
    let chain = cursor % chains;
    for (let index = Math.floor(cursor / chains); index < shards; index++, chain = 0) {
      const shard = this.#shards[index]!;
      operation.work += WORK.shard;
      if (!shard.holds(operation.namespace)) continue;
      while (chain < chains) {
        if (operation.work >= LIST_WORK) return this.#pause(operation, index * chains + chain, written, 0);
        if (!this.#enterShard(shard)) {
          operation.work += WORK.busy;
          return this.#pause(operation, index * chains + chain, written, STATUS.busy);
        }
        for (const most = operation.work + HELD_WORK; chain < chains && operation.work < most; chain++) {
          operation.work += WORK.chain;
          const end = shard.listChain(operation, chain, written);
          if (end < 0) {
            this.#leave(shard);
            return this.#pause(operation, index * chains + chain, written, STATUS.tooLarge);
          }
          written = end;
        }
        this.#leave(shard);
      }
    }
    operation.cursor = 0;
    return written;
  }

  /** Ends a page: the next begins at `cursor`. With nothing written, and no way on, it says why. */
  #pause(operation: Operation, cursor: number, written: number, why: number): number {
    if (written === 0 && why < 0) return why;
    operation.cursor = cursor;
    return written;
  }

  // ── Locks ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #hash(operation: Operation): number {
    operation.work = 0;
    const { namespace, key, keyStart, keyEnd } = operation;
    return hashKey(this.#seed, namespace, key, keyStart, keyEnd);
  }

  /** The shard of a hash, locked; null when another thread holds it for too long. Chains are told by the low bits. */
  #enter(hash: number, operation: Operation): Shard | null {
    const shard = this.#shards[(hash >>> 20) % this.#shards.length]!;
    if (this.#enterShard(shard)) return shard;
    operation.work += WORK.busy;
    return null;
  }

  #enterShard(shard: Shard): boolean {
    if (this.#inside !== null) this.repair();
    if (!acquire(this.#words, shard.lock, this.#owner)) return false;
    this.#inside = shard;
    return true;
  }

  #leave(shard: Shard): void {
    release(this.#words, shard.lock);
    this.#inside = null;
  }

  /** Frees what this thread left locked when an exception (the edge of its stack) took it out of a shard. */
  repair(): void {
    const shard = this.#inside;
    if (shard === null) return;
    if (ownerOf(this.#words, shard.lock) === this.#owner) {
      shard.mend();
      release(this.#words, shard.lock);
    }
    this.#inside = null;
  }

  // ── The main thread's ─────────────────────────────────────────────────────────────────────────────────────────

  /** Mends and frees what an ended thread held: how many shards. The thread must have ended. */
  forgetThread(thread: number): number {
    let held = 0;
    for (const shard of this.#shards) {
      if (ownerOf(this.#words, shard.lock) !== thread + 2) continue;
      shard.mend();
      release(this.#words, shard.lock);
      held++;
    }
    return held;
  }

  /** What a namespace holds, and how many of its entries have gone; summed without locks. */
  use(namespace: number): NamespaceUse {
    let [entries, bytes, evicted, expired] = [0, 0, 0, 0];
    for (let index = 0; index < this.#layout.shards; index++) {
      const base = PREFIX + index * this.#layout.shardSize;
      entries += this.#words[((base + SHARD.entries) >> 2) + namespace]!;
      bytes += this.#words[((base + SHARD.bytes) >> 2) + namespace]!;
      evicted += this.#floats[((base + SHARD.evicted) >> 3) + namespace]!;
      expired += this.#floats[((base + SHARD.expired) >> 3) + namespace]!;
    }
    return { entries, bytes, evicted, expired };
  }
}

/** Numbers of namespaces: one name keeps its own for the life of the process, so that no guest meets another's data. */
export class Namespaces {
  readonly #numbers = new Map<string, number>();

  /** @throws Error when there are too many. */
  numberOf(name: string): number {
    let number = this.#numbers.get(name);
    if (number !== undefined) return number;
    number = this.#numbers.size;
    if (number >= MAX_NAMESPACES)
      throw new Error(`more than ${MAX_NAMESPACES} key-value namespaces were named since the start`);
    this.#numbers.set(name, number);
    return number;
  }

  list(): Iterable<[name: string, number: number]> {
    return this.#numbers;
  }
}

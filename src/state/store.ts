/**
 * The key-value store shared by all workers of the process: one buffer of fixed size, split into shards with a lock each;
 * no message crosses threads. Readers take the lock too: they mark entries as used, and an optimistic reader would need
 * a fence of the same cost.
 *
 * A worker that is terminated inside a shard leaves it locked: the main thread repairs and unlocks it (`forgetWorker`). A
 * worker whose own stack unwound there finds its mark later, and does the same (`repair`).
 */
import { randomFillSync } from "node:crypto";
import { LIMIT, STATUS } from "../abi/abi.ts";

import { WORK } from "../abi/prices.ts";
import { hashKey, type Seed } from "./hash.ts";
import type { KeyValue, Operation } from "./key-value.ts";
import { type Layout, layOut, MAX_NAMESPACES, PREFIX, SHARD } from "./layout.ts";
import { acquire, ownerOf, release } from "./lock.ts";
import { Shard, SPARE_BYTES } from "./shard.ts";

/** Most work of one call of `list`, in bytes examined; and while it holds a lock. */
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
  /** That of the key of the last operation. */
  #hash = 0;
  /** The shard whose lock this thread holds, also after an exception. */
  #inside: Shard | null = null;

  /** Allocates an empty store. Untouched pages use no memory. */
  static allocate(size: number): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(Math.floor(size / 8) * 8);
    randomFillSync(new Uint8Array(buffer, 0, 8));
    return buffer;
  }

  /** `worker`: the number of the worker, or -1 for the main thread. */
  constructor(buffer: SharedArrayBuffer, worker: number) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#floats = new Float64Array(buffer);
    this.#layout = layOut(buffer.byteLength);
    this.#seed = { low: this.#words[0]!, high: this.#words[1]! };
    this.#owner = worker + 2;
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
    const shard = this.#shardOf(operation);
    if (shard === null) return STATUS.busy;
    const result = this.#leave(shard, shard.get(operation, this.#hash));
    if (result > 0) operation.work += result;
    return result;
  }

  set(operation: Operation): number {
    if (operation.valueEnd - operation.valueStart > LIMIT.kvValue) return STATUS.tooLarge;
    const shard = this.#shardOf(operation);
    return shard === null ? STATUS.busy : this.#leave(shard, shard.set(operation, this.#hash));
  }

  compareAndSet(operation: Operation): number {
    if (operation.valueEnd - operation.valueStart > LIMIT.kvValue) return STATUS.tooLarge;
    const shard = this.#shardOf(operation);
    return shard === null ? STATUS.busy : this.#leave(shard, shard.compareAndSet(operation, this.#hash));
  }

  increment(operation: Operation): number {
    if (!Number.isSafeInteger(operation.number)) return STATUS.invalid;
    const shard = this.#shardOf(operation);
    return shard === null ? STATUS.busy : this.#leave(shard, shard.increment(operation, this.#hash));
  }

  delete(operation: Operation): number {
    const shard = this.#shardOf(operation);
    return shard === null ? STATUS.busy : this.#leave(shard, shard.delete(operation, this.#hash));
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
      if (!shard.hasRecords(operation.namespace)) continue;
      while (chain < chains) {
        if (operation.work >= LIST_WORK) return this.#pause(operation, index * chains + chain, written, 0);
        if (!this.#enter(shard)) {
          operation.work += WORK.busy;
          return this.#pause(operation, index * chains + chain, written, STATUS.busy);
        }
        for (const most = operation.work + HELD_WORK; chain < chains && operation.work < most; chain++) {
          chain = shard.nextChain(operation, chain, most);
          if (chain === chains) break;
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

  /** Ends a page; the next begins at `cursor`. Returns a STATUS if nothing was written, nor would be by the next. */
  #pause(operation: Operation, cursor: number, written: number, why: number): number {
    if (written === 0 && why < 0) return why;
    operation.cursor = cursor;
    return written;
  }

  // ── Locks ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Locks and returns the shard of the key, whose hash selects the chain too; null if it is locked for too long. */
  #shardOf(operation: Operation): Shard | null {
    const { namespace, key, keyStart, keyEnd } = operation;
    operation.work = 0;
    this.#hash = hashKey(this.#seed, namespace, key, keyStart, keyEnd);
    const shard = this.#shards[(this.#hash >>> 20) % this.#shards.length]!;
    if (this.#enter(shard)) return shard;
    operation.work += WORK.busy;
    return null;
  }

  #enter(shard: Shard): boolean {
    if (this.#inside !== null) this.repair();
    if (!acquire(this.#words, shard.lock, this.#owner)) return false;
    this.#inside = shard;
    return true;
  }

  #leave(shard: Shard, result = 0): number {
    release(this.#words, shard.lock);
    this.#inside = null;
    return result;
  }

  /** Repairs and unlocks a shard that this thread left locked because of an exception (stack overflow). */
  repair(): void {
    const shard = this.#inside;
    if (shard === null) return;
    if (ownerOf(this.#words, shard.lock) === this.#owner) {
      shard.repair();
      release(this.#words, shard.lock);
    }
    this.#inside = null;
  }

  // ── Main thread ───────────────────────────────────────────────────────────────────────────────────────────────

  /** Repairs and unlocks the shards that a terminated worker had locked; returns their number. */
  forgetWorker(worker: number): number {
    let repaired = 0;
    for (const shard of this.#shards) {
      if (ownerOf(this.#words, shard.lock) !== worker + 2) continue;
      shard.repair();
      release(this.#words, shard.lock);
      repaired++;
    }
    return repaired;
  }

  /** Entries and evictions of a namespace; summed without locks. */
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

/** Numbers of namespaces. They are never reassigned within the process, so that no plugin can access another's data. */
export class Namespaces {
  readonly #numbers = new Map<string, number>();

  /** @throws Error above MAX_NAMESPACES */
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

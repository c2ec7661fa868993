/**
 * What the host keeps in memory because a plugin asked for it: values of exchanges, edits of heads, responses of its own,
 * what it fetched, its saved state. `limits.memory` bounds a guest's memory, and the same amount again bounds this, for
 * each exchange and call.
 */
import { Fault } from "../host/fault.ts";

/** All exchanges of one configuration on one thread: so many times `limits.memory`, and no less than this. */
const TIMES = 16;
const LEAST = 64 * 1024 * 1024;

/** Of one configuration on one thread. */
export class HostMemory {
  /** Bytes for one exchange, and for one call: `limits.memory`. */
  readonly limit: number;
  readonly #most: number;
  #used = 0;

  constructor(limit: number) {
    this.limit = limit;
    this.#most = Math.max(LEAST, TIMES * limit);
  }

  /** Bytes that are kept for exchanges now. */
  get used(): number {
    return this.#used;
  }

  add(bytes: number): void {
    this.#used += bytes;
  }

  /**
   * Refuses `more` bytes for the host call of that name if they are too many beside the `present` ones.
   * @throws Fault
   */
  check(call: string, more: number, present: number): void {
    if (present + more > this.limit)
      throw new Fault(
        "memory",
        `${call}: ${more} bytes more are over limits.memory: the host keeps ${present} bytes for this call, ${this.limit} may be`,
      );
    if (this.#used + more > this.#most)
      throw new Fault(
        "memory",
        `${call}: ${more} bytes more are over limits.memory: the host keeps ${this.#used} bytes for all requests of this thread, ${this.#most} may be`,
      );
  }
}

/** What one exchange keeps for one configuration. */
export class Kept {
  readonly memory: HostMemory;
  bytes = 0;
  #ended = false;

  constructor(memory: HostMemory) {
    this.memory = memory;
  }

  add(bytes: number): void {
    if (this.#ended) return;
    this.bytes += bytes;
    this.memory.add(bytes);
  }

  /** The exchange has ended. */
  release(): void {
    this.add(-this.bytes);
    this.#ended = true;
  }
}

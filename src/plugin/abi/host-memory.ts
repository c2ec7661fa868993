/**
 * Limits the memory that the host uses on behalf of a plugin: values of exchanges, header edits, local responses, fetched
 * responses, saved state. `limits.memory` limits the guest's own memory, and by the same amount this memory per exchange
 * and call.
 */
import { Fault } from "../host/fault.ts";

/** The limit for all exchanges of one configuration on one worker: a multiple of `limits.memory`, and a minimum in bytes. */
const TIMES = 16;
const LEAST = 64 * 1024 * 1024;

/** The memory used for one configuration on one worker. */
export class HostMemory {
  /** Bytes for one exchange, and for one call: `limits.memory`. */
  readonly limit: number;
  readonly #most: number;
  #used = 0;

  constructor(limit: number) {
    this.limit = limit;
    this.#most = Math.max(LEAST, TIMES * limit);
  }

  /** Bytes used for exchanges. */
  get used(): number {
    return this.#used;
  }

  add(bytes: number): void {
    this.#used += bytes;
  }

  /**
   * Checks that a host call can use `more` bytes in addition to the `present` ones of its exchange and call.
   * @throws Fault (`memory`) above a limit.
   */
  check(call: string, more: number, present: number): void {
    if (present + more > this.limit)
      throw new Fault(
        "memory",
        `${call}: ${more} more bytes exceed limits.memory: the host uses ${present} bytes for this call, the limit is ${this.limit}`,
      );
    if (this.#used + more > this.#most)
      throw new Fault(
        "memory",
        `${call}: ${more} more bytes exceed limits.memory: the host uses ${this.#used} bytes for all requests of this worker, the limit is ${this.#most}`,
      );
  }
}

/** The memory used by one exchange for one configuration. */
export class ExchangeMemory {
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

  /** The exchange has ended: all its memory is refunded. */
  release(): void {
    this.add(-this.bytes);
    this.#ended = true;
  }
}

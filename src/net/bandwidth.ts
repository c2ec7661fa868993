/**
 * Limits of bandwidth: token buckets that a connection is charged to for what it has read and written. Nothing is buffered
 * for them: a connection in debt pauses until it is paid. A bucket has a quarter of a second's bytes. What begins while a
 * bucket is in debt, a connection of its client or a request of its route, waits first, so that short responses on ever new
 * connections are limited too; a debt is at most one read or write of each connection that waited at the same time.
 */
import { performance } from "node:perf_hooks";
import type { ClientRows } from "./client-rows.ts";
import type { Rate, RateTable } from "./rate-table.ts";

/** Directions: what is received and what is sent on the connection. */
export const RECEIVED = 0;
export const SENT = 1;
export type Direction = typeof RECEIVED | typeof SENT;

/** Fewer ms are not worth a timer. */
const LEAST_PAUSE = 1;

const LEAST_READ = 1024;

interface Bucket {
  /** Bytes per second. */
  readonly rate: number;
  /** Takes `size` bytes; returns the ms until the debt is paid. */
  debit(direction: Direction, size: number): number;
}

export class Bandwidth {
  /** Most bytes of a read: a sixteenth of a second's, so that pauses are short, and the end of a connection is noticed. */
  readonly readSize: number;
  readonly #buckets: readonly Bucket[];
  readonly #paused: (bucket: number) => void;

  /** `paused` is called with the index of the bucket that a pause is due to. */
  constructor(buckets: readonly Bucket[], paused: (bucket: number) => void) {
    this.#buckets = buckets;
    this.#paused = paused;
    this.readSize = Math.max(LEAST_READ, Math.floor(Math.min(...buckets.map(({ rate }) => rate)) / 16));
  }

  /** Charges every bucket; returns the ms for which the direction must pause, or 0. */
  debit(direction: Direction, size: number): number {
    let longest = 0;
    let cause = 0;
    for (const [index, bucket] of this.#buckets.entries()) {
      const pause = bucket.debit(direction, size);
      if (pause > longest) [longest, cause] = [pause, index];
    }
    if (longest < LEAST_PAUSE) return 0;
    this.#paused(cause);
    return longest;
  }

  /** Returns the ms until no direction is in debt, for what is to begin, or 0. */
  wait(): number {
    return Math.max(this.debit(RECEIVED, 0), this.debit(SENT, 0));
  }
}

function rateOf(rate: number): Rate {
  return { rate, burst: rate / 4 };
}

/** Of one connection. */
export class OwnBucket implements Bucket {
  readonly rate: number;
  readonly #rate: Rate;
  /** When the bucket of each direction is full again, as performance.now(). */
  readonly #fullAt = [0, 0];

  constructor(rate: number) {
    this.rate = rate;
    this.#rate = rateOf(rate);
  }

  debit(direction: Direction, size: number): number {
    const now = performance.now();
    const { rate, burst } = this.#rate;
    const fullAt = Math.max(this.#fullAt[direction]!, now) + (size * 1000) / rate;
    this.#fullAt[direction] = fullAt;
    return Math.max(0, fullAt - now - (burst * 1000) / rate);
  }
}

/** Of a client or a route, shared by all workers. */
export class SharedBucket implements Bucket {
  readonly rate: number;
  readonly #table: RateTable;
  readonly #rate: Rate;
  readonly #rows: readonly [ClientRows, ClientRows];

  constructor(table: RateTable, name: string, rate: number) {
    this.#table = table;
    this.rate = rate;
    this.#rate = rateOf(rate);
    this.#rows = [table.rowsOf(`received ${name}`), table.rowsOf(`sent ${name}`)];
  }

  debit(direction: Direction, size: number): number {
    return this.#table.debit(this.#rows[direction], size, this.#rate);
  }
}

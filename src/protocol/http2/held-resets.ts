/**
 * Resets of cancelled streams whose HEADERS the endpoint may not have processed. The h2 crate of Rust (hyper, tonic) ends a
 * connection with more than 20 streams that were reset before it accepted them, as it does when it reads HEADERS and
 * RST_STREAM at once. So a reset is held back until the HEADERS are some milliseconds old.
 *
 * Bounds: a stream whose reset is held back is open for the endpoint, and counts in the limit of streams.
 */
import type { Clock, Timed } from "../../net/clock.ts";

/** Least age of HEADERS, ms; the clock adds up to 100. */
export const HOLD = 20;

type Held = { readonly id: number; readonly until: number };

export class HeldResets implements Timed {
  deadline = 0;
  sweepIndex = -1;
  readonly #clock: Clock;
  readonly #send: (ids: readonly number[]) => void;
  #held: Held[] = [];

  constructor(clock: Clock, send: (ids: readonly number[]) => void) {
    this.#clock = clock;
    this.#send = send;
  }

  get size(): number {
    return this.#held.length;
  }

  /** Resets the stream at `until`, of the clock. */
  hold(id: number, until: number): void {
    if (this.sweepIndex < 0) this.#clock.add(this);
    this.#held.push({ id, until });
    if (this.deadline === 0 || until < this.deadline) this.deadline = until;
  }

  expire(): void {
    const { now } = this.#clock;
    const due = this.#held.filter(({ until }) => until <= now);
    this.#held = this.#held.filter(({ until }) => until > now);
    if (this.#held.length > 0) this.deadline = Math.min(...this.#held.map(({ until }) => until));
    this.#send(due.map(({ id }) => id));
  }

  /** The connection has ended. */
  close(): void {
    this.#held = [];
    this.deadline = 0;
    this.#clock.remove(this);
  }
}

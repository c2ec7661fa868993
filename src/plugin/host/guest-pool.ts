/** A bounded pool of guests for suspendable calls. Each serves one call to its end; further calls are queued. */
import type { Guest } from "./guest.ts";

/** A call that needs a guest; exactly one of the two is called, unless it is cancelled. */
export interface GuestConsumer {
  /** Little of its time is left: a guest that is started for it would probably be lost to its time limit. */
  readonly isAboutToExpire: boolean;
  /** `guest` null: the plugin is in quarantine. */
  guestReady(guest: Guest | null): void;
  /** The guest could not be started. */
  guestFailed(error: unknown): void;
}

/** Most queued calls per guest of the pool's limit. */
const QUEUE = 8;

export class GuestPool {
  readonly #make: () => Guest | null;
  /** Largest number of guests. */
  readonly most: number;
  readonly #idle: Guest[] = [];
  readonly #queue: GuestConsumer[] = [];
  #busy = 0;

  /** `make` returns null in quarantine, and throws if a guest cannot be started. */
  constructor(most: number, make: () => Guest | null) {
    this.most = most;
    this.#make = make;
  }

  /** Number of guests, idle or not. */
  get size(): number {
    return this.#idle.length + this.#busy;
  }

  /** Number of queued calls. */
  get queued(): number {
    return this.#queue.length;
  }

  /** Bytes of memory of the idle guests. */
  get memory(): number {
    return this.#idle.reduce((bytes, guest) => bytes + guest.memory, 0);
  }

  /** Provides a guest, now or when one is free. Returns false if the queue is full. */
  request(consumer: GuestConsumer): boolean {
    if (this.#idle.length === 0 && this.#busy >= this.most) {
      if (this.#queue.length >= QUEUE * this.most) return false;
      this.#queue.push(consumer);
    } else this.#serve(consumer);
    return true;
  }

  /** Removes a call from the queue. */
  cancel(consumer: GuestConsumer): void {
    const at = this.#queue.indexOf(consumer);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  /** Returns the guest of a call that succeeded; it serves the next call. */
  release(guest: Guest): void {
    this.#busy--;
    const next = this.#queue.shift();
    if (next === undefined) {
      this.#idle.push(guest);
      return;
    }
    this.#busy++;
    next.guestReady(guest);
  }

  /**
   * A call failed or was cancelled: its guest is not reused, and the next queued calls are served. Another guest is
   * started only for a call that has time to use it: when all calls wait for something that does not respond, each queued
   * one would have a guest started and lost just before its time is over. What remains queued is served by `release`.
   */
  discard(): void {
    this.#busy--;
    // A loop: if no guest can be started, no later release would serve the rest of the queue.
    while (this.#idle.length > 0 || this.#busy < this.most) {
      const at = this.#idle.length > 0 ? 0 : this.#queue.findIndex((consumer) => !consumer.isAboutToExpire);
      const [next] = at < 0 ? [] : this.#queue.splice(at, 1);
      if (next === undefined) return;
      this.#serve(next);
    }
  }

  /** Drops the idle guests. */
  clear(): void {
    this.#idle.length = 0;
  }

  #serve(consumer: GuestConsumer): void {
    let guest: Guest | null;
    try {
      guest = this.#idle.pop() ?? this.#make();
    } catch (error) {
      consumer.guestFailed(error);
      return;
    }
    if (guest !== null) this.#busy++;
    consumer.guestReady(guest);
  }
}

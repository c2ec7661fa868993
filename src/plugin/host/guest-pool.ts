/** The guests of a plugin whose calls may wait: each serves one call to its end; who finds none free stands in line. */
import type { Guest } from "./guest.ts";

/** A call in need of a guest. */
export interface GuestConsumer {
  /** Here is one; null: none can be had, since the plugin is in quarantine. */
  guestReady(guest: Guest | null): void;
  /** One could not be made. */
  guestFailed(error: unknown): void;
}

/** How many calls may stand in line for each guest that there may be. */
const QUEUE = 8;

export class GuestPool {
  readonly #make: () => Guest | null;
  /** Guests that there may be. */
  readonly most: number;
  readonly #idle: Guest[] = [];
  readonly #queue: GuestConsumer[] = [];
  #busy = 0;

  /** `make` answers null in quarantine, and throws when a guest cannot be made. */
  constructor(most: number, make: () => Guest | null) {
    this.most = most;
    this.#make = make;
  }

  /** Guests that live, and calls in line. */
  get size(): number {
    return this.#idle.length + this.#busy;
  }

  get queued(): number {
    return this.#queue.length;
  }

  get memory(): number {
    return this.#idle.reduce((bytes, guest) => bytes + guest.memory, 0);
  }

  /** Gives it a guest, now or when one is free. False: too many stand in line. */
  request(consumer: GuestConsumer): boolean {
    if (this.#idle.length === 0 && this.#busy >= this.most) {
      if (this.#queue.length >= QUEUE * this.most) return false;
      this.#queue.push(consumer);
    } else this.#serve(consumer);
    return true;
  }

  /** It waits no more. */
  cancel(consumer: GuestConsumer): void {
    const at = this.#queue.indexOf(consumer);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  /** A call has ended well: its guest serves the next. */
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

  /** A call failed or was cancelled: its guest is never entered again. */
  discard(): void {
    this.#busy--;
    // Where no other can be made, none is left that would come back to serve the rest of the line.
    while (this.#queue.length > 0 && (this.#idle.length > 0 || this.#busy < this.most))
      this.#serve(this.#queue.shift()!);
  }

  /** Nobody uses the plugin any more. */
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

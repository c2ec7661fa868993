/** The guests of a plugin whose calls may wait: each serves one call to its end; who finds none free stands in line. */
import type { Guest } from "./guest.ts";

/** A call in need of a guest. */
export interface Taker {
  /** Here is one; null: none can be had, since the plugin is in quarantine. */
  take(guest: Guest | null): void;
  /** One could not be made. */
  fail(error: unknown): void;
}

/** How many calls may stand in line for each guest that there may be. */
const LINE = 8;

export class GuestPool {
  readonly #make: () => Guest | null;
  /** Guests that there may be. */
  readonly most: number;
  readonly #idle: Guest[] = [];
  readonly #line: Taker[] = [];
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

  get waiting(): number {
    return this.#line.length;
  }

  get memory(): number {
    return this.#idle.reduce((bytes, guest) => bytes + guest.memory, 0);
  }

  /** Gives it a guest, now or when one is free. False: too many stand in line. */
  ask(taker: Taker): boolean {
    if (this.#idle.length === 0 && this.#busy >= this.most) {
      if (this.#line.length >= LINE * this.most) return false;
      this.#line.push(taker);
    } else this.#serve(taker);
    return true;
  }

  /** It waits no more. */
  leave(taker: Taker): void {
    const at = this.#line.indexOf(taker);
    if (at >= 0) this.#line.splice(at, 1);
  }

  /** A call has ended well: its guest serves the next. */
  giveBack(guest: Guest): void {
    this.#busy--;
    const next = this.#line.shift();
    if (next === undefined) {
      this.#idle.push(guest);
      return;
    }
    this.#busy++;
    next.take(guest);
  }

  /** A call failed or was cancelled: its guest is never entered again. */
  drop(): void {
    this.#busy--;
    // Where no other can be made, none is left that would come back to serve the rest of the line.
    while (this.#line.length > 0 && (this.#idle.length > 0 || this.#busy < this.most)) this.#serve(this.#line.shift()!);
  }

  /** Nobody uses the plugin any more. */
  clear(): void {
    this.#idle.length = 0;
  }

  #serve(taker: Taker): void {
    let guest: Guest | null;
    try {
      guest = this.#idle.pop() ?? this.#make();
    } catch (error) {
      taker.fail(error);
      return;
    }
    if (guest !== null) this.#busy++;
    taker.take(guest);
  }
}

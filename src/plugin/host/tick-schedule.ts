/** When the `tick` hooks of a guest's configurations are called. Configurations are numbered from 1 (`configuration.id`). */
import { TICK_EVERY } from "../../abi/abi.ts";
import type { Suspension } from "./hook-context.ts";

/** The share of the worker's time that the ticks of one configuration may take: no client can throttle them. */
const TICK_SHARE = 0.05;

export class TickSchedule {
  readonly #now: () => number;
  /** By configuration: interval, time of the next call, and the suspended call. */
  readonly #ticks: { every: number; due: number; call: Suspension | null }[];

  /** `now`: a monotonic clock, milliseconds. */
  constructor(configurations: number, now: () => number) {
    this.#now = now;
    this.#ticks = Array.from({ length: configurations }, () => {
      return { every: TICK_EVERY, due: this.#firstDue(TICK_EVERY), call: null };
    });
  }

  /** A random time in the first interval, so that workers do not tick in step. */
  #firstDue(every: number): number {
    return this.#now() + Math.random() * every;
  }

  setInterval(id: number, milliseconds: number): void {
    const tick = this.#ticks[id - 1]!;
    if (tick.every === milliseconds) return;
    tick.every = milliseconds;
    tick.due = this.#firstDue(milliseconds);
  }

  /** Whether to call `tick` now: never while a call is suspended. */
  isDue(id: number): boolean {
    const { due, call } = this.#ticks[id - 1]!;
    return call === null && this.#now() >= due;
  }

  isSuspended(id: number): boolean {
    return this.#ticks[id - 1]!.call !== null;
  }

  /** The call was suspended. */
  suspended(id: number, call: Suspension): void {
    this.#ticks[id - 1]!.call = call;
  }

  /** The call has ended after `took` ms of the worker's time. The next interval starts now, however late this call was. */
  ended(id: number, took: number): void {
    const tick = this.#ticks[id - 1]!;
    tick.call = null;
    tick.due = this.#now() + Math.max(tick.every, took / TICK_SHARE);
  }

  /** Cancels a suspended call; `tick` is then due at once. */
  cancel(id: number): void {
    const tick = this.#ticks[id - 1]!;
    tick.call?.cancel();
    if (tick.call !== null) tick.due = this.#now();
    tick.call = null;
  }
}

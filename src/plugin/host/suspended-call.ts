/**
 * A call of a hook that may wait. It has a guest of its own until it ends, however it ends: by a result, a failure, its
 * time limit, or the end of its exchange. `tick` has no exchange: it ends with its version. A wait that is given up is always rejected, since an unsettled one would keep
 * its guest for ever.
 */

import { HOOK } from "../../abi/abi.ts";
import { Fault } from "./fault.ts";
import type { Guest } from "./guest.ts";
import type { GuestConsumer, GuestPool } from "./guest-pool.ts";
import type { HookContext } from "./hook-context.ts";
import { OUTCOME } from "./outcome.ts";
import type { After } from "./timer.ts";

/** The plugin's side of it. */
export interface CallOwner {
  readonly pool: GuestPool;
  /** Milliseconds that a call may take. */
  readonly time: number;
  readonly after: After;
  enter(guest: Guest, hook: number, target: HookContext | null): Promise<number>;
  /** What the hook's result means. @throws what is wrong with it. */
  evaluate(guest: Guest, hook: number, result: number): number;
  /** What its failure means; null: it has no guest. */
  failed(guest: Guest | null, hook: number, target: HookContext | null, error: unknown): number;
  /** What the plugin's quarantine means. */
  refuse(hook: number, target: HookContext | null): number;
  /** The exchange goes on with that; null: a `tick` has ended. */
  resume(hook: number, target: HookContext | null, outcome: number, call: SuspendableCall): void;
}

/** Milliseconds for a check that was told in its last moment how the endpoint is. */
const MOMENT = 100;

export class SuspendableCall implements GuestConsumer {
  readonly #host: CallOwner;
  readonly #hook: number;
  readonly #target: HookContext | null;
  readonly #began = performance.now();
  #guest: Guest | null = null;
  #stopTimer: (() => void) | null = null;
  /** Whoever began the call still waits for `start` to return. */
  #starting = true;
  #outcome = -1;
  #cancelled = false;

  constructor(host: CallOwner, hook: number, target: HookContext | null) {
    this.#host = host;
    this.#hook = hook;
    this.#target = target;
  }

  /** Milliseconds of the thread that its guest took, waits left out. */
  get ran(): number {
    return this.#guest === null ? 0 : this.#guest.context.suspension.ran;
  }

  /** Milliseconds since it began, waits and its place in line included. */
  get took(): number {
    return performance.now() - this.#began;
  }

  /** OUTCOME.waiting, or what came of it at once. */
  start(): number {
    const { pool, after } = this.#host;
    if (!pool.request(this)) return OUTCOME.busy;
    this.#starting = false;
    if (this.#outcome >= 0) return this.#outcome;
    this.#stopTimer = after(this.#time, () => this.#expire());
    return OUTCOME.suspended;
  }

  guestReady(guest: Guest | null): void {
    if (guest === null) {
      this.#settle(this.#host.refuse(this.#hook, this.#target));
      return;
    }
    this.#guest = guest;
    this.#host.enter(guest, this.#hook, this.#target).then(
      (result) => this.#ended(guest, result),
      (error: unknown) => this.#failed(guest, error),
    );
  }

  guestFailed(error: unknown): void {
    this.#settle(this.#host.failed(null, this.#hook, this.#target, error));
  }

  /** The exchange has ended without it: what it waits for is given up, and its guest goes. */
  cancel(): void {
    if (this.#cancelled || this.#outcome >= 0) return;
    this.#cancelled = true;
    this.#clearTimer();
    if (this.#guest === null) this.#host.pool.cancel(this);
    else this.#guest.context.abandon();
  }

  /** Of a check the time that it has may be over sooner. */
  get #time(): number {
    const { time } = this.#host;
    if (this.#hook !== HOOK.health_check || this.#target === null) return time;
    return Math.min(time, this.#target.deadline - this.#began + MOMENT);
  }

  #expire(): void {
    const time = this.#time;
    const limit = time === this.#host.time ? "limits.time" : "the check's timeout";
    const fault = new Fault("timeout", `the call took more than ${Math.round(time)} ms (${limit})`);
    if (this.#guest !== null) this.#guest.context.abort(fault);
    else {
      this.#host.pool.cancel(this);
      this.guestFailed(fault);
    }
  }

  #ended(guest: Guest, result: number): void {
    if (this.#cancelled) return this.#host.pool.discard();
    let outcome: number;
    try {
      outcome = this.#host.evaluate(guest, this.#hook, result);
    } catch (error) {
      return this.#failed(guest, error);
    }
    this.#settle(outcome, () => this.#host.pool.release(guest));
  }

  #failed(guest: Guest, error: unknown): void {
    if (this.#cancelled) return this.#host.pool.discard();
    this.#settle(this.#host.failed(guest, this.#hook, this.#target, error), () => this.#host.pool.discard());
  }

  /** Lets the exchange go on first: the guest's next call may take the rest of the turn. */
  #settle(outcome: number, then: () => void = () => {}): void {
    this.#clearTimer();
    this.#outcome = outcome;
    try {
      if (!this.#starting) this.#host.resume(this.#hook, this.#target, outcome, this);
    } finally {
      then();
    }
  }

  #clearTimer(): void {
    this.#stopTimer?.();
    this.#stopTimer = null;
  }
}

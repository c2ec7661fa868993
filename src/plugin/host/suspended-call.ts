/**
 * A call of a suspendable hook. It has a guest of the pool to itself until it ends: by a result, a failure, its time
 * limit, or the end of its exchange (of its version, for `tick`). A cancelled host call is always rejected: a promise
 * that is never settled would leak the guest.
 */

import { HOOK } from "../../abi/abi.ts";
import { Fault } from "./fault.ts";
import type { Guest } from "./guest.ts";
import type { GuestConsumer, GuestPool } from "./guest-pool.ts";
import type { HookContext } from "./hook-context.ts";
import { OUTCOME } from "./outcome.ts";
import type { After } from "./timer.ts";

/** The plugin instance, as the call uses it. */
export interface CallOwner {
  readonly pool: GuestPool;
  /** Time limit in milliseconds. */
  readonly time: number;
  readonly after: After;
  /** Runs the hook. */
  enter(guest: Guest, hook: number, target: HookContext | null): Promise<number>;
  /** Converts the hook's result to an OUTCOME. @throws Fault */
  evaluate(guest: Guest, hook: number, result: number): number;
  /** The call failed; `guest` null: before it had one. Returns the OUTCOME by the failure policy. */
  failed(guest: Guest | null, hook: number, target: HookContext | null, error: unknown): number;
  /** The plugin is in quarantine. Returns the OUTCOME by the failure policy. */
  refuse(hook: number, target: HookContext | null): number;
  /** Continues the exchange; `target` null: a `tick` has ended. */
  resume(hook: number, target: HookContext | null, outcome: number, call: SuspendableCall): void;
}

/** Milliseconds that a health check has after its deadline to evaluate the endpoint's response. */
const EVALUATION_TIME = 100;
/** Share of the time limit after which a queued call is about to expire. */
const LATE = 0.9;

export class SuspendableCall implements GuestConsumer {
  readonly #host: CallOwner;
  readonly #hook: number;
  readonly #target: HookContext | null;
  readonly #began = performance.now();
  #guest: Guest | null = null;
  #stopTimer: (() => void) | null = null;
  /** `start` has not returned yet: it returns the outcome. */
  #starting = true;
  #outcome = -1;
  #cancelled = false;

  constructor(host: CallOwner, hook: number, target: HookContext | null) {
    this.#host = host;
    this.#hook = hook;
    this.#target = target;
  }

  /** Milliseconds that its guest ran, without the time in which it was suspended. */
  get ran(): number {
    return this.#guest === null ? 0 : this.#guest.context.suspension.ran;
  }

  /** Milliseconds since it began, including the time in the queue and suspended. */
  get took(): number {
    return performance.now() - this.#began;
  }

  get isAboutToExpire(): boolean {
    return this.took > LATE * this.#time;
  }

  /** Returns `suspended`, or the outcome of a call that was not suspended; `busy` if the queue is full. */
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

  /** Cancels the call without an outcome: leaves the queue, or rejects the suspended host call and discards the guest. */
  cancel(): void {
    if (this.#cancelled || this.#outcome >= 0) return;
    this.#cancelled = true;
    this.#clearTimer();
    if (this.#guest === null) this.#host.pool.cancel(this);
    else this.#guest.context.abandon();
  }

  /** The time limit; the deadline of a health check may be earlier. */
  get #time(): number {
    const { time } = this.#host;
    if (this.#hook !== HOOK.health_check || this.#target === null) return time;
    return Math.min(time, this.#target.deadline - this.#began + EVALUATION_TIME);
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

  /** Continues the exchange before `then`, which releases the guest: its next call may take long. */
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

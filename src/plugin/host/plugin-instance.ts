/**
 * One configuration of one plugin in one version: invokes the hooks of its guest, validates their results, and applies
 * the failure policy.
 */

import { HOOK, RESULT, SUSPENDABLE_HOOKS } from "../../abi/abi.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import type { Version } from "./canary-rollout.ts";
import { clientOf } from "./client-failures.ts";
import { type ConfigurationParts, PluginConfiguration } from "./configuration.ts";
import { Fault } from "./fault.ts";
import type { Guest, GuestFailure } from "./guest.ts";
import type { GuestPool } from "./guest-pool.ts";
import type { EndpointList, ExchangeContext, HookContext } from "./hook-context.ts";
import { checkResult } from "./hook-results.ts";
import { HookRunner } from "./hook-runner.ts";
import type { Instance } from "./instance.ts";
import { InstanceCounters } from "./instance-counters.ts";
import { InstanceFailures } from "./instance-failures.ts";
import type { ManagedGuest } from "./managed-guest.ts";
import { OUTCOME } from "./outcome.ts";
import type { SlowCalls } from "./slow-calls.ts";
import { GuestStartError } from "./start-guest.ts";
import { type CallOwner, SuspendableCall } from "./suspended-call.ts";
import type { After } from "./timer.ts";

/** Bit mask of hooks whose calls can be suspended. */
const SUSPENDABLE = SUSPENDABLE_HOOKS.reduce((mask, hook) => mask | (1 << HOOK[hook]), 0);

/** Milliseconds after a failed `update` before it is tried again. */
const UPDATE_PAUSE = 1000;

/** Hooks that cannot change the response. */
const OBSERVING = (1 << HOOK.log) | (1 << HOOK.outcome);

const NONE = -1;
const FAILED = -2;

export type InstanceParts = Omit<ConfigurationParts, "counters"> & {
  readonly index: number;
  readonly hooks: number;
  /** The module imports asynchronous host calls. */
  readonly suspends: boolean;
  /** The figures of this version, during a canary rollout. */
  readonly version: Version | null;
  readonly slow: SlowCalls;
  readonly monotonic: () => number;
  readonly after: After;
};

export class PluginInstance implements Instance, CallOwner {
  readonly configuration: PluginConfiguration;
  readonly #runner: HookRunner;
  readonly #failures: InstanceFailures;
  readonly #slow: SlowCalls;
  readonly index: number;
  readonly plugin: string;
  readonly hooks: number;
  /** The cluster that uses it as strategy; empty for other roles. */
  readonly cluster: string;
  readonly bodyLimit: number;
  readonly refusesTooLarge: boolean;
  /** Time limit of a suspendable call in milliseconds, and the largest number of guests for such calls. */
  readonly time: number;
  readonly guestLimit: number;
  /** The number of the canary rollout in which it is the canary version; otherwise 0. */
  readonly rollout: number;
  readonly #version: Version | null;
  readonly after: After;
  /** Bit mask of its hooks whose calls can be suspended. */
  readonly #suspendable: number;
  readonly #skips: boolean;
  readonly #now: () => number;
  #managed!: ManagedGuest;
  /** The endpoints of the last `update`, so that a restarted guest can be updated. */
  #view: EndpointList | null = null;
  /** When `update` failed last: picks are native until it succeeds. */
  #failedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: InstanceParts) {
    const { index, plan, hooks, slow, monotonic } = parts;
    this.#version = parts.version;
    this.rollout = this.#version?.isCanary ? this.#version.rollout : 0;
    this.after = parts.after;
    this.time = plan.time;
    this.guestLimit = plan.guests;
    this.#suspendable = parts.suspends ? hooks & SUSPENDABLE : 0;
    this.index = index;
    this.plugin = plan.plugin;
    this.hooks = hooks;
    this.cluster = plan.cluster;
    this.bodyLimit = plan.body;
    this.refusesTooLarge = plan.tooLarge === "reject";
    this.#skips = plan.onFailure === "skip";
    const counters = new InstanceCounters(parts.cells, plan.cells);
    const configuration = new PluginConfiguration({ ...parts, counters });
    this.configuration = configuration;
    this.#failures = new InstanceFailures({ ...parts, plugin: plan.plugin, counters });
    this.#slow = slow;
    this.#runner = new HookRunner({ index, fuel: plan.fuel, configuration, counters, version: parts.version, slow });
    this.#now = monotonic;
  }

  /** Sets the guest; `id`: the configuration's number within it. */
  attach(managed: ManagedGuest, id: number): void {
    this.#managed = managed;
    this.configuration.owner = managed;
    this.configuration.id = id;
  }

  mayChoose(cluster: string): boolean {
    return this.configuration.mayChoose(cluster);
  }

  // ── Instance ──────────────────────────────────────────────────────────────────────────────────────────────────

  call(hook: number, target: HookContext): number {
    if (((this.hooks >>> hook) & 1) === 0) return OUTCOME.continue;
    if (target.skipped?.has(this.index)) return OUTCOME.continue;
    if ((this.#managed.hasFailingClients || this.#slow.hasExceeded) && this.#isRefused(hook, target))
      return this.refuse(hook, target);
    if (((this.#suspendable >>> hook) & 1) === 1) return this.#callSuspendable(hook, target);
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      if (guest === null) return this.refuse(hook, target);
      return this.evaluate(guest, hook, this.#runner.run(guest, hook, target, null));
    } catch (error) {
      this.#fail(hook, guest, error);
      return this.#applyFailurePolicy(hook, target);
    }
  }

  /** Converts a result to an OUTCOME: valid results have the same values. @throws Fault */
  evaluate(guest: Guest, hook: number, result: number): number {
    const { responded, exchange } = guest.context.scope;
    checkResult(hook, result, responded);
    if ((result === RESULT.respond || result === RESULT.reject) && exchange !== null)
      exchange.respondedBy = this.plugin;
    this.#end(guest, hook);
    return result;
  }

  update(view: EndpointList): boolean {
    if (((this.hooks >>> HOOK.update) & 1) === 0) return true;
    this.#view = view.clone();
    return this.#update();
  }

  pick(exchange: ExchangeContext, view: EndpointList): number {
    if (((this.hooks >>> HOOK.pick) & 1) === 0) return FAILED;
    if ((this.#managed.hasFailingClients || this.#slow.hasExceeded) && this.#isRefused(HOOK.pick, exchange))
      return this.#refusePick();
    if (this.#managed.updatedBy !== this.configuration && !this.#updateGuest()) return FAILED;
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      if (guest === null) return this.#refusePick();
      const result = this.#runner.run(guest, HOOK.pick, exchange, view);
      if (result < NONE || result >= view.count)
        throw new Fault("bad_result", `pick returned ${result}, expected -1 or an index below ${view.count}`);
      this.#end(guest, HOOK.pick);
      return result;
    } catch (error) {
      this.#fail(HOOK.pick, guest, error);
      return FAILED;
    }
  }

  /** Calls `update` for a guest that was not updated by this version. Not within a second of a failure. */
  #updateGuest(): boolean {
    if (this.#view === null) return true;
    return Math.abs(this.#now() - this.#failedAt) >= UPDATE_PAUSE && this.#update();
  }

  #update(): boolean {
    const isUpdated = this.#runPlain(HOOK.update, this.#view);
    if (isUpdated === true) this.#managed.updatedBy = this.configuration;
    else if (isUpdated === false) this.#failedAt = this.#now();
    return isUpdated === true;
  }

  /** Calls `tick` if it is due. Ticks that are not run because of a quarantine are not counted as refused. */
  tick(): void {
    const { ticks } = this.#managed;
    const { id } = this.configuration;
    if (!ticks.isDue(id)) return;
    if (((this.#suspendable >>> HOOK.tick) & 1) === 1) return this.#tickSuspendable();
    const began = performance.now();
    this.#runPlain(HOOK.tick, null);
    ticks.ended(id, performance.now() - began);
  }

  #tickSuspendable(): void {
    const { ticks } = this.#managed;
    const { id } = this.configuration;
    const call = new SuspendableCall(this, HOOK.tick, null);
    const outcome = call.start();
    if (outcome === OUTCOME.busy) this.#failures.rejected(HOOK.tick, this.guestLimit, this.pool.queued);
    if (outcome === OUTCOME.suspended) ticks.suspended(id, call);
    else ticks.ended(id, 0);
  }

  /** Whether a call of `tick` is suspended. */
  get isTicking(): boolean {
    return this.#managed.ticks.isSuspended(this.configuration.id);
  }

  /** Cancels a suspended call of `tick`. */
  stopTick(): void {
    this.#managed.ticks.cancel(this.configuration.id);
  }

  /** Whether the same guest serves both configurations. */
  sharesGuest(other: PluginInstance): boolean {
    return this.#managed === other.#managed;
  }

  /** The state that the guest saves for the next version; null if it has none, does not run, or fails. */
  save(): PendingBuffer | null {
    // A guest that has failed has lost its state.
    if (((this.hooks >>> HOOK.save) & 1) === 0 || !this.#managed.running) return null;
    const state = new PendingBuffer();
    return this.#runPlain(HOOK.save, null, state) === true && state.length > 0 ? state : null;
  }

  /** Restores the state of the previous version. If that fails, the guest is restarted without it. */
  restore(state: PendingBuffer): void {
    this.#runPlain(HOOK.restore, null, state);
  }

  /** Calls a hook that has no context and only returns `continue`. False: it failed; null: no guest can be started. */
  #runPlain(hook: number, view: EndpointList | null, state: PendingBuffer | null = null): boolean | null {
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      if (guest === null) return null;
      guest.context.state = state;
      const result = this.#runner.run(guest, hook, null, view);
      checkResult(hook, result, false);
      guest.context.state = null;
      this.#end(guest, hook);
      return true;
    } catch (error) {
      this.#fail(hook, guest, error);
      return false;
    }
  }

  // ── Suspendable calls ─────────────────────────────────────────────────────────────────────────────────────────

  get pool(): GuestPool {
    return this.#managed.pool!;
  }

  #callSuspendable(hook: number, target: HookContext): number {
    const call = new SuspendableCall(this, hook, target);
    const outcome = call.start();
    if (outcome === OUTCOME.suspended) target.suspend(hook, call);
    else if (outcome === OUTCOME.busy) {
      target.respondedBy = this.plugin;
      this.#failures.rejected(hook, this.guestLimit, this.pool.queued);
    }
    return outcome;
  }

  enter(guest: Guest, hook: number, target: HookContext | null): Promise<number> {
    return this.#runner.runSuspendable(guest, hook, target);
  }

  resume(hook: number, target: HookContext | null, outcome: number, call: SuspendableCall): void {
    if (target === null) return this.#managed.ticks.ended(this.configuration.id, call.ran);
    this.#version?.addTime(call.took);
    target.caller?.resume(hook, target, outcome);
  }

  failed(guest: Guest | null, hook: number, target: HookContext | null, error: unknown): number {
    const failure = this.#recordFailure(guest, hook, target, error);
    // A call that timed out in the queue had no guest: it does not show whether one can be started.
    if (guest !== null || error instanceof GuestStartError)
      this.#managed.failPooled(guest, hook, failure, clientOf(target));
    return target === null ? OUTCOME.continue : this.#applyFailurePolicy(hook, target);
  }

  // ── Failure ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whether the call is not made: its client makes the plugin fail, or earlier calls were slow. */
  #isRefused(hook: number, target: HookContext): boolean {
    if (this.#managed.hasFailingClients && this.#managed.isBlocked(target)) this.#failures.blocked(hook, target);
    else if (this.#slow.hasExceeded && this.#slow.refuses()) this.#failures.slow(hook, this.#slow);
    else return false;
    return true;
  }

  /**
   * A call is not made, in quarantine, for a blocked client, or after slow calls: the failure policy applies. Ticks are
   * not counted.
   */
  refuse(hook: number, target: HookContext | null): number {
    if (target === null) return OUTCOME.continue;
    this.#failures.refused(hook);
    target.trace?.refused(hook, this.plugin);
    return this.#applyFailurePolicy(hook, target);
  }

  #refusePick(): number {
    this.#failures.refused(HOOK.pick);
    return FAILED;
  }

  #applyFailurePolicy(hook: number, target: HookContext): number {
    this.#version?.countFailure(target);
    if (!this.#skips) {
      if (((OBSERVING >>> hook) & 1) === 0) target.respondedBy = this.plugin;
      return OUTCOME.failed;
    }
    (target.skipped ??= new Set()).add(this.index);
    return OUTCOME.continue;
  }

  #end(guest: Guest, hook: number): void {
    const { target } = guest.context.scope;
    guest.context.end();
    if (((this.#managed.watched >>> hook) & 1) === 1) this.#managed.pass(hook, clientOf(target));
  }

  /** A call failed that cannot be suspended: its guest is dropped. */
  #fail(hook: number, guest: Guest | null, error: unknown): void {
    const target = guest === null ? null : guest.context.scope.target;
    const failure = this.#recordFailure(guest, hook, target, error);
    this.#managed.fail(guest, hook, failure, clientOf(target));
  }

  /** Counts and logs a failure, and reverts the hook's edits. */
  #recordFailure(guest: Guest | null, hook: number, target: HookContext | null, error: unknown): GuestFailure {
    const failure = this.#failures.explain(guest, hook, error);
    this.#failures.failed(hook, failure);
    target?.trace?.failed(hook, this.plugin, failure);
    guest?.context.rollback();
    guest?.context.end();
    return failure;
  }
}

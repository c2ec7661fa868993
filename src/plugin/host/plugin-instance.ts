/** One configuration of one plugin in one version: calls its guest's hooks, checks what they answer, and bears failure. */

import { HOOK, HOOK_RESULTS, HOOKS, RESULT, SUSPENDABLE_HOOKS } from "../../abi/abi.ts";
import { fuelFor } from "../../abi/prices.ts";
import type { ThrottledLog } from "../../observe/throttled-log.ts";
import { SavedState } from "../abi/saved-state.ts";
import { bytesSeen } from "./bytes-seen.ts";
import type { Version } from "./canary-rollout.ts";
import { clientOf } from "./client-failures.ts";
import { type ConfigurationParts, PluginConfiguration } from "./configuration.ts";
import { Fault } from "./fault.ts";
import type { Guest, GuestFailure } from "./guest.ts";
import type { GuestPool } from "./guest-pool.ts";
import type { EndpointList, ExchangeContext, HookContext } from "./hook-context.ts";
import type { Instance } from "./instance.ts";
import { InstanceCounters } from "./instance-counters.ts";
import { type ManagedGuest, StartError } from "./managed-guest.ts";
import { OUTCOME } from "./outcome.ts";
import { hookName, type PluginReport } from "./report.ts";
import { type CallOwner, SuspendableCall } from "./suspended-call.ts";
import type { After } from "./timer.ts";

/** By hook: a bit mask of the results that it defines. */
const RESULTS = HOOKS.map((hook) => HOOK_RESULTS[hook].reduce((mask, result) => mask | (1 << result), 0));

/** Hooks whose calls may wait, a bit for each. */
const SUSPENDABLE = SUSPENDABLE_HOOKS.reduce((mask, hook) => mask | (1 << HOOK[hook]), 0);

/** How long a strategy that failed in `update` is left alone. */
const UPDATE_PAUSE = 1000;

/** Hooks that no request calls, a bit for each; `update` is told by whoever called it. */
const WITHOUT_REQUEST = (1 << HOOK.tick) | (1 << HOOK.save) | (1 << HOOK.restore);

/** Hooks that do not decide what the client gets. */
const OBSERVING = (1 << HOOK.log) | (1 << HOOK.outcome);

const NONE = -1;
const FAILED = -2;

export type InstanceParts = Omit<ConfigurationParts, "counters"> & {
  readonly index: number;
  readonly hooks: number;
  /** Its module has a call that waits. */
  readonly suspends: boolean;
  /** Its version, during a canary rollout. */
  readonly version: Version | null;
  readonly monotonic: () => number;
  readonly after: After;
};

export class PluginInstance implements Instance, CallOwner {
  readonly configuration: PluginConfiguration;
  readonly #counters: InstanceCounters;
  readonly index: number;
  readonly plugin: string;
  readonly hooks: number;
  /** The cluster whose strategy it is; empty for others. */
  readonly cluster: string;
  readonly bodyLimit: number;
  readonly refusesTooLarge: boolean;
  /** Milliseconds that a call which waits may take, and how many of them there may be at one time. */
  readonly time: number;
  readonly guestLimit: number;
  /** The number of the canary rollout in which it is the canary version; 0 otherwise. */
  readonly rollout: number;
  readonly #version: Version | null;
  readonly after: After;
  /** Hooks whose calls may wait, a bit for each. */
  readonly #suspendable: number;
  readonly #fuel: number;
  readonly #skips: boolean;
  readonly #warnings: ThrottledLog | null;
  readonly #report: PluginReport;
  readonly #now: () => number;
  #managed!: ManagedGuest;
  /** What the last `update` told, so that a guest that takes another's place can be told again. */
  #view: EndpointList | null = null;
  /** When `update` failed: picks are native until the next one, or until this is some time ago. */
  #failedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: InstanceParts) {
    const { index, plan, hooks, monotonic } = parts;
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
    this.#fuel = plan.fuel;
    this.#skips = plan.onFailure === "skip";
    this.#warnings = parts.warnings;
    this.#report = parts.report;
    this.#counters = new InstanceCounters(parts.cells, plan.cells);
    this.configuration = new PluginConfiguration({ ...parts, counters: this.#counters });
    this.#now = monotonic;
  }

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
    if (this.#managed.hasFailingClients && this.#managed.isBlocked(target)) return this.#refuseBlocked(hook, target);
    if (((this.#suspendable >>> hook) & 1) === 1) return this.#callSuspendable(hook, target);
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      if (guest === null) return this.#refuse(hook, target);
      return this.evaluate(guest, hook, this.#run(guest, hook, target, null));
    } catch (error) {
      this.#fail(hook, guest, error);
      return this.#applyFailurePolicy(hook, target);
    }
  }

  /** Checks what a hook answered: RESULT and OUTCOME agree in what that may be. */
  evaluate(guest: Guest, hook: number, result: number): number {
    if (result < 0 || result > 31 || ((RESULTS[hook]! >>> result) & 1) === 0) refuse(hook, result);
    if (guest.context.scope.responded !== (result === RESULT.respond)) failResponse(hook, result);
    if ((result === RESULT.respond || result === RESULT.reject) && guest.context.scope.exchange !== null)
      guest.context.scope.exchange.respondedBy = this.plugin;
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
    if (this.#managed.hasFailingClients && this.#managed.isBlocked(exchange)) {
      this.#logBlocked(HOOK.pick, exchange);
      return this.#refusePick();
    }
    if (this.#managed.updatedBy !== this.configuration && !this.#updateGuest()) return FAILED;
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      if (guest === null) return this.#refusePick();
      const result = this.#run(guest, HOOK.pick, exchange, view);
      if (result < NONE || result >= view.count)
        throw new Fault("bad_result", `pick answered ${result}, expected -1 or an index below ${view.count}`);
      this.#end(guest, HOOK.pick);
      return result;
    } catch (error) {
      this.#fail(HOOK.pick, guest, error);
      return FAILED;
    }
  }

  /** The guest was told the endpoints by nobody, or by another version: it is told again before it picks. */
  #updateGuest(): boolean {
    if (this.#view === null) return true;
    return Math.abs(this.#now() - this.#failedAt) >= UPDATE_PAUSE && this.#update();
  }

  #update(): boolean {
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      if (guest === null) return false;
      const result = this.#run(guest, HOOK.update, null, this.#view);
      if (result !== RESULT.continue) refuse(HOOK.update, result);
      this.#end(guest, HOOK.update);
      this.#managed.updatedBy = this.configuration;
      return true;
    } catch (error) {
      this.#fail(HOOK.update, guest, error);
      this.#failedAt = this.#now();
      return false;
    }
  }

  /** Calls `tick`, if it is time to. */
  tick(): void {
    if (!this.#managed.isDue(this.configuration)) return;
    if (((this.#suspendable >>> HOOK.tick) & 1) === 1) return this.#tickSuspendable();
    const began = performance.now();
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      // In quarantine nobody waits for it: it is not counted as refused.
      if (guest === null) return;
      const result = this.#run(guest, HOOK.tick, null, null);
      if (result !== RESULT.continue) refuse(HOOK.tick, result);
      this.#end(guest, HOOK.tick);
    } catch (error) {
      this.#fail(HOOK.tick, guest, error);
    } finally {
      this.#managed.ticked(this.configuration, performance.now() - began);
    }
  }

  /** As a call that may outlast many rounds of the clock. */
  #tickSuspendable(): void {
    const call = new SuspendableCall(this, HOOK.tick, null);
    const outcome = call.start();
    if (outcome === OUTCOME.busy) this.#logBusy(HOOK.tick);
    if (outcome === OUTCOME.suspended) this.#managed.tickSuspended(this.configuration, call);
    else this.#managed.ticked(this.configuration, 0);
  }

  /** Whether its `tick` waits. */
  get isTicking(): boolean {
    return this.#managed.isTicking(this.configuration);
  }

  /** Gives up its `tick`, if one waits. */
  stopTick(): void {
    this.#managed.stopTick(this.configuration);
  }

  /** Whether the same guest serves both. */
  sharesGuest(other: PluginInstance): boolean {
    return this.#managed === other.#managed;
  }

  /** What its guest hands to its next version; null when it has none, hands nothing, or fails. */
  save(): SavedState | null {
    // A guest that was lost has lost its state with it.
    if (((this.hooks >>> HOOK.save) & 1) === 0 || !this.#managed.running) return null;
    const state = new SavedState();
    return this.#transfer(HOOK.save, state) && state.length > 0 ? state : null;
  }

  /** Gives its guest what the version before has saved. A guest that fails with it is made anew, without. */
  restore(state: SavedState): void {
    this.#transfer(HOOK.restore, state);
  }

  #transfer(hook: number, state: SavedState): boolean {
    let guest: Guest | null = null;
    try {
      guest = this.#managed.take();
      if (guest === null) return false;
      guest.context.state = state;
      const result = this.#run(guest, hook, null, null);
      if (result !== RESULT.continue) refuse(hook, result);
      guest.context.state = null;
      this.#end(guest, hook);
      return true;
    } catch (error) {
      this.#fail(hook, guest, error);
      return false;
    }
  }

  // ── Calls that may wait ───────────────────────────────────────────────────────────────────────────────────────

  get pool(): GuestPool {
    return this.#managed.pool!;
  }

  #callSuspendable(hook: number, target: HookContext): number {
    const call = new SuspendableCall(this, hook, target);
    const outcome = call.start();
    if (outcome === OUTCOME.busy) {
      target.respondedBy = this.plugin;
      this.#logBusy(hook);
    }
    if (outcome !== OUTCOME.suspended) return outcome;
    target.suspend(hook, call);
    return outcome;
  }

  /** A call is rejected: all guests are in use, and the queue is full. */
  #logBusy(hook: number): void {
    this.#counters.rejected(hook);
    if (this.#warnings === null || !this.#warnings.admits("plugin_rejected", this.plugin)) return;
    const fields = { plugin: this.plugin, hook: hookName(hook), guests: this.guestLimit, queued: this.pool.queued };
    this.#warnings.write("plugin call rejected: all guests are in use and the queue is full (limits.guests)", fields);
  }

  async enter(guest: Guest, hook: number, target: HookContext | null): Promise<number> {
    const seen = bytesSeen(hook, target);
    const traced = target?.trace?.enter(target, hook, this) ?? null;
    let result: number | null = null;
    guest.context.recorder = traced;
    this.#counters.called(hook);
    try {
      result = await guest.runSuspendable(
        hook,
        this.configuration.id,
        fuelFor(this.#fuel, seen),
        this.configuration,
        target,
        seen,
      );
      return result;
    } finally {
      const { spent } = guest;
      this.#counters.spent(hook, spent);
      this.#version?.addFuel(target, spent);
      guest.context.recorder = null;
      if (target !== null) traced?.leave(target, result, spent);
    }
  }

  resume(hook: number, target: HookContext | null, outcome: number, call: SuspendableCall): void {
    if (target === null) return this.#managed.ticked(this.configuration, call.ran);
    this.#version?.addTime(call.took);
    target.caller?.resume(hook, target, outcome);
  }

  failed(guest: Guest | null, hook: number, target: HookContext | null, error: unknown): number {
    const failure = this.#explain(guest, hook, error);
    this.#countFailure(hook, failure);
    target?.trace?.failed(hook, this.plugin, failure);
    guest?.context.rollback();
    guest?.context.end();
    // What had no guest yet says nothing of whether one can be made.
    if (guest !== null || error instanceof StartError) this.#managed.failPooled(guest, hook, failure, clientOf(target));
    return target === null ? OUTCOME.continue : this.#applyFailurePolicy(hook, target);
  }

  refuse(hook: number, target: HookContext | null): number {
    // For a `tick` nobody waits: it is not counted as refused.
    return target === null ? OUTCOME.continue : this.#refuse(hook, target);
  }

  // ── Failure ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** In quarantine there is no guest: nothing runs, and the policy is that of a failure. */
  #refuse(hook: number, target: HookContext): number {
    this.#countRefused(hook);
    target.trace?.refused(hook, this.plugin);
    return this.#applyFailurePolicy(hook, target);
  }

  /** The client has caused more failures than its share: nothing runs for it, and the others go on. */
  #refuseBlocked(hook: number, target: HookContext): number {
    this.#logBlocked(hook, target);
    return this.#refuse(hook, target);
  }

  #logBlocked(hook: number, { clientAddress }: HookContext): void {
    if (!this.#warnings?.admits("plugin_client_refused", this.plugin)) return;
    this.#warnings.write("a plugin is not called for a client whose requests make it fail", {
      plugin: this.plugin,
      hook: hookName(hook),
      client: clientAddress,
    });
  }

  #refusePick(): number {
    this.#countRefused(HOOK.pick);
    return FAILED;
  }

  #countRefused(hook: number): void {
    this.#counters.refused(hook);
    this.#report.refuse();
  }

  /** What a failure means for the target. */
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

  #run(guest: Guest, hook: number, target: HookContext | null, view: EndpointList | null): number {
    if (target !== null && target.trace !== null) return this.#runTraced(guest, hook, target, view);
    const seen = bytesSeen(hook, target);
    this.#counters.called(hook);
    try {
      return guest.run(hook, this.configuration.id, fuelFor(this.#fuel, seen), this.configuration, target, view, seen);
    } finally {
      this.#counters.spent(hook, guest.spent);
      this.#version?.addFuel(target, guest.spent);
    }
  }

  #runTraced(guest: Guest, hook: number, target: HookContext, view: EndpointList | null): number {
    const seen = bytesSeen(hook, target);
    const call = target.trace!.enter(target, hook, this);
    let result: number | null = null;
    guest.context.recorder = call;
    this.#counters.called(hook);
    try {
      result = guest.run(
        hook,
        this.configuration.id,
        fuelFor(this.#fuel, seen),
        this.configuration,
        target,
        view,
        seen,
      );
      return result;
    } finally {
      const { spent } = guest;
      this.#counters.spent(hook, spent);
      this.#version?.addFuel(target, spent);
      guest.context.recorder = null;
      call.leave(target, result, spent);
    }
  }

  /** Drops the hook's edits, ends the guest, counts and tells. */
  #fail(hook: number, guest: Guest | null, error: unknown): void {
    const failure = this.#explain(guest, hook, error);
    this.#countFailure(hook, failure);
    guest?.context.scope.target?.trace?.failed(hook, this.plugin, failure);
    const client = clientOf(guest?.context.scope.target ?? null);
    guest?.context.rollback();
    guest?.context.end();
    this.#managed.fail(guest, hook, failure, client);
  }

  /** With its stack only where that is logged: making one takes longer than a call. */
  #explain(guest: Guest | null, hook: number, error: unknown): GuestFailure {
    const failure = explain(guest, error);
    if (guest === null || !this.#report.logs(hook, failure.reason)) return failure;
    return { ...failure, stack: guest.stackOf(error) };
  }

  #countFailure(hook: number, failure: GuestFailure): void {
    this.#counters.failed(hook, failure.reason);
    if (((WITHOUT_REQUEST >>> hook) & 1) === 1) this.#version?.countFailure(null);
    this.#report.fail(hook, failure);
  }
}

function explain(guest: Guest | null, error: unknown): GuestFailure {
  if (guest !== null) return guest.explain(error);
  // Whatever went wrong while a guest was made again, the plugin could not be started.
  if (error instanceof StartError)
    return { ...error.failure, reason: "start", message: `could not be started again: ${error.message}` };
  const message = error instanceof Error ? error.message : String(error);
  return { reason: error instanceof Fault ? error.reason : "host", message, stack: "" };
}

function refuse(hook: number, result: number): never {
  const expected = HOOK_RESULTS[HOOKS[hook]!].join(", ");
  throw new Fault("bad_result", `${hookName(hook)} answered ${result}, expected one of ${expected}`);
}

function failResponse(hook: number, result: number): never {
  const problem = result === RESULT.respond ? "without a call of respond" : "after a call of respond";
  throw new Fault("bad_result", `${hookName(hook)} answered ${result} ${problem}`);
}

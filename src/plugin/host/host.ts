/** The plugin host of one worker: starts the guests of each version before it serves, and reuses unchanged ones. */
import { setImmediate } from "node:timers/promises";
import { HOOK } from "../../abi/abi.ts";
import type { MetricDefinition } from "../../observe/plugin-metrics.ts";
import type { ThrottledLog } from "../../observe/throttled-log.ts";
import type { KeyValue } from "../../state/key-value.ts";
import type { ModulePlan } from "../wasm/build.ts";
import { PluginError } from "../wasm/error.ts";
import { CanaryRollout, type Version } from "./canary-rollout.ts";
import type { Fetcher } from "./fetcher.ts";
import { type Group, groupInstances } from "./guest-groups.ts";
import type { Instance } from "./instance.ts";
import { ManagedGuest } from "./managed-guest.ts";
import { NameIds, NameTable } from "./name-table.ts";
import type { InstancePlan, RolloutPlan } from "./plan.ts";
import { PluginInstance } from "./plugin-instance.ts";
import { hookName, type PluginEvent, PluginReport, type Report } from "./report.ts";
import { SlowCalls } from "./slow-calls.ts";
import { type Clocks, GuestStartError } from "./start-guest.ts";
import { migrateState } from "./state-migration.ts";
import { type After, setTimer } from "./timer.ts";

export { OUTCOME } from "./outcome.ts";

/** The plugins of one version. `clusters` and `strategies`: names in the order of their indices. */
export type PluginParts = {
  /** Sends the subrequests of this version's plugins; without it they return `notHere`. */
  readonly fetcher?: Fetcher | null;
  readonly modules: readonly ModulePlan[];
  readonly instances: readonly InstancePlan[];
  /** Canary rollouts of some of the instances. */
  readonly rollouts?: readonly RolloutPlan[];
  readonly clusters: readonly string[];
  readonly strategies: readonly string[];
};

export interface InstanceSet {
  readonly instances: readonly PluginInstance[];
  /** The instances as chains, routers and strategies call them: one with a canary version chooses between the two. */
  readonly served: readonly Instance[];
  /** The version serves from now on. */
  commit(): void;
  /** The metrics that each instance has defined, in a start check. */
  defined(): readonly (readonly MetricDefinition[])[];
  /** Releases the guests; those that no other set uses are freed. */
  dispose(): void;
}

export type PluginHostOptions = {
  /** The worker's counters. */
  readonly cells: Float64Array;
  readonly report: Report;
  /** Rate-limited log for events that may occur with every call; without it they are only counted. */
  readonly warnings?: ThrottledLog;
  /** Called when the state of a plugin changes, and for each failure that is logged. */
  readonly notify?: (event: PluginEvent) => void;
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined;
  /** A monotonic clock in milliseconds; default: `now`. */
  readonly monotonic?: () => number;
  /** Timers of suspended calls; default: `setTimeout`. */
  readonly after?: After | undefined;
  /** The key-value store; without it guests can only be started (`start-check.ts`). */
  readonly keyValue?: KeyValue;
};

/** Milliseconds after which `prepareInSlices` yields to the event loop. */
const SLICE = 2;

export class PluginHost {
  readonly #options: PluginHostOptions;
  readonly #clocks: Clocks;
  readonly #guests = new Map<string, ManagedGuest[]>();
  readonly #reports = new Map<string, PluginReport>();
  /** By plugin and `limits.slow`: over all its configurations and versions. */
  readonly #slowCalls = new Map<string, SlowCalls>();
  readonly #clusterIds = new NameIds();
  readonly #strategyIds = new NameIds();
  /** The instances of the version in service. */
  #serving: readonly PluginInstance[] = [];
  #ticking: readonly PluginInstance[] = [];

  constructor(options: PluginHostOptions) {
    const { now = Date.now, monotonic = now, after = setTimer } = options;
    this.#options = options;
    this.#clocks = { wall: now, monotonic, after };
  }

  /**
   * Creates the instances of one version. Guests whose configuration, module, limits and permissions are unchanged are
   * reused. @throws PluginError after releasing everything.
   */
  prepare(parts: PluginParts): InstanceSet {
    const steps = this.#prepare(parts);
    for (;;) {
      const { done, value } = steps.next();
      if (done === true) return value;
    }
  }

  /**
   * Like `prepare`, but yields to the event loop every 2 ms, because starting thousands of guests takes a second. Returns
   * null after releasing everything if `isWanted` becomes false. @throws PluginError after releasing everything.
   */
  async prepareInSlices(parts: PluginParts, isWanted: () => boolean): Promise<InstanceSet | null> {
    const steps = this.#prepare(parts);
    let since = performance.now();
    for (;;) {
      const { done, value } = steps.next();
      if (done === true) return value;
      if (performance.now() - since < SLICE) continue;
      await setImmediate();
      if (!isWanted()) {
        steps.return(undefined as never);
        return null;
      }
      since = performance.now();
    }
  }

  /** Yields after each guest. */
  *#prepare(parts: PluginParts): Generator<void, InstanceSet, void> {
    const rollouts = (parts.rollouts ?? []).map((rollout) => new CanaryRollout(rollout, this.#options.cells));
    const instances = this.#makeInstances(parts, rollouts);
    const used = new Map<ManagedGuest, Group>();
    const dispose = () => {
      for (const [guest, group] of used) this.#release(guest, group);
      used.clear();
    };
    let isComplete = false;
    try {
      for (const group of groupInstances(parts, instances)) {
        used.set(this.#guestFor(group, used), group);
        yield;
      }
      isComplete = true;
    } finally {
      if (!isComplete) dispose();
    }
    const defined = () => instances.map(({ configuration }) => configuration.metrics.defined);
    const served: Instance[] = [...instances];
    for (const rollout of rollouts) rollout.install(served);
    return { instances, served, commit: () => this.#commit(instances, used), defined, dispose };
  }

  /** Calls the `tick` hooks that are due. */
  tick(): void {
    for (const instance of this.#ticking) instance.tick();
  }

  /** Stops all ticks and cancels suspended ones. */
  stopTicks(): void {
    for (const instance of this.#ticking) instance.stopTick();
    this.#ticking = [];
  }

  #commit(instances: readonly PluginInstance[], used: ReadonlyMap<ManagedGuest, Group>): void {
    this.stopTicks();
    migrateState(this.#serving, instances);
    this.#serving = instances;
    this.#ticking = instances.filter(({ hooks }) => ((hooks >>> HOOK.tick) & 1) === 1);
    for (const guest of this.#all()) {
      if (used.has(guest)) guest.serve();
      else guest.retire();
    }
  }

  /** Largest number of guests, including those for suspendable calls. */
  capacity(): number {
    return this.#sum(({ capacity }) => capacity);
  }

  guests(): number {
    return this.#sum(({ guests }) => guests);
  }

  /** Bytes of memory of all guests. */
  memory(): number {
    return this.#sum(({ memory }) => memory);
  }

  #sum(figure: (guest: ManagedGuest) => number): number {
    return this.#all().reduce((sum, guest) => sum + figure(guest), 0);
  }

  #all(): ManagedGuest[] {
    return [...this.#guests.values()].flat();
  }

  #makeInstances(parts: PluginParts, rollouts: readonly CanaryRollout[]): PluginInstance[] {
    const { cells, warnings = null, keyValue = null } = this.#options;
    const clusters = new NameTable(parts.clusters, this.#clusterIds);
    const strategies = new NameTable(parts.strategies, this.#strategyIds);
    // They exist only during their rollouts.
    const canaryReports = new Map<string, PluginReport>();
    return parts.instances.map((plan, index) => {
      const module = parts.modules[plan.module]!;
      const version = findVersion(rollouts, index);
      return new PluginInstance({
        index,
        plan,
        hooks: module.info.hooks,
        // An Extism plugin may import http_request without being permitted to send requests: it is never suspended then.
        suspends: module.info.suspends && (module.info.abi === "native" || plan.fetch.length > 0),
        fetcher: parts.fetcher ?? null,
        version,
        clusters,
        strategies,
        cells,
        report: version?.isCanary
          ? this.#reportOf(canaryReports, plan.plugin, version.rollout)
          : this.#reportOf(this.#reports, plan.plugin),
        warnings,
        slow: this.#slowCallsOf(plan),
        monotonic: this.#clocks.monotonic,
        after: this.#clocks.after,
        keyValue,
      });
    });
  }

  /** `rollout`: of a canary version. */
  #reportOf(known: Map<string, PluginReport>, plugin: string, rollout?: number): PluginReport {
    const { report, notify = () => undefined } = this.#options;
    const parts = { plugin, rollout, report, notify, now: this.#clocks.wall };
    return known.getOrInsertComputed(plugin, () => new PluginReport(parts));
  }

  #slowCallsOf({ plugin, slow }: InstancePlan): SlowCalls {
    return this.#slowCalls.getOrInsertComputed(`${plugin} ${slow}`, () => new SlowCalls(slow, this.#clocks.monotonic));
  }

  /** The guest of a group: an existing one that this version does not use yet, or a new one, which is started. */
  #guestFor({ key, module, instances, members }: Group, used: ReadonlyMap<ManagedGuest, Group>): ManagedGuest {
    const present = this.#guests.get(key) ?? [];
    const created = new ManagedGuest(key, module, members, this.#clocks, instances[0]!.guestLimit);
    // `fits` looks names up through the members, which need a guest for that.
    for (const [position, instance] of instances.entries()) instance.attach(created, position + 1);
    const reused = present.find((guest) => !used.has(guest) && guest.fits(members));
    if (reused === undefined) {
      start(created);
      this.#guests.set(key, [...present, created]);
      return created;
    }
    for (const [position, instance] of instances.entries()) instance.attach(reused, position + 1);
    reused.adopt(members);
    return reused;
  }

  #release(guest: ManagedGuest, { members }: Group): void {
    if (!guest.release(members)) return;
    const rest = (this.#guests.get(guest.key) ?? []).filter((other) => other !== guest);
    if (rest.length === 0) this.#guests.delete(guest.key);
    else this.#guests.set(guest.key, rest);
  }
}

function findVersion(rollouts: readonly CanaryRollout[], instance: number): Version | null {
  for (const rollout of rollouts) {
    const version = rollout.versionOf(instance);
    if (version !== null) return version;
  }
  return null;
}

function start(guest: ManagedGuest): void {
  try {
    guest.take();
  } catch (error) {
    if (!(error instanceof GuestStartError)) throw error;
    const { plugin, hook, failure } = error;
    const where = failure.stack === "" ? "" : `\n${failure.stack.replace(/^/gm, "  at ")}`;
    throw new PluginError(`plugin ${plugin}: ${hookName(hook)}: ${failure.message}${where}`);
  }
}

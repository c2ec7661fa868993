/** The plugin host of one thread: makes the guests of each version aside, and carries over those that are unchanged. */
import { setImmediate } from "node:timers/promises";
import { HOOK } from "../../abi/abi.ts";
import type { MetricDefinition } from "../../observe/plugin-metrics.ts";
import type { ThrottledLog } from "../../observe/throttled-log.ts";
import type { KeyValue } from "../../state/key-value.ts";
import type { ModulePlan } from "../wasm/build.ts";
import { PluginError } from "../wasm/error.ts";
import { CanaryRollout, type Version } from "./canary-rollout.ts";
import type { PluginConfiguration } from "./configuration.ts";
import type { Fetcher } from "./fetcher.ts";
import type { Instance } from "./instance.ts";
import { type Clocks, ManagedGuest, StartError } from "./managed-guest.ts";
import { NameIds, NameTable } from "./name-table.ts";
import type { InstancePlan, RolloutPlan } from "./plan.ts";
import { PluginInstance } from "./plugin-instance.ts";
import { hookName, type PluginEvent, PluginReport, type Report } from "./report.ts";
import { migrateState } from "./state-migration.ts";
import { type After, setTimer } from "./timer.ts";

export { OUTCOME } from "./outcome.ts";

/** What one version needs of its plugins. Clusters and strategies are named in the order of their indices. */
export type PluginParts = {
  /** Who makes requests for this version's plugins; without it nobody does. */
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
  /** The same as chains, routers and strategies call them: where there are two versions of one, both behind it. */
  readonly served: readonly Instance[];
  /** The version is taken into service. */
  commit(): void;
  /** Metrics that its instances have defined, in a start check. */
  defined(): readonly (readonly MetricDefinition[])[];
  /** Drops its references: guests that no set holds are gone. */
  dispose(): void;
}

export type PluginHostOptions = {
  /** This thread's counters. */
  readonly cells: Float64Array;
  readonly report: Report;
  /** For what may happen with every call; without it that is only counted. */
  readonly warnings?: ThrottledLog;
  /** Told how a plugin fares, when that changes. */
  readonly notify?: (news: PluginEvent) => void;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** Milliseconds of a clock that is never set; `now` when it is not given. */
  readonly monotonic?: () => number;
  /** Timers of calls that wait; the real ones without it. */
  readonly after?: After;
  /** The store that threads share; without it guests are only started (`start-check.ts`). */
  readonly keyValue?: KeyValue;
};

/** Instances that share a guest, and what that guest is made of. */
type Group = {
  readonly key: string;
  readonly module: ModulePlan;
  readonly instances: readonly PluginInstance[];
  readonly members: readonly PluginConfiguration[];
};

/** Milliseconds of the thread's time before others have their turn. */
const SLICE = 2;

export class PluginHost {
  readonly #cells: Float64Array;
  readonly #report: Report;
  readonly #warnings: ThrottledLog | null;
  readonly #notify: (news: PluginEvent) => void;
  readonly #clocks: Clocks;
  readonly #keyValue: KeyValue | null;
  readonly #guests = new Map<string, ManagedGuest[]>();
  readonly #reports = new Map<string, PluginReport>();
  readonly #clusterIds = new NameIds();
  readonly #strategyIds = new NameIds();
  /** The instances of the version in service. */
  #serving: readonly PluginInstance[] = [];
  #ticking: readonly PluginInstance[] = [];

  constructor(options: PluginHostOptions) {
    const {
      cells,
      report,
      notify: tell = () => undefined,
      now = Date.now,
      monotonic = now,
      after = setTimer,
      keyValue,
    } = options;
    this.#cells = cells;
    this.#report = report;
    this.#warnings = options.warnings ?? null;
    this.#notify = tell;
    this.#clocks = { wall: now, monotonic, after };
    this.#keyValue = keyValue ?? null;
  }

  /**
   * Makes the instances of one version aside. Guests whose configuration, module, limits and permissions are unchanged
   * are carried over. @throws PluginError, leaving nothing behind.
   */
  prepare(parts: PluginParts): InstanceSet {
    const steps = this.#prepare(parts);
    for (;;) {
      const { done, value } = steps.next();
      if (done === true) return value;
    }
  }

  /**
   * The same beside other work: starting thousands of guests takes a second, which nobody else is to wait for. Null, with
   * nothing left behind, when it is not wanted any more. @throws PluginError, leaving nothing behind.
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

  /** A guest a step. */
  *#prepare(parts: PluginParts): Generator<void, InstanceSet, void> {
    const rollouts = (parts.rollouts ?? []).map((rollout) => new CanaryRollout(rollout, this.#cells));
    const instances = this.#makeInstances(parts, rollouts);
    const used = new Map<ManagedGuest, Group>();
    const dispose = () => {
      for (const [guest, group] of used) this.#release(guest, group);
      used.clear();
    };
    let isWhole = false;
    try {
      for (const group of groupInstances(parts, instances)) {
        used.set(this.#guestFor(group, used), group);
        yield;
      }
      isWhole = true;
    } finally {
      if (!isWhole) dispose();
    }
    const defined = () => instances.map(({ configuration }) => configuration.metrics.defined);
    const served: Instance[] = [...instances];
    for (const rollout of rollouts) rollout.install(served);
    return { instances, served, commit: () => this.#commit(instances, used), defined, dispose };
  }

  /** Calls the `tick` of every configuration in service whose time has come. */
  tick(): void {
    for (const instance of this.#ticking) instance.tick();
  }

  /** Calls no `tick` any more, and gives up those that wait. */
  stopTicks(): void {
    for (const instance of this.#ticking) instance.stopTick();
    this.#ticking = [];
  }

  #commit(instances: readonly PluginInstance[], used: ReadonlyMap<ManagedGuest, Group>): void {
    this.stopTicks();
    migrateState(this.#serving, instances);
    this.#serving = instances;
    this.#ticking = instances.filter(({ hooks }) => ((hooks >>> HOOK.tick) & 1) === 1);
    for (const list of this.#guests.values())
      for (const guest of list) {
        if (used.has(guest)) guest.serve();
        else guest.retire();
      }
  }

  /** Guests that there may be, those for calls that wait included. */
  capacity(): number {
    let count = 0;
    for (const list of this.#guests.values()) for (const guest of list) count += guest.capacity;
    return count;
  }

  guests(): number {
    let count = 0;
    for (const list of this.#guests.values()) for (const guest of list) count += guest.guests;
    return count;
  }

  /** Bytes of memory that they hold. */
  memory(): number {
    let bytes = 0;
    for (const list of this.#guests.values()) for (const guest of list) bytes += guest.memory;
    return bytes;
  }

  #makeInstances(parts: PluginParts, rollouts: readonly CanaryRollout[]): PluginInstance[] {
    const clusters = new NameTable(parts.clusters, this.#clusterIds);
    const strategies = new NameTable(parts.strategies, this.#strategyIds);
    const canaryReports = new Map<string, PluginReport>();
    return parts.instances.map((plan, index) => {
      const module = parts.modules[plan.module]!;
      const version = findVersion(rollouts, index);
      return new PluginInstance({
        index,
        plan,
        hooks: module.info.hooks,
        suspends: module.info.suspends,
        fetcher: parts.fetcher ?? null,
        version,
        clusters,
        strategies,
        cells: this.#cells,
        report: version?.isCanary
          ? this.#canaryReport(canaryReports, plan.plugin, version.rollout)
          : this.#reportOf(plan.plugin),
        warnings: this.#warnings,
        monotonic: this.#clocks.monotonic,
        after: this.#clocks.after,
        keyValue: this.#keyValue,
      });
    });
  }

  /** The report of a canary version, which exists only during its rollout. */
  #canaryReport(known: Map<string, PluginReport>, plugin: string, rollout: number): PluginReport {
    let report = known.get(plugin);
    if (report === undefined) {
      const parts = { plugin, rollout, report: this.#report, notify: this.#notify, now: this.#clocks.wall };
      known.set(plugin, (report = new PluginReport(parts)));
    }
    return report;
  }

  #reportOf(plugin: string): PluginReport {
    let report = this.#reports.get(plugin);
    if (report === undefined) {
      const parts = { plugin, report: this.#report, notify: this.#notify, now: this.#clocks.wall };
      this.#reports.set(plugin, (report = new PluginReport(parts)));
    }
    return report;
  }

  /** The guest of such a group's guest: one that is there and not used by this version yet, or a new one. */
  #guestFor({ key, module, instances, members }: Group, used: ReadonlyMap<ManagedGuest, Group>): ManagedGuest {
    const present = this.#guests.get(key) ?? [];
    const fresh = new ManagedGuest(key, module, members, this.#clocks, instances[0]!.guestLimit);
    for (const [position, instance] of instances.entries()) instance.attach(fresh, position + 1);
    const carried = present.find((guest) => !used.has(guest) && guest.fits(members));
    if (carried === undefined) {
      start(fresh);
      this.#guests.set(key, [...present, fresh]);
      return fresh;
    }
    for (const [position, instance] of instances.entries()) instance.attach(carried, position + 1);
    carried.adopt(members);
    return carried;
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
    if (!(error instanceof StartError)) throw error;
    const { plugin, hook, failure } = error;
    const where = failure.stack === "" ? "" : `\n${failure.stack.replace(/^/gm, "  at ")}`;
    throw new PluginError(`plugin ${plugin}: ${hookName(hook)}: ${failure.message}${where}`);
  }
}

/** One group for each instance; one for all instances of a module that serves many, under the same limits. */
function groupInstances({ modules, instances: plans }: PluginParts, instances: readonly PluginInstance[]): Group[] {
  const groups = new Map<string, { made: string; module: ModulePlan; entries: { key: string; index: number }[] }>();
  for (const [index, plan] of plans.entries()) {
    const module = modules[plan.module]!;
    const made = `${module.hash} ${plan.memory} ${JSON.stringify(plan.clusters)}`;
    const name = module.info.servesMany ? made : String(index);
    const group = groups.get(name) ?? { made, module, entries: [] };
    groups.set(name, group);
    group.entries.push({ key: plan.key, index });
  }
  return [...groups.values()].map(({ made, module, entries }) => {
    // A guest that serves many is carried over only with the same configurations, in the same places: it has no way to
    // forget one, and knows each by its number.
    entries.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.index - b.index));
    const key = JSON.stringify([made, ...entries.map((entry) => entry.key)]);
    const grouped = entries.map((entry) => instances[entry.index]!);
    return { key, module, instances: grouped, members: grouped.map(({ configuration }) => configuration) };
  });
}

/** One configuration of one plugin in one version: names, permissions and stores of its host calls. */
import { STATUS } from "../../abi/abi.ts";
import type { ThrottledLog } from "../../observe/throttled-log.ts";
import type { KeyValue } from "../../state/key-value.ts";
import type { Configuration } from "../abi/call-context.ts";
import { HiddenNames } from "../abi/hidden-names.ts";
import { HostMemory } from "../abi/host-memory.ts";
import type { Fetcher } from "./fetcher.ts";
import type { InstanceCounters } from "./instance-counters.ts";
import { PluginMetrics } from "./metrics.ts";
import type { NameTable } from "./name-table.ts";
import type { InstancePlan } from "./plan.ts";
import { hookName, type Level, type PluginReport } from "./report.ts";

/** Implemented by the guest that serves the configuration. */
export interface ConfigurationOwner {
  /** A name was looked up, with that result. */
  noteLookup(kind: "cluster" | "strategy", configuration: PluginConfiguration, name: string, result: number): void;
  /** Sets the interval of `tick`. */
  tickEvery(id: number, milliseconds: number): void;
}

export type ConfigurationParts = {
  readonly plan: InstancePlan;
  readonly fetcher: Fetcher | null;
  readonly keyValue: KeyValue | null;
  readonly clusters: NameTable;
  readonly strategies: NameTable;
  readonly cells: Float64Array;
  readonly counters: InstanceCounters;
  readonly report: PluginReport;
  readonly warnings: ThrottledLog | null;
};

export class PluginConfiguration implements Configuration {
  /** The `instance` argument of its hooks, unique within its guest; never 0. */
  id = 0;
  owner!: ConfigurationOwner;
  readonly plugin: string;
  readonly config: unknown;
  readonly hidden: HiddenNames | null;
  readonly bodyLimit: number;
  readonly fetcher: Fetcher | null;
  readonly keyValue: KeyValue | null;
  readonly metrics: PluginMetrics;
  readonly hostMemory: HostMemory;
  readonly report: PluginReport;
  readonly #parts: ConfigurationParts;
  readonly #allowed: ReadonlySet<number> | null;

  constructor(parts: ConfigurationParts) {
    const { plan, clusters } = parts;
    this.#parts = parts;
    this.plugin = plan.plugin;
    this.config = plan.config;
    this.hidden = plan.hidden.length === 0 ? null : new HiddenNames(plan.hidden);
    this.bodyLimit = plan.body;
    this.fetcher = parts.fetcher;
    this.keyValue = parts.keyValue;
    this.metrics = new PluginMetrics(plan.metrics, parts.cells);
    this.hostMemory = new HostMemory(plan.memory);
    this.report = parts.report;
    this.#allowed = plan.clusters === null ? null : clusters.idsOf(plan.clusters);
  }

  mayFetch(target: string): boolean {
    return this.#parts.plan.fetch.includes(target);
  }

  mayChoose(cluster: string): boolean {
    return this.clusterIndex(this.#parts.clusters.idOf(cluster)) >= 0;
  }

  findCluster(name: string): number {
    const id = this.#parts.clusters.idOf(name);
    const denied = id >= 0 && this.#allowed !== null && !this.#allowed.has(id);
    const result = denied ? STATUS.denied : id;
    this.owner.noteLookup("cluster", this, name, result);
    return result;
  }

  clusterIndex(id: number): number {
    const index = this.#parts.clusters.indexOf(id);
    if (index >= 0 && this.#allowed !== null && !this.#allowed.has(id)) return STATUS.denied;
    return index;
  }

  findStrategy(name: string): number {
    const result = this.#parts.strategies.idOf(name);
    this.owner.noteLookup("strategy", this, name, result);
    return result;
  }

  strategyIndex(id: number): number {
    return this.#parts.strategies.indexOf(id);
  }

  tickEvery(milliseconds: number): void {
    this.owner.tickEvery(this.id, milliseconds);
  }

  findNamespace(name: string): number {
    return this.#parts.plan.namespaces.find((namespace) => namespace.name === name)?.number ?? STATUS.denied;
  }

  mayShare(name: string): boolean {
    return this.#parts.plan.shares.includes(name);
  }

  // A loop, because it is faster than a set for the usual two or three entries.
  mayUse(namespace: number): boolean {
    const { namespaces } = this.#parts.plan;
    for (let i = 0; i < namespaces.length; i++) if (namespaces[i]!.number === namespace) return true;
    return false;
  }

  log(level: Level, hook: number, text: string): boolean {
    return this.report.write(level, hook, text);
  }

  dropLog(hook: number): void {
    this.#parts.counters.logDropped();
    const { warnings } = this.#parts;
    if (!warnings?.admits("plugin_log_dropped", this.plugin)) return;
    warnings.write("log lines of a plugin are dropped", { plugin: this.plugin, hook: hookName(hook) });
  }
}

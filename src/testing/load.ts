/** Loads a plugin into the plugin host without a proxy, for tests, benchmarks and `plugin inspect`. */

import { FUEL, LIMIT } from "../abi/abi.ts";
import type { Fetcher } from "../plugin/host/fetcher.ts";
import { type InstanceSet, PluginHost, type PluginHostOptions } from "../plugin/host/host.ts";
import type { InstancePlan } from "../plugin/host/plan.ts";
import type { Report } from "../plugin/host/report.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import type { KeyValue } from "../state/key-value.ts";
import { KeyValueStore } from "../state/store.ts";

export const STORE_SIZE = 1024 * 1024;
export const DEFAULT_MEMORY = 16 * 1024 * 1024;
export const DEFAULT_TIME = 5000;
/** Name of the plugin in logs and metrics. */
export const PLUGIN_NAME = "test";

export type LoadOptions = {
  /** Its counters: PLUGIN_CELLS from 0. */
  readonly cells: Float64Array;
  /** Receives log lines and failures. */
  readonly report: Report;
  /** One configuration per instance; default: one instance with null. */
  readonly configs?: readonly unknown[] | undefined;
  readonly clusters?: readonly string[] | undefined;
  readonly strategies?: readonly string[] | undefined;
  readonly now?: (() => number) | undefined;
  /** Permitted key-value namespaces, and their store; default: a new store. */
  readonly namespaces?: readonly string[] | undefined;
  readonly keyValue?: KeyValue | undefined;
  /** Completes subrequests; timers. */
  readonly fetcher?: Fetcher | undefined;
  readonly after?: PluginHostOptions["after"];
  /** Overrides the default settings of a plugin. */
  readonly settings?: Partial<InstancePlan> | undefined;
};

/** @throws PluginError if the plugin does not start. */
export function loadPlugin(module: ModulePlan, options: LoadOptions): { host: PluginHost; set: InstanceSet } {
  const { cells, report, configs = [null], clusters = [], strategies = [], namespaces = [], settings } = options;
  const keyValue = options.keyValue ?? new KeyValueStore(KeyValueStore.allocate(STORE_SIZE), 0);
  // Each reading of this clock is a day later, so that ticks and restarts of guests are never delayed.
  let time = 0;
  const monotonic = () => (time += LIMIT.longestTick);
  const { now, after } = options;
  const host = new PluginHost({ now, after, cells, report, keyValue, monotonic });
  const instances = configs.map(
    (config, i): InstancePlan => ({
      key: String(i),
      plugin: PLUGIN_NAME,
      module: 0,
      config,
      onFailure: "reject",
      fuel: FUEL.default,
      memory: DEFAULT_MEMORY,
      clusters: null,
      body: 1024 * 1024,
      tooLarge: "reject",
      time: DEFAULT_TIME,
      guests: 16,
      slow: 1,
      fetch: [],
      hidden: [],
      cluster: "",
      metrics: null,
      shares: [],
      namespaces: namespaces.map((name, number) => ({ name, number })),
      cells: 0,
      ...settings,
    }),
  );
  const parts = { modules: [module], instances, clusters, strategies, fetcher: options.fetcher ?? null };
  return { host, set: host.prepare(parts) };
}

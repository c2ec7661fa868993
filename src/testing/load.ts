/** A plugin in the proxy's own host, without a proxy around it: for tests, benchmarks and `inspect`. */

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
/** What it is called in logs and metrics. */
export const PLUGIN_NAME = "test";

export type LoadOptions = {
  /** Where it counts: PLUGIN_CELLS from 0. */
  readonly cells: Float64Array;
  /** What it says and how it fails. */
  readonly report: Report;
  /** One configuration for each instance; one, that is null, without it. */
  readonly configs?: readonly unknown[] | undefined;
  readonly clusters?: readonly string[] | undefined;
  readonly strategies?: readonly string[] | undefined;
  readonly now?: (() => number) | undefined;
  /** Key-value namespaces that it may use, and where; in a store of its own without that. */
  readonly namespaces?: readonly string[] | undefined;
  readonly keyValue?: KeyValue | undefined;
  /** What completes its requests, and its timers. */
  readonly fetcher?: Fetcher | undefined;
  readonly after?: PluginHostOptions["after"];
  /** Instead of what a plugin has of which a configuration says nothing. */
  readonly settings?: Partial<InstancePlan> | undefined;
};

/** @throws PluginError when the plugin does not start. */
export function loadPlugin(module: ModulePlan, options: LoadOptions): { host: PluginHost; set: InstanceSet } {
  const { cells, report, configs = [null], clusters = [], strategies = [], namespaces = [], settings } = options;
  const keyValue = options.keyValue ?? new KeyValueStore(KeyValueStore.allocate(STORE_SIZE), 0);
  // Each look at this clock is a day later: what has to wait for its time, a tick or a restart, never waits here.
  let time = 0;
  const monotonic = () => (time += LIMIT.longestTick);
  const host = new PluginHost({ ...given(options), cells, report, keyValue, monotonic });
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

/** What a host takes as it is, or has a value of its own for. */
function given({ now, after }: LoadOptions): Pick<PluginHostOptions, "now" | "after"> {
  return {
    ...(now === undefined ? {} : { now }),
    ...(after === undefined ? {} : { after }),
  };
}

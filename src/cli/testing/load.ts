/** A plugin in the proxy's own host, without a proxy around it: for tests, benchmarks and `inspect`. */
import type { InstancePlan } from "../../control/plan.ts";
import { FUEL, LIMIT } from "../../plugin/abi.ts";
import type { ModulePlan } from "../../plugin/build.ts";
import { type InstanceSet, PluginHost } from "../../plugin/host.ts";
import type { Report } from "../../plugin/report.ts";
import { KeyValueStore } from "../../state/store.ts";

const STORE_SIZE = 1024 * 1024;
export const DEFAULT_MEMORY = 16 * 1024 * 1024;

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
  /** Key-value namespaces that it may use, in a store of its own. */
  readonly namespaces?: readonly string[] | undefined;
  /** Instead of what a plugin has of which a configuration says nothing. */
  readonly settings?: Partial<InstancePlan> | undefined;
};

/** @throws PluginError when the plugin does not start. */
export function loadPlugin(
  module: ModulePlan,
  { cells, report, configs = [null], clusters = [], strategies = [], namespaces = [], now, settings }: LoadOptions,
): { host: PluginHost; set: InstanceSet } {
  const keyValue = new KeyValueStore(KeyValueStore.allocate(STORE_SIZE), 0);
  // Each look at this clock is a day later: what has to wait for its time, a tick or a restart, never waits here.
  let time = 0;
  const monotonic = () => (time += LIMIT.longestTick);
  const host = new PluginHost({ cells, report, keyValue, monotonic, ...(now === undefined ? {} : { now }) });
  const instances = configs.map(
    (config, i): InstancePlan => ({
      key: String(i),
      plugin: "test",
      module: 0,
      config,
      onFailure: "reject",
      fuel: FUEL.default,
      memory: DEFAULT_MEMORY,
      clusters: null,
      body: 1024 * 1024,
      tooLarge: "reject",
      time: 5000,
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
  return { host, set: host.prepare({ modules: [module], instances, clusters, strategies }) };
}

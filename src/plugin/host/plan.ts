/** Plans of plugin instances and canary rollouts: plain data, posted to the workers. */
import type { MetricPlan } from "../../observe/plugin-metrics.ts";

/** A canary rollout: the canary version of a plugin receives a share of the exchanges, the baseline the others. */
export type RolloutPlan = {
  /** Identifies it within the process; from 1. */
  readonly number: number;
  readonly plugin: string;
  /** From 0 to 1. */
  readonly share: number;
  /** First of ROLLOUT_CELLS (`observe/series.ts`). */
  readonly cells: number;
  /**
   * Indices into `Plan.instances`: both versions of each configuration. Chains, routers and strategies name the
   * baseline.
   */
  readonly instances: readonly { readonly baseline: number; readonly canary: number }[];
};

/** One configuration of one plugin. Chains, routers and strategies name instances by index into `Plan.instances`. */
export type InstancePlan = {
  /** Equal in two versions if module hash, configuration and permissions are: the guest is then reused. */
  readonly key: string;
  /** The name under `plugins`, or the built-in's name: the label in metrics and logs. */
  readonly plugin: string;
  /** Index into `Plan.modules`. */
  readonly module: number;
  /** The plugin's configuration: parsed YAML. */
  readonly config: unknown;
  readonly onFailure: "reject" | "skip";
  /** Fuel for one hook call. */
  readonly fuel: number;
  /** `limits.memory` in bytes. */
  readonly memory: number;
  /** Most bytes of a body that it can buffer, and what is done with larger messages. */
  readonly body: number;
  readonly tooLarge: "reject" | "skip";
  /** Suspendable calls: time limit in milliseconds, and most guests per worker. */
  readonly time: number;
  readonly guests: number;
  /** Share of a worker's time, from 0 to 1, for calls that take longer than their fuel accounts for. */
  readonly slow: number;
  /** Permitted targets of subrequests: `cluster:NAME`, an origin, `endpoint`. */
  readonly fetch: readonly string[];
  /** Names of clusters that it may choose; null: any. */
  readonly clusters: readonly string[] | null;
  /** Lower-case names of headers that are hidden from it. */
  readonly hidden: readonly string[];
  /** The cluster that uses it as strategy; empty for filters and routers. */
  readonly cluster: string;
  /** Key-value namespaces that it may use, with their numbers in the store. */
  readonly namespaces: readonly NamespacePlan[];
  /** Names of values that it may share with the other plugins of an exchange. */
  readonly shares: readonly string[];
  /** The metrics that it defined at the start check; null before it. */
  readonly metrics: readonly MetricPlan[] | null;
  /** First cell of this plugin's counters (`observe/series.ts`, PLUGIN_CELLS); shared by instances of one plugin. */
  readonly cells: number;
};

export type NamespacePlan = { readonly name: string; readonly number: number };

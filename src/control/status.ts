/** What the admin interface tells of the proxy's state. */
import type { EndpointColumns } from "../balance/columns.ts";
import type { Counters } from "../observe/counters.ts";
import { LISTENER_CELLS, MAX_HOOKS, MAX_REASONS, PLUGIN_CELLS, THREAD_CELLS } from "../observe/series.ts";
import { HOOKS } from "../plugin/abi.ts";
import type { Plan } from "./plan.ts";
import type { Reloaded } from "./reload.ts";
import type { Threads } from "./threads.ts";

export type Status = {
  /** A version serves, on every thread, and the process does not drain. */
  readonly ready: boolean;
  readonly draining: boolean;
  readonly version: number;
  readonly startedAt: string;
  readonly pid: number;
  readonly requestsInFlight: number;
  readonly listeners: readonly { name: string; address: string; connections: number }[];
  readonly threads: readonly {
    thread: number;
    serving: boolean;
    guests: number;
    loopDelay: number;
    restarts: number;
  }[];
  /** The last reload, the first version included. */
  readonly lastReload: { at: string; result: string; problems: readonly string[] } | null;
};

export type StatusSources = {
  readonly startedAt: Date;
  readonly draining: boolean;
  readonly last: (Reloaded & { at: Date }) | null;
  readonly plan: Plan | null;
  readonly threads: Threads;
  readonly serving: readonly number[];
  readonly counters: Counters;
};

export function describeStatus(sources: StatusSources): Status {
  const { plan, draining, last, threads, serving, counters } = sources;
  return {
    // One thread that is being replaced does not make the proxy unready: the others serve its address.
    ready: plan !== null && !draining && serving.length > 0,
    draining,
    version: plan?.version ?? 0,
    startedAt: sources.startedAt.toISOString(),
    pid: process.pid,
    requestsInFlight: counters.sum(THREAD_CELLS.requestsInFlight),
    listeners: (plan?.listeners ?? []).map(({ name, address, cells }) => ({
      name,
      address,
      connections: counters.sum(cells + LISTENER_CELLS.connections),
    })),
    threads: Array.from({ length: threads.count }, (_, thread) => ({
      thread,
      serving: serving.includes(thread),
      guests: counters.read(thread, THREAD_CELLS.guests),
      loopDelay: counters.read(thread, THREAD_CELLS.loopDelay),
      restarts: [...threads.restarts()].reduce((sum, one) => sum + (one.thread === thread ? one.count : 0), 0),
    })),
    lastReload: last && { at: last.at.toISOString(), result: last.result, problems: last.problems },
  };
}

export type ClusterStatus = {
  readonly name: string;
  readonly strategies: readonly string[];
  readonly endpoints: readonly EndpointStatus[];
};
export type EndpointStatus = {
  readonly address: string;
  readonly weight: number;
  readonly zone: string;
  readonly healthy: boolean;
  readonly inFlight: number;
  /** Decaying averages: seconds to the answer's head, and the share of failed attempts. */
  readonly latency: number;
  readonly errorRate: number;
};

export function describeClusters(plan: Plan | null, columns: EndpointColumns): ClusterStatus[] {
  return (plan?.clusters ?? []).map(({ name, strategies, endpoints }) => ({
    name,
    strategies: strategies.map((strategy) => strategy.name),
    endpoints: endpoints.map(({ address, weight, zone, slot }) => ({
      address,
      weight,
      zone,
      healthy: columns.health[slot] === 0,
      inFlight: columns.inFlight(slot),
      latency: columns.latency[slot]! / 1e6,
      errorRate: columns.errorRate[slot]! / 1e6,
    })),
  }));
}

export type PluginStatus = {
  readonly name: string;
  /** SHA-256 of the `.wasm` file. */
  readonly hash: string;
  readonly size: number;
  readonly hooks: readonly string[];
  /** Import modules that it uses: what it may do. */
  readonly imports: readonly string[];
  readonly onFailure: string;
  /** Configurations of it in service. */
  readonly instances: number;
  readonly calls: number;
  readonly failures: number;
};

export function describePlugins(plan: Plan | null, counters: Counters): PluginStatus[] {
  if (plan === null) return [];
  const names = [...new Set(plan.instances.map((instance) => instance.plugin))];
  return names.map((name) => {
    const instances = plan.instances.filter((instance) => instance.plugin === name);
    const { module, cells, onFailure } = instances[0]!;
    const { hash, info } = plan.modules[module]!;
    return {
      name,
      hash,
      size: info.size,
      hooks: HOOKS.filter((_, hook) => (info.hooks & (1 << hook)) !== 0),
      imports: info.groups,
      onFailure,
      instances: instances.length,
      calls: sumCells(counters, cells + PLUGIN_CELLS.calls, MAX_HOOKS),
      failures: sumCells(counters, cells + PLUGIN_CELLS.failures, MAX_HOOKS * MAX_REASONS),
    };
  });
}

function sumCells(counters: Counters, base: number, count: number): number {
  let total = 0;
  for (let cell = base; cell < base + count; cell++) total += counters.sum(cell);
  return total;
}

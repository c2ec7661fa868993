/** The proxy's state for the admin interface. */

import { FAILURE, HOOKS } from "../abi/abi.ts";
import type * as api from "../admin/api.ts";
import { type EndpointColumns, HEALTH } from "../cluster/columns.ts";
import type { Counters } from "../observe/counters.ts";
import {
  BUCKETS,
  LISTENER_CELLS,
  MAX_HOOKS,
  MAX_REASONS,
  PLUGIN_CELLS,
  UPSTREAM_CELLS,
  UPSTREAM_FAILURES,
  WORKER_CELLS,
} from "../observe/series.ts";
import type { ClusterPlan, EndpointPlan, Plan } from "../plan/plan.ts";
import type { SetStatus } from "./endpoint-sets.ts";
import type { PluginHealth } from "./plugin-health.ts";
import type { Reloaded } from "./reload.ts";
import { relayed } from "./traffic.ts";
import type { Workers } from "./workers.ts";

export type StatusSources = {
  readonly ready: boolean;
  readonly startedAt: Date;
  readonly draining: boolean;
  readonly last: (Reloaded & { at: Date }) | null;
  readonly plan: Plan | null;
  readonly workers: Workers;
  readonly serving: readonly number[];
  readonly counters: Counters;
  readonly health: PluginHealth;
  readonly rollouts: readonly api.RolloutStatus[];
  readonly unavailableClusters: readonly string[];
  readonly certificates: readonly api.CertificateStatus[];
  readonly expiredRevocationLists: readonly api.RevocationListStatus[];
  readonly managedCertificates: readonly api.ManagedCertificateStatus[];
};

export function describeStatus(sources: StatusSources): api.Status {
  const { plan, draining, last, workers, serving, counters, health } = sources;
  return {
    ready: sources.ready,
    draining,
    version: plan?.version ?? 0,
    startedAt: sources.startedAt.toISOString(),
    pid: process.pid,
    requestsInFlight: counters.sum(WORKER_CELLS.requestsInFlight),
    quarantined: namesOf(plan).filter((plugin) => health.quarantined(plugin).length > 0),
    unavailableClusters: sources.unavailableClusters,
    rollouts: sources.rollouts,
    listeners: (plan?.listeners ?? []).map(({ name, address, tls, cells }) => ({
      name,
      address,
      https: tls !== null,
      connections: counters.sum(cells + LISTENER_CELLS.connections),
    })),
    expiringCertificates: sources.certificates.filter(({ warning }) => warning !== null),
    expiredRevocationLists: sources.expiredRevocationLists,
    managedCertificates: sources.managedCertificates,
    unstapledCertificates: sources.certificates.filter(({ ocsp }) => isRejected(ocsp)),
    workers: workers.present().map((worker) => ({
      worker,
      serving: serving.includes(worker),
      guests: counters.read(worker, WORKER_CELLS.guests),
      loopDelay: counters.read(worker, WORKER_CELLS.loopDelay),
      restarts: [...workers.restarts()].reduce((sum, one) => sum + (one.worker === worker ? one.count : 0), 0),
    })),
    lastReload: last && { at: last.at.toISOString(), result: last.result, problems: last.problems },
  };
}

/** Whether clients that ask for an OCSP response reject the certificate. */
function isRejected({ state, mustStaple, until }: api.OcspStatus): boolean {
  return state === "revoked" || (mustStaple && until === null && state !== "pending");
}

type ClusterSources = {
  readonly plan: Plan | null;
  readonly columns: EndpointColumns;
  readonly counters: Counters;
  readonly traffic: (cluster: string) => api.Traffic;
  /** Result of active checks, by row. */
  readonly health: (slot: number) => api.EndpointHealth | null;
  readonly ejection: (slot: number) => api.EjectionStatus | null;
  readonly set: (cluster: string) => SetStatus | null;
};

export function describeClusters(sources: ClusterSources): api.ClusterStatus[] {
  sources.columns.moveTo(performance.now());
  const { plan, columns, traffic } = sources;
  return (plan?.clusters ?? []).map((cluster) => {
    const { name, strategies, set } = cluster;
    const { endpoints } = set;
    const { changedAt, sources: entries } = sources.set(name) ?? { changedAt: 0, sources: [] };
    return {
      name,
      unresolved: entries
        .filter(({ endpoints: count }) => count === 0)
        .map(({ address, problem }) => ({ address, problem: problem ?? "not resolved yet" })),
      set: { version: set.version, changedAt: new Date(changedAt).toISOString() },
      sources: entries.map(({ resolvedAt, nextAt, ...entry }) => ({
        ...entry,
        resolvedAt: resolvedAt === null ? null : new Date(resolvedAt).toISOString(),
        nextAt: nextAt === null ? null : new Date(nextAt).toISOString(),
      })),
      strategies: strategies.map((strategy) => strategy.name),
      usable: countUsable(cluster, columns),
      panic: columns.ignoredBits(endpoints, cluster.passive?.panic ?? 0) !== 0,
      traffic: traffic(name),
      relayed: relayed(sources.counters, (labels) => labels.cluster === name),
      endpoints: endpoints.map((endpoint) => describeEndpoint(sources, endpoint)),
    };
  });
}

/** Names of the clusters without an endpoint that can take a request. */
export function findUnavailable(plan: Plan | null, columns: EndpointColumns): string[] {
  return (plan?.clusters ?? []).filter((cluster) => countUsable(cluster, columns) === 0).map(({ name }) => name);
}

function countUsable({ set: { endpoints }, passive }: ClusterPlan, columns: EndpointColumns): number {
  const ignored = columns.ignoredBits(endpoints, passive?.panic ?? 0);
  return endpoints.filter(({ slot }) => (columns.health[slot]! & ~ignored) === 0).length;
}

function describeEndpoint(sources: ClusterSources, endpoint: EndpointPlan): api.EndpointStatus {
  const { columns, counters } = sources;
  const { address, weight, zone, slot, cells } = endpoint;
  const health = sources.health(slot);
  const failures = UPSTREAM_FAILURES.map((reason, index): [string, number] => [
    reason,
    counters.sum(cells + UPSTREAM_CELLS.failures + index),
  ]);
  return {
    address,
    weight,
    zone,
    state: stateOf(columns.health[slot]!, health),
    healthy: columns.health[slot] === 0,
    health,
    ejection: sources.ejection(slot),
    inFlight: columns.inFlight(slot),
    responses: sumCells(counters, cells + UPSTREAM_CELLS.duration, BUCKETS.length + 1),
    latency: columns.latencyOf(slot) / 1e6,
    errorRate: columns.errorRateOf(slot) / 1e6,
    failedAttempts: Object.fromEntries(failures.filter(([, count]) => count > 0)),
  };
}

/** The state by the most persistent reason. */
function stateOf(word: number, health: api.EndpointHealth | null): api.EndpointState {
  if ((word & HEALTH.disabled) !== 0) return "disabled";
  if ((word & HEALTH.draining) !== 0) return "draining";
  if ((word & HEALTH.unhealthy) !== 0) return "unhealthy";
  if (word !== 0) return "ejected";
  return health?.checked ? "healthy" : "unchecked";
}

type PluginSources = Pick<StatusSources, "counters" | "health" | "rollouts"> & { readonly plan: Plan };

export function describePlugins({ plan, counters, health, rollouts }: PluginSources): api.PluginStatus[] {
  const canaries = new Set(plan.rollouts.flatMap((rollout) => rollout.instances.map(({ canary }) => canary)));
  return namesOf(plan).map((name) => {
    const instances = plan.instances.filter(({ plugin }, index) => plugin === name && !canaries.has(index));
    const { module, cells, onFailure } = instances[0]!;
    const { hash, info } = plan.modules[module]!;
    const quarantinedWorkers = health.quarantined(name);
    const last = health.lastFailure(name);
    return {
      name,
      hash,
      size: info.size,
      hooks: HOOKS.filter((_, hook) => (info.hooks & (1 << hook)) !== 0),
      imports: info.groups,
      onFailure,
      instances: instances.length,
      state: quarantinedWorkers.length > 0 ? "quarantined" : "running",
      quarantinedWorkers,
      calls: sumCells(counters, cells + PLUGIN_CELLS.calls, MAX_HOOKS),
      failures: sumCells(counters, cells + PLUGIN_CELLS.failures, MAX_HOOKS * MAX_REASONS),
      failuresByReason: countReasons(counters, cells + PLUGIN_CELLS.failures),
      refused: sumCells(counters, cells + PLUGIN_CELLS.refused, MAX_HOOKS),
      lastFailure: last && { ...last, at: new Date(last.at).toISOString() },
      rollout: rollouts.find(({ plugin }) => plugin === name) ?? null,
    };
  });
}

function namesOf(plan: Plan | null): string[] {
  return [...new Set(plan?.instances.map((instance) => instance.plugin))];
}

function countReasons(counters: Counters, base: number): Record<string, number> {
  const counts = FAILURE.map((reason, index): [string, number] => {
    const cells = HOOKS.map((_, hook) => counters.sum(base + hook * MAX_REASONS + index));
    return [reason, cells.reduce((total, count) => total + count, 0)];
  });
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}

function sumCells(counters: Counters, base: number, count: number): number {
  let total = 0;
  for (let cell = base; cell < base + count; cell++) total += counters.sum(cell);
  return total;
}

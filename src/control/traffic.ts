/** Listeners and routes for the admin interface, with their traffic. */

import type { CertificateStatus, ListenerStatus, Relayed, RouteStatus, Traffic, TunnelStatus } from "../admin/api.ts";
import type { Counters, Labels } from "../observe/counters.ts";
import type { RequestRate } from "../observe/request-rates.ts";
import { CONNECTION_RESULTS, LISTENER_CELLS, REFUSALS, STATUS_CLASSES } from "../observe/series.ts";
import type { ListenerPlan, Plan, RoutePlan } from "../plan/plan.ts";

export const NO_TRAFFIC: Traffic = { requests: 0, rate: 0, statuses: {} };

export type ListenerSources = {
  readonly plan: Plan | null;
  readonly rates: readonly RequestRate[];
  readonly counters: Counters;
  readonly certificates: readonly CertificateStatus[];
};

export function describeListeners({ plan, rates, counters, certificates }: ListenerSources): ListenerStatus[] {
  const byListener = sumBy(rates, ({ listener }) => listener!);
  const byRoute = sumBy(rates, ({ listener, route }) => keyOf(listener!, route!));
  return (plan?.listeners ?? []).map((listener) => {
    const { name, address, protocol, tls, chain, routes, relay, cells } = listener;
    return {
      name,
      address,
      protocol,
      tls: tls && { certificates: certificates.filter((one) => one.listener === name) },
      connections: counters.sum(cells + LISTENER_CELLS.connections),
      bytesReceived: counters.sum(cells + LISTENER_CELLS.bytesReceived),
      bytesSent: counters.sum(cells + LISTENER_CELLS.bytesSent),
      limits: describeLimits(listener),
      refused: countNonzero(REFUSALS, (i) => counters.sum(cells + LISTENER_CELLS.refused + i)),
      tunnels: describeTunnels(cells, counters),
      chain: namesOf(plan!, chain),
      traffic: byListener.get(name) ?? NO_TRAFFIC,
      unrouted: byRoute.get(keyOf(name, "")) ?? NO_TRAFFIC,
      relayed: relay && relayed(counters, (labels) => labels.listener === name),
      routes: [
        ...routes.map((route) => ({ ...describeRoute(plan!, listener, route, byRoute), relayed: null })),
        ...(relay?.routes ?? []).map((route) => ({
          ...describeRoute(plan!, listener, route, byRoute),
          relayed: relayed(counters, (labels) => labels.listener === name && labels.route === route.name),
        })),
      ],
    };
  });
}

/** The limits of connections that are configured, by key. Bytes and connections are per second. */
function describeLimits({ limits }: ListenerPlan): Record<string, number> {
  const { connections, connectionsPerClient, connectionRatePerClient, bandwidth } = limits;
  const all = {
    connections,
    connectionsPerClient,
    connectionRatePerClient: connectionRatePerClient?.rate ?? 0,
    "bandwidth.connection": bandwidth?.connection ?? 0,
    "bandwidth.client": bandwidth?.client ?? 0,
  };
  return Object.fromEntries(Object.entries(all).filter(([, limit]) => limit > 0));
}

/** Connections and sessions of the series with these labels. */
export function relayed(counters: Counters, includes: (labels: Labels) => boolean): Relayed {
  const series = Array.from(counters.list("connections")).filter(({ labels }) => includes(labels));
  return countNonzero(CONNECTION_RESULTS, (i) => series.reduce((sum, { base }) => sum + counters.sum(base + i), 0));
}

function countNonzero(names: readonly string[], count: (index: number) => number): Record<string, number> {
  return Object.fromEntries(names.map((name, i) => [name, count(i)] as const).filter(([, value]) => value > 0));
}

function describeTunnels(cells: number, counters: Counters): TunnelStatus {
  const oldest = counters.least(cells + LISTENER_CELLS.oldestTunnel);
  return {
    open: counters.sum(cells + LISTENER_CELLS.tunnels),
    oldest: oldest === 0 ? null : new Date(oldest).toISOString(),
    bytesReceived: counters.sum(cells + LISTENER_CELLS.tunnelReceived),
    bytesSent: counters.sum(cells + LISTENER_CELLS.tunnelSent),
  };
}

/** Traffic by cluster. */
export function trafficOfClusters(rates: readonly RequestRate[]): (cluster: string) => Traffic {
  const traffic = sumBy(rates, ({ cluster }) => cluster!);
  return (cluster) => traffic.get(cluster) ?? NO_TRAFFIC;
}

function describeRoute(
  plan: Plan,
  listener: ListenerPlan,
  { name, match, chain, action }: RoutePlan,
  byRoute: ReadonlyMap<string, Traffic>,
): Omit<RouteStatus, "relayed"> {
  return {
    name,
    match,
    chain: namesOf(plan, chain),
    router: action.kind === "router" ? plan.instances[action.instance]!.plugin : null,
    clusters: clustersOf(action).map(({ cluster, weight }) => ({ name: plan.clusters[cluster]!.name, weight })),
    traffic: byRoute.get(keyOf(listener.name, name)) ?? NO_TRAFFIC,
  };
}

function clustersOf(action: RoutePlan["action"]): readonly { cluster: number; weight: number | null }[] {
  if (action.kind === "cluster") return [{ cluster: action.cluster, weight: null }];
  if (action.kind === "split") return action.parts;
  return action.kind === "router" ? action.clusters.map((cluster) => ({ cluster, weight: null })) : [];
}

function namesOf(plan: Plan, chain: readonly number[]): string[] {
  return chain.map((instance) => plan.instances[instance]!.plugin);
}

function keyOf(listener: string, route: string): string {
  return JSON.stringify([listener, route]);
}

function sumBy(
  rates: readonly RequestRate[],
  key: (labels: RequestRate["labels"]) => string,
): ReadonlyMap<string, Traffic> {
  const groups = Map.groupBy(rates, ({ labels }) => key(labels));
  return new Map(Array.from(groups, ([name, group]) => [name, sum(group)]));
}

function sum(group: readonly RequestRate[]): Traffic {
  const statuses: Record<string, { requests: number; rate: number }> = {};
  const total = { requests: 0, rate: 0 };
  for (const { counts, rates } of group)
    for (const [index, name] of STATUS_CLASSES.entries()) {
      if (counts[index] === 0) continue;
      statuses[name] ??= { requests: 0, rate: 0 };
      for (const one of [statuses[name], total]) {
        one.requests += counts[index]!;
        one.rate += rates[index]!;
      }
    }
  return { ...total, statuses };
}

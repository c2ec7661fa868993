/** Builds the listeners and routes of a snapshot from a plan. */
import { makeUpgrades } from "../http/upgrade.ts";
import type { Bandwidth } from "../net/bandwidth.ts";
import { makeNetworks } from "../net/networks.ts";
import type { TlsServer } from "../net/tls-server.ts";
import type { ListenerPlan, RoutePlan } from "../plan/plan.ts";
import type { Instance } from "../plugin/host/instance.ts";
import type { ListenerState, RouteState, Snapshot } from "../proxy/snapshot.ts";
import { Router } from "../route/match.ts";
import type { BandwidthLimits } from "./bandwidth-limits.ts";

export type ListenerParts = {
  readonly snapshot: Snapshot;
  readonly instances: readonly Instance[];
  readonly tls: TlsServer | null;
  /** Null: there are none. */
  readonly bandwidth: BandwidthLimits | null;
};

export function listenerState(
  plan: ListenerPlan,
  { snapshot, instances, tls, bandwidth }: ListenerParts,
): ListenerState {
  const parts: RouteParts = {
    instances,
    clusters: snapshot.clusters.length,
    bandwidthOf: (route) => (bandwidth === null ? null : bandwidth.ofRoute(plan, route)),
  };
  return {
    plan,
    tls,
    snapshot,
    ...chainOf(plan.chain, instances),
    ...routesOf(plan.routes, parts),
    relay: plan.relay && routesOf(plan.relay.routes, parts),
    trusted: plan.trustedProxies.length === 0 ? null : makeNetworks(plan.trustedProxies),
    allowed: plan.allow === null ? null : makeNetworks(plan.allow),
    denied: plan.deny === null ? null : makeNetworks(plan.deny),
    grpcMethods:
      plan.grpcMethods.length === 0 ? null : new Map(plan.grpcMethods.map(({ method, cells }) => [method, cells])),
    proxies: plan.proxyProtocol === null ? null : makeProxies(plan.proxyProtocol),
  };
}

function makeProxies({ from, optional }: NonNullable<ListenerPlan["proxyProtocol"]>): ListenerState["proxies"] {
  const networks = makeNetworks(from.filter((block) => block !== "unix"));
  return { networks, hasUnix: from.includes("unix"), isOptional: optional };
}

const SUBREQUEST_LISTENER: ListenerPlan = {
  name: "",
  address: "",
  protocol: "http",
  tls: null,
  proxyProtocol: null,
  allow: null,
  deny: null,
  timeouts: { handshake: 0, head: 0, body: 0, write: 0, idle: 0 },
  limits: { head: 0, target: 0, headers: 0, body: 0, connections: 0, connectionsPerClient: 0 },
  path: { allowsAmbiguous: true, form: 0 },
  trustedProxies: [],
  http2: {
    maxConcurrentStreams: 0,
    streamWindow: 0,
    connectionWindow: 0,
    headerTableSize: 0,
    controlFrames: { burst: 0, perSecond: 0 },
  },
  halfClose: false,
  strictSniHost: false,
  chain: [],
  routes: [],
  udp: { responses: 0, quic: false },
  relay: null,
  slot: -1,
  cells: -1,
  requestCells: -1,
  durationCells: -1,
  grpcMethods: [],
};

/** A failure without a response is retried on the other endpoints. */
const SUBREQUEST_ROUTE: RouteState = {
  name: "",
  chain: [],
  hooks: 0,
  action: { kind: "cluster", cluster: 0 },
  router: null,
  timeout: 0,
  retry: { attempts: Number.MAX_SAFE_INTEGER, connect: true, reset: true, timeout: true, statuses: [], grpc: 0 },
  upgrades: [],
  passthrough: false,
  bandwidth: null,
  requestCells: new Int32Array(0),
  noClusterCells: -1,
  durationCells: -1,
};

/** The listener and route of subrequests to clusters. */
export function subrequestStates(snapshot: Snapshot): NonNullable<Snapshot["subrequests"]> {
  const listener = listenerState(SUBREQUEST_LISTENER, { snapshot, instances: [], tls: null, bandwidth: null });
  return { listener, route: SUBREQUEST_ROUTE };
}

type RouteParts = {
  readonly instances: readonly Instance[];
  /** Their number. */
  readonly clusters: number;
  readonly bandwidthOf: (route: RoutePlan) => Bandwidth | null;
};

function routesOf(plans: readonly RoutePlan[], parts: RouteParts): { router: Router; routes: RouteState[] } {
  return { router: new Router(plans), routes: plans.map((route) => routeState(route, parts)) };
}

function chainOf(indices: readonly number[], instances: readonly Instance[]): { chain: Instance[]; hooks: number } {
  const chain = indices.map((index) => instances[index]!);
  return { chain, hooks: chain.reduce((hooks, instance) => hooks | instance.hooks, 0) };
}

function routeState(plan: RoutePlan, { instances, clusters, bandwidthOf }: RouteParts): RouteState {
  const requestCells = new Int32Array(clusters).fill(-1);
  for (const { cluster, cells } of plan.requestCells) requestCells[cluster] = cells;
  return {
    name: plan.name,
    ...chainOf(plan.chain, instances),
    action: plan.action,
    router: plan.action.kind === "router" ? instances[plan.action.instance]! : null,
    timeout: plan.timeout,
    retry: plan.retry,
    upgrades: makeUpgrades(plan.upgrade),
    passthrough: plan.passthrough,
    bandwidth: bandwidthOf(plan),
    requestCells,
    noClusterCells: plan.noClusterCells,
    durationCells: plan.durationCells,
  };
}

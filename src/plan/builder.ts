/** Builds a Plan from a Config: resolves names to indices and allocates plugin instances, endpoint rows and metric cells. */
import {
  type ClusterConfig,
  type Config,
  isRelayed,
  type ListenerConfig,
  type PluginUse,
  type ProbeConfig,
  type RouteConfig,
} from "../config/schema.ts";
import type { TlsClientOptions } from "../net/tls-client.ts";
import type { TlsServerOptions } from "../net/tls-server.ts";
import type { AccessLogPlan } from "../observe/access-fields.ts";
import { OTHER } from "../observe/label-table.ts";
import { digest, type InstanceSources, Instances, type Origin } from "./instances.ts";
import type {
  CheckPlan,
  ClusterPlan,
  EndpointSet,
  ListenerPlan,
  MatchPlan,
  PassivePlan,
  Plan,
  ProbePlan,
  RelayPlan,
  RouteAction,
  RoutePlan,
  TracePlan,
} from "./plan.ts";

export type PlanSources = InstanceSources & {
  readonly version: number;
  readonly config: Config;
  /** Makes the current endpoint set of a cluster, with slots in shared memory. */
  readonly endpoints: (cluster: ClusterConfig) => EndpointSet;
  /** Addresses of the listeners, with their port, by name. */
  readonly listeners: ReadonlyMap<string, { readonly text: string }>;
  /** TLS of listeners that have it, by name (`tls-files.ts`), and to the endpoints of clusters. */
  readonly tls: ReadonlyMap<string, TlsServerOptions>;
  readonly tlsToEndpoints: ReadonlyMap<string, TlsClientOptions>;
  /** Allocates the row of a listener's address in the connection counts for this version. */
  readonly listenerRow: (address: string) => number;
};

export type Built = { readonly plan: Plan; readonly origins: readonly Origin[] };

export function buildPlan(sources: PlanSources): Built {
  return new PlanBuilder(sources).build();
}

class PlanBuilder {
  readonly #sources: PlanSources;
  readonly #instances: Instances;
  readonly #clusterByName: ReadonlyMap<string, number>;

  constructor(sources: PlanSources) {
    this.#sources = sources;
    this.#instances = new Instances(sources);
    this.#clusterByName = new Map(sources.config.clusters.map((cluster, index) => [cluster.name, index]));
  }

  build(): Built {
    const { version, config } = this.#sources;
    const clusters = config.clusters.map((cluster) => this.#cluster(cluster));
    const listeners = config.listeners.map((listener) => this.#listener(listener));
    const { modules, plans, rollouts, origins } = this.#instances;
    const plan = {
      version,
      modules,
      instances: plans,
      rollouts,
      clusters,
      listeners,
      accessLog: makeAccessLogPlan(config.log.access),
      trace: this.#trace(config),
      grace: config.shutdown.grace,
    };
    return { plan, origins };
  }

  /** Headers hidden from any plugin are also masked in traces. */
  #trace({ trace: { header, token, sample, mask } }: Config): TracePlan {
    const hidden = this.#instances.plans.flatMap((instance) => instance.hidden);
    return { header, token: token ?? "", sample, mask: [...new Set([...mask, ...hidden])] };
  }

  #cluster(cluster: ClusterConfig): ClusterPlan {
    const { name, protocol, timeouts, pool, limits } = cluster;
    const tls = this.#sources.tlsToEndpoints.get(name) ?? null;
    return {
      name,
      key: digest([name, protocol, timeouts, pool, limits, tls?.key, cluster.proxyProtocol]),
      tls,
      protocol,
      proxyProtocol: cluster.proxyProtocol ?? null,
      strategies: cluster.strategy.map((use) => ({ name: use.name, instance: this.#instances.add(use, name) })),
      set: this.#sources.endpoints(cluster),
      timeouts,
      pool,
      limits,
      retryCell: this.#sources.cells("retries", { cluster: name }),
      check: this.#check(cluster),
      passive: planPassive(cluster),
    };
  }

  #check({ name, health: { active }, ...cluster }: ClusterConfig): CheckPlan | null {
    if (active === undefined) return null;
    const tls = this.#sources.tlsToEndpoints.get(name) ?? null;
    const { probe, interval, timeout, healthyAfter, unhealthyAfter } = active;
    const proxyProtocol = cluster.proxyProtocol ?? null;
    const settings = { interval, timeout, healthyAfter, unhealthyAfter, tls, proxyProtocol };
    if (probe.kind !== "plugin") {
      const plan = { ...settings, probe: planProbe(probe, cluster.protocol) };
      return { ...plan, key: digest(plan) };
    }
    const instance = this.#instances.add(probe.use);
    const key = digest([settings, this.#instances.plans[instance]!.key]);
    return { ...settings, probe: { kind: "plugin", instance }, key };
  }

  #listener(listener: ListenerConfig): ListenerPlan {
    const { name, protocol, timeouts, limits, http2, path, trustedProxies, halfClose } = listener;
    const { cells } = this.#sources;
    const address = this.#sources.listeners.get(name)!.text;
    const connections = listener.routes.filter((route) => isRelayed(protocol, route));
    const requests = listener.routes.filter((route) => !isRelayed(protocol, route));
    return {
      name,
      address,
      protocol,
      tls: this.#sources.tls.get(name) ?? null,
      proxyProtocol: listener.proxyProtocol ?? null,
      allow: listener.allow ?? null,
      deny: listener.deny ?? null,
      timeouts,
      limits,
      http2,
      path,
      trustedProxies,
      halfClose,
      strictSniHost: listener.tls?.strictSniHost ?? false,
      chain: listener.chain.map((use) => this.#instances.add(use)),
      routes: requests.map((route) => this.#route(listener, route, "requests")),
      udp: listener.udp,
      relay: connections.length === 0 ? null : this.#relay(listener, connections),
      slot: this.#sources.listenerRow(address),
      cells: cells("listener", { listener: name }),
      requestCells: cells("requests", { listener: name, route: "", cluster: "" }),
      durationCells: cells("duration", { listener: name, route: "" }),
      grpcMethods: this.#grpcMethods(listener),
    };
  }

  #relay(listener: ListenerConfig, routes: readonly RouteConfig[]): RelayPlan {
    const labels = { listener: listener.name, route: "", cluster: "" };
    return {
      ...listener.relay,
      readsHello:
        listener.protocol === "auto" ||
        routes.some(({ match }) => [match, ...(match.not ?? [])].some(({ sni, alpn }) => sni ?? alpn)),
      routes: routes.map((route) => this.#route(listener, route, "connections")),
      noRouteCells: this.#sources.cells("connections", labels),
    };
  }

  #grpcMethods({ name, grpc: { methods } }: ListenerConfig): ListenerPlan["grpcMethods"] {
    const all = methods.length === 0 ? [] : [...new Set(methods), OTHER];
    return all.map((method) => ({ method, cells: this.#sources.cells("grpcMethod", { listener: name, method }) }));
  }

  #route(listener: ListenerConfig, route: RouteConfig, kind: "requests" | "connections"): RoutePlan {
    const { name, match, timeout, retry, upgrade, passthrough } = route;
    const labels = { listener: listener.name, route: name };
    const action = this.#action(route);
    const { cells } = this.#sources;
    return {
      name,
      match: match satisfies MatchPlan,
      chain: route.chain.map((use) => this.#instances.add(use)),
      action,
      timeout,
      retry,
      upgrade,
      passthrough,
      ...(route.bandwidth !== undefined && { bandwidth: route.bandwidth }),
      requestCells: this.#reachable(action, [...listener.chain, ...route.chain]).map((index) => {
        const cluster = this.#sources.config.clusters[index]!.name;
        return { cluster: index, cells: cells(kind, { ...labels, cluster }) };
      }),
      noClusterCells: cells(kind, { ...labels, cluster: "" }),
      durationCells: kind === "requests" ? cells("duration", labels) : -1,
    };
  }

  #action({ action }: RouteConfig): RouteAction {
    const indexOf = (reference: { name: string }) => this.#clusterByName.get(reference.name)!;
    switch (action.kind) {
      case "cluster":
        return { kind: "cluster", cluster: indexOf(action.cluster) };
      case "split":
        return { kind: "split", parts: action.parts.map((part) => ({ cluster: indexOf(part), weight: part.weight })) };
      case "router":
        return {
          kind: "router",
          instance: this.#instances.add(action.router),
          clusters: action.clusters.map(indexOf),
        };
      case "local":
        return { kind: "local" };
    }
  }

  /** Clusters that a route's requests may reach: those of its action, and those that a filter may choose. */
  #reachable(action: RouteAction, chain: readonly PluginUse[]): number[] {
    const reachable = new Set<number>();
    if (action.kind === "cluster") reachable.add(action.cluster);
    else if (action.kind === "split") for (const part of action.parts) reachable.add(part.cluster);
    else if (action.kind === "router") for (const cluster of action.clusters) reachable.add(cluster);
    else return [];
    for (const use of chain) {
      const { declared } = this.#sources.plugins.get(use.name)!;
      if (declared === null) continue;
      const allowed = declared.allow.clusters?.map((cluster) => this.#clusterByName.get(cluster.name)!);
      for (const cluster of allowed ?? this.#clusterByName.values()) reachable.add(cluster);
    }
    return [...reachable];
  }
}

function planProbe(probe: Exclude<ProbeConfig, { kind: "plugin" }>, protocol: ClusterPlan["protocol"]): ProbePlan {
  if (probe.kind === "grpc") return { kind: "grpc", service: probe.service, host: probe.host ?? "" };
  if (probe.kind === "udp") return { kind: "udp", send: hexOf(probe.send), expect: hexOf(probe.expect) };
  if (probe.kind === "tcp") return { kind: "tcp", send: probe.send, expect: probe.expect };
  const { method, path, host = "", status } = probe;
  return { kind: "http", protocol, method, path, host, statuses: status };
}

/** Bytes that are configured as text or, after `0x`, in hexadecimal. */
function hexOf(text: string): string {
  return text.startsWith("0x") ? text.slice(2) : Buffer.from(text).toString("hex");
}

function planPassive({ health: { passive } }: ClusterConfig): PassivePlan | null {
  const { enabled, ...plan } = passive;
  return enabled ? plan : null;
}

function makeAccessLogPlan(access: Config["log"]["access"]): AccessLogPlan | null {
  if (access === false) return null;
  const { format, fields, file, where } = access;
  const conditions = where.map(({ status = [], grpcStatus = [], slowerThan = 0, share }) => ({
    statuses: status,
    grpc: grpcStatus.reduce((all, set) => all | set, 0),
    slowerThan,
    share,
  }));
  return { format, fields, path: file === undefined ? null : file.path, where: conditions };
}

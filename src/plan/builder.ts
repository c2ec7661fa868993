/** Builds a Plan from a Config: resolves names to indices and allocates plugin instances, endpoint rows and metric cells. */
import { createHash } from "node:crypto";
import { FUEL } from "../abi/abi.ts";
import {
  BUILTIN_FETCH,
  BUILTIN_NAMESPACES,
  type ClusterConfig,
  type Config,
  type ListenerConfig,
  type Place,
  type PluginUse,
  type ProbeConfig,
  type Problem,
  type RouteConfig,
  type Settings,
} from "../config/schema.ts";
import type { TlsClientOptions } from "../net/tls-client.ts";
import type { TlsServerOptions } from "../net/tls-server.ts";
import type { AccessLogPlan } from "../observe/access-fields.ts";
import type { Labels, SeriesKind } from "../observe/counters.ts";
import type { InstancePlan, NamespacePlan, RolloutPlan } from "../plugin/host/plan.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import type { Canary, Plugin, ReadSettings } from "./modules.ts";
import type {
  CheckPlan,
  ClusterPlan,
  EndpointSet,
  ListenerPlan,
  MatchPlan,
  PassivePlan,
  Plan,
  ProbePlan,
  RouteAction,
  RoutePlan,
  TracePlan,
} from "./plan.ts";

export type PlanSources = {
  readonly version: number;
  readonly config: Config;
  /** Every plugin that the configuration names. */
  readonly plugins: ReadonlyMap<string, Plugin>;
  readonly readSettings: ReadSettings;
  /** Makes the present endpoint set of a cluster, with slots in shared memory. */
  readonly endpoints: (cluster: ClusterConfig) => EndpointSet;
  /** Addresses of the listeners, with their port, by name. */
  readonly listeners: ReadonlyMap<string, { readonly text: string }>;
  /** TLS of listeners that have it, by name (`tls-files.ts`), and to the endpoints of clusters. */
  readonly tls: ReadonlyMap<string, TlsServerOptions>;
  readonly tlsToEndpoints: ReadonlyMap<string, TlsClientOptions>;
  /** Allocates the row of a listener's address in the connection counts for this version. */
  readonly listenerRow: (address: string) => number;
  /** The number of a key-value namespace; constant for the life of the process. */
  readonly namespace: (name: string) => number;
  /** Allocates a series for this version; returns its first cell. */
  readonly cells: (kind: SeriesKind, labels: Labels) => number;
};

/** The sources of instances alone. */
export type InstanceSources = Omit<PlanSources, "config"> & { readonly config: Pick<Config, "clusters"> };

/** Where an instance was first configured, and its configuration there. `Built.origins` has one for each instance. */
export type Origin = { readonly at: Place; readonly settings: Settings | undefined };
export type Built = { readonly plan: Plan; readonly origins: readonly Origin[] };

export function buildPlan(sources: PlanSources): Built {
  return new PlanBuilder(sources).build(sources.config);
}

/** Builds only the instances of some plugin uses, for a configuration with problems. */
export function buildInstances(
  sources: InstanceSources,
  uses: Iterable<PluginUse>,
): Pick<Plan, "modules" | "instances"> & { readonly origins: readonly Origin[] } {
  return new PlanBuilder(sources).buildUses(uses);
}

const BUILTIN_BODY = 1024 * 1024;
/** For plugins with asynchronous calls: concurrent calls per worker, and milliseconds per call including its time in the queue. */
const BUILTIN_SUSPENDABLE = { guests: 64, time: 120_000 };

class PlanBuilder {
  readonly #sources: InstanceSources;
  readonly #modules: ModulePlan[] = [];
  readonly #instances: InstancePlan[] = [];
  readonly #rollouts: RolloutPlan[] = [];
  readonly #origins: Origin[] = [];
  readonly #instanceByKey = new Map<string, number>();
  readonly #clusterByName: ReadonlyMap<string, number>;

  constructor(sources: InstanceSources) {
    this.#sources = sources;
    this.#clusterByName = new Map(sources.config.clusters.map((cluster, index) => [cluster.name, index]));
  }

  build(config: Config): Built {
    const { version } = this.#sources;
    const clusters = config.clusters.map((cluster) => this.#cluster(cluster));
    const listeners = config.listeners.map((listener) => this.#listener(listener));
    const plan = {
      version,
      modules: this.#modules,
      instances: this.#instances,
      rollouts: this.#rollouts,
      clusters,
      listeners,
      accessLog: makeAccessLogPlan(config.log.access),
      trace: this.#trace(config),
      grace: config.shutdown.grace,
    };
    return { plan, origins: this.#origins };
  }

  buildUses(uses: Iterable<PluginUse>) {
    for (const use of uses) this.#instance(use);
    return { modules: this.#modules, instances: this.#instances, origins: this.#origins };
  }

  /**
   * Returns the index of the instance for one use of a plugin; equal uses share one. A strategy keeps state for the
   * endpoints of its cluster, so each cluster has its own instance: `cluster` names it.
   */
  #instance(use: PluginUse, cluster = ""): number {
    const { name: plugin, module, canary, memory, declared } = this.#sources.plugins.get(use.name)!;
    const written = use.config ?? declared?.config;
    const configFor = ({ info }: ModulePlan) =>
      this.#sources.readSettings(info.configSchema, written, use.at).value ?? null;
    const config = configFor(module);
    const settings = {
      plugin,
      onFailure: declared?.onFailure ?? ("reject" as const),
      fuel: declared?.limits.fuel ?? FUEL.default,
      body: declared?.limits.body ?? BUILTIN_BODY,
      tooLarge: declared?.limits.tooLarge ?? "reject",
      time: declared?.limits.time ?? BUILTIN_SUSPENDABLE.time,
      guests: declared?.limits.guests ?? BUILTIN_SUSPENDABLE.guests,
      slow: declared?.limits.slow ?? 1,
      fetch: declared === null ? builtinFetch(plugin, config) : declared.allow.fetch,
      memory,
      clusters: declared?.allow.clusters?.map((cluster) => cluster.name) ?? null,
      hidden: declared?.allow.headers.hide ?? [],
      cluster,
      shares: declared?.allow.share ?? [],
      namespaces: this.#namespaces(declared === null ? (BUILTIN_NAMESPACES[use.name] ?? []) : declared.allow.kv),
    };
    const key = digest([module.hash, module.info.hookNames, settings, config]);
    const known = this.#instanceByKey.get(key);
    if (known !== undefined) return known;
    const cells = this.#sources.cells("plugin", { plugin });
    const push = (plan: Pick<InstancePlan, "key" | "module" | "config" | "cells">): number => {
      this.#origins.push({ at: use.at, settings: written });
      return this.#instances.push({ ...settings, metrics: null, ...plan }) - 1;
    };
    const index = push({ key, module: this.#module(module), config, cells });
    this.#instanceByKey.set(key, index);
    if (canary !== null) {
      // The schema of another version may read the same text as a different value.
      const canaryConfig = configFor(canary.module);
      const canaryIndex = push({
        key: digest([canary.module.hash, canary.module.info.hookNames, settings, canaryConfig]),
        module: this.#module(canary.module),
        config: canaryConfig,
        cells: this.#sources.cells("plugin", { plugin, version: "canary" }),
      });
      this.#addToRollout(plugin, canary, { baseline: index, canary: canaryIndex });
    }
    return index;
  }

  #addToRollout(plugin: string, { number, share }: Canary, pair: RolloutPlan["instances"][number]): void {
    const position = this.#rollouts.findIndex((rollout) => rollout.plugin === plugin);
    if (position >= 0) {
      const known = this.#rollouts[position]!;
      this.#rollouts[position] = { ...known, instances: [...known.instances, pair] };
      return;
    }
    const cells = this.#sources.cells("rollout", { plugin, rollout: String(number) });
    this.#rollouts.push({ number, plugin, share, cells, instances: [pair] });
  }

  #namespaces(names: readonly string[]): NamespacePlan[] {
    return [...new Set(names)].map((name) => ({ name, number: this.#sources.namespace(name) }));
  }

  /** Headers hidden from any plugin are also masked in traces. */
  #trace({ trace: { header, token, sample, mask } }: Config): TracePlan {
    const hidden = this.#instances.flatMap((instance) => instance.hidden);
    return { header, token: token ?? "", sample, mask: [...new Set([...mask, ...hidden])] };
  }

  #module(module: ModulePlan): number {
    const index = this.#modules.indexOf(module);
    return index >= 0 ? index : this.#modules.push(module) - 1;
  }

  #cluster(cluster: ClusterConfig): ClusterPlan {
    const { name, timeouts, pool, limits } = cluster;
    const tls = this.#sources.tlsToEndpoints.get(name) ?? null;
    return {
      name,
      key: digest([name, timeouts, pool, limits, tls?.key]),
      tls,
      strategies: cluster.strategy.map((use) => ({ name: use.name, instance: this.#instance(use, name) })),
      set: this.#sources.endpoints(cluster),
      timeouts,
      pool,
      limits,
      retryCell: this.#sources.cells("retries", { cluster: name }),
      check: this.#check(cluster),
      passive: planPassive(cluster),
    };
  }

  #check({ name, health: { active } }: ClusterConfig): CheckPlan | null {
    if (active === undefined) return null;
    const tls = this.#sources.tlsToEndpoints.get(name) ?? null;
    const { probe, interval, timeout, healthyAfter, unhealthyAfter } = active;
    const settings = { interval, timeout, healthyAfter, unhealthyAfter, tls };
    if (probe.kind !== "plugin") {
      const plan = { ...settings, probe: planProbe(probe) };
      return { ...plan, key: digest(plan) };
    }
    const instance = this.#instance(probe.use);
    const key = digest([settings, this.#instances[instance]!.key]);
    return { ...settings, probe: { kind: "plugin", instance }, key };
  }

  #listener(listener: ListenerConfig): ListenerPlan {
    const { name, protocol, timeouts, limits, path, trustedProxies, halfClose } = listener;
    const { cells } = this.#sources;
    const address = this.#sources.listeners.get(name)!.text;
    return {
      name,
      address,
      protocol,
      tls: this.#sources.tls.get(name) ?? null,
      timeouts,
      limits,
      path,
      trustedProxies,
      halfClose,
      strictSniHost: listener.tls?.strictSniHost ?? false,
      chain: listener.chain.map((use) => this.#instance(use)),
      routes: listener.routes.map((route) => this.#route(listener, route)),
      slot: this.#sources.listenerRow(address),
      cells: cells("listener", { listener: name }),
      requestCells: cells("requests", { listener: name, route: "", cluster: "" }),
      durationCells: cells("duration", { listener: name, route: "" }),
    };
  }

  #route(listener: ListenerConfig, route: RouteConfig): RoutePlan {
    const { name, match, timeout, retry, upgrade } = route;
    const labels = { listener: listener.name, route: name };
    const action = this.#action(route);
    return {
      name,
      match: match satisfies MatchPlan,
      chain: route.chain.map((use) => this.#instance(use)),
      action,
      timeout,
      retry,
      upgrade,
      requestCells: this.#reachable(action, [...listener.chain, ...route.chain]).map((index) => {
        const cluster = this.#sources.config.clusters[index]!.name;
        return { cluster: index, cells: this.#sources.cells("requests", { ...labels, cluster }) };
      }),
      noClusterCells: this.#sources.cells("requests", { ...labels, cluster: "" }),
      durationCells: this.#sources.cells("duration", labels),
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
          instance: this.#instance(action.router),
          clusters: action.clusters.map(indexOf),
        };
    }
  }

  /** Clusters that a route's requests may reach: those of its action, and those that a filter may choose. */
  #reachable(action: RouteAction, chain: readonly PluginUse[]): number[] {
    const reachable = new Set<number>();
    if (action.kind === "cluster") reachable.add(action.cluster);
    else if (action.kind === "split") for (const part of action.parts) reachable.add(part.cluster);
    else for (const cluster of action.clusters) reachable.add(cluster);
    for (const use of chain) {
      const { declared } = this.#sources.plugins.get(use.name)!;
      if (declared === null) continue;
      const allowed = declared.allow.clusters?.map((cluster) => this.#clusterByName.get(cluster.name)!);
      for (const cluster of allowed ?? this.#clusterByName.values()) reachable.add(cluster);
    }
    return [...reachable];
  }
}

function planProbe(probe: Exclude<ProbeConfig, { kind: "plugin" }>): ProbePlan {
  if (probe.kind === "tcp") return { kind: "tcp", send: probe.send, expect: probe.expect };
  const { method, path, host = "", status } = probe;
  return { kind: "http", method, path, host, statuses: status };
}

/** The origin or cluster of a URL, as a plugin's `allow.fetch` names it (`plugin/abi/native/calls-fetch.ts`). */
const FETCH_TARGET = /^(?:cluster:[^/?#\s]+|https?:\/\/[^/?#\s@]+)/;

/** Fetch targets of a built-in plugin, taken from its configuration. */
function builtinFetch(name: string, config: unknown): string[] {
  const key = Object.hasOwn(BUILTIN_FETCH, name) ? BUILTIN_FETCH[name]! : null;
  const asked = key === null || typeof config !== "object" ? undefined : (config as Record<string, unknown>)?.[key];
  if (typeof asked !== "string") return [];
  return [FETCH_TARGET.exec(asked)?.[0] ?? `cluster:${asked}`];
}

/** Maximum guests over all workers; a reload doubles them, and a process can have about 16,000. */
const MAX_GUESTS = 6000;

/** The problem with the number of guests, or null. */
export function checkGuests(workers: number, perWorker: number, at: Place): Problem | null {
  const guests = workers * perWorker;
  if (guests <= MAX_GUESTS) return null;
  return {
    ...at,
    message: `${guests} plugin guests (${perWorker} on each of ${workers} workers), the limit is ${MAX_GUESTS}`,
  };
}

function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

function planPassive({ health: { passive } }: ClusterConfig): PassivePlan | null {
  const { enabled, ...plan } = passive;
  return enabled ? plan : null;
}

function makeAccessLogPlan(access: Config["log"]["access"]): AccessLogPlan | null {
  if (access === false) return null;
  const { format, fields, file, where } = access;
  const conditions = where.map(({ status = [], slowerThan = 0, share }) => ({ statuses: status, slowerThan, share }));
  return { format, fields, path: file === undefined ? null : file.path, where: conditions };
}

/**
 * One version of the configuration in service on this worker. Immutable; a request reads it once and uses it to its end.
 * It counts its exchanges, and is disposed when a newer version is in service and the count is zero.
 */
import type { Cluster } from "../cluster/cluster.ts";
import type { UpgradeProtocol } from "../http/upgrade.ts";
import type { Bandwidth } from "../net/bandwidth.ts";
import type { Networks } from "../net/networks.ts";
import type { TlsServer } from "../net/tls-server.ts";

import type { ListenerPlan, RetryPlan, RouteAction } from "../plan/plan.ts";
import type { Instance } from "../plugin/host/instance.ts";
import type { Router } from "../route/match.ts";
import type { Exchange } from "./exchange.ts";
import type { Connector } from "./upstream-stream.ts";

export type RouteState = {
  readonly name: string;
  readonly chain: readonly Instance[];
  /** Hooks of any instance of the chain, a bit for each. */
  readonly hooks: number;
  readonly action: RouteAction;
  /** The instance behind a `router` action. */
  readonly router: Instance | null;
  readonly timeout: number;
  readonly retry: RetryPlan;
  /** Protocols that a request may be upgraded to. */
  readonly upgrades: readonly UpgradeProtocol[];
  /** TLS connections are relayed without being decrypted. */
  readonly passthrough: boolean;
  /** On connections to endpoints; null: unlimited. */
  readonly bandwidth: Bandwidth | null;
  /** First cell of `sluice_requests_total`, or `sluice_relay_connections_total`, by cluster index; -1: none. */
  readonly requestCells: Int32Array;
  /** The same with `cluster=""`, for responses without a cluster. */
  readonly noClusterCells: number;
  readonly durationCells: number;
};

export type ListenerState = {
  readonly plan: ListenerPlan;
  /** Null: plain. */
  readonly tls: TlsServer | null;
  readonly snapshot: Snapshot;
  readonly chain: readonly Instance[];
  /** Hooks of any instance of the chain, a bit for each. */
  readonly hooks: number;
  readonly router: Router;
  readonly routes: readonly RouteState[];
  /** Of connections and UDP sessions that are relayed; null: there are none. */
  readonly relay: { readonly router: Router; readonly routes: readonly RouteState[] } | null;
  readonly trusted: Networks | null;
  /** First cells of `sluice_grpc_method_requests_total` by method; null: they are not counted. */
  readonly grpcMethods: ReadonlyMap<string, number> | null;
  /** `allow` and `deny`; null: not configured. */
  readonly allowed: Networks | null;
  readonly denied: Networks | null;
  /** The peers that send PROXY protocol headers; null: none. */
  readonly proxies: {
    readonly networks: Networks;
    /** Those on Unix sockets, too. */
    readonly hasUnix: boolean;
    readonly isOptional: boolean;
  } | null;
};

/** Selects the requests of one configuration that are traced. */
export interface ExchangeTracer {
  /** Sets `x.trace` if the request is to be traced. */
  consider(x: Exchange): void;
}

const NO_SLOTS: ReadonlySet<number> = new Set();

export class Snapshot {
  readonly version: number;
  readonly clusters: readonly Cluster<Connector>[];
  readonly listeners = new Map<string, ListenerState>();
  /** `Exchange.chosenStrategy` is an index into these names. */
  readonly strategyNames: readonly string[];
  /** Listener and route of subrequests, without chains and counters. */
  subrequests: { readonly listener: ListenerState; readonly route: RouteState } | null = null;
  /** Selects the requests that are traced; null: none. */
  tracer: ExchangeTracer | null = null;
  /** Slots of its endpoints that the version in service does not have. */
  removed: ReadonlySet<number> = NO_SLOTS;
  #exchanges = 0;
  #retired = false;
  readonly #dispose: () => void;

  constructor(
    version: number,
    clusters: readonly Cluster<Connector>[],
    strategyNames: readonly string[],
    dispose: () => void,
  ) {
    this.version = version;
    this.clusters = clusters;
    this.strategyNames = strategyNames;
    this.#dispose = dispose;
  }

  enter(): void {
    this.#exchanges++;
  }

  leave(): void {
    if (--this.#exchanges === 0 && this.#retired) this.#dispose();
  }

  /** A newer version is in service. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    if (this.#exchanges === 0) this.#dispose();
  }
}

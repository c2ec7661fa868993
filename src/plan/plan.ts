/**
 * One version of the configuration as plain data, posted to every worker, which makes its `Snapshot` from it.
 * `plan/builder.ts` builds it from a `Config`: names are resolved to indices, modules compiled, addresses numeric, and
 * cells of the shared counters allocated. Times are milliseconds, sizes bytes.
 */

import type { OneOrMore, ValueTable } from "../config/schema.ts";
import type { Scheme } from "../http/protocol.ts";
import type { ProxyHeaderOptions } from "../net/proxy-header.ts";
import type { TlsClientOptions } from "../net/tls-client.ts";
import type { TlsServerOptions } from "../net/tls-server.ts";
import type { AccessLogPlan } from "../observe/access-fields.ts";
import type { InstancePlan, RolloutPlan } from "../plugin/host/plan.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";

export type Plan = {
  readonly version: number;
  readonly modules: readonly ModulePlan[];
  readonly instances: readonly InstancePlan[];
  readonly rollouts: readonly RolloutPlan[];
  readonly clusters: readonly ClusterPlan[];
  readonly listeners: readonly ListenerPlan[];
  readonly accessLog: AccessLogPlan | null;
  readonly trace: TracePlan;
  /** How long a connection may take to end that a configuration without its listener or endpoint leaves, ms. */
  readonly grace: number;
};

/** Which requests are traced, and which values are masked. */
export type TracePlan = {
  /** Lower-case name of the header with the token. */
  readonly header: string;
  /** Empty: no request is traced by token. */
  readonly token: string;
  /** Share of all other requests, 0 to 1. */
  readonly sample: number;
  /** Lower-case names of headers and query parameters: the configured ones, and those hidden from any plugin. */
  readonly mask: readonly string[];
};

/** The endpoints of a cluster. It can change while the plan is in service, by its own message (`worker/messages.ts`). */
export type EndpointSet = {
  /** Incremented with every change of the cluster's set, across plans. */
  readonly version: number;
  readonly endpoints: readonly EndpointPlan[];
};

export type ClusterPlan = {
  readonly name: string;
  /** Equal in two versions if only endpoints, weights or strategies differ: pools are then reused. */
  readonly key: string;
  /** The first is the default; a plugin may choose another by name. */
  readonly strategies: readonly { readonly name: string; readonly instance: number }[];
  /** The set in service; the only property that changes. */
  set: EndpointSet;
  /** TLS to the endpoints; null: plain. */
  readonly tls: TlsClientOptions | null;
  readonly protocol: "http1" | "http2" | "auto";
  /** The PROXY protocol header with which connections begin; null: none. */
  readonly proxyProtocol: ProxyHeaderOptions | null;
  readonly timeouts: {
    readonly connect: number;
    readonly response: number;
    readonly idle: number;
    readonly ping: number;
    readonly tunnel: number;
  };
  /**
   * Idle connections per endpoint and worker, and for how long; requests in flight (0: no limit); requests per
   * connection, and its age (0: no limit).
   */
  readonly pool: {
    readonly idle: number;
    readonly idleFor: number;
    readonly connections: number;
    readonly requests: number;
    readonly age: number;
  };
  /** Maximum size and number of response headers; the size includes interim responses. */
  readonly limits: { readonly head: number; readonly headers: number };
  /** First of CLUSTER_CELLS (`observe/series.ts`). */
  readonly retryCell: number;
  /** Active health checks; null: none. */
  readonly check: CheckPlan | null;
  /** Passive health; null: none. */
  readonly passive: PassivePlan | null;
};

export type RetryPlan = {
  /** Maximum attempts after the first. */
  readonly attempts: number;
  /** Retry if no connection could be established. */
  readonly connect: boolean;
  /** Retry if the connection ended before the response. */
  readonly reset: boolean;
  /** Retry after a response timeout. */
  readonly timeout: boolean;
  readonly statuses: readonly number[];
  /** Retry these statuses of gRPC: a bit for each. */
  readonly grpc: number;
};

/** Shares from 0 to 1. */
export type PassivePlan = {
  readonly consecutiveFailures: number;
  readonly statuses: readonly number[];
  readonly ejectFor: number;
  readonly maxEjectFor: number;
  readonly maxEjected: number;
  readonly panic: number;
};

export type CheckPlan = {
  /** Equal in two versions if the check is the same: consecutive results are then kept. */
  readonly key: string;
  readonly probe: ProbePlan;
  readonly tls: TlsClientOptions | null;
  readonly proxyProtocol: ProxyHeaderOptions | null;
  readonly interval: number;
  readonly timeout: number;
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
};

export type ProbePlan =
  | {
      readonly kind: "http";
      readonly protocol: ClusterPlan["protocol"];
      readonly method: "GET" | "HEAD";
      readonly path: string;
      /** Value of `Host`; empty: the endpoint's address. */
      readonly host: string;
      /** Statuses of a healthy response. */
      readonly statuses: readonly { readonly least: number; readonly most: number }[];
    }
  /** `service`: empty for the whole server; `host`: as of HTTP. */
  | { readonly kind: "grpc"; readonly service: string; readonly host: string }
  | { readonly kind: "tcp"; readonly send: string; readonly expect: string }
  /** Both in hexadecimal. */
  | { readonly kind: "udp"; readonly send: string; readonly expect: string }
  /** Index into `Plan.instances`. */
  | { readonly kind: "plugin"; readonly instance: number };

export type EndpointPlan = {
  /** As displayed: `127.0.0.1:9001`, or `unix:/run/app.sock`. A configured name is one endpoint per address. */
  readonly address: string;
  /** Numeric address, or "" for a Unix socket. */
  readonly host: string;
  readonly port: number;
  /** Path of a Unix socket, or "". */
  readonly path: string;
  readonly weight: number;
  readonly zone: string;
  /** Row in the shared endpoint columns; it is also COLUMN.id. */
  readonly slot: number;
  /** First of UPSTREAM_CELLS (`observe/series.ts`). */
  readonly cells: number;
};

export type ListenerPlan = {
  readonly name: string;
  /** As configured: `127.0.0.1:8080`, `:8080`, `[::]:8080`, `unix:/run/sluice.sock`; with the bound port for 0. */
  readonly address: string;
  /** `auto`: the first bytes of a connection decide. */
  readonly protocol: "http" | "tcp" | "udp" | "auto";
  /** Null: plain. */
  readonly tls: TlsServerOptions | null;
  /** Peers that begin connections with a PROXY protocol header: blocks in CIDR notation, and `unix`. Null: none. */
  readonly proxyProtocol: { readonly from: readonly string[]; readonly optional: boolean } | null;
  readonly timeouts: {
    readonly handshake: number;
    readonly head: number;
    readonly body: number;
    readonly write: number;
    readonly idle: number;
  };
  readonly limits: {
    readonly head: number;
    readonly target: number;
    readonly headers: number;
    readonly body: number;
    readonly connections: number;
    readonly connectionsPerClient: number;
    /** Per second; undefined: no limit. */
    readonly connectionRatePerClient?: { readonly rate: number; readonly burst: number };
    /** Bytes per second in each direction: of a connection, and of all of a client's; undefined: no limit. */
    readonly bandwidth?: { readonly connection?: number; readonly client?: number };
  };
  /** Of each HTTP/2 connection; `controlFrames`: burst and refill of `FrameBudget`. */
  readonly http2: {
    readonly maxConcurrentStreams: number;
    readonly streamWindow: number;
    readonly connectionWindow: number;
    readonly headerTableSize: number;
    readonly controlFrames: { readonly burst: number; readonly perSecond: number };
  };
  /** Blocks of clients that may connect, and that may not; null: all, and none. */
  readonly allow: readonly string[] | null;
  readonly deny: readonly string[] | null;
  /** Whether ambiguous paths are allowed, and how paths are normalised: bits of FORM (`http/head.ts`). */
  readonly path: { readonly allowsAmbiguous: boolean; readonly form: number };
  /** Blocks of peers whose X-Forwarded-* headers are trusted, in CIDR notation. */
  readonly trustedProxies: readonly string[];
  readonly halfClose: boolean;
  /** A request whose host is not the server name of its handshake gets 421. */
  readonly strictSniHost: boolean;
  /** Indices into `Plan.instances`. */
  readonly chain: readonly number[];
  /** Of requests. */
  readonly routes: readonly RoutePlan[];
  readonly udp: {
    /** Datagrams of the endpoint for one of the client, after which a session ends; 0: unknown. */
    readonly responses: number;
    /** Sessions are also found by the connection IDs of QUIC. */
    readonly quic: boolean;
  };
  /** Connections, or UDP sessions, that are relayed without being interpreted; null: there are none. */
  readonly relay: RelayPlan | null;
  /** Row of its address in the connection counts, equal in all versions. */
  readonly slot: number;
  /** First of LISTENER_CELLS. */
  readonly cells: number;
  /** STATUS_CELLS of requests without a route: `sluice_requests_total{listener,route="",cluster="",status}`. */
  readonly requestCells: number;
  /** HISTOGRAM_CELLS of `sluice_request_duration_seconds{listener,route=""}`. */
  readonly durationCells: number;
  /** GRPC_CELLS of `sluice_grpc_method_requests_total` by method, and of all others; empty: they are not counted. */
  readonly grpcMethods: readonly { readonly method: string; readonly cells: number }[];
};

export type RelayPlan = {
  /** The first that matches is used. */
  readonly routes: readonly RoutePlan[];
  /** Time without a byte in either direction; 0: the cluster's `timeouts.tunnel`. */
  readonly idle: number;
  /** How long a connection may last; 0: no limit. */
  readonly lifetime: number;
  /** The ClientHello is read, for `match.sni` and `match.alpn`; its time limit. */
  readonly readsHello: boolean;
  readonly detect: number;
  /** CONNECTION_RESULTS of connections without a route: `sluice_relay_connections_total{listener,route="",cluster=""}`. */
  readonly noRouteCells: number;
};

/** A route of requests, or of TCP connections: those have no chain, router, timeout, upgrade and duration. */
export type RoutePlan = {
  readonly name: string;
  readonly match: MatchPlan;
  readonly chain: readonly number[];
  readonly action: RouteAction;
  /** From the end of the request headers to the response headers, over all attempts; 0: only the cluster's timeouts. */
  readonly timeout: number;
  readonly retry: RetryPlan;
  /** Names of the protocols that a request may be upgraded to. */
  readonly upgrade: readonly string[];
  /** TLS connections are relayed without being decrypted. */
  readonly passthrough: boolean;
  /** Bytes per second in each direction, of all requests and connections together; undefined: no limit. */
  readonly bandwidth?: number;
  /**
   * STATUS_CELLS of `sluice_requests_total{listener,route,cluster,status}`, by cluster index; of connections that are
   * relayed CONNECTION_RESULTS of `sluice_relay_connections_total{listener,route,cluster,result}`.
   */
  readonly requestCells: readonly { readonly cluster: number; readonly cells: number }[];
  /** The same with `cluster=""`, for requests that end before a cluster is chosen. */
  readonly noClusterCells: number;
  /** HISTOGRAM_CELLS of `sluice_request_duration_seconds{listener,route}`; -1 for TCP connections. */
  readonly durationCells: number;
};

/** All given keys must match, of a list any value; an empty one matches every request. */
export type MatchPlan = {
  readonly scheme?: OneOrMore<Scheme>;
  /** Exact, or one leading `*.`; lower case, without port. */
  readonly host?: OneOrMore<string>;
  readonly path?: OneOrMore<string>;
  readonly prefix?: OneOrMore<string>;
  readonly regex?: OneOrMore<string>;
  readonly method?: readonly string[];
  readonly headers?: ValueTable;
  readonly query?: ValueTable;
  readonly cookie?: ValueTable;
  /** Networks in CIDR notation, and addresses. */
  readonly client?: readonly string[];
  /** As `host`; of the TLS handshake. */
  readonly sni?: readonly string[];
  /** Of the handshake: the client offers one of them (ALPN). */
  readonly alpn?: readonly string[];
  /** None of these may match; they have no `not` themselves. */
  readonly not?: readonly MatchPlan[];
};

export type RouteAction =
  | { readonly kind: "cluster"; readonly cluster: number }
  | { readonly kind: "split"; readonly parts: readonly { readonly cluster: number; readonly weight: number }[] }
  | { readonly kind: "router"; readonly instance: number; readonly clusters: readonly number[] }
  /** There is no cluster: the last plugin of the chain responds. */
  | { readonly kind: "local" };

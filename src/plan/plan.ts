/**
 * What the control plane posts to every worker: one version of everything that a request's life depends on, as
 * plain data. It is made from a `Config` (checked text) by `plan/builder.ts`, with names resolved to indices,
 * modules compiled, addresses numeric, and a place in the shared counters for each thing that is counted.
 * Each thread makes its `Snapshot` of it. All times are milliseconds, all sizes bytes.
 */

import type { Scheme } from "../http/protocol.ts";
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

/** Which requests are traced, and what of them is not shown. */
export type TracePlan = {
  /** Lower-case name of the field that carries the token. */
  readonly header: string;
  /** Empty: no token is known. */
  readonly token: string;
  /** Of all other requests, 0 to 1. */
  readonly sample: number;
  /** Lower-case names of fields and query parameters: those configured, and those hidden from any plugin. */
  readonly mask: readonly string[];
};

/** The endpoints of a cluster. It changes while a plan serves, by a message of its own (`worker/messages.ts`). */
export type EndpointSet = {
  /** Moves with every change of the cluster's set, from plan to plan. */
  readonly version: number;
  readonly endpoints: readonly EndpointPlan[];
};

export type ClusterPlan = {
  readonly name: string;
  /** Equal for two versions when nothing but endpoints, weights or strategies differ: pools are then carried over. */
  readonly key: string;
  /** The first is the default; a plugin may choose another by name. */
  readonly strategies: readonly { readonly name: string; readonly instance: number }[];
  /** The only part that is assigned again: the set in service. */
  set: EndpointSet;
  readonly timeouts: {
    readonly connect: number;
    readonly response: number;
    readonly idle: number;
    readonly tunnel: number;
  };
  /** Kept idle connections for each endpoint and thread, for how long; connections at most (0: no limit); requests on one. */
  readonly pool: {
    readonly idle: number;
    readonly idleFor: number;
    readonly connections: number;
    readonly requests: number;
  };
  /** Of a response's head: bytes, which bound the interim responses before it as well, and fields. */
  readonly limits: { readonly head: number; readonly headers: number };
  /** First of CLUSTER_CELLS (`observe/series.ts`). */
  readonly retryCell: number;
  /** How its endpoints are checked; null: they are not. */
  readonly check: CheckPlan | null;
  /** When its endpoints are ejected for what requests show; null: never. */
  readonly passive: PassivePlan | null;
};

export type RetryPlan = {
  /** Further attempts after the first. */
  readonly attempts: number;
  /** No connection could be made. */
  readonly connect: boolean;
  /** The connection ended before the response. */
  readonly reset: boolean;
  /** No response in time. */
  readonly timeout: boolean;
  readonly statuses: readonly number[];
};

/** Times in ms, shares of 1. */
export type PassivePlan = {
  readonly consecutiveFailures: number;
  readonly statuses: readonly number[];
  readonly ejectFor: number;
  readonly maxEjectFor: number;
  readonly maxEjected: number;
  readonly panic: number;
};

export type CheckPlan = {
  /** Equal for two versions when nothing of the check differs: what was begun to be counted is then counted on. */
  readonly key: string;
  readonly probe: ProbePlan;
  readonly interval: number;
  readonly timeout: number;
  readonly healthyAfter: number;
  readonly unhealthyAfter: number;
};

export type ProbePlan =
  | {
      readonly kind: "http";
      /** The request but its Host: method and target. */
      readonly method: "GET" | "HEAD";
      readonly path: string;
      /** Of `Host`; empty: the endpoint's address. */
      readonly host: string;
      /** Those of a healthy answer. */
      readonly statuses: readonly { readonly least: number; readonly most: number }[];
    }
  | { readonly kind: "tcp"; readonly send: string; readonly expect: string }
  /** By index into `Plan.instances`. */
  | { readonly kind: "plugin"; readonly instance: number };

export type EndpointPlan = {
  /** As shown: `127.0.0.1:9001`, or `unix:/run/app.sock`. A configured name is one endpoint for each of its addresses. */
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
  /** As configured: `127.0.0.1:8080`, `:8080`, `[::]:8080`, `unix:/run/sluice.sock`; a port 0 is the number it became. */
  readonly address: string;
  readonly protocol: "http";
  /** Null: plain. */
  readonly tls: TlsServerOptions | null;
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
  };
  /** Whether a path may select a route that it does not select when read in another way; bits of FORM (`http/head.ts`). */
  readonly path: { readonly allowsAmbiguous: boolean; readonly form: number };
  /** CIDR blocks whose X-Forwarded-* are believed. */
  readonly trustedProxies: readonly string[];
  readonly halfClose: boolean;
  /** Indices into `Plan.instances`. */
  readonly chain: readonly number[];
  readonly routes: readonly RoutePlan[];
  /** Its row of the connections that are open over all workers, which its address keeps from version to version. */
  readonly slot: number;
  /** Cells of `sluice_connections_active` and its kin for this listener, as LISTENER_CELLS has them. */
  readonly cells: number;
  /** Series of a request that no route matched: `sluice_requests_total{listener,route="",cluster="",status}`. */
  readonly requestCells: number;
  /** HISTOGRAM_CELLS of `sluice_request_duration_seconds{listener,route=""}`. */
  readonly durationCells: number;
};

export type RoutePlan = {
  readonly name: string;
  readonly match: MatchPlan;
  readonly chain: readonly number[];
  readonly action: RouteAction;
  /** From the complete request head to the answer's head, all attempts; 0: only the cluster's response timeout. */
  readonly timeout: number;
  readonly retry: RetryPlan;
  /** Names of the protocols that a request may be upgraded to. */
  readonly upgrade: readonly string[];
  /** STATUS_CELLS of `sluice_requests_total{listener,route,cluster,status}` by cluster index; same order as `clusters`. */
  readonly requestCells: readonly { readonly cluster: number; readonly cells: number }[];
  /** The same with `cluster=""`, for requests that end before a cluster is chosen. */
  readonly noClusterCells: number;
  /** HISTOGRAM_CELLS of `sluice_request_duration_seconds{listener,route}`. */
  readonly durationCells: number;
};

/** All given keys must hold; an empty match holds always. */
export type MatchPlan = {
  readonly scheme?: Scheme;
  /** Exact, or one leading `*.`; lower case, without port. */
  readonly host?: string;
  readonly path?: string;
  readonly prefix?: string;
  readonly regex?: string;
  readonly method?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
};

export type RouteAction =
  | { readonly kind: "cluster"; readonly cluster: number }
  | { readonly kind: "split"; readonly parts: readonly { readonly cluster: number; readonly weight: number }[] }
  | { readonly kind: "router"; readonly instance: number; readonly clusters: readonly number[] };

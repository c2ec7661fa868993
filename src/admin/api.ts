/**
 * The JSON of the admin API (docs/operations.md): what `sluice status`, the dashboard and scripts read. Times are ISO 8601,
 * durations milliseconds, rates requests a second.
 */
import type { MatchPlan } from "../plan/plan.ts";
import type { PluginEvent } from "../plugin/host/report.ts";
import type { TraceRecord } from "../trace/record.ts";

export type Status = {
  /** A version serves, on every worker, and the process does not drain. */
  readonly ready: boolean;
  readonly draining: boolean;
  readonly version: number;
  readonly startedAt: string;
  readonly pid: number;
  readonly requestsInFlight: number;
  /** Plugins that are in quarantine on some worker. */
  readonly quarantined: readonly string[];
  /** Clusters none of whose endpoints can take a request: theirs are answered 503. */
  readonly unavailableClusters: readonly string[];
  /** The current canary rollout of each plugin, or its last one. */
  readonly rollouts: readonly RolloutStatus[];
  readonly listeners: readonly { name: string; address: string; connections: number }[];
  readonly workers: readonly {
    worker: number;
    serving: boolean;
    guests: number;
    loopDelay: number;
    restarts: number;
  }[];
  /** The last reload, the first version included. */
  readonly lastReload: { at: string; result: string; problems: readonly string[] } | null;
};

export type ClusterStatus = {
  readonly name: string;
  readonly strategies: readonly string[];
  /** Endpoints that can take requests. */
  readonly usable: number;
  /** So few endpoints are left that ejections are ignored (`health.passive.panic`). */
  readonly panic: boolean;
  readonly traffic: Traffic;
  readonly endpoints: readonly EndpointStatus[];
  /** Endpoints whose names cannot be resolved, as configured, and why; they are asked for again. */
  readonly unresolved: readonly { readonly address: string; readonly problem: string }[];
  /** The set of endpoints in service: it changes without a reload. */
  readonly set: { readonly version: number; readonly changedAt: string };
  /** What the configuration names as endpoints, and where each entry's endpoints come from. */
  readonly sources: readonly EndpointSourceStatus[];
};

export type EndpointSourceStatus = {
  /** As configured. */
  readonly address: string;
  readonly kind: "static" | "dns" | "srv";
  /** Endpoints that it stands for. */
  readonly endpoints: number;
  /** Of the last answer that was used; null without one, as for addresses that are given. */
  readonly resolvedAt: string | null;
  /** Of the next attempt. */
  readonly nextAt: string | null;
  /** Why the last attempt failed: the endpoints are then those of the last answer. */
  readonly problem: string | null;
};

/** `unchecked`: takes requests, and no active check has found anything yet, or there is none. */
export type EndpointState = "healthy" | "unchecked" | "unhealthy" | "ejected" | "draining" | "disabled";

export type EndpointStatus = {
  readonly address: string;
  readonly weight: number;
  readonly zone: string;
  readonly state: EndpointState;
  /** Whether it takes requests, but for `panic`. */
  readonly healthy: boolean;
  /** What checks have found; null when it is not checked. */
  readonly health: EndpointHealth | null;
  /** Why and until when it is ejected for failed requests; null when it is not. */
  readonly ejection: EjectionStatus | null;
  readonly inFlight: number;
  /** Decaying averages: seconds to the answer's head, and the share of failed attempts. */
  readonly latency: number;
  readonly errorRate: number;
  /** By reason, of those that there were: `sluice_upstream_failures_total`. */
  readonly failedAttempts: Readonly<Record<string, number>>;
};

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
  /** `quarantined`: calls are refused on `quarantinedWorkers`, until one that is tried succeeds. */
  readonly state: "running" | "quarantined";
  readonly quarantinedWorkers: readonly number[];
  readonly calls: number;
  readonly failures: number;
  /** The same by reason, of those that there were. */
  readonly failuresByReason: Readonly<Record<string, number>>;
  /** Calls that were not made, in quarantine. */
  readonly refused: number;
  readonly lastFailure: (Omit<LastFailure, "at"> & { readonly at: string }) | null;
  /** The current canary rollout, or the last one. All other properties are of the baseline. */
  readonly rollout: RolloutStatus | null;
};

/** `rate`: requests per second over the last ten seconds. */
export type Traffic = {
  readonly requests: number;
  readonly rate: number;
  /** The same by status class: `2xx`; those that there were. */
  readonly statuses: Readonly<Record<string, { readonly requests: number; readonly rate: number }>>;
};

/** Tunnels of a listener's clients: upgraded connections. */
export type TunnelStatus = {
  readonly open: number;
  /** When the oldest of them was opened; null where none is open. */
  readonly oldest: string | null;
  /** Forwarded from clients, and to them, by all tunnels since the start. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
};

export type ListenerStatus = {
  readonly name: string;
  readonly address: string;
  readonly connections: number;
  readonly tunnels: TunnelStatus;
  /** Plugins that see every request, in order. */
  readonly chain: readonly string[];
  readonly traffic: Traffic;
  /** Requests that no route matched, malformed ones included. */
  readonly unrouted: Traffic;
  /** In order: the first match wins. */
  readonly routes: readonly RouteStatus[];
};

export type RouteStatus = {
  readonly name: string;
  /** All keys must match; empty: every request. */
  readonly match: MatchPlan;
  /** Plugins after those of the listener, in order. */
  readonly chain: readonly string[];
  /** A plugin that chooses one of the clusters or passes to the next route; null: none. */
  readonly router: string | null;
  /** `weight`: of a split, else null. */
  readonly clusters: readonly { readonly name: string; readonly weight: number | null }[];
  readonly traffic: Traffic;
};

export type TraceSummary = Pick<TraceRecord, "id" | "time" | "why" | "listener" | "route" | "cluster" | "took"> & {
  /** The worker that served it. */
  readonly worker: number;
  readonly method: string;
  readonly target: string;
  readonly status: number;
};

export type TraceList = {
  /** The newest first. */
  readonly traces: readonly TraceSummary[];
  /** Requests that were not traced because their worker had traced 50 within the second. */
  readonly dropped: number;
};

export type RolloutState = "watching" | "promoted" | "rolled back" | "ended";

export type RolloutStatus = {
  readonly plugin: string;
  readonly state: RolloutState;
  /** Why it continues, or why it ended. */
  readonly reason: string;
  readonly percent: number;
  readonly since: string;
  readonly endedAt: string | null;
  readonly baseline: VersionStatus;
  readonly canary: VersionStatus;
};

export type VersionStatus = {
  /** SHA-256 of the `.wasm` file. */
  readonly hash: string;
  readonly requests: number;
  readonly failures: number;
  /** Mean of a request: fuel, and seconds. */
  readonly fuel: number;
  readonly time: number;
};

export type EjectionStatus = {
  /** An outcome code, or `status 503`. */
  readonly cause: string;
  readonly since: string;
  /** When a request is let through again; in the past while one is awaited. */
  readonly until: string;
  /** Ejections that soon followed each other, this one included. */
  readonly count: number;
};

export type LastFailure = NonNullable<PluginEvent["failure"]> & { readonly worker: number };

export type CheckRecord = {
  readonly at: string;
  /** Null: the check could not be made, and says nothing of the endpoint. */
  readonly ok: boolean | null;
  /** Seconds. */
  readonly took: number;
  /** Empty when it is well. */
  readonly problem: string;
};

export type EndpointHealth = {
  readonly state: "healthy" | "unhealthy";
  /** Whether a check has decided that; before, it counts as healthy. */
  readonly checked: boolean;
  readonly since: string;
  /** Why it is unhealthy: what the last bad check said. Empty when it is healthy. */
  readonly problem: string;
  readonly lastCheck: CheckRecord | null;
  /** The last ten, the newest last. */
  readonly history: readonly CheckRecord[];
};

/**
 * The JSON of the admin API (docs/operations.md): what `sluice status`, the dashboard and scripts read. Times are ISO 8601,
 * durations milliseconds, rates requests a second.
 */
import type { MatchPlan } from "../plan/plan.ts";
import type { PluginEvent } from "../plugin/host/report.ts";
import type { TraceRecord } from "../trace/record.ts";

export type Status = {
  /** A version is in service on at least one worker, and the process is not draining. */
  readonly ready: boolean;
  readonly draining: boolean;
  readonly version: number;
  readonly startedAt: string;
  readonly pid: number;
  readonly requestsInFlight: number;
  /** Plugins that are in quarantine in at least one worker. */
  readonly quarantined: readonly string[];
  /** Clusters without a usable endpoint; their requests get 503. */
  readonly unavailableClusters: readonly string[];
  /** The current canary rollout of each plugin, or its last one. */
  readonly rollouts: readonly RolloutStatus[];
  readonly listeners: readonly { name: string; address: string; https: boolean; connections: number }[];
  /** Certificates of listeners that have expired, or expire within 30 days. */
  readonly expiringCertificates: readonly CertificateStatus[];
  /** Certificates that are revoked, or must-staple without an OCSP response: clients reject them. */
  readonly unstapledCertificates: readonly CertificateStatus[];
  /** Revocation lists that have expired: all certificates of their authorities are rejected. */
  readonly expiredRevocationLists: readonly RevocationListStatus[];
  /** All configured certificates from an ACME server, and at most 100 of those obtained on demand, failing ones first. */
  readonly managedCertificates: readonly ManagedCertificateStatus[];
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

export type RevocationListStatus = {
  /** `listener web` or `cluster app`. */
  readonly usedBy: string;
  readonly file: string;
  readonly expires: string;
};

export type ClusterStatus = {
  readonly name: string;
  readonly strategies: readonly string[];
  /** Number of endpoints that receive requests. */
  readonly usable: number;
  /** Ejections are ignored because too few endpoints are left (`health.passive.panic`). */
  readonly panic: boolean;
  readonly traffic: Traffic;
  readonly relayed: Relayed;
  readonly endpoints: readonly EndpointStatus[];
  /** Configured names without addresses, and why. */
  readonly unresolved: readonly { readonly address: string; readonly problem: string }[];
  /** The endpoint set in service, which changes without a reload. */
  readonly set: { readonly version: number; readonly changedAt: string };
  /** The configured entries, with the source of their endpoints. */
  readonly sources: readonly EndpointSourceStatus[];
};

export type EndpointSourceStatus = {
  /** As configured. */
  readonly address: string;
  readonly kind: "static" | "dns" | "srv";
  /** Number of endpoints. */
  readonly endpoints: number;
  /** Time of the last successful resolution; null: none, as for addresses. */
  readonly resolvedAt: string | null;
  /** Time of the next attempt. */
  readonly nextAt: string | null;
  /** Why the last attempt failed; the previous endpoints stay. */
  readonly problem: string | null;
};

/** `unchecked`: receives requests, without a result of an active check. */
export type EndpointState = "healthy" | "unchecked" | "unhealthy" | "ejected" | "draining" | "disabled";

export type EndpointStatus = {
  readonly address: string;
  readonly weight: number;
  readonly zone: string;
  readonly state: EndpointState;
  /** Whether it receives requests, `panic` aside. */
  readonly healthy: boolean;
  /** Results of active checks; null: not checked. */
  readonly health: EndpointHealth | null;
  /** The current ejection, or null. */
  readonly ejection: EjectionStatus | null;
  readonly inFlight: number;
  /** Responses since the start; of TCP connections and UDP sessions: those connected. */
  readonly responses: number;
  /** Decaying averages: seconds to the response headers, and the share of failed attempts. */
  readonly latency: number;
  readonly errorRate: number;
  /** Nonzero counts by reason, as in `sluice_upstream_failures_total`. */
  readonly failedAttempts: Readonly<Record<string, number>>;
};

export type PluginStatus = {
  readonly name: string;
  /** SHA-256 of the `.wasm` file. */
  readonly hash: string;
  readonly size: number;
  readonly hooks: readonly string[];
  /** Import modules that it uses. */
  readonly imports: readonly string[];
  readonly onFailure: string;
  /** Number of its configurations in service. */
  readonly instances: number;
  /** `quarantined`: not called in `quarantinedWorkers`, until a test call succeeds. */
  readonly state: "running" | "quarantined";
  readonly quarantinedWorkers: readonly number[];
  readonly calls: number;
  readonly failures: number;
  /** Nonzero counts by reason. */
  readonly failuresByReason: Readonly<Record<string, number>>;
  /** Calls not made because of quarantine. */
  readonly refused: number;
  readonly lastFailure: (Omit<LastFailure, "at"> & { readonly at: string }) | null;
  /** The current canary rollout, or the last one. All other properties are of the baseline. */
  readonly rollout: RolloutStatus | null;
};

/** `rate`: requests per second over the last ten seconds. */
export type Traffic = {
  readonly requests: number;
  readonly rate: number;
  /** Nonzero counts by status class, for example `2xx`. */
  readonly statuses: Readonly<Record<string, { readonly requests: number; readonly rate: number }>>;
};

/** A request to change the endpoints of a cluster; `address`: empty for POST; `body`: null for DELETE. */
export type EndpointCall = {
  readonly method: "POST" | "PATCH" | "DELETE";
  readonly cluster: string;
  readonly address: string;
  readonly body: unknown;
};
export type EndpointResult =
  | { readonly status: number; readonly address: string }
  | { readonly status: number; readonly problem: string };

/** TCP connections and UDP sessions since the start: nonzero counts by result, as in `sluice_relay_connections_total`. */
export type Relayed = Readonly<Record<string, number>>;

/** A certificate of a listener. */
export type CertificateStatus = {
  readonly listener: string;
  /** Path of the file. */
  readonly file: string;
  readonly names: readonly string[];
  readonly expires: string;
  /** Whole days until then; negative once it has expired. */
  readonly days: number;
  /** The limit that it has reached: 30, 14, 7 or 1 days before, or `expired`; null: none yet. */
  readonly warning: "30 days" | "14 days" | "7 days" | "1 day" | "expired" | null;
  readonly ocsp: OcspStatus;
};

/** A certificate from an ACME server. */
export type ManagedCertificateStatus = {
  /** Names of the listeners. */
  readonly listeners: readonly string[];
  readonly names: readonly string[];
  /** It was obtained at the first handshake with its name. */
  readonly onDemand: boolean;
  /** `pending`: the first order is not complete; `failing`: the last order failed, a certificate may be in service. */
  readonly state: "valid" | "pending" | "failing";
  /** Of the certificate in service; null: there is none. */
  readonly expires: string | null;
  readonly isOrdering: boolean;
  /** When the certificate is ordered or renewed next; null: an order is in progress. */
  readonly nextTry: string | null;
  /** Failed orders in a row. */
  readonly failures: number;
  /** Cause of the last failure; empty: none. */
  readonly problem: string;
};

/** OCSP stapling of a certificate. */
export type OcspStatus = {
  /** `none`: there is no responder, or stapling is not possible; `pending`: the first attempt is not complete. */
  readonly state: "stapled" | "revoked" | "failed" | "pending" | "none";
  /** The certificate has the extension must-staple: clients reject it without a response. */
  readonly mustStaple: boolean;
  /** Until when the current response is stapled; null: there is none. */
  readonly until: string | null;
  /** Why nothing is stapled, or why the last attempt to refresh the response failed; empty: no problem. */
  readonly problem: string;
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

/** An open tunnel. */
export type OpenTunnelStatus = {
  readonly worker: number;
  readonly listener: string;
  readonly cluster: string;
  readonly endpoint: string;
  /** The client's address. */
  readonly client: string;
  /** As the route spells it: `websocket`. */
  readonly protocol: string;
  readonly openedAt: string;
  readonly age: number;
  /** Forwarded from the client, and to it. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
};

export type TunnelList = {
  /** Number of open tunnels. */
  readonly open: number;
  /** The oldest 100 of each worker, the oldest first. */
  readonly tunnels: readonly OpenTunnelStatus[];
  /** Workers that did not report their tunnels in time. */
  readonly silentWorkers: readonly number[];
};

export type ListenerStatus = {
  readonly name: string;
  readonly address: string;
  readonly protocol: "http" | "tcp" | "udp" | "auto";
  /** Null: plain. */
  readonly tls: { readonly certificates: readonly CertificateStatus[] } | null;
  /** Open ones; of UDP sessions. */
  readonly connections: number;
  /** From clients, and to them, since the start. */
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Its limits of connections that are configured, by key. */
  readonly limits: Readonly<Record<string, number>>;
  /** Nonzero counts of refused connections, by the key of the limit or list, as in `sluice_connections_refused_total`. */
  readonly refused: Readonly<Record<string, number>>;
  readonly tunnels: TunnelStatus;
  /** Plugins of the listener's chain, in order. */
  readonly chain: readonly string[];
  readonly traffic: Traffic;
  /** Requests that ended before a route was selected: none matched, the listener's chain responded, malformed ones. */
  readonly unrouted: Traffic;
  /** Null: it has no routes for connections. */
  readonly relayed: Relayed | null;
  /** In order of evaluation. */
  readonly routes: readonly RouteStatus[];
};

export type RouteStatus = {
  readonly name: string;
  /** All keys must match; empty: every request. */
  readonly match: MatchPlan;
  /** Plugins of the route's chain, in order. */
  readonly chain: readonly string[];
  /** A plugin that chooses one of the clusters or passes to the next route; null: none. */
  readonly router: string | null;
  /** Empty: the last plugin of the chain responds. `weight`: of a split, else null. */
  readonly clusters: readonly { readonly name: string; readonly weight: number | null }[];
  readonly traffic: Traffic;
  /** Null: a route for requests. */
  readonly relayed: Relayed | null;
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
  /** Time of the next probe request; in the past while its result is pending. */
  readonly until: string;
  /** Consecutive ejections, including this one. */
  readonly count: number;
};

export type LastFailure = NonNullable<PluginEvent["failure"]> & { readonly worker: number };

export type CheckRecord = {
  readonly at: string;
  /** Null: the check could not run. */
  readonly ok: boolean | null;
  /** Seconds. */
  readonly took: number;
  /** Empty if it succeeded. */
  readonly problem: string;
};

export type EndpointHealth = {
  readonly state: "healthy" | "unhealthy";
  /** Whether a check has set the state; an unchecked endpoint is healthy. */
  readonly checked: boolean;
  readonly since: string;
  /** Problem of the last failed check; empty if it is healthy. */
  readonly problem: string;
  readonly lastCheck: CheckRecord | null;
  /** The last ten, the newest last. */
  readonly history: readonly CheckRecord[];
};

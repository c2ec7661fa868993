/** Every message between the main thread and a worker. None crosses on the request path. */

import type { BoundSocket } from "node:net";
import type { MessagePort } from "node:worker_threads";
import type { CheckResult } from "../cluster/health.ts";
import type { Challenge } from "../net/acme/challenges.ts";
import type { ClientTable } from "../net/client-counts.ts";
import type { TlsCertificate } from "../net/managed-certificates.ts";
import type { Rates } from "../net/rate-table.ts";
import type { Staple } from "../net/staples.ts";
import type { UdpPlace } from "../net/udp.ts";
import type { EndpointSet, Plan } from "../plan/plan.ts";
import type { PluginEvent } from "../plugin/host/report.ts";
import type { HealthEvent } from "../proxy/context.ts";
import type { TunnelRecord } from "../proxy/tunnels.ts";
import type { TraceRecord } from "../trace/record.ts";

/** `workerData` of a worker. */
export type WorkerInit = {
  /** The worker's number, from 0: its row in the shared columns, its counter block. */
  readonly worker: number;
  /** Shared endpoint columns (`cluster/columns.ts`). */
  readonly columns: SharedArrayBuffer;
  /** Client connections of each listener over all workers (`net/connection-counts.ts`). */
  readonly connections: SharedArrayBuffer;
  /** Connections of each client (`net/client-counts.ts`). */
  readonly clients: ClientTable;
  /** Rates of each client (`net/rate-table.ts`). */
  readonly rates: Rates;
  /** The worker's counter block (`observe/series.ts`); its replacement continues in the same block. */
  readonly counters: SharedArrayBuffer;
  /** The key-value store (`state/store.ts`). */
  readonly keyValue: SharedArrayBuffer;
  /** The keys of TLS session tickets (`net/ticket-keys.ts`). */
  readonly ticketKeys: SharedArrayBuffer;
  /** Int32: one heartbeat word per worker, incremented by every tick. */
  readonly heartbeat: SharedArrayBuffer;
};

export type ToWorker =
  /**
   * Build version `plan.version` without serving it; reply `ready` or `failed`. New addresses listen after `commit`.
   * `sockets` are for addresses new to this worker (`ListenerPlan.address`). A Unix socket cannot be posted: its `socket`
   * is null, only worker 0 gets it, and binds its path. A UDP socket neither: each worker that gets it binds `udp`.
   * Connections of a `shared` one are distributed over all workers.
   */
  | { type: "prepare"; plan: Plan; sockets: PostedSocket[] }
  /** Serve the prepared version; reply `committed`. */
  | { type: "commit"; version: number }
  | { type: "abort"; version: number }
  /** Replace the endpoints of a cluster; reply `endpointsReleased` when those of set `replaced` are unused. */
  | { type: "endpoints"; version: number; cluster: number; set: EndpointSet; replaced: number }
  /** OCSP responses that have changed, by `TlsCertificate.staple`; null: there is none now. */
  | { type: "staples"; staples: readonly (readonly [id: string, staple: Staple | null])[] }
  /** Certificates of an ACME server that have changed, by id (`ManagedCertificates`); null: not served any more. */
  | { type: "certificates"; certificates: readonly (readonly [id: string, certificate: TlsCertificate | null])[] }
  /** The certificate that the worker wanted was obtained, or is denied until then, wall-clock ms. */
  | { type: "certificateDecided"; name: string; deniedUntil: number | null }
  /** A CA may validate these challenges now; reply `challengesReady`. */
  | { type: "challenges"; number: number; challenges: readonly Challenge[] }
  | { type: "withdrawChallenge"; challenge: Challenge }
  /** Stop accepting, finish running requests with `Connection: close`, reply `drained`; after `grace` ms reset the rest. */
  | { type: "drain"; grace: number }
  /**
   * A port to another worker (`worker/links.ts`): worker 0 has one to each that serves, every other one to worker 0. At
   * the addresses in `transfer` the other worker has no socket: worker 0 transfers one of those that were transferred to it.
   */
  | { type: "link"; worker: number; port: MessagePort; transfer: readonly string[] }
  /** Run a plugin's health check of an endpoint of the current version; reply `checked`. */
  | { type: "check"; job: CheckJob }
  /** Reply `tunnels`. */
  | { type: "listTunnels" }
  /** Reopen log files by their path. */
  | { type: "reopenLogs" }
  /** Cancel a check; no reply. */
  | { type: "cancelCheck"; number: number }
  /** The number of workers is reduced: transfer the listening sockets to worker 0, then drain. */
  | { type: "leave"; grace: number };

export type PostedSocket = {
  address: string;
  socket: BoundSocket | null;
  shared: boolean;
  udp: UdpPlace | null;
};

export type CheckJob = {
  readonly number: number;
  readonly cluster: string;
  /** The endpoint's row. */
  readonly slot: number;
  /** Timeout in milliseconds. */
  readonly timeout: number;
};

export type FromWorker =
  /** The worker has started and can receive a plan. */
  | { type: "up" }
  | { type: "ready"; version: number }
  | { type: "failed"; version: number; problem: string }
  /** New requests are served by that version. */
  | { type: "committed"; version: number }
  /** The last exchange of that version has ended; its guests, pools and listeners are freed. */
  | { type: "disposed"; version: number }
  /** The endpoints that set number `replaced` had and its successor does not have are unused. */
  | { type: "endpointsReleased"; replaced: number }
  | { type: "drained" }
  /** The result of a check; null: the current version has no such check, or was replaced during it. */
  | { type: "checked"; number: number; result: CheckResult | null }
  /** Number of open tunnels, and the oldest ones in the order in which they were opened. */
  | { type: "tunnels"; open: number; oldest: TunnelRecord[] }
  /** Passive health: results of requests to an endpoint. */
  | ({ type: "health" } & HealthEvent)
  /** The state of a plugin on that worker has changed. */
  | ({ type: "plugin" } & PluginEvent)
  /** The listening socket of a leaving worker was transferred to the sender. */
  | { type: "transferred"; address: string }
  /** A client wants a certificate for this name, which `onDemand` matches; reply `certificateDecided`. */
  | { type: "certificateWanted"; name: string }
  | { type: "challengesReady"; number: number }
  /** A traced exchange has ended; `dropped`: requests not traced since the last one because of the rate limit. */
  | { type: "trace"; record: TraceRecord; dropped: number }
  /** A line for the program's log. */
  | { type: "log"; level: "debug" | "info" | "warn" | "error"; message: string; fields: Record<string, unknown> };

export type ExplainRequest = {
  readonly method: string;
  /** An absolute URL or a path. */
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  /** The listener's name; empty: that of the URL (`explained-listener.ts`). */
  readonly listener: string;
  /** The client's address. */
  readonly client: string;
  /** Status of the simulated response of the endpoint; null: 101 for an upgrade, else 200. */
  readonly status: number | null;
  /** Subrequests are sent and sleeps run; otherwise both are simulated. */
  readonly allowFetch: boolean;
  /** Status of the simulated responses to subrequests. */
  readonly fetchStatus: number;
};

type Row = { slot: number; inFlight: number; latency: number; latencyAge: number; errorRate: number; health: number };

export type DryRunInit = {
  readonly plan: Plan;
  /** The current values of the endpoint columns. */
  readonly rows: readonly Row[];
  readonly keyValue: SharedArrayBuffer;
  /** The number of the worker in the locks of the key-value store. */
  readonly worker: number;
  readonly request: ExplainRequest;
};

export type DryRunResult = { readonly trace: TraceRecord } | { readonly problem: string };

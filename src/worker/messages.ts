/** Every message between the main thread and a worker. None crosses on the request path. */
import type { BoundSocket } from "node:net";
import type { MessagePort } from "node:worker_threads";
import type { CheckResult } from "../cluster/health.ts";
import type { EndpointSet, Plan } from "../plan/plan.ts";
import type { PluginEvent } from "../plugin/host/report.ts";
import type { HealthEvent } from "../proxy/context.ts";
import type { TraceRecord } from "../trace/record.ts";

/** `workerData` of a worker. */
export type WorkerInit = {
  /** This thread's number, from 0: its row in the shared columns, its counter block. */
  readonly thread: number;
  /** Shared endpoint columns (`cluster/columns.ts`). */
  readonly columns: SharedArrayBuffer;
  /** Client connections of each listener over all workers (`net/connection-counts.ts`). */
  readonly connections: SharedArrayBuffer;
  /** This thread's counter block (`observe/series.ts`); a successor goes on in the same block. */
  readonly counters: SharedArrayBuffer;
  /** The key-value store (`state/store.ts`). */
  readonly keyValue: SharedArrayBuffer;
  /** Int32: one heartbeat word a thread, moved by every tick. */
  readonly heartbeat: SharedArrayBuffer;
};

export type ToWorker =
  /**
   * Build version `plan.version` aside; answer `ready` or `failed`; listen at nothing new before `commit`. `sockets` are for addresses new to this thread; an
   * address is that of `ListenerPlan.address`. A Unix socket cannot be posted: its `socket` is null, and thread 0, which
   * alone gets it, binds its path. What comes in at a `shared` one is dealt out among all threads.
   */
  | { type: "prepare"; plan: Plan; sockets: PostedSocket[] }
  /** Take the version that was prepared; answer `committed`. */
  | { type: "commit"; version: number }
  | { type: "abort"; version: number }
  /**
   * The cluster of that version, by index, has these endpoints from now on; answer `endpointsReleased` when nothing uses
   * those of the set before that are not among them.
   */
  | { type: "endpoints"; version: number; cluster: number; set: EndpointSet; replaced: number }
  /** Stop accepting, finish what runs with `Connection: close`, answer `drained`; after `grace` ms end the rest. */
  | { type: "drain"; grace: number }
  /**
   * A port to another thread (`worker/links.ts`): thread 0 has one to each that serves, every other one to thread 0. At
   * the addresses in `give` the other thread has no socket: it gets one of those that thread 0 took over.
   */
  | { type: "link"; thread: number; port: MessagePort; transfer: readonly string[] }
  /** Have a plugin check an endpoint of the version that serves; answer `checked`. */
  | { type: "check"; job: CheckJob }
  /** Open log files by their path again. */
  | { type: "reopenLogs" }
  /** Nobody waits for that check any more. */
  | { type: "cancelCheck"; number: number }
  /** The number of threads goes down: hand the listening sockets to thread 0, then drain. */
  | { type: "leave"; grace: number };

export type PostedSocket = { address: string; socket: BoundSocket | null; shared: boolean };

export type CheckJob = {
  readonly number: number;
  readonly cluster: string;
  /** The endpoint's row. */
  readonly slot: number;
  /** Milliseconds that it may take. */
  readonly timeout: number;
};

export type FromWorker =
  /** The thread runs and can be sent a plan. */
  | { type: "up" }
  | { type: "ready"; version: number }
  | { type: "failed"; version: number; problem: string }
  /** Requests that begin from now on are served by that version. */
  | { type: "committed"; version: number }
  /** No exchange uses that version any more; its guests, pools and listeners are gone. */
  | { type: "disposed"; version: number }
  /** Nothing here uses the set of that number any more (`replaced`), but for endpoints of the set that came after it. */
  | { type: "endpointsReleased"; replaced: number }
  | { type: "drained" }
  /** What a check came to; null: the version that serves there has none such, or does so no more. */
  | { type: "checked"; number: number; result: CheckResult | null }
  /** What requests show of an endpoint. */
  | ({ type: "health" } & HealthEvent)
  /** How a plugin fares there has changed. */
  | ({ type: "plugin" } & PluginEvent)
  /** The listening socket of a thread that leaves was taken over. */
  | { type: "transferred"; address: string }
  /** A traced exchange has ended; so many were too many to be traced since the last. */
  | { type: "trace"; record: TraceRecord; dropped: number }
  /** A line for the program's log. */
  | { type: "log"; level: "debug" | "info" | "warn" | "error"; message: string; fields: Record<string, unknown> };

export type ExplainRequest = {
  readonly method: string;
  /** Whole, or a path. */
  readonly url: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  /** The listener's name; empty: the one at the URL's port, else the first. */
  readonly listener: string;
  /** The client's address. */
  readonly client: string;
  /** The status that stands for the endpoint's answer. */
  readonly responseStatus: number;
  /** Requests of plugins are really sent, and their sleeps slept. */
  readonly allowFetch: boolean;
  /** Else the status that answers them. */
  readonly fetchStatus: number;
};

type Row = { slot: number; inFlight: number; latency: number; latencyAge: number; errorRate: number; health: number };

export type DryRunInit = {
  readonly plan: Plan;
  /** Endpoints as they stand. */
  readonly rows: readonly Row[];
  readonly keyValue: SharedArrayBuffer;
  /** This thread's number in the locks of the key-value store. */
  readonly thread: number;
  readonly request: ExplainRequest;
};

export type DryRunResult = { readonly trace: TraceRecord } | { readonly problem: string };

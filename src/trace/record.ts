/**
 * The trace of one request as JSON: what `sluice explain --json` and `GET /api/v1/traces/{id}` print and what
 * `Guest.replay` of `sluice/test` reads. Documented for readers in docs/plugins.md.
 *
 * Compatibility: a field may be added at any time; `version` changes when one is renamed, removed or changes its meaning.
 *
 * Text: header values are one character per byte (ISO 8859-1). Secrets are replaced by `***` (`mask.ts`). A text that was
 * truncated ends with `…`, which no header value contains. Times within a trace are whole microseconds.
 */
import type { Candidate } from "../cluster/cluster.ts";
import type { Scheme, VERSION_NUMBERS } from "../http/protocol.ts";

/** The format described here. 1 was never given a number: its records have no `configVersion`. */
export const TRACE_VERSION = 2;

/** Most steps of one trace; later ones are dropped and `cut` is set. */
export const MAX_STEPS = 300;
/** Most routes or candidates listed in one step of a trace of live traffic. A dry run lists all. */
export const MAX_LISTED = 200;
/** Ends a text that was truncated. */
export const CUT = "…";

/** Fields in the order of the message, names as they were sent. */
export type FieldList = readonly (readonly [name: string, value: string])[];

export type Side = "request" | "response";

/** One changed part of a message. An empty list means that the part was absent. */
export type Change = {
  readonly of: Side;
  /** `method`, `authority`, `path`, `query`, `status`, `header x-user`, `trailer x-sum`; names in lower case. */
  readonly what: string;
  readonly before: readonly string[];
  readonly after: readonly string[];
};

/** One route that was evaluated. */
export type TracedRoute = {
  /** Position in the listener's `routes`, from 0. */
  readonly index: number;
  readonly name: string;
  /** The key of `match` that did not match; empty if all of them did. */
  readonly failed: string;
};

/** The body chunk of a body hook. */
export type TracedChunk = {
  /** Size in bytes before the hook, and after it. */
  readonly before: number;
  after: number;
  /** Whether it ends the body. */
  readonly last: boolean;
  /** The chunk before and after the hook, in a dry run only, if it is valid UTF-8 of at most 4 KiB. */
  readonly seen?: string;
  passed?: string;
};

/** One hook call. Fields that are not readonly are filled in when the call ends. */
export type HookStep = {
  readonly step: "hook";
  /** Microseconds since the request head was received. */
  readonly at: number;
  /** The hook's name in the ABI: `request_head`, `pick` … */
  readonly hook: string;
  readonly plugin: string;
  /** Which configuration of the plugin, in order of first call: absent for the first, 2 for the second … */
  readonly use?: number;
  /** Duration in microseconds, including the time of asynchronous host calls. */
  took: number;
  /** Units of fuel. */
  fuel: number;
  /** Number of calls by host call name. */
  calls: Record<string, number>;
  /**
   * The hook's result by its name in the ABI (`continue`, `respond`, `reject`, `buffer`); of `pick` the index of the chosen
   * endpoint, or -1. `failed`: see `failure`. `unfinished`: the request ended first. `quarantined`: not called.
   */
  result: string;
  /** `reason` as in `sluice_plugin_failures_total`. */
  failure?: { readonly reason: string; readonly message: string };
  /** What the hook changed; empty if it failed, since its changes are then discarded. */
  edits: readonly Change[];
  /** The cluster and the strategy that the hook chose. */
  cluster?: string;
  strategy?: string;
  /** Values that it set for other plugins (`shared_set`). */
  shared?: FieldList;
  body?: TracedChunk;
  /** At most 50 lines. */
  log: { readonly level: string; readonly text: string }[];
};

/** Changes since the previous hook that no plugin made: a response or trailers were received, the proxy set a length. */
export type ReceivedStep = {
  readonly step: "received";
  readonly at: number;
  readonly edits: readonly Change[];
};

/** A route was selected. A route whose router plugin passes is followed by another such step. */
export type RouteStep = {
  readonly step: "route";
  readonly at: number;
  /** The selected route's name; null if none matches or the path is ambiguous. */
  readonly route: string | null;
  /** Another reading of the path would select another route; the response's `problem` has the details. */
  readonly ambiguous?: true;
  /** Routes evaluated since the previous route step, in order; the selected one is the last. */
  readonly routes: readonly TracedRoute[];
};

/** A cluster was selected. */
export type ClusterStep = {
  readonly step: "cluster";
  readonly at: number;
  readonly cluster: string;
  /** What selected it. */
  readonly by: "route" | "split" | "plugin";
  /** The plugin's name, where known. */
  readonly plugin?: string;
  /** It was selected for the connection, by a connection filter. */
  readonly connection?: true;
};

/** An endpoint was selected, or none was available. */
export type PickStep = {
  readonly step: "pick";
  readonly at: number;
  readonly cluster: string;
  readonly strategy: string;
  readonly endpoint: string | null;
  /** `native`: the strategy returned no endpoint, so the proxy took the least loaded. `none`: no endpoint was available. */
  readonly by: "strategy" | "native" | "none";
  readonly candidates: readonly Candidate[];
};

/** An attempt ended: the response head was received, or the attempt failed. */
export type AttemptStep = {
  readonly step: "attempt";
  readonly at: number;
  readonly endpoint: string;
  /** Status of the response; 0 if there was none. */
  readonly status: number;
  readonly failed: boolean;
  /** Microseconds from `pick` to the response head. */
  readonly took: number;
  /** Whether the connection had been used before. */
  readonly reused: boolean;
  /** The version of the response, if it is not HTTP/1. */
  readonly protocol?: "2";
  /** The protocol in the Upgrade header that was forwarded; absent: none was. */
  readonly upgrade?: string;
  /** Error type of RFC 9209 section 2.3, and its description; only without a response. */
  readonly error?: string;
  readonly problem?: string;
};

export type Step = HookStep | ReceivedStep | RouteStep | ClusterStep | PickStep | AttemptStep;

export type TraceRecord = {
  /** Format of the record: `TRACE_VERSION`. */
  readonly version: number;
  /** 16 hexadecimal digits; empty for a dry run. */
  readonly id: string;
  /** When the request head was received, ISO 8601 in UTC with milliseconds. */
  readonly time: string;
  /** Why it was recorded: the debug token, the sample, or a dry run. */
  readonly why: "token" | "sample" | "explain";
  /** The number of the configuration that served the request. */
  readonly configVersion: number;
  readonly listener: string;
  readonly route: string;
  readonly cluster: string;
  /** The client's address. */
  readonly client: string;
  /** The request as received. */
  readonly request: {
    readonly method: string;
    /** Only of a target in absolute form. */
    readonly scheme?: Scheme;
    /** Only if it is not 1.1. */
    readonly protocol?: (typeof VERSION_NUMBERS)[number];
    readonly authority: string;
    readonly target: string;
    readonly headers: FieldList;
  };
  /** A dry run's status of all responses to subrequests, if it did not send them. */
  readonly fetchStatus?: number;
  readonly steps: readonly Step[];
  /** The response as sent to the client. */
  readonly response: {
    readonly status: number;
    /** Its origin. `none`: the connection was closed without a response; the status is 0. */
    readonly by: "endpoint" | "plugin" | "sluice" | "none";
    /** Error type of RFC 9209 section 2.3, and its description; only of a response that Sluice made for an error. */
    readonly error?: string;
    readonly problem?: string;
    readonly headers: FieldList;
    /** Bytes of the body that were sent. */
    readonly body: number;
  };
  /** Microseconds from the request head to the end of the exchange. */
  readonly took: number;
  /** Whether anything was truncated or dropped for its size. */
  readonly cut: boolean;
};

/**
 * Counters in shared memory. Each worker writes a block of its own (Float64 cells, whole numbers up to 2^53);
 * the main thread sums the blocks when `/metrics` is read. The control plane hands out cell ranges by series; what
 * a range holds is laid out here. A cell is written by one thread alone, so plain `+=` is enough.
 */
import { LIMIT, METRIC } from "../abi/abi.ts";
import { TUNNEL_ENDS } from "../net/tunnel.ts";

/** Status codes that have a cell of their own, in order (RFC 9110 and the IANA registry; 499: the client closed the connection). */
export const STATUS_CODES = [
  100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400,
  401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426,
  428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
] as const;
/** After the codes: 1xx 2xx 3xx 4xx 5xx for those not registered, then `other`. */
export const STATUS_LABELS: readonly string[] = [
  ...STATUS_CODES.map(String),
  "1xx",
  "2xx",
  "3xx",
  "4xx",
  "5xx",
  "other",
];
export const STATUS_CELLS = STATUS_LABELS.length;

export const STATUS_CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"] as const;
/** Of each cell of a status, its class by index. */
export const CLASS_OF_STATUS = Uint8Array.from(STATUS_LABELS, (label) =>
  label === "other" ? STATUS_CLASSES.length - 1 : Number(label[0]) - 1,
);

const statusCell = new Uint8Array(1000).fill(STATUS_CELLS - 1);
for (let code = 100; code < 600; code++) statusCell[code] = STATUS_CODES.length + Math.floor(code / 100) - 1;
for (const [cell, code] of STATUS_CODES.entries()) statusCell[code] = cell;

/** Upper bounds of the histogram buckets, seconds; above the last is +Inf. */
export const BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
] as const;
/** One cell for each bucket (not cumulative), one for +Inf, then the sum in seconds. */
export const HISTOGRAM_CELLS = BUCKETS.length + 2;

/** Cells of a cluster, from `ClusterPlan.retryCell`. */
export const CLUSTER_CELLS = { retries: 0, noEndpoint: 1, size: 2 } as const;

/** Why an attempt at an endpoint failed. */
export const UPSTREAM_FAILURES = [
  "other",
  "connect_refused",
  "connect_failed",
  "connect_timeout",
  "response_timeout",
  "upstream_reset",
  "upstream_malformed",
  "upstream_broken",
  "unsolicited_response",
  "stale_connection",
  "retried_status",
] as const;

/** Why a request was rejected. */
export const REJECTIONS = [
  "other",
  "malformed",
  "ambiguous_path",
  "method_not_allowed",
  "request_timeout",
  "body_too_large",
  "target_too_long",
  "expectation_failed",
  "head_too_large",
  "coding_unknown",
  "version_unknown",
] as const;

/** An endpoint's cells, from `EndpointPlan.cells`; of `failures` one for each of UPSTREAM_FAILURES. */
export const UPSTREAM_CELLS = {
  duration: 0,
  /** Connections closed for bytes outside a response. */
  unsolicited: HISTOGRAM_CELLS,
  failures: HISTOGRAM_CELLS + 1,
  size: HISTOGRAM_CELLS + 1 + UPSTREAM_FAILURES.length,
} as const;

/** A listener's cells, from `ListenerPlan.cells`; of `rejected` one for each of REJECTIONS. */
export const LISTENER_CELLS = {
  connections: 0,
  bytesReceived: 1,
  bytesSent: 2,
  denied: 3,
  /** Connections over `limits.connections`. */
  refused: 4,
  /** Connections that could not be accepted or set up. */
  acceptFailed: 5,
  rejected: 6,
  /** Open tunnels, the time at which the oldest was opened (ms since 1970; 0: none is open), and bytes of all. */
  tunnels: 6 + REJECTIONS.length,
  oldestTunnel: 7 + REJECTIONS.length,
  tunnelReceived: 8 + REJECTIONS.length,
  tunnelSent: 9 + REJECTIONS.length,
  /** One for each of TUNNEL_ENDS. */
  tunnelEnds: 10 + REJECTIONS.length,
  size: 10 + REJECTIONS.length + TUNNEL_ENDS.length,
} as const;

/** Where `code` is in one of these lists; `other` for what is not. */
export function reasonCell(reasons: readonly string[], code: string): number {
  return Math.max(0, reasons.indexOf(code));
}

/** Fields of a JSON line of the access log, in order, where nothing else is configured. */
export const DEFAULT_ACCESS_FIELDS = [
  "time",
  "client",
  "method",
  "host",
  "path",
  "status",
  "bytes_received",
  "bytes_sent",
  "duration_ms",
  "listener",
  "route",
  "cluster",
  "endpoint",
  "attempts",
  "outcome",
  "version",
] as const;

/** All of them but headers; docs/operations.md says what each holds. */
export const ACCESS_FIELDS = [
  ...DEFAULT_ACCESS_FIELDS,
  "peer",
  "scheme",
  "protocol",
  "user_agent",
  "referer",
  "request_id",
  "trace_id",
  "responded_by",
  "receive_ms",
  "request_ms",
  "upstream_ms",
  "response_ms",
] as const;

/** A thread's own cells, at the start of its block. */
export const THREAD_CELLS = {
  requestsInFlight: 0,
  internalErrors: 1,
  logDropped: 2,
  loopDelay: 3,
  guests: 4,
  size: 8,
} as const;

/** A plugin's cells, from `InstancePlan.cells`: calls, fuel and refused calls for each hook, failures for each hook and reason. */
export const MAX_HOOKS = 20;
export const MAX_REASONS = 12;
export const PLUGIN_CELLS = {
  calls: 0,
  fuel: MAX_HOOKS,
  /** + hook × MAX_REASONS + reason. */
  failures: 2 * MAX_HOOKS,
  refused: 2 * MAX_HOOKS + MAX_HOOKS * MAX_REASONS,
  /** Calls rejected because the plugin's queue was full. */
  rejected: 3 * MAX_HOOKS + MAX_HOOKS * MAX_REASONS,
  /** Lines that it wrote and that were dropped. */
  logDropped: 4 * MAX_HOOKS + MAX_HOOKS * MAX_REASONS,
  size: 4 * MAX_HOOKS + MAX_HOOKS * MAX_REASONS + 1,
} as const;

/** Figures of the baseline and the canary version of a plugin: the baseline's cells first. */
export const ROLLOUT_CELLS = {
  requests: 0,
  /** Requests with a failure, and failures of hooks that no request calls. */
  failures: 1,
  /** Fuel and milliseconds used by hooks of requests. */
  fuel: 2,
  time: 3,
  /** Cells of one of the two. */
  version: 4,
  size: 8,
} as const;

/**
 * Cells of one thread's block: 60,000 pairs of a route and a cluster. Untouched memory costs nothing, so one block
 * is larger than any use, instead of a second block that each access would have to choose.
 * When they run out the control plane refuses the reload with the figure.
 */
export const BLOCK_CELLS = 1 << 22;

export function countStatus(cells: Float64Array, base: number, status: number): void {
  cells[base + statusCell[status < 1000 ? status : 999]!]!++;
}

export function observeDuration(cells: Float64Array, base: number, seconds: number): void {
  let bucket = 0;
  while (bucket < BUCKETS.length && seconds > BUCKETS[bucket]!) bucket++;
  cells[base + bucket]!++;
  cells[base + BUCKETS.length + 1]! += seconds;
}

/** Cells of one series of a metric that a plugin defines. */
export function metricCells({ kind, buckets }: { readonly kind: number; readonly buckets: readonly number[] }): number {
  if (kind === METRIC.histogram) return buckets.length + 2;
  return kind === METRIC.latest ? 2 : 1;
}

type Labels = readonly (readonly [name: string, value: string])[];

/** What identifies a series of a plugin's metric. */
type SeriesIdentity = {
  readonly kind: number;
  readonly name: string;
  readonly labels: Labels;
  readonly buckets: readonly number[];
  readonly by?: object;
};

/** Equal for two definitions of the same series: the order of labels does not matter. */
export function metricIdentity({ kind, name, labels, buckets, by }: SeriesIdentity): string {
  return JSON.stringify([kind, name, sortLabels(labels), buckets, by]);
}

/** Sorted by name: a series is identified by its set of labels. */
export function sortLabels(labels: Labels): Labels {
  return labels.toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/** The value under which is counted what has no row of its own. */
export const OTHER = "other";

/** A byte of length, and the longest text. */
const TEXT_CELLS = Math.ceil((1 + LIMIT.metricValue) / 8);

export type LabelLayout = {
  readonly base: number;
  /** How many values have a row. */
  readonly values: number;
  /** Cells of one series. */
  readonly width: number;
};

/** Cells of the whole: the count of rows, the series of `other`, and the rows. */
export function labelTableCells(values: number, width: number): number {
  return 1 + width + values * (TEXT_CELLS + width);
}

/**
 * A metric's cells where one of its labels has values that are known at run time only: for each value its text and the
 * cells of its series. The table lies in the worker's own block, as the counts do, so workers need not agree on the
 * order of values, the main thread reads the texts where it reads the counts, and a worker that replaces one that died
 * continues with its table.
 */
export class LabelTable {
  readonly #layout: LabelLayout;
  readonly #bytes: Buffer;
  /** Rows that are complete: stored after a row's text is. */
  readonly #count: Int32Array;
  /** The cells of each value that was read. */
  readonly #cells = new Map<string, number>();
  #read = 0;

  constructor(block: Float64Array, layout: LabelLayout) {
    const { buffer, byteOffset, byteLength } = block;
    this.#layout = layout;
    this.#bytes = Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
    this.#count = new Int32Array(buffer, byteOffset + 8 * layout.base, 1);
    this.#cells.set(OTHER, layout.base + 1);
  }

  /** The first cell of the value's series; that of `other` where no row is left, or the text is too long. */
  cellsOf(value: string): number {
    const known = this.#cells.get(value);
    if (known !== undefined) return known;
    if (Buffer.byteLength(value) > LIMIT.metricValue) return this.#cells.get(OTHER)!;
    this.#readRows();
    return this.#cells.get(value) ?? this.#append(value);
  }

  /** `other`, and the values that have a row, with the first cell of their series. */
  list(): ReadonlyMap<string, number> {
    this.#readRows();
    return this.#cells;
  }

  #append(value: string): number {
    if (this.#read === this.#layout.values) return this.#cells.get(OTHER)!;
    const row = this.#row(this.#read);
    const length = this.#bytes.write(value, 8 * row + 1);
    this.#bytes[8 * row] = length;
    Atomics.store(this.#count, 0, this.#read + 1);
    this.#readRows();
    return row + TEXT_CELLS;
  }

  /** Also those that another configuration of the plugin has made, in the same worker. */
  #readRows(): void {
    const count = Atomics.load(this.#count, 0);
    for (; this.#read < count; this.#read++) {
      const row = this.#row(this.#read);
      const at = 8 * row + 1;
      this.#cells.set(this.#bytes.toString("utf8", at, at + this.#bytes[8 * row]!), row + TEXT_CELLS);
    }
  }

  #row(index: number): number {
    return this.#layout.base + 1 + this.#layout.width + index * (TEXT_CELLS + this.#layout.width);
  }
}

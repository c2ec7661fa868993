/**
 * The layout of counters in shared memory. Each worker writes its own block (Float64 cells, exact up to 2^53); the
 * main thread allocates cell ranges to series, and sums the blocks at each scrape. A cell has one writer, so a plain `+=`
 * is enough.
 */
import { METRIC } from "../abi/abi.ts";
import { GRPC_STATUSES } from "../http/grpc.ts";
import { HANDSHAKES } from "../net/tls-server.ts";
import { TUNNEL_ENDS } from "../net/tunnel.ts";

/** Status codes with a cell, in order (RFC 9110 and the IANA registry; 499: the client closed the connection). */
const STATUS_CODES = [
  100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400,
  401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426,
  428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
] as const;
/** Labels of the cells: the codes, then classes for unregistered codes, then `other`. */
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

/** Statuses of gRPC with a cell: the defined ones, then `other`. */
export const GRPC_LABELS: readonly string[] = [...Array.from({ length: GRPC_STATUSES }, (_, i) => String(i)), "other"];
export const GRPC_CELLS = GRPC_LABELS.length;
/** Cells of requests, by route and cluster: STATUS_CELLS, then GRPC_CELLS. */
export const REQUEST_CELLS = STATUS_CELLS + GRPC_CELLS;

export const STATUS_CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"] as const;
/** Index of the class (STATUS_CLASSES) by cell. */
export const CLASS_OF_STATUS = Uint8Array.from(STATUS_LABELS, (label) =>
  label === "other" ? STATUS_CLASSES.length - 1 : Number(label[0]) - 1,
);

const statusCell = new Uint8Array(1000).fill(STATUS_CELLS - 1);
for (let code = 100; code < 600; code++) statusCell[code] = STATUS_CODES.length + Math.floor(code / 100) - 1;
for (const [cell, code] of STATUS_CODES.entries()) statusCell[code] = cell;

/** Upper bounds of duration histograms in seconds, without +Inf. */
export const BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
] as const;
/** A cell per bucket (not cumulative), one for +Inf, then the sum in seconds. */
export const HISTOGRAM_CELLS = BUCKETS.length + 2;

/** Cells of a cluster, from `ClusterPlan.retryCell`. */
export const CLUSTER_CELLS = { retries: 0, noEndpoint: 1, size: 2 } as const;

/** Reasons of failed attempts, the label `reason`. */
export const UPSTREAM_FAILURES = [
  "other",
  "connect_refused",
  "connect_failed",
  "connect_timeout",
  "tls_failed",
  "certificate_invalid",
  "response_timeout",
  "upstream_reset",
  "upstream_malformed",
  "upstream_broken",
  "unsolicited_response",
  "stream_limit",
  "upgrade_unsupported",
  "stale_connection",
  "retried_status",
] as const;

/** Reasons of rejected requests, the label `reason`. */
export const REJECTIONS = [
  "other",
  "malformed",
  "ambiguous_path",
  "method_not_allowed",
  "request_timeout",
  "body_too_large",
  "target_too_long",
  "expectation_failed",
  "misdirected",
  "head_too_large",
  "coding_unknown",
  "protocol_unknown",
  "version_unknown",
] as const;

/** Errors of peers that end an HTTP/2 connection, by error code (RFC 9113 section 7). */
export const HTTP2_ERRORS = [
  "protocol_error",
  "flow_control_error",
  "frame_size_error",
  "stream_closed",
  "compression_error",
  "enhance_your_calm",
] as const;

/** The first cell of each entry, in order, and the number of all cells as `size`. `counts`: how many cells each has. */
function layOut<Name extends string>(counts: Readonly<Record<Name, number>>): Readonly<Record<Name | "size", number>> {
  let size = 0;
  const cells: Record<string, number> = {};
  for (const [name, count] of Object.entries<number>(counts)) {
    cells[name] = size;
    size += count;
  }
  return Object.freeze({ ...cells, size }) as Record<Name | "size", number>;
}

/** An endpoint's cells, from `EndpointPlan.cells`. */
export const UPSTREAM_CELLS = layOut({
  duration: HISTOGRAM_CELLS,
  /** Connections closed because of bytes outside of a response. */
  unsolicited: 1,
  failures: UPSTREAM_FAILURES.length,
  /** Open HTTP/2 connections; GOAWAY frames received on them; those replaced because of their resets. */
  sessions: 1,
  goAways: 1,
  replaced: 1,
  http2Errors: HTTP2_ERRORS.length,
});

/** Why a listener refuses a connection: its limits, and its lists of addresses. */
export const REFUSALS = ["connections", "connectionsPerClient", "connectionRatePerClient", "allow", "deny"] as const;

/** Why datagrams are dropped: limits, full queues, a draining listener, too large for the network, errors of the system. */
export const DATAGRAM_DROPS = ["limit", "queue", "draining", "size", "failed"] as const;

/** How connections from the senders of PROXY protocol headers begin. */
export const PROXY_HEADERS = ["v1", "v2", "local", "none", "invalid", "timeout", "aborted"] as const;

/** What became of a TCP connection until it was relayed, the label `result`. */
export const CONNECTION_RESULTS = [
  "other",
  "connected",
  "no_route",
  "no_endpoint",
  "connect_refused",
  "connect_failed",
  "connect_timeout",
  "tls_failed",
  "certificate_invalid",
  "client_gone",
] as const;

/** Protocols of connections to listeners with `protocol: auto`, the label `protocol`; `tls`: relayed as it is. */
export const DETECTED_PROTOCOLS = ["http1", "http2", "tcp", "tls"] as const;

/** A listener's cells, from `ListenerPlan.cells`. Where there are several, one for each reason or result in the list. */
export const LISTENER_CELLS = layOut({
  connections: 1,
  bytesReceived: 1,
  bytesSent: 1,
  denied: 1,
  refused: REFUSALS.length,
  /** Connections that could not be accepted or set up. */
  acceptFailed: 1,
  rejected: REJECTIONS.length,
  /** Open tunnels, the time at which the oldest was opened (ms since 1970; 0: none is open), and bytes of all. */
  tunnels: 1,
  oldestTunnel: 1,
  tunnelReceived: 1,
  tunnelSent: 1,
  tunnelEnds: TUNNEL_ENDS.length,
  handshakes: HANDSHAKES.length,
  http2Errors: HTTP2_ERRORS.length,
  /** The sum of the durations of ended tunnels, seconds. */
  tunnelSeconds: 1,
  detected: DETECTED_PROTOCOLS.length,
  proxyHeaders: PROXY_HEADERS.length,
  datagramDrops: DATAGRAM_DROPS.length,
});

/** Index of `code` in one of these lists; of `other` if it is not in it. */
export function reasonCell(reasons: readonly string[], code: string): number {
  return Math.max(0, reasons.indexOf(code));
}

/** Default fields of JSON access log lines, in order. */
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

/** All fields except headers; described in docs/operations.md. */
export const ACCESS_FIELDS = [
  ...DEFAULT_ACCESS_FIELDS,
  "peer",
  "scheme",
  "protocol",
  "upstream_protocol",
  "tls_version",
  "tls_cipher",
  "sni",
  "tls_client",
  "user_agent",
  "referer",
  "request_id",
  "trace_id",
  "responded_by",
  "receive_ms",
  "request_ms",
  "upstream_ms",
  "response_ms",
  "grpc_method",
  "grpc_status",
] as const;

/** What limits the bandwidth of a connection, the label `limit`. */
export const BANDWIDTH_LIMITS = ["connection", "client", "route"] as const;

/** A worker's own cells, at the start of its block. */
export const WORKER_CELLS = {
  requestsInFlight: 0,
  internalErrors: 1,
  logDropped: 2,
  loopDelay: 3,
  guests: 4,
  /** Subrequests of plugins to origins and checked endpoints. */
  fetchFailures: 5,
  /** One for each of BANDWIDTH_LIMITS. */
  bandwidthPauses: 6,
  size: 16,
} as const;

/** A plugin's cells, from `InstancePlan.cells`: most per hook, `failures` per hook and reason. */
export const MAX_HOOKS = 20;
export const MAX_REASONS = 12;
export const PLUGIN_CELLS = layOut({
  calls: MAX_HOOKS,
  fuel: MAX_HOOKS,
  /** Index: hook × MAX_REASONS + reason. */
  failures: MAX_HOOKS * MAX_REASONS,
  refused: MAX_HOOKS,
  /** Calls rejected because the plugin's queue was full. */
  rejected: MAX_HOOKS,
  /** Dropped log lines of the plugin. */
  logDropped: 1,
});

/** Cells of a canary rollout: those of the baseline, then those of the canary version. */
export const ROLLOUT_CELLS = {
  requests: 0,
  /** Requests with a failure, and failures of hooks that no request calls. */
  failures: 1,
  /** Fuel and milliseconds used by hooks of requests. */
  fuel: 2,
  time: 3,
  /** Number of cells per version. */
  version: 4,
  size: 8,
} as const;

/**
 * Cells of one worker's block, enough for 48,000 pairs of a route and a cluster. Untouched pages use no memory, so one
 * large block avoids a choice of block at each access. If no cells are left, the reload is rejected.
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

/** Number of cells per series of a plugin's metric. */
export function metricCells({ kind, buckets }: { readonly kind: number; readonly buckets: readonly number[] }): number {
  if (kind === METRIC.histogram) return buckets.length + 2;
  return kind === METRIC.latest ? 2 : 1;
}

type Labels = readonly (readonly [name: string, value: string])[];

/** The parts of a definition that identify a series. */
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

/** `/metrics`: collectors that read the shared counters at each scrape, and metrics of the process. */
import { collectDefaultMetrics, type Metric, type MetricType, Registry } from "prom-client";
import { FAILURE, HOOKS } from "../abi/abi.ts";
import { HANDSHAKES } from "../net/tls-server.ts";
import { TUNNEL_ENDS } from "../net/tunnel.ts";
import type { Counters, Labels, Series, SeriesKind } from "./counters.ts";
import { type PluginMetric, renderPluginMetrics } from "./plugin-metrics.ts";
import {
  BUCKETS,
  CLUSTER_CELLS,
  LISTENER_CELLS,
  MAX_REASONS,
  PLUGIN_CELLS,
  REFUSALS,
  REJECTIONS,
  STATUS_LABELS,
  UPSTREAM_CELLS,
  UPSTREAM_FAILURES,
  WORKER_CELLS,
} from "./series.ts";

export type Metrics = { readonly contentType: string; render(): Promise<string> };

export type MetricsSources = {
  readonly counters: Counters;
  /** The numbers of the running workers. */
  readonly workers: () => readonly number[];
  /** Metrics defined by plugins. */
  readonly pluginMetrics: () => Iterable<PluginMetric>;
  /** Entries and evictions of each key-value namespace. */
  readonly keyValue: () => Iterable<{ name: string; entries: number; bytes: number; evicted: number; expired: number }>;
  /** Dropped lines of the program's log. */
  readonly logDropped: () => number;
  readonly restarts: () => Iterable<{ worker: number; reason: string; count: number }>;
  /** Reloads by result. */
  readonly reloads: () => Readonly<Record<string, number>>;
  readonly version: () => number;
  /** Rejected requests to the admin interface. */
  readonly adminDenials: () => number;
  /** Attempts to resolve names of endpoints, by result. */
  readonly resolutions: () => { readonly resolved: number; readonly empty: number; readonly failed: number };
  /** Certificates of listeners; `expires` in ms since 1970. */
  readonly certificates: () => Iterable<{ listener: string; file: string; expires: number }>;
  /** Attempts to get OCSP responses, by result. */
  readonly ocspFetches: () => Readonly<Record<string, number>>;
  /** Certificates that should have an OCSP response; `until` in ms since 1970, or null if they have none. */
  readonly ocspResponses: () => Iterable<{ listener: string; file: string; until: number | null }>;
  /** Current canary rollouts, and the last one of each plugin. */
  readonly rollouts: () => Iterable<Rollout>;
  readonly rolloutResults: () => Iterable<{ plugin: string; state: string; count: number }>;
  /** The number of workers on which a plugin is in quarantine. */
  readonly quarantined: (plugin: string) => number;
  /** Health checks of each endpoint, by result. */
  readonly checks: () => Iterable<{ cluster: string; endpoint: string; counts: Readonly<Record<string, number>> }>;
  /** Number of ejections of each endpoint. */
  readonly ejections: () => Iterable<{ cluster: string; endpoint: string; count: number }>;
  readonly endpoints: () => Iterable<{
    name: string;
    endpoints: Iterable<{ address: string; healthy: boolean }>;
    unresolved: readonly unknown[];
    set: { readonly version: number };
  }>;
};

type Rollout = { plugin: string; state: string; percent: number; baseline: VersionCounts; canary: VersionCounts };
type VersionCounts = { requests: number; failures: number };

type Value = {
  readonly labels: Labels | Record<string, number | string>;
  readonly value: number;
  readonly metricName?: string;
};
type Kind = "counter" | "gauge" | "histogram";

export function createMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry();
  const register = (kind: Kind, name: string, help: string, collect: () => Iterable<Value>) =>
    registry.registerMetric(collector(kind, name, help, collect));
  registerTraffic(register, sources.counters);
  registerPlugins(register, sources);
  registerRollouts(register, sources);
  registerKeyValue(register, sources.keyValue);
  registerControl(register, sources);
  register(
    "counter",
    "sluice_log_dropped_total",
    "Lines dropped: of the access log, the program's, and plugins'.",
    () => [{ labels: {}, value: sources.counters.sum(WORKER_CELLS.logDropped) + sources.logDropped() }],
  );
  // Each measurement of the event loop delay wakes the main thread.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  const renderOwn = () => renderPluginMetrics(sources.counters, sources.pluginMetrics());
  return { contentType: registry.contentType, render: async () => (await registry.metrics()) + renderOwn() };
}

type Register = (kind: Kind, name: string, help: string, collect: () => Iterable<Value>) => void;

/** The part of prom-client's metric interface that its registry uses. */
function collector(kind: Kind, name: string, help: string, collect: () => Iterable<Value>): Metric<string> {
  const type = kind as unknown as MetricType;
  const get = async () => ({ name, help, type, values: [...collect()], aggregator: "sum" });
  return { name, help, type, get } as unknown as Metric<string>;
}

function registerTraffic(register: Register, counters: Counters): void {
  const one = (kind: SeriesKind, offset: number) => () => listValues(counters, kind, offset);
  const all = (cell: number) => () => [{ labels: {}, value: counters.sum(cell) }];
  register("counter", "sluice_requests_total", "Completed requests.", () => listRequests(counters));
  register(
    "histogram",
    "sluice_request_duration_seconds",
    "From the first byte of a request to the end of its response.",
    () => listHistograms(counters, "duration", "sluice_request_duration_seconds"),
  );
  register("histogram", "sluice_upstream_duration_seconds", "From picking an endpoint to its response headers.", () =>
    listHistograms(counters, "upstream", "sluice_upstream_duration_seconds"),
  );
  register(
    "counter",
    "sluice_upstream_unsolicited_total",
    "Connections to an endpoint that were closed because it sent bytes outside a response.",
    one("upstream", UPSTREAM_CELLS.unsolicited),
  );
  register("gauge", "sluice_requests_in_flight", "Requests in progress.", all(WORKER_CELLS.requestsInFlight));
  register(
    "counter",
    "sluice_retries_total",
    "Further attempts after the first.",
    one("retries", CLUSTER_CELLS.retries),
  );
  registerFailures(register, counters);
  register(
    "gauge",
    "sluice_connections_active",
    "Open client connections.",
    one("listener", LISTENER_CELLS.connections),
  );
  register(
    "counter",
    "sluice_bytes_received_total",
    "Bytes received from clients.",
    one("listener", LISTENER_CELLS.bytesReceived),
  );
  register("counter", "sluice_bytes_sent_total", "Bytes sent to clients.", one("listener", LISTENER_CELLS.bytesSent));
  register(
    "counter",
    "sluice_connections_refused_total",
    "Client connections that were closed because a limit was reached, by limit.",
    () => listReasons(counters, "listener", LISTENER_CELLS.refused, REFUSALS, "limit"),
  );
  register(
    "counter",
    "sluice_connections_denied_total",
    "Client connections that a plugin closed before a byte was read.",
    one("listener", LISTENER_CELLS.denied),
  );
  register(
    "counter",
    "sluice_listener_accept_errors_total",
    "Client connections that could not be accepted or set up.",
    one("listener", LISTENER_CELLS.acceptFailed),
  );
  registerTunnels(register, counters);
  register(
    "counter",
    "sluice_internal_errors_total",
    "Faults of Sluice's own, each ended one exchange.",
    all(WORKER_CELLS.internalErrors),
  );
}

function registerTunnels(register: Register, counters: Counters): void {
  const one = (cell: number) => () => listValues(counters, "listener", cell);
  register(
    "gauge",
    "sluice_tunnels_active",
    "Open tunnels: connections that were upgraded, such as to WebSocket.",
    one(LISTENER_CELLS.tunnels),
  );
  register(
    "counter",
    "sluice_tunnel_bytes_received_total",
    "Bytes from clients that tunnels have forwarded.",
    one(LISTENER_CELLS.tunnelReceived),
  );
  register(
    "counter",
    "sluice_tunnel_bytes_sent_total",
    "Bytes from endpoints that tunnels have forwarded.",
    one(LISTENER_CELLS.tunnelSent),
  );
  register("counter", "sluice_tunnels_ended_total", "Tunnels that ended, by reason.", () =>
    listReasons(counters, "listener", LISTENER_CELLS.tunnelEnds, TUNNEL_ENDS),
  );
}

function registerFailures(register: Register, counters: Counters): void {
  register("counter", "sluice_upstream_failures_total", "Attempts at an endpoint that failed, by reason.", () =>
    listReasons(counters, "upstream", UPSTREAM_CELLS.failures, UPSTREAM_FAILURES),
  );
  register(
    "counter",
    "sluice_requests_rejected_total",
    "Requests rejected for a fault of the client's, by reason.",
    () => listReasons(counters, "listener", LISTENER_CELLS.rejected, REJECTIONS),
  );
  register("counter", "sluice_tls_handshakes_total", "TLS handshakes with clients, by result.", () =>
    listReasons(counters, "listener", LISTENER_CELLS.handshakes, HANDSHAKES, "result"),
  );
  register("counter", "sluice_no_endpoint_total", "Requests that no endpoint of the cluster could take.", () =>
    listValues(counters, "retries", CLUSTER_CELLS.noEndpoint),
  );
}

function registerPlugins(register: Register, { counters, quarantined }: MetricsSources): void {
  register("counter", "sluice_plugin_calls_total", "Calls of a plugin's hook.", () =>
    listHooks(counters, PLUGIN_CELLS.calls),
  );
  register("counter", "sluice_plugin_fuel_total", "Fuel used by a plugin's hook.", () =>
    listHooks(counters, PLUGIN_CELLS.fuel),
  );
  register("counter", "sluice_plugin_failures_total", "Failures of a plugin's hook.", () => listFailures(counters));
  register(
    "counter",
    "sluice_plugin_refused_total",
    "Calls not made because the plugin was quarantined or the client blocked.",
    () => listHooks(counters, PLUGIN_CELLS.refused),
  );
  register("counter", "sluice_plugin_rejected_total", "Calls rejected because the plugin's queue was full.", () =>
    listHooks(counters, PLUGIN_CELLS.rejected),
  );
  register("counter", "sluice_plugin_log_dropped_total", "Log lines of a plugin that were dropped.", () =>
    listValues(counters, "plugin", PLUGIN_CELLS.logDropped),
  );
  register("gauge", "sluice_plugin_guests", "Running guests of plugins on all workers.", () => [
    { labels: {}, value: counters.sum(WORKER_CELLS.guests) },
  ]);
  register("gauge", "sluice_plugin_quarantined", "Workers on which a plugin is in quarantine.", () =>
    [...counters.list("plugin")]
      .filter(({ labels }) => labels.version === undefined)
      .map(({ labels }) => ({ labels, value: quarantined(labels.plugin!) })),
  );
}

/** The current canary rollout of each plugin, or its last one. */
function registerRollouts(register: Register, { rollouts, rolloutResults }: MetricsSources): void {
  const byVersion = (what: keyof VersionCounts) => () =>
    Array.from(rollouts()).flatMap((rollout) =>
      (["baseline", "canary"] as const).map((version) => ({
        labels: { plugin: rollout.plugin, version },
        value: rollout[version][what],
      })),
    );
  register(
    "gauge",
    "sluice_plugin_rollout_percent",
    "Percentage of a plugin's requests that the canary version handles.",
    () =>
      Array.from(rollouts(), ({ plugin, state, percent }) => ({
        labels: { plugin },
        value: state === "watching" ? percent : 0,
      })),
  );
  register(
    "gauge",
    "sluice_plugin_rollout_requests",
    "Requests handled by each version of a plugin during a canary rollout.",
    byVersion("requests"),
  );
  register("gauge", "sluice_plugin_rollout_failures", "Requests on which the version failed.", byVersion("failures"));
  register("counter", "sluice_plugin_rollouts_total", "Canary rollouts of a plugin, by result.", () =>
    Array.from(rolloutResults(), ({ plugin, state, count }) => ({
      labels: { plugin, result: state.replace(" ", "-") },
      value: count,
    })),
  );
}

function registerKeyValue(register: Register, keyValue: MetricsSources["keyValue"]): void {
  const one = (what: "entries" | "bytes" | "evicted" | "expired") => () =>
    Array.from(keyValue(), (use) => ({ labels: { namespace: use.name }, value: use[what] }));
  register("gauge", "sluice_kv_entries", "Entries of the key-value store.", one("entries"));
  register("gauge", "sluice_kv_bytes", "Bytes of the entries, including keys and record headers.", one("bytes"));
  register("counter", "sluice_kv_evictions_total", "Entries evicted to make space.", one("evicted"));
  register("counter", "sluice_kv_expired_total", "Entries found expired.", one("expired"));
}

function registerControl(register: Register, sources: MetricsSources): void {
  const { counters, workers, restarts, reloads, version, endpoints, checks, ejections, adminDenials, resolutions } =
    sources;
  register("gauge", "sluice_config_version", "The configuration version that serves.", () => [
    { labels: {}, value: version() },
  ]);
  register("counter", "sluice_config_reloads_total", "Configuration reloads, by result.", () =>
    Object.entries(reloads()).map(([result, value]) => ({ labels: { result }, value })),
  );
  register("counter", "sluice_admin_denied_total", "Requests to the admin interface without its token or host.", () => [
    { labels: {}, value: adminDenials() },
  ]);
  register("gauge", "sluice_worker_event_loop_delay_seconds", "Delay of the last tick.", () =>
    workers().map((worker) => ({
      labels: { worker },
      value: counters.read(worker, WORKER_CELLS.loopDelay),
    })),
  );
  register("counter", "sluice_worker_restarts_total", "Workers that were replaced.", () =>
    [...restarts()].map(({ worker, reason, count }) => ({ labels: { worker, reason }, value: count })),
  );
  register("gauge", "sluice_endpoint_healthy", "1 if the endpoint takes requests.", () =>
    [...endpoints()].flatMap(({ name, endpoints }) =>
      [...endpoints].map(({ address, healthy }) => ({
        labels: { cluster: name, endpoint: address },
        value: healthy ? 1 : 0,
      })),
    ),
  );
  register("gauge", "sluice_endpoints_unresolved", "Configured endpoints whose name has no address.", () =>
    [...endpoints()].map(({ name, unresolved }) => ({ labels: { cluster: name }, value: unresolved.length })),
  );
  register("counter", "sluice_resolve_failures_total", "Failed attempts to resolve names of endpoints.", () => [
    { labels: {}, value: resolutions().empty + resolutions().failed },
  ]);
  register("counter", "sluice_resolutions_total", "Attempts to resolve names of endpoints, by result.", () =>
    Object.entries(resolutions()).map(([result, value]) => ({ labels: { result }, value })),
  );
  register("gauge", "sluice_tls_certificate_expiry_seconds", "When a certificate expires, in seconds since 1970.", () =>
    Array.from(sources.certificates(), ({ listener, file, expires }) => ({
      labels: { listener, file },
      value: expires / 1000,
    })),
  );
  register("counter", "sluice_tls_ocsp_fetches_total", "Attempts to get OCSP responses, by result.", () =>
    Object.entries(sources.ocspFetches()).map(([result, value]) => ({ labels: { result }, value })),
  );
  register(
    "gauge",
    "sluice_tls_ocsp_expiry_seconds",
    "When the stapled OCSP response of a certificate expires, in seconds since 1970; 0: none is stapled.",
    () =>
      Array.from(sources.ocspResponses(), ({ listener, file, until }) => ({
        labels: { listener, file },
        value: (until ?? 0) / 1000,
      })),
  );
  register("gauge", "sluice_endpoint_set_version", "Version of the cluster's endpoint set.", () =>
    Array.from(endpoints(), ({ name, set }) => ({ labels: { cluster: name }, value: set.version })),
  );
  register("counter", "sluice_health_checks_total", "Health checks of endpoints, by result.", () =>
    Array.from(checks()).flatMap(({ cluster, endpoint, counts }) =>
      Object.entries(counts).map(([result, value]) => ({ labels: { cluster, endpoint, result }, value })),
    ),
  );
  register("counter", "sluice_endpoint_ejections_total", "Ejections of endpoints for failed requests.", () =>
    Array.from(ejections(), ({ cluster, endpoint, count }) => ({ labels: { cluster, endpoint }, value: count })),
  );
}

function* listValues(counters: Counters, kind: SeriesKind, offset: number): Iterable<Value> {
  for (const { labels, base } of counters.list(kind)) yield { labels, value: counters.sum(base + offset) };
}

/** Reasons that never occurred have no series. */
function* listReasons(
  counters: Counters,
  kind: SeriesKind,
  offset: number,
  reasons: readonly string[],
  label = "reason",
): Iterable<Value> {
  for (const { labels, base } of counters.list(kind))
    for (const [cell, reason] of reasons.entries()) {
      const value = counters.sum(base + offset + cell);
      if (value > 0) yield { labels: { ...labels, [label]: reason }, value };
    }
}

/** Statuses that never occurred have no series. */
function* listRequests(counters: Counters): Iterable<Value> {
  for (const { labels, base } of counters.list("requests"))
    for (const [cell, status] of STATUS_LABELS.entries()) {
      const value = counters.sum(base + cell);
      if (value > 0) yield { labels: { ...labels, status }, value };
    }
}

function* listHistograms(counters: Counters, kind: SeriesKind, name: string): Iterable<Value> {
  for (const { labels, base } of counters.list(kind)) yield* listHistogram(counters, { labels, base }, name);
}

function* listHistogram(
  counters: Counters,
  { labels, base }: Pick<Series, "labels" | "base">,
  name: string,
): Iterable<Value> {
  let count = 0;
  for (const [cell, le] of [...BUCKETS, "+Inf"].entries()) {
    count += counters.sum(base + cell);
    yield { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
  }
  yield { metricName: `${name}_sum`, labels, value: counters.sum(base + BUCKETS.length + 1) };
  yield { metricName: `${name}_count`, labels, value: count };
}

function* listHooks(counters: Counters, offset: number): Iterable<Value> {
  for (const { labels, base } of counters.list("plugin"))
    for (const [number, hook] of HOOKS.entries()) {
      const value = counters.sum(base + offset + number);
      if (value > 0) yield { labels: { ...labels, hook }, value };
    }
}

function* listFailures(counters: Counters): Iterable<Value> {
  for (const { labels, base } of counters.list("plugin"))
    for (const [number, hook] of HOOKS.entries())
      for (const [index, reason] of FAILURE.entries()) {
        const value = counters.sum(base + PLUGIN_CELLS.failures + number * MAX_REASONS + index);
        if (value > 0) yield { labels: { ...labels, hook, reason }, value };
      }
}

/** `/metrics`: collectors that read the shared counters at each scrape, and metrics of the process. */
import type { Metric, MetricType } from "prom-client";
import collectDefaultMetrics from "prom-client/lib/defaultMetrics.js";
import Registry from "prom-client/lib/registry.js";
import type { Counters } from "./counters.ts";
import { type Kind, listFailures, listHooks, listValues, type Register, type Value } from "./metric-values.ts";
import { type PluginMetric, renderPluginMetrics } from "./plugin-metrics.ts";
import { PLUGIN_CELLS, WORKER_CELLS } from "./series.ts";
import { registerTraffic } from "./traffic-metrics.ts";

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
  /** Checks that found no free file descriptor. */
  readonly descriptorsExhausted: () => number;
  readonly restarts: () => Iterable<{ worker: number; reason: string; count: number }>;
  /** Reloads by result. */
  readonly reloads: () => Readonly<Record<string, number>>;
  readonly version: () => number;
  /** Whether `/ready` responds 200. */
  readonly ready: () => boolean;
  /** Rejected requests to the admin interface. */
  readonly adminDenials: () => number;
  /** Attempts to resolve names of endpoints, by result. */
  readonly resolutions: () => { readonly resolved: number; readonly empty: number; readonly failed: number };
  /** Certificates of listeners; `expires` in ms since 1970. */
  readonly certificates: () => Iterable<{ listener: string; file: string; expires: number }>;
  /** Certificates from an ACME server. */
  readonly acme: {
    /** Orders, and requests for certificates on demand, by result. */
    readonly counts: Readonly<Record<string, number>>;
    readonly requests: Readonly<Record<string, number>>;
    /** Number of certificates obtained on demand. */
    readonly onDemandCount: number;
    /** When the next order for each configured certificate is due; `at` in ms since 1970. */
    readonly schedule: () => Iterable<{ file: string; at: number }>;
  };
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

export function createMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry();
  const register = (kind: Kind, name: string, help: string, collect: () => Iterable<Value>) =>
    registry.registerMetric(collector(kind, name, help, collect));
  registerTraffic(register, sources.counters);
  registerPlugins(register, sources);
  registerRollouts(register, sources);
  registerKeyValue(register, sources.keyValue);
  registerControl(register, sources);
  registerTls(register, sources);
  registerAcme(register, sources);
  registerEndpoints(register, sources);
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

/** The part of prom-client's metric interface that its registry uses. */
function collector(kind: Kind, name: string, help: string, collect: () => Iterable<Value>): Metric<string> {
  const type = kind as unknown as MetricType;
  const get = async () => ({ name, help, type, values: [...collect()], aggregator: "sum" });
  return { name, help, type, get } as unknown as Metric<string>;
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
    "Calls not made because the plugin was quarantined, its calls were slow, or the client blocked.",
    () => listHooks(counters, PLUGIN_CELLS.refused),
  );
  register("counter", "sluice_plugin_rejected_total", "Calls rejected because the plugin's queue was full.", () =>
    listHooks(counters, PLUGIN_CELLS.rejected),
  );
  register("counter", "sluice_plugin_log_dropped_total", "Log lines of a plugin that were dropped.", () =>
    listValues(counters, "plugin", PLUGIN_CELLS.logDropped),
  );
  register(
    "counter",
    "sluice_plugin_fetch_failures_total",
    "Subrequests of plugins to origins and to the endpoint under check that failed.",
    () => [{ labels: {}, value: counters.sum(WORKER_CELLS.fetchFailures) }],
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
  const { counters, workers, restarts, reloads, version, ready, adminDenials } = sources;
  register("gauge", "sluice_ready", "1 while /ready responds 200.", () => [{ labels: {}, value: Number(ready()) }]);
  register("gauge", "sluice_config_version", "The configuration version that serves.", () => [
    { labels: {}, value: version() },
  ]);
  register("counter", "sluice_config_reloads_total", "Configuration reloads, by result.", () =>
    Object.entries(reloads()).map(([result, value]) => ({ labels: { result }, value })),
  );
  register("counter", "sluice_admin_denied_total", "Requests to the admin interface without its token or host.", () => [
    { labels: {}, value: adminDenials() },
  ]);
  register(
    "counter",
    "sluice_descriptors_exhausted_total",
    "Checks, one a second, that found no free file descriptor.",
    () => [{ labels: {}, value: sources.descriptorsExhausted() }],
  );
  register("gauge", "sluice_worker_event_loop_delay_seconds", "Delay of the last tick.", () =>
    workers().map((worker) => ({
      labels: { worker },
      value: counters.read(worker, WORKER_CELLS.loopDelay),
    })),
  );
  register("counter", "sluice_worker_restarts_total", "Workers that were replaced.", () =>
    [...restarts()].map(({ worker, reason, count }) => ({ labels: { worker, reason }, value: count })),
  );
}

function registerTls(register: Register, sources: MetricsSources): void {
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
}

function registerAcme(register: Register, { acme }: MetricsSources): void {
  const byResult = (counts: Readonly<Record<string, number>>): Value[] =>
    Object.entries(counts).map(([result, value]) => ({ labels: { result }, value }));
  register("counter", "sluice_acme_orders_total", "Orders of certificates from an ACME server, by result.", () =>
    byResult(acme.counts),
  );
  register(
    "counter",
    "sluice_acme_on_demand_requests_total",
    "Server names that wanted a certificate, by result.",
    () => byResult(acme.requests),
  );
  register("gauge", "sluice_acme_on_demand_certificates", "Certificates that were obtained on demand.", () => [
    { labels: {}, value: acme.onDemandCount },
  ]);
  register(
    "gauge",
    "sluice_acme_next_order_seconds",
    "When the next order of a configured certificate is due, in seconds since 1970.",
    () => Array.from(acme.schedule(), ({ file, at }) => ({ labels: { file }, value: at / 1000 })),
  );
}

function registerEndpoints(register: Register, sources: MetricsSources): void {
  const { endpoints, checks, ejections, resolutions } = sources;
  register("gauge", "sluice_endpoint_healthy", "1 if the endpoint can receive requests.", () =>
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

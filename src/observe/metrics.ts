/** `/metrics`: collectors that read the shared counters at each scrape, and metrics of the process. */
import collectDefaultMetrics from "prom-client/lib/defaultMetrics.js";
import { HOOKS } from "../abi/abi.ts";
import { Collectors } from "./collectors.ts";
import type { Counters } from "./counters.ts";
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
  /** Number of ejections of each endpoint, and whether it is ejected. */
  readonly ejections: () => Iterable<{ cluster: string; endpoint: string; count: number; ejected: boolean }>;
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
  const { counters } = sources;
  const metrics = new Collectors(counters);
  registerTraffic(metrics);
  registerPlugins(metrics, sources);
  registerRollouts(metrics, sources);
  registerKeyValue(metrics, sources.keyValue);
  registerControl(metrics, sources);
  registerTls(metrics, sources);
  registerAcme(metrics, sources);
  registerEndpoints(metrics, sources);
  const { registry } = metrics;
  // Each measurement of the event loop delay wakes the main thread.
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 100 });
  const renderOwn = () => renderPluginMetrics(counters, sources.pluginMetrics());
  return { contentType: registry.contentType, render: async () => (await registry.metrics()) + renderOwn() };
}

function registerPlugins(metrics: Collectors, { counters, quarantined }: MetricsSources): void {
  metrics.cellsBy("sluice_plugin_calls_total", "plugin", PLUGIN_CELLS.calls, HOOKS, "hook");
  metrics.cellsBy("sluice_plugin_fuel_total", "plugin", PLUGIN_CELLS.fuel, HOOKS, "hook");
  metrics.failures("sluice_plugin_failures_total");
  metrics.cellsBy("sluice_plugin_refused_total", "plugin", PLUGIN_CELLS.refused, HOOKS, "hook");
  metrics.cellsBy("sluice_plugin_rejected_total", "plugin", PLUGIN_CELLS.rejected, HOOKS, "hook");
  metrics.cells("sluice_plugin_log_dropped_total", "plugin", PLUGIN_CELLS.logDropped);
  metrics.total("sluice_plugin_fetch_failures_total", WORKER_CELLS.fetchFailures);
  metrics.total("sluice_plugin_guests", WORKER_CELLS.guests);
  metrics.add("sluice_plugin_quarantined", () =>
    [...counters.list("plugin")]
      .filter(({ labels }) => labels.version === undefined)
      .map(({ labels }) => ({ labels, value: quarantined(labels.plugin!) })),
  );
}

/** The current canary rollout of each plugin, or its last one. */
function registerRollouts(metrics: Collectors, { rollouts, rolloutResults }: MetricsSources): void {
  const byVersion = (what: keyof VersionCounts) => () =>
    Array.from(rollouts()).flatMap((rollout) =>
      (["baseline", "canary"] as const).map((version) => ({
        labels: { plugin: rollout.plugin, version },
        value: rollout[version][what],
      })),
    );
  metrics.add("sluice_plugin_rollout_percent", () =>
    Array.from(rollouts(), ({ plugin, state, percent }) => ({
      labels: { plugin },
      value: state === "watching" ? percent : 0,
    })),
  );
  metrics.add("sluice_plugin_rollout_requests", byVersion("requests"));
  metrics.add("sluice_plugin_rollout_failures", byVersion("failures"));
  metrics.add("sluice_plugin_rollouts_total", () =>
    Array.from(rolloutResults(), ({ plugin, state, count }) => ({
      labels: { plugin, result: state.replace(" ", "-") },
      value: count,
    })),
  );
}

function registerKeyValue(metrics: Collectors, keyValue: MetricsSources["keyValue"]): void {
  const one = (what: "entries" | "bytes" | "evicted" | "expired") => () =>
    Array.from(keyValue(), (use) => ({ labels: { namespace: use.name }, value: use[what] }));
  metrics.add("sluice_kv_entries", one("entries"));
  metrics.add("sluice_kv_bytes", one("bytes"));
  metrics.add("sluice_kv_evictions_total", one("evicted"));
  metrics.add("sluice_kv_expired_total", one("expired"));
}

function registerControl(metrics: Collectors, sources: MetricsSources): void {
  const { counters, workers, restarts, logDropped } = sources;
  metrics.number("sluice_ready", () => Number(sources.ready()));
  metrics.number("sluice_config_version", sources.version);
  metrics.byResult("sluice_config_reloads_total", sources.reloads);
  metrics.number("sluice_admin_denied_total", sources.adminDenials);
  metrics.number("sluice_descriptors_exhausted_total", sources.descriptorsExhausted);
  metrics.number("sluice_log_dropped_total", () => counters.sum(WORKER_CELLS.logDropped) + logDropped());
  metrics.add("sluice_worker_event_loop_delay_seconds", () =>
    workers().map((worker) => ({ labels: { worker }, value: counters.read(worker, WORKER_CELLS.loopDelay) })),
  );
  metrics.add("sluice_worker_restarts_total", () =>
    Array.from(restarts(), ({ worker, reason, count }) => ({ labels: { worker, reason }, value: count })),
  );
}

function registerTls(metrics: Collectors, { certificates, ocspFetches, ocspResponses }: MetricsSources): void {
  metrics.add("sluice_tls_certificate_expiry_seconds", () =>
    Array.from(certificates(), ({ listener, file, expires }) => ({
      labels: { listener, file },
      value: expires / 1000,
    })),
  );
  metrics.byResult("sluice_tls_ocsp_fetches_total", ocspFetches);
  metrics.add("sluice_tls_ocsp_expiry_seconds", () =>
    Array.from(ocspResponses(), ({ listener, file, until }) => ({
      labels: { listener, file },
      value: (until ?? 0) / 1000,
    })),
  );
}

function registerAcme(metrics: Collectors, { acme }: MetricsSources): void {
  metrics.byResult("sluice_acme_orders_total", () => acme.counts);
  metrics.byResult("sluice_acme_on_demand_requests_total", () => acme.requests);
  metrics.number("sluice_acme_on_demand_certificates", () => acme.onDemandCount);
  metrics.add("sluice_acme_next_order_seconds", () =>
    Array.from(acme.schedule(), ({ file, at }) => ({ labels: { file }, value: at / 1000 })),
  );
}

function registerEndpoints(metrics: Collectors, sources: MetricsSources): void {
  const { endpoints, checks, ejections, resolutions } = sources;
  metrics.add("sluice_endpoint_healthy", () =>
    [...endpoints()].flatMap(({ name, endpoints }) =>
      Array.from(endpoints, ({ address, healthy }) => ({
        labels: { cluster: name, endpoint: address },
        value: Number(healthy),
      })),
    ),
  );
  metrics.add("sluice_endpoints_unresolved", () =>
    Array.from(endpoints(), ({ name, unresolved }) => ({ labels: { cluster: name }, value: unresolved.length })),
  );
  metrics.number("sluice_resolve_failures_total", () => resolutions().empty + resolutions().failed);
  metrics.byResult("sluice_resolutions_total", resolutions);
  metrics.add("sluice_endpoint_set_version", () =>
    Array.from(endpoints(), ({ name, set }) => ({ labels: { cluster: name }, value: set.version })),
  );
  metrics.add("sluice_health_checks_total", () =>
    Array.from(checks()).flatMap(({ cluster, endpoint, counts }) =>
      Object.entries(counts).map(([result, value]) => ({ labels: { cluster, endpoint, result }, value })),
    ),
  );
  metrics.add("sluice_endpoint_ejections_total", () =>
    Array.from(ejections(), ({ cluster, endpoint, count }) => ({ labels: { cluster, endpoint }, value: count })),
  );
  metrics.add("sluice_circuit_open", () =>
    Array.from(ejections(), ({ cluster, endpoint, ejected }) => ({
      labels: { cluster, endpoint },
      value: Number(ejected),
    })),
  );
}

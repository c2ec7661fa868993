/** What the admin interface, the metrics and the log show of the proxy, and the servers that show it. */
import { Denials } from "../admin/denials.ts";
import { type AdminServer, startAdmin } from "../admin/server.ts";
import { maskText } from "../config/mask-text.ts";
import type { Config } from "../config/schema.ts";
import type { Log, ProgramLines } from "../observe/log.ts";
import { createMetrics, type Metrics } from "../observe/metrics.ts";
import { RequestRates } from "../observe/request-rates.ts";
import { listMetrics } from "../plan/plugin-metrics.ts";
import { Mask } from "../trace/mask.ts";
import type { DescriptorCheck } from "./descriptors.ts";
import { EndpointAdmin } from "./endpoint-admin.ts";
import { Explainer } from "./explain.ts";
import { ProxyStatus, type ProxyStatusParts } from "./proxy-status.ts";
import { Traces } from "./traces.ts";
import { TunnelLists } from "./tunnel-lists.ts";

export type AdminInterfaceParts = Omit<ProxyStatusParts, "rates"> & {
  readonly log: Log;
  readonly lines: ProgramLines;
  readonly descriptors: DescriptorCheck;
  /** The configuration file. */
  readonly file: string;
  /** The settings in force. */
  readonly config: () => Config;
};

export class AdminInterface {
  readonly status: ProxyStatus;
  readonly traces: Traces;
  readonly tunnels: TunnelLists;
  readonly #parts: AdminInterfaceParts;
  readonly #rates: RequestRates;
  readonly #denials: Denials;
  readonly #metrics: Metrics;
  #server: AdminServer | null = null;

  constructor(parts: AdminInterfaceParts) {
    const { memory, workers } = parts;
    this.#parts = parts;
    this.#denials = new Denials(parts.log);
    this.traces = new Traces(parts.config().trace.keep);
    this.tunnels = new TunnelLists({
      workers: () => workers.up(),
      post: (worker, message) => workers.post(worker, message),
      now: Date.now,
    });
    this.#rates = new RequestRates(memory.counters);
    this.status = new ProxyStatus({ ...parts, rates: this.#rates });
    this.#metrics = this.#makeMetrics();
  }

  /** `http://127.0.0.1:9901`; null if disabled. */
  get url(): string | null {
    return this.#server?.url ?? null;
  }

  /** URL of the separate metrics address, or null. */
  get metricsUrl(): string | null {
    return this.#server?.metricsUrl ?? null;
  }

  /** Starts the servers. @throws Error with the address if it cannot be bound. */
  async start(): Promise<void> {
    const { log, memory, reloader, endpoints, file, config } = this.#parts;
    this.#rates.start();
    const { admin } = config();
    if (admin === null) return;
    const { status, traces } = this;
    const explainer = new Explainer({
      plan: () => reloader.current?.plan ?? null,
      columns: memory.columns,
      keyValue: memory.keyValue,
      // Not used by any worker.
      worker: memory.places,
    });
    const endpointAdmin = new EndpointAdmin({
      plan: () => reloader.current?.plan ?? null,
      changes: endpoints.changes,
      update: (cluster) => endpoints.changed(cluster),
      log,
    });
    this.#server = await startAdmin({
      address: admin.address,
      metricsAddress: admin.metrics,
      access: () => ({ token: config().admin?.token ?? null, hosts: config().admin?.hosts ?? [] }),
      onDenied: (client, reason) => this.#denials.add(client, reason),
      log,
      metrics: this.#metrics,
      status: () => status.status(),
      config: () => {
        const { current } = reloader;
        if (current === null) return null;
        const text = maskText(current.text, new Mask(current.config.trace.mask));
        return { version: current.plan.version, file, text };
      },
      listeners: () => status.listeners(),
      clusters: () => status.clusters(),
      plugins: () => status.plugins(),
      tunnels: () => this.tunnels.list(),
      changeEndpoint: (call) => endpointAdmin.call(call),
      reload: () => reloader.reload("requested by the admin interface"),
      traces,
      explain: (request) => explainer.explain(request),
    });
  }

  close(): Promise<void> | undefined {
    this.#rates.close();
    return this.#server?.close();
  }

  #makeMetrics(): Metrics {
    const { memory, workers, reloader, endpoints, plugins, rollouts, lines, acme, stapling, tls, descriptors } =
      this.#parts;
    return createMetrics({
      counters: memory.counters,
      workers: () => workers.present(),
      pluginMetrics: () => listMetrics(reloader.current?.plan ?? null),
      keyValue: () => memory.keyValueUse(),
      restarts: () => workers.restarts(),
      reloads: () => reloader.counts,
      version: () => reloader.current?.plan.version ?? 0,
      ready: () => this.status.ready,
      endpoints: () => this.status.clustersWithoutTraffic(),
      checks: () => endpoints.checks.counts(),
      ejections: () => endpoints.passive.counts(),
      quarantined: (plugin) => plugins.quarantined(plugin).length,
      rollouts: () => rollouts.list(),
      rolloutResults: () => rollouts.results(),
      logDropped: () => lines.dropped,
      descriptorsExhausted: () => descriptors.exhausted,
      adminDenials: () => this.#denials.count,
      resolutions: () => endpoints.dns.counts,
      certificates: () => tls.certificates,
      acme,
      ocspFetches: () => stapling.counts,
      ocspResponses: () => stapling.list(tls.certificates),
    });
  }
}

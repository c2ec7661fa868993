/** Status of the running proxy, for the admin interface and the metrics. */
import type { CertificateStatus, ClusterStatus, ListenerStatus, PluginStatus, Status } from "../admin/api.ts";
import type { RequestRates } from "../observe/request-rates.ts";
import type { Plan } from "../plan/plan.ts";
import type { CertificateManager } from "./acme/manager.ts";
import type { CanaryRollouts } from "./canary-rollouts.ts";
import type { Endpoints } from "./endpoints.ts";
import type { OcspStapling } from "./ocsp-stapling.ts";
import type { PluginHealth } from "./plugin-health.ts";
import type { Reloader } from "./reload.ts";
import type { SharedMemory } from "./shared-memory.ts";
import { describeClusters, describePlugins, describeStatus, findUnavailable } from "./status.ts";
import type { TlsUpkeep } from "./tls-upkeep.ts";
import { describeListeners, NO_TRAFFIC, trafficOfClusters } from "./traffic.ts";
import type { Versions } from "./versions.ts";
import type { Workers } from "./workers.ts";

export type ProxyStatusParts = {
  readonly memory: SharedMemory;
  readonly rates: RequestRates;
  readonly workers: Workers;
  readonly versions: Versions;
  readonly reloader: Reloader;
  readonly endpoints: Endpoints;
  readonly plugins: PluginHealth;
  readonly rollouts: CanaryRollouts;
  readonly tls: TlsUpkeep;
  readonly stapling: OcspStapling;
  readonly acme: CertificateManager;
};

export class ProxyStatus {
  readonly #parts: ProxyStatusParts;
  readonly #startedAt = new Date();
  /** Whether the proxy is shutting down. */
  draining = false;

  constructor(parts: ProxyStatusParts) {
    this.#parts = parts;
  }

  get #plan(): Plan | null {
    return this.#parts.reloader.current?.plan ?? null;
  }

  /** Whether `/ready` responds 200. */
  get ready(): boolean {
    // A worker that is being replaced does not make the proxy unready: the others serve its addresses.
    return this.#plan !== null && !this.draining && this.#parts.versions.serving().length > 0;
  }

  status(): Status {
    const { memory, workers, versions, reloader, plugins, rollouts } = this.#parts;
    return describeStatus({
      ready: this.ready,
      startedAt: this.#startedAt,
      draining: this.draining,
      last: reloader.last,
      plan: this.#plan,
      unavailableClusters: findUnavailable(this.#plan, memory.columns),
      workers,
      serving: versions.serving(),
      counters: memory.counters,
      health: plugins,
      rollouts: rollouts.list(),
      certificates: this.#certificates(),
      expiredRevocationLists: this.#parts.tls.expiredLists(),
      managedCertificates: this.#parts.acme.describe(),
    });
  }

  #certificates(): CertificateStatus[] {
    const { tls, stapling } = this.#parts;
    return tls.describe((certificate) => stapling.describe(certificate));
  }

  /** The listeners with https and their certificates, for the log; empty if there are none. */
  describeHttps(): { https?: Record<string, object[]> } {
    const certificates = Map.groupBy(this.#certificates(), ({ listener }) => listener);
    if (certificates.size === 0) return {};
    const list = certificates
      .entries()
      .map(([listener, all]) => [listener, all.map(({ names, days, warning }) => ({ names, days, warning }))] as const);
    return { https: Object.fromEntries(list) };
  }

  listeners(): ListenerStatus[] {
    const { rates, memory } = this.#parts;
    const certificates = this.#certificates();
    return describeListeners({ plan: this.#plan, rates: rates.list(), counters: memory.counters, certificates });
  }

  clusters(traffic = trafficOfClusters(this.#parts.rates.list())): ClusterStatus[] {
    const { memory, endpoints } = this.#parts;
    return describeClusters({
      plan: this.#plan,
      columns: memory.columns,
      counters: memory.counters,
      traffic,
      health: (slot) => endpoints.checks.describe(slot),
      set: (cluster) => endpoints.sets.describe(cluster),
      ejection: (slot) => endpoints.passive.describe(slot),
    });
  }

  /** The clusters without the cost of reading their traffic. */
  clustersWithoutTraffic(): ClusterStatus[] {
    return this.clusters(() => NO_TRAFFIC);
  }

  plugins(): PluginStatus[] {
    const { memory, plugins, rollouts } = this.#parts;
    const plan = this.#plan;
    return plan === null
      ? []
      : describePlugins({ plan, counters: memory.counters, health: plugins, rollouts: rollouts.list() });
  }
}

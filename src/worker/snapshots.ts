/**
 * The versions of this worker: the one in preparation, the one in service, and those with exchanges left. Each is a
 * snapshot with the guests and pools that it uses, which are freed when its last exchange has ended.
 */
import { TlsServer, type TlsServerOptions, type TlsShared } from "../net/tls-server.ts";
import type { Plan } from "../plan/plan.ts";
import { pluginParts } from "../plan/plugin-parts.ts";
import type { InstanceSet, PluginHost } from "../plugin/host/host.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { Pipeline } from "../proxy/pipeline.ts";
import type { Snapshot } from "../proxy/snapshot.ts";
import type { BandwidthLimits } from "./bandwidth-limits.ts";
import { buildSnapshot } from "./build-snapshot.ts";
import { type EndpointPools, poolKey } from "./endpoint-pools.ts";
import { type Origins, Outgoing } from "./fetch.ts";
import type { Listeners } from "./listeners.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import type { PluginChecks } from "./plugin-checks.ts";
import type { SlotsInUse } from "./slots-in-use.ts";
import type { UdpListeners } from "./udp-listeners.ts";

/** `pools`: keys in `SnapshotsOptions.pools`. */
type Version = { plan: Plan; snapshot: Snapshot; instances: InstanceSet; pools: Set<string> };

export type SnapshotsOptions = {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly listeners: Listeners;
  readonly udp: UdpListeners;
  readonly plugins: PluginHost;
  readonly pluginChecks: PluginChecks;
  readonly pools: EndpointPools;
  readonly origins: Origins;
  readonly bandwidth: BandwidthLimits;
  readonly tls: TlsShared;
  readonly slotsInUse: SlotsInUse;
  readonly post: (message: FromWorker) => void;
};

export class Snapshots {
  readonly #options: SnapshotsOptions;
  /** Every version not yet disposed, by number. */
  readonly #versions = new Map<number, Version>();
  #serving: Version | null = null;
  /** The plan whose guests are being started. */
  #preparing: Plan | null = null;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
  }

  /** The one in service. */
  get current(): Snapshot | null {
    return this.#serving?.snapshot ?? null;
  }

  /** Whether a version later than the one in service has a listener at that address. */
  isPrepared(address: string): boolean {
    const current = this.#serving?.plan.version ?? 0;
    return [...this.#versions.values()].some(
      ({ plan, snapshot }) => plan.version > current && snapshot.listeners.has(address),
    );
  }

  async prepare({ plan, sockets }: Extract<ToWorker, { type: "prepare" }>): Promise<void> {
    const { version } = plan;
    this.#preparing = plan;
    try {
      for (const { address, socket, shared, udp } of sockets)
        if (udp === null) this.#options.listeners.addSocket(address, socket, shared);
        else await this.#options.udp.bind(address, udp);
      const outgoing = new Outgoing(this.#options.pipeline, this.#options.origins);
      const parts = { ...pluginParts(plan), rollouts: plan.rollouts, fetcher: outgoing };
      const instances = await this.#options.plugins.prepareInSlices(parts, () => this.#preparing === plan);
      if (instances === null) return this.#options.post({ type: "disposed", version });
      const built = this.#build(plan, instances, parts.strategies);
      outgoing.snapshot = built.snapshot;
      this.#versions.set(version, built);
      this.#options.post({ type: "ready", version });
    } catch (error) {
      this.#dropUnserved();
      this.#options.post({ type: "failed", version, problem: error instanceof Error ? error.message : String(error) });
    }
    this.#preparing = null;
  }

  #build(plan: Plan, instances: InstanceSet, strategies: readonly string[]): Version {
    const pools = new Set<string>();
    try {
      const { context, bandwidth, post } = this.#options;
      const snapshot = buildSnapshot(plan, {
        instances: instances.served,
        strategies,
        columns: context.columns,
        members: (cluster) => this.#options.pools.members(cluster, pools),
        tls: (options) => this.#tlsServer(options),
        bandwidth,
        traced: (record, dropped) => post({ type: "trace", record, dropped }),
        dispose: () => this.#dispose(plan.version),
      });
      return { plan, snapshot, instances, pools };
    } catch (error) {
      instances.dispose();
      this.#options.pools.release(pools);
      throw error;
    }
  }

  /** Reuses that of any current version with equal options: creating a context takes milliseconds. */
  #tlsServer(options: TlsServerOptions | null): TlsServer | null {
    if (options === null) return null;
    for (const { snapshot } of this.#versions.values())
      for (const { tls } of snapshot.listeners.values()) if (tls?.options.key === options.key) return tls;
    return new TlsServer(options, this.#options.tls);
  }

  /** Replaces the endpoints of a cluster. No guest is started: strategies get the new endpoints with the next pick. */
  replaceEndpoints({ version, cluster: index, set, replaced }: Extract<ToWorker, { type: "endpoints" }>): void {
    if (this.#preparing?.version === version) this.#preparing.clusters[index]!.set = set;
    const served = this.#versions.get(version);
    if (served === undefined) return this.#options.post({ type: "endpointsReleased", replaced });
    const plan = served.plan.clusters[index]!;
    const cluster = served.snapshot.clusters[index]!;
    const before = plan.set;
    plan.set = set;
    cluster.replace(this.#options.pools.members(plan, served.pools));
    const slots = new Set(set.endpoints.map(({ slot }) => slot));
    const removed = before.endpoints.filter(({ slot }) => !slots.has(slot));
    const keys = new Set(removed.map((endpoint) => poolKey(plan, endpoint)));
    for (const key of keys) served.pools.delete(key);
    this.#options.pools.release(keys);
    const removedSlots = removed.map(({ slot }) => slot);
    this.#options.slotsInUse.whenFree(
      removedSlots,
      () => this.#options.post({ type: "endpointsReleased", replaced }),
      (slot) => cluster.release(slot),
    );
  }

  commit(version: number): void {
    const next = this.#versions.get(version);
    if (next === undefined) return;
    const before = this.#serving;
    this.#serving = next;
    this.#options.pipeline.tunnels.grace = next.plan.grace;
    const listeners = [...next.snapshot.listeners].filter(([, { plan }]) => plan.protocol !== "udp");
    this.#options.listeners.serve(new Map(listeners));
    this.#options.udp.serve(next.snapshot.listeners);
    this.#options.context.accessLog.configure(next.plan.accessLog);
    next.instances.commit();
    // The control plane starts checks again for the new version.
    this.#options.pluginChecks.stop();
    if (before !== null) this.#drainRemoved(before, next);
    this.#options.post({ type: "committed", version });
    before?.snapshot.retire();
  }

  abort(version: number): void {
    if (version === this.#preparing?.version) {
      this.#preparing = null;
      return this.#dropUnserved();
    }
    const aborted = this.#versions.get(version);
    if (aborted === undefined || aborted === this.#serving) return;
    this.#dropUnserved();
    aborted.snapshot.retire();
  }

  #dropUnserved(): void {
    this.#options.listeners.dropUnserved();
    this.#options.udp.dropUnserved();
  }

  /** Frees the guests and pools of a version without exchanges. */
  #dispose(version: number): void {
    const gone = this.#versions.get(version)!;
    this.#versions.delete(version);
    gone.instances.dispose();
    this.#options.pools.release(gone.pools);
    const left = this.#tunnelSlotsOutside();
    // After this message the main thread frees the slots of its endpoints.
    this.#options.slotsInUse.whenFree(left, () => this.#options.post({ type: "disposed", version }));
  }

  /** Slots of endpoints with tunnels, which outlive versions, that no version has. */
  #tunnelSlotsOutside(): number[] {
    const slots = new Set(this.#options.pipeline.tunnels.slots);
    if (slots.size > 0)
      for (const { plan } of this.#versions.values()) for (const slot of slotsOf(plan)) slots.delete(slot);
    return [...slots];
  }

  /** Drains tunnels, also later ones, to endpoints that a reload removed; not those to addresses DNS has dropped. */
  #drainRemoved(before: Version, next: Version): void {
    const kept = slotsOf(next.plan);
    for (const { plan, snapshot } of this.#versions.values()) snapshot.removed = slotsOf(plan).difference(kept);
    const { removed } = before.snapshot;
    if (removed.size > 0) this.#options.pipeline.tunnels.drainEndpoints((slot) => removed.has(slot));
  }
}

function slotsOf({ clusters }: Plan): Set<number> {
  return new Set(clusters.flatMap(({ set }) => set.endpoints.map(({ slot }) => slot)));
}

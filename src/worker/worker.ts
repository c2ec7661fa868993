import { parentPort, workerData } from "node:worker_threads";
import { Cluster } from "../cluster/cluster.ts";
import { EndpointColumns, HEALTH } from "../cluster/columns.ts";
import { Challenges } from "../net/acme/challenges.ts";
import { Buffers } from "../net/buffers.ts";
import { ClientCounts } from "../net/client-counts.ts";
import { Clock, TICK } from "../net/clock.ts";
import { ConnectionCounts } from "../net/connection-counts.ts";
import { ManagedCertificates } from "../net/managed-certificates.ts";
import { RateTable } from "../net/rate-table.ts";
import { Staples } from "../net/staples.ts";
import { TicketKeys } from "../net/ticket-keys.ts";
import { TlsServer, type TlsServerOptions, type TlsShared } from "../net/tls-server.ts";
import { AccessLog } from "../observe/access-log.ts";
import { WORKER_CELLS } from "../observe/series.ts";
import { type Report, ThrottledLog } from "../observe/throttled-log.ts";
import type { ClusterPlan, Plan } from "../plan/plan.ts";
import { type InstanceSet, PluginHost } from "../plugin/host/host.ts";
import type { Instance } from "../plugin/host/instance.ts";
import { logDenied } from "../protocol/relay/relay-exchange.ts";
import type { WorkerContext } from "../proxy/context.ts";
import { Pipeline } from "../proxy/pipeline.ts";
import { Snapshot } from "../proxy/snapshot.ts";
import type { Connector } from "../proxy/upstream-stream.ts";
import { KeyValueStore } from "../state/store.ts";
import { makeTracer } from "../trace/tracer.ts";
import { BandwidthLimits } from "./bandwidth-limits.ts";
import { boundReport } from "./bounded-report.ts";
import { ClientAdmission } from "./client-admission.ts";
import { EndpointPools, poolKey } from "./endpoint-pools.ts";
import { Origins, Outgoing } from "./fetch.ts";
import { HandshakeLog } from "./handshake-log.ts";
import { listenerState, subrequestStates } from "./listener-state.ts";
import { Listeners } from "./listeners.ts";
import type { FromWorker, ToWorker, WorkerInit } from "./messages.ts";
import { PluginChecks } from "./plugin-checks.ts";
import { ProtocolHandlers } from "./protocol-handlers.ts";
import { SlotsInUse } from "./slots-in-use.ts";
import { UdpListeners } from "./udp-listeners.ts";
import { WantedCertificates } from "./wanted-certificates.ts";

/** A version that was built, current or not, and what it uses. `pools`: keys in `#pools`. */
type Version = { plan: Plan; snapshot: Snapshot; instances: InstanceSet; pools: Set<string> };

const post = (message: FromWorker): void => parentPort!.postMessage(message);
const postLine: Report = (level, message, fields) => post({ type: "log", level, message, fields });

class Worker {
  readonly #init: WorkerInit;
  readonly #heartbeat: Int32Array;
  readonly #context: WorkerContext;
  readonly #pipeline: Pipeline;
  readonly #listeners: Listeners;
  readonly #udp: UdpListeners;
  readonly #pluginChecks: PluginChecks;
  readonly #plugins: PluginHost;
  readonly #keyValue: KeyValueStore;
  readonly #tls: TlsShared;
  readonly #wanted = new WantedCertificates((name) => post({ type: "certificateWanted", name }));
  readonly #origins = new Origins((target, cause) => this.#fetchFailed(target, cause));
  readonly #pools: EndpointPools;
  /** Every version not yet disposed, by number. */
  readonly #versions = new Map<number, Version>();
  #serving: Version | null = null;
  /** The plan whose guests are being started. */
  #preparing: Plan | null = null;
  readonly #slotsInUse: SlotsInUse;
  readonly #bandwidth: BandwidthLimits;
  #epoch = 0;
  #lastTick = performance.now();

  constructor(init: WorkerInit) {
    this.#init = init;
    this.#heartbeat = new Int32Array(init.heartbeat);
    const cells = new Float64Array(init.counters);
    const clock = new Clock();
    const report = boundReport(postLine, cells);
    const warnings = new ThrottledLog(report, () => clock.now);
    this.#context = {
      worker: init.worker,
      clock,
      buffers: new Buffers(),
      columns: new EndpointColumns(init.columns),
      cells,
      challenges: new Challenges(),
      accessLog: new AccessLog({ fd: 1, cells, warnings }),
      report,
      warnings,
      notifyHealth: (event) => post({ type: "health", ...event }),
    };
    this.#pipeline = new Pipeline(this.#context);
    const handlers = new ProtocolHandlers(this.#context, this.#pipeline);
    const rates = new RateTable(init.rates);
    this.#bandwidth = new BandwidthLimits({ cells, warnings, rates });
    const clients = new ClientAdmission({
      context: this.#context,
      clients: new ClientCounts(init.clients, init.worker),
      rates,
    });
    const counts = new ConnectionCounts(init.connections, init.worker);
    this.#listeners = new Listeners({
      context: this.#context,
      counts,
      clients,
      incoming: {
        admission: this.#pipeline.admission,
        makeHandler: (accepted) => handlers.make(accepted),
        denied: (connection, port, outcome) => {
          if (port.state!.plan.protocol === "tcp") logDenied(this.#pipeline, connection, port, outcome);
        },
        internal: (error) => this.#pipeline.internal(null, error),
        proxyLog: { cells, warnings },
        clients,
        bandwidth: this.#bandwidth,
        tls: {
          log: new HandshakeLog({ cells, warnings }),
          challenges: this.#context.challenges,
          wanted: this.#wanted,
        },
      },
      transferred: (address) => post({ type: "transferred", address }),
      isPrepared: (address) => this.#isPrepared(address),
      isDrained: () => this.#udp.isDrained,
      drained: () => this.#drained(),
    });
    this.#udp = new UdpListeners({
      context: this.#context,
      pipeline: this.#pipeline,
      counts,
      clients,
      closed: () => this.#listeners.checkDrained(),
    });
    this.#pools = new EndpointPools(this.#context, this.#pipeline.attempts);
    this.#pluginChecks = new PluginChecks(this.#pipeline.exchanges, (number, result) =>
      post({ type: "checked", number, result }),
    );
    this.#slotsInUse = new SlotsInUse(init.worker, this.#context.columns);
    this.#keyValue = new KeyValueStore(init.keyValue, init.worker);
    this.#tls = {
      tickets: new TicketKeys(init.ticketKeys),
      staples: new Staples(),
      managed: new ManagedCertificates(),
    };
    this.#plugins = new PluginHost({
      cells,
      report,
      warnings,
      notify: (event) => post({ type: "plugin", ...event }),
      now: () => clock.wall,
      monotonic: () => clock.now,
      keyValue: this.#keyValue,
    });
    this.#context.clock.start(() => this.#tick());
  }

  receive(message: ToWorker): void {
    switch (message.type) {
      case "prepare":
        return void this.#prepare(message.plan, message.sockets);
      case "commit":
        return this.#commit(message.version);
      case "endpoints":
        return this.#replaceEndpoints(message);
      case "abort":
        return this.#abort(message.version);
      case "staples":
        for (const [id, staple] of message.staples) this.#tls.staples.set(id, staple);
        return;
      case "certificates":
        for (const [id, certificate] of message.certificates) this.#tls.managed.set(id, certificate);
        return;
      case "certificateDecided":
        return this.#wanted.decided(message.name, message.deniedUntil);
      case "challenges":
        for (const challenge of message.challenges) this.#context.challenges.add(challenge);
        return post({ type: "challengesReady", number: message.number });
      case "withdrawChallenge":
        return this.#context.challenges.remove(message.challenge);
      case "drain":
        return this.#drain(message.grace);
      case "link":
        return this.#listeners.links.add(message.worker, message.port, message.transfer);
      case "check":
        return this.#pluginChecks.begin(message.job, this.#serving?.snapshot ?? null);
      case "listTunnels":
        return post({ type: "tunnels", ...this.#pipeline.tunnels.list() });
      case "reopenLogs":
        return this.#context.accessLog.reopen();
      case "cancelCheck":
        return this.#pluginChecks.cancel(message.number);
      case "leave":
        return this.#listeners.links.leave(() => this.#drain(message.grace));
    }
  }

  #tick(): void {
    Atomics.add(this.#heartbeat, this.#init.worker, 1);
    const { cells, clock, columns, accessLog, warnings } = this.#context;
    columns.moveTo(clock.now);
    cells[WORKER_CELLS.loopDelay] = Math.max(0, clock.now - this.#lastTick - TICK) / 1000;
    cells[WORKER_CELLS.guests] = this.#plugins.guests();
    this.#lastTick = clock.now;
    this.#plugins.tick();
    accessLog.tick(clock.now);
    warnings.tick();
    this.#udp.tick();
    this.#slotsInUse.sweep();
    this.#drainMarked(columns);
    this.#keyValue.repair();
  }

  async #prepare(plan: Plan, sockets: Extract<ToWorker, { type: "prepare" }>["sockets"]): Promise<void> {
    const { version } = plan;
    this.#preparing = plan;
    try {
      for (const { address, socket, shared, udp } of sockets)
        if (udp === null) this.#listeners.addSocket(address, socket, shared);
        else await this.#udp.bind(address, udp);
      if (this.#preparing !== plan) this.#udp.dropUnserved(); // aborted meanwhile
      const outgoing = new Outgoing(this.#pipeline, this.#origins);
      const strategies = [...new Set(plan.clusters.flatMap((cluster) => cluster.strategies.map((s) => s.name)))];
      const parts = {
        fetcher: outgoing,
        modules: plan.modules,
        instances: plan.instances,
        rollouts: plan.rollouts,
        clusters: plan.clusters.map((cluster) => cluster.name),
        strategies,
      };
      const instances = await this.#plugins.prepareInSlices(parts, () => this.#preparing === plan);
      if (instances === null) return post({ type: "disposed", version });
      const built = this.#build(plan, instances, strategies);
      outgoing.snapshot = built.snapshot;
      this.#versions.set(version, built);
      post({ type: "ready", version });
    } catch (error) {
      this.#dropUnserved();
      post({ type: "failed", version, problem: error instanceof Error ? error.message : String(error) });
    }
    this.#preparing = null;
  }

  #build(plan: Plan, instances: InstanceSet, strategies: readonly string[]): Version {
    const pools = new Set<string>();
    try {
      const clusters = plan.clusters.map((cluster, index) => this.#cluster(cluster, index, instances.served, pools));
      const snapshot = new Snapshot(plan.version, clusters, strategies, () => this.#dispose(plan.version));
      snapshot.subrequests = subrequestStates(snapshot);
      snapshot.tracer = makeTracer(plan.trace, (record, dropped) => post({ type: "trace", record, dropped }));
      for (const listener of plan.listeners)
        snapshot.listeners.set(
          listener.address,
          listenerState(listener, {
            snapshot,
            instances: instances.served,
            tls: this.#tlsServer(listener.tls),
            bandwidth: this.#bandwidth,
          }),
        );
      return { plan, snapshot, instances, pools };
    } catch (error) {
      instances.dispose();
      this.#pools.release(pools);
      throw error;
    }
  }

  /** Reuses that of any current version with equal options: creating a context takes milliseconds. */
  #tlsServer(options: TlsServerOptions | null): TlsServer | null {
    if (options === null) return null;
    for (const { snapshot } of this.#versions.values())
      for (const { tls } of snapshot.listeners.values()) if (tls?.options.key === options.key) return tls;
    return new TlsServer(options, this.#tls);
  }

  #cluster(plan: ClusterPlan, index: number, instances: readonly Instance[], used: Set<string>): Cluster<Connector> {
    const members = this.#pools.members(plan, used);
    const strategies = plan.strategies.map((strategy) => instances[strategy.instance]!);
    const checker = plan.check?.probe.kind === "plugin" ? instances[plan.check.probe.instance]! : null;
    return new Cluster(index, plan, { strategies, members, columns: this.#context.columns, checker });
  }

  /** Replaces the endpoints of a cluster. No guest is started: strategies get the new endpoints with the next pick. */
  #replaceEndpoints({ version, cluster: index, set, replaced }: Extract<ToWorker, { type: "endpoints" }>): void {
    if (this.#preparing?.version === version) this.#preparing.clusters[index]!.set = set;
    const served = this.#versions.get(version);
    if (served === undefined) return post({ type: "endpointsReleased", replaced });
    const plan = served.plan.clusters[index]!;
    const cluster = served.snapshot.clusters[index]!;
    const before = plan.set;
    plan.set = set;
    cluster.replace(this.#pools.members(plan, served.pools));
    const slots = new Set(set.endpoints.map(({ slot }) => slot));
    const removed = before.endpoints.filter(({ slot }) => !slots.has(slot));
    const keys = new Set(removed.map((endpoint) => poolKey(plan, endpoint)));
    for (const key of keys) served.pools.delete(key);
    this.#pools.release(keys);
    const removedSlots = removed.map(({ slot }) => slot);
    this.#slotsInUse.whenFree(
      removedSlots,
      () => post({ type: "endpointsReleased", replaced }),
      (slot) => cluster.release(slot),
    );
  }

  #commit(version: number): void {
    const next = this.#versions.get(version);
    if (next === undefined) return;
    const before = this.#serving;
    this.#serving = next;
    this.#pipeline.tunnels.grace = next.plan.grace;
    const listeners = [...next.snapshot.listeners].filter(([, { plan }]) => plan.protocol !== "udp");
    this.#listeners.serve(new Map(listeners));
    this.#udp.serve(next.snapshot.listeners);
    this.#context.accessLog.configure(next.plan.accessLog);
    next.instances.commit();
    // The control plane starts checks again for the new version.
    this.#pluginChecks.stop();
    if (before !== null) this.#drainRemoved(before, next);
    post({ type: "committed", version });
    before?.snapshot.retire();
  }

  #abort(version: number): void {
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
    this.#listeners.dropUnserved();
    this.#udp.dropUnserved();
  }

  /** Frees the guests and pools of a version without exchanges. */
  #dispose(version: number): void {
    const gone = this.#versions.get(version)!;
    this.#versions.delete(version);
    gone.instances.dispose();
    this.#pools.release(gone.pools);
    const left = this.#tunnelSlotsOutside(this.#versions.values());
    // After this message the main thread frees the slots of its endpoints.
    this.#slotsInUse.whenFree(left, () => post({ type: "disposed", version }));
  }

  /** Slots of endpoints with tunnels, which outlive versions, that none of these versions has. */
  #tunnelSlotsOutside(versions: Iterable<Version>): number[] {
    const slots = new Set(this.#pipeline.tunnels.slots);
    if (slots.size > 0)
      for (const { plan } of versions)
        for (const { set } of plan.clusters) for (const { slot } of set.endpoints) slots.delete(slot);
    return [...slots];
  }

  /** Drains tunnels to endpoints that a reload has removed. Tunnels to addresses that DNS has dropped continue. */
  #drainRemoved(before: Version, next: Version): void {
    const outside = new Set(this.#tunnelSlotsOutside([next]));
    if (outside.size === 0) return;
    const removed = new Set<number>();
    for (const { set } of before.plan.clusters) for (const { slot } of set.endpoints) removed.add(slot);
    this.#pipeline.tunnels.drainEndpoints((slot) => outside.has(slot) && removed.has(slot));
  }

  /** Drains tunnels to endpoints that the operator drains or disables. */
  #drainMarked(columns: EndpointColumns): void {
    if (this.#epoch === columns.epoch()) return;
    this.#epoch = columns.epoch();
    const bits = HEALTH.draining | HEALTH.disabled;
    this.#pipeline.tunnels.drainEndpoints((slot) => (columns.health[slot]! & bits) !== 0);
  }

  /** Whether a version later than the one in service has a listener at that address. */
  #isPrepared(address: string): boolean {
    const current = this.#serving?.plan.version ?? 0;
    return [...this.#versions.values()].some(
      ({ plan, snapshot }) => plan.version > current && snapshot.listeners.has(address),
    );
  }

  #drain(grace: number): void {
    this.#pipeline.tunnels.grace = grace;
    this.#udp.drain(grace);
    this.#listeners.drain(grace);
  }

  #drained(): void {
    this.#plugins.stopTicks();
    this.#pluginChecks.stop();
    void this.#context.accessLog.close().then(() => post({ type: "drained" }));
  }

  /** Counts and logs a plugin's subrequest to an origin or to the endpoint under check that failed. */
  #fetchFailed(target: string, cause: string): void {
    const { cells, warnings } = this.#context;
    cells[WORKER_CELLS.fetchFailures]!++;
    if (warnings.admits("fetch_failed", target)) warnings.write("subrequest of a plugin failed", { target, cause });
  }
}

const worker = new Worker(workerData as WorkerInit);
parentPort!.on("message", (message: ToWorker) => {
  try {
    worker.receive(message);
  } catch (error) {
    postLine("error", "a message could not be handled", { type: message.type, error: String(error) });
  }
});
post({ type: "up" });

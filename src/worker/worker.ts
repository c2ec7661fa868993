import { parentPort, workerData } from "node:worker_threads";
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
import type { TlsShared } from "../net/tls-server.ts";
import { AccessLog } from "../observe/access-log.ts";
import { WORKER_CELLS } from "../observe/series.ts";
import { type Report, ThrottledLog } from "../observe/throttled-log.ts";
import { PluginHost } from "../plugin/host/host.ts";
import type { WorkerContext } from "../proxy/context.ts";
import { Pipeline } from "../proxy/pipeline.ts";
import { KeyValueStore } from "../state/store.ts";
import { BandwidthLimits } from "./bandwidth-limits.ts";
import { boundReport } from "./bounded-report.ts";
import { ClientAdmission } from "./client-admission.ts";
import { EndpointPools } from "./endpoint-pools.ts";
import { Origins } from "./fetch.ts";
import { Listeners } from "./listeners.ts";
import type { FromWorker, ToWorker, WorkerInit } from "./messages.ts";
import { PluginChecks } from "./plugin-checks.ts";
import { ProtocolHandlers } from "./protocol-handlers.ts";
import { SlotsInUse } from "./slots-in-use.ts";
import { Snapshots } from "./snapshots.ts";
import { UdpListeners } from "./udp-listeners.ts";
import { WantedCertificates } from "./wanted-certificates.ts";

const post = (message: FromWorker): void => parentPort!.postMessage(message);
const postLine: Report = (level, message, fields) => post({ type: "log", level, message, fields });

function makeContext(init: WorkerInit): WorkerContext {
  const cells = new Float64Array(init.counters);
  const clock = new Clock();
  const report = boundReport(postLine, cells);
  const warnings = new ThrottledLog(report, () => clock.now);
  return {
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
}

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
  readonly #slotsInUse: SlotsInUse;
  readonly #snapshots: Snapshots;
  #epoch = 0;
  #lastTick = performance.now();

  constructor(init: WorkerInit) {
    this.#init = init;
    this.#heartbeat = new Int32Array(init.heartbeat);
    const context = (this.#context = makeContext(init));
    const { cells, clock, report, warnings } = context;
    const pipeline = (this.#pipeline = new Pipeline(context));
    const rates = new RateTable(init.rates);
    const bandwidth = new BandwidthLimits(context, rates);
    const clients = new ClientAdmission(context, new ClientCounts(init.clients, init.worker), rates);
    const counts = new ConnectionCounts(init.connections, init.worker);
    const handlers = new ProtocolHandlers(context, pipeline);
    this.#listeners = new Listeners({
      context,
      counts,
      clients,
      incoming: {
        context,
        pipeline,
        wanted: this.#wanted,
        clients,
        bandwidth,
        makeHandler: (one) => handlers.make(one),
      },
      transferred: (address) => post({ type: "transferred", address }),
      isPrepared: (address) => this.#snapshots.isPrepared(address),
      isDrained: () => this.#udp.isDrained,
      drained: () => this.#drained(),
    });
    const closed = () => this.#listeners.checkDrained();
    this.#udp = new UdpListeners({ context, pipeline, counts, clients, closed });
    this.#pluginChecks = new PluginChecks(pipeline.exchanges, (number, result) =>
      post({ type: "checked", number, result }),
    );
    this.#slotsInUse = new SlotsInUse(init.worker, context.columns);
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
    this.#snapshots = new Snapshots({
      context,
      pipeline,
      listeners: this.#listeners,
      udp: this.#udp,
      plugins: this.#plugins,
      pluginChecks: this.#pluginChecks,
      pools: new EndpointPools(context, pipeline.attempts),
      origins: new Origins((target, cause) => this.#fetchFailed(target, cause)),
      bandwidth,
      tls: this.#tls,
      slotsInUse: this.#slotsInUse,
      post,
    });
    clock.start(
      () => this.#tick(),
      (error) => pipeline.internal(null, error),
    );
  }

  receive(message: ToWorker): void {
    switch (message.type) {
      case "prepare":
        return void this.#snapshots.prepare(message);
      case "commit":
        return this.#snapshots.commit(message.version);
      case "endpoints":
        return this.#snapshots.replaceEndpoints(message);
      case "abort":
        return this.#snapshots.abort(message.version);
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
        return this.#drain(message.grace, false);
      case "link":
        return this.#listeners.links.add(message.worker, message.port, message.transfer);
      case "check":
        return this.#pluginChecks.begin(message.job, this.#snapshots.current);
      case "listTunnels":
        return post({ type: "tunnels", ...this.#pipeline.tunnels.list() });
      case "reopenLogs":
        return this.#context.accessLog.reopen();
      case "cancelCheck":
        return this.#pluginChecks.cancel(message.number);
      case "leave":
        return this.#listeners.links.leave(() => this.#drain(message.grace, true));
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

  /** Drains tunnels to endpoints that the operator drains or disables. */
  #drainMarked(columns: EndpointColumns): void {
    if (this.#epoch === columns.epoch()) return;
    this.#epoch = columns.epoch();
    const bits = HEALTH.draining | HEALTH.disabled;
    this.#pipeline.tunnels.drainEndpoints((slot) => (columns.health[slot]! & bits) !== 0);
  }

  /** `hasSuccessor`: other workers serve on. */
  #drain(grace: number, hasSuccessor: boolean): void {
    this.#pipeline.tunnels.grace = grace;
    this.#udp.drain(grace, hasSuccessor);
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

/** The control plane: composition root of the main thread. */
import { availableParallelism } from "node:os";
import { extname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Status } from "../admin/api.ts";
import { formatProblem, type Loaded, loadConfig } from "../config/load.ts";
import { readSettings } from "../config/plugin-schema.ts";
import type { Config } from "../config/schema.ts";
import { type Watch, watchFiles } from "../config/watch.ts";
import { createLog, type Log, ProgramLines } from "../observe/log.ts";
import { checkLogFile } from "../observe/log-target.ts";
import { ThrottledLog } from "../observe/throttled-log.ts";
import { Modules } from "../plan/modules.ts";
import { checkStart } from "../plugin/host/start-check.ts";
import { ModuleBuilder } from "../plugin/wasm/builder.ts";
import type { FromWorker } from "../worker/messages.ts";
import { ChallengeBoard } from "./acme/challenge-board.ts";
import { CertificateManager } from "./acme/manager.ts";
import { AdminInterface } from "./admin-interface.ts";
import { CanaryRollouts } from "./canary-rollouts.ts";
import { readConfigFile } from "./config-file.ts";
import { DescriptorCheck } from "./descriptors.ts";
import { Endpoints } from "./endpoints.ts";
import { Listeners } from "./listeners.ts";
import type { Lookup } from "./name-resolver.ts";
import { OcspStapling } from "./ocsp-stapling.ts";
import { PluginHealth } from "./plugin-health.ts";
import { checkPlugins } from "./plugin-start-check.ts";
import { type Reloaded, Reloader } from "./reload.ts";
import { SharedMemory } from "./shared-memory.ts";
import { TlsUpkeep } from "./tls-upkeep.ts";
import { Versions } from "./versions.ts";
import { WorkerPool } from "./worker-pool.ts";
import { Workers } from "./workers.ts";

export type AppOptions = {
  /** The configuration file. */
  readonly file: string;
  /** Overrides the configuration's `workers`. */
  readonly workers?: number;
  /** Overrides the configuration's `log.level`; may be "silent". */
  readonly logLevel?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Reload when a file changes; default true. */
  readonly watch?: boolean;
  /** Replaces DNS, in tests. */
  readonly lookup?: Lookup;
  /** Replaces the main module of workers, in tests. */
  readonly entry?: URL;
};

/** The proxy could not start; one line for each problem. */
export class StartError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

const extension = extname(import.meta.filename);
const WORKER = new URL(`../worker/worker${extension}`, import.meta.url);
/** Resolves to the same directory from `src/` and `dist/`. */
export const BUILTIN_PLUGINS = join(import.meta.dirname, "../../plugins");
/** Starts a proxy and waits until its first version is in service. @throws StartError */
export async function startApp(options: AppOptions): Promise<App> {
  const config = await readFirstConfig(options);
  const app = new App(options, config);
  try {
    await app.start();
  } catch (error) {
    await app.close({ announce: 0, grace: 0 });
    throw error;
  }
  return app;
}

export class App {
  readonly log: Log;
  readonly #lines = new ProgramLines();
  readonly #options: AppOptions;
  readonly #memory: SharedMemory;
  readonly #workers: Workers;
  readonly #versions: Versions;
  readonly #workerPool: WorkerPool;
  readonly #listeners: Listeners;
  readonly #reloader: Reloader;
  readonly #endpoints: Endpoints;
  readonly #tls: TlsUpkeep;
  readonly #stapling: OcspStapling;
  readonly #descriptors: DescriptorCheck;
  readonly #challenges = new ChallengeBoard(() => this.#workers);
  readonly #acme: CertificateManager;
  readonly #health = new PluginHealth();
  readonly #rollouts: CanaryRollouts;
  readonly #builder = new ModuleBuilder(BUILTIN_PLUGINS);
  readonly #watch: Watch | null;
  readonly #admin: AdminInterface;
  #config: Config;

  constructor(options: AppOptions, config: Config) {
    this.#options = options;
    this.#config = config;
    const log = (this.log = createLog(options.logLevel ?? config.log.level, this.#lines));
    const memory = (this.#memory = new SharedMemory(this.#countWorkers(config), config.kv.size));
    const tls = (this.#tls = new TlsUpkeep(memory.ticketKeys, log));
    const warnings = new ThrottledLog(
      (level, message, fields) => log[level](fields, message),
      () => performance.now(),
    );
    this.#descriptors = new DescriptorCheck(warnings);
    const stapling = (this.#stapling = new OcspStapling({
      log,
      warnings,
      onStaple: (id, staple) => {
        for (const worker of workers.up()) workers.post(worker, { type: "staples", staples: [[id, staple]] });
      },
    }));
    const acme = (this.#acme = new CertificateManager({
      log,
      warnings,
      board: this.#challenges,
      workers: () => workers,
      prepare: (certificates) => stapling.prepare(certificates),
      onChange: () => this.#takeCertificates(),
    }));
    const workers = (this.#workers = new Workers(
      { memory, entry: options.entry ?? WORKER, log },
      {
        onUp: (worker) => this.#workerUp(worker),
        onMessage: (worker, message) => this.#receive(worker, message),
        onEnd: (worker, reason) => this.#workerEnded(worker, reason),
      },
    ));
    const versions = (this.#versions = new Versions({
      workers,
      release: (version) => this.#release(version),
      onServing: (worker) => this.#workerPool.serves(worker),
    }));
    const listeners = (this.#listeners = new Listeners(() => workers.running()));
    this.#workerPool = new WorkerPool({ workers, versions, listeners, log });
    const { lookup, file } = options;
    const { resolver } = config;
    const endpoints = (this.#endpoints = new Endpoints({ log, memory, workers, versions, resolver, lookup }));
    this.#watch = options.watch === false ? null : watchFiles([file], () => void this.#reloader.reload("file changed"));
    const rebuild = (reason: string) => this.#reloader.rebuild(reason);
    const rollouts = (this.#rollouts = new CanaryRollouts({ counters: memory.counters, log, rebuild }));
    const reloader = (this.#reloader = this.#makeReloader());
    this.#admin = new AdminInterface({
      log,
      file,
      memory,
      workers,
      versions,
      reloader,
      endpoints,
      rollouts,
      tls,
      stapling,
      acme,
      lines: this.#lines,
      config: () => this.#config,
      plugins: this.#health,
      descriptors: this.#descriptors,
    });
  }

  #makeReloader(): Reloader {
    const { file, env = process.env } = this.#options;
    return new Reloader({
      file,
      log: this.log,
      builtins: BUILTIN_PLUGINS,
      parse: (text) => this.#checkLog(loadConfig(text, { file, env })),
      format: formatProblem,
      modules: new Modules({
        build: (bytes, place) => this.#builder.build(bytes, place),
        readSettings,
        builtins: BUILTIN_PLUGINS,
      }),
      readSettings,
      rollouts: this.#rollouts,
      endpoints: this.#endpoints.sets,
      stapling: this.#stapling,
      acme: this.#acme,
      listeners: this.#listeners,
      versions: this.#versions,
      memory: this.#memory,
      release: (version) => this.#release(version),
      checkPlugins: (built, config) => checkPlugins(checkStart, { built, config, workers: this.#countWorkers(config) }),
      grow: (config) => this.#workerPool.grow(this.#countWorkers(config)),
      shrink: (config) => this.#workerPool.shrink(this.#countWorkers(config), config.shutdown.grace),
      onFiles: (paths) => this.#watch?.update(paths),
      onAccepted: ({ config, plan }) => {
        this.#acme.take(config);
        this.#takeCertificates();
        this.#accept(config);
        this.#endpoints.take(plan);
      },
    });
  }

  async start(): Promise<void> {
    // Starts in parallel with the workers.
    if (this.#config.plugins.length > 0) this.#builder.warm();
    try {
      await this.#admin.start();
      await this.#workerPool.grow(this.#countWorkers(this.#config));
    } catch (error) {
      throw new StartError([(error as Error).message]);
    }
    const first = await this.#reloader.reload("start");
    if (first.result !== "accepted") throw new StartError(first.problems);
    const https = this.#admin.status.describeHttps();
    const listeners = Object.fromEntries(this.listeners);
    this.log.info({ listeners, ...https, admin: this.admin, metrics: this.metrics }, "ready");
  }

  /** Listening addresses by listener name, as configured; a port 0 is replaced by the bound port. */
  get listeners(): ReadonlyMap<string, string> {
    return new Map(this.#reloader.current?.plan.listeners.map(({ name, address }) => [name, address]));
  }

  /** URL of the admin interface, `http://127.0.0.1:9901`, or null. */
  get admin(): string | null {
    return this.#admin.url;
  }

  /** URL of the separate metrics address, or null. */
  get metrics(): string | null {
    return this.#admin.metricsUrl;
  }

  reload(reason = "requested"): Promise<Reloaded> {
    return this.#reloader.reload(reason);
  }

  /** Reopens log files by their path, after a rotation. */
  reopenLogs(): void {
    this.#lines.reopen();
    for (const worker of this.#workers.up()) this.#workers.post(worker, { type: "reopenLogs" });
    this.log.info("log files reopened");
  }

  status(): Status {
    return this.#admin.status.status();
  }

  /** Shuts down: not ready for `announce` ms, then all workers drain for at most `grace` ms and end. */
  async close({ announce, grace }: { announce: number; grace: number } = this.#config.shutdown): Promise<void> {
    this.#admin.status.draining = true;
    // Meanwhile the proxy serves as before, with health checks, reloads and the replacement of workers.
    if (announce > 0) {
      this.log.info({ announce }, "shutting down: not ready");
      await sleep(announce);
      this.log.info({ grace }, "draining");
    }
    this.#watch?.close();
    this.#endpoints.close();
    this.#rollouts.close();
    this.#tls.close();
    this.#descriptors.close();
    this.#stapling.close();
    await this.#acme.close();
    this.#workers.stopReplacing();
    this.#builder.close();
    await this.#reloader.close();
    this.#workerPool.close();
    await this.#workerPool.drain(grace);
    await this.#workers.close();
    await this.#admin.close();
    await this.#lines.close();
  }

  /** Rejects a configuration whose log file cannot be written, unless it is in use already. */
  #checkLog(loaded: Loaded): Loaded {
    const access = loaded.config?.log.access || undefined;
    if (access?.file === undefined || access.file.path === this.#reloader.current?.plan.accessLog?.path) return loaded;
    const problem = checkLogFile(access.file.path, true);
    return problem === undefined
      ? loaded
      : { ...loaded, config: null, problems: [{ ...access.file.at, message: problem }] };
  }

  /** The certificates in service have changed. */
  #takeCertificates(): void {
    const certificates = [...(this.#reloader.current?.certificates ?? []), ...this.#acme.list()];
    this.#tls.take(certificates, this.#reloader.current?.revocationLists ?? []);
    this.#stapling.take([...certificates, ...this.#acme.listOnDemand()]);
  }

  /** Frees the shared memory of a version that no worker uses. */
  #release(version: number): void {
    this.#endpoints.sets.release(version);
    this.#memory.release(version);
  }

  /** The number of workers; the command line overrides the configuration. */
  #countWorkers(config: Config): number {
    return this.#options.workers ?? (config.workers || availableParallelism());
  }

  #accept(config: Config): void {
    const { admin, kv } = this.#config;
    const moved = addressesOf(config.admin) !== addressesOf(admin);
    const ignored = [...(moved ? ["admin"] : []), ...(JSON.stringify(config.kv) === JSON.stringify(kv) ? [] : ["kv"])];
    if (ignored.length > 0) this.log.warn({ keys: ignored }, "changes of these settings take effect after a restart");
    this.log.level = this.#options.logLevel ?? config.log.level;
    this.#endpoints.dns.configure(config.resolver);
    this.#admin.traces.keep(config.trace.keep);
    // While the old address is served, its token must stay in force.
    this.#config = { ...config, admin: moved ? admin : config.admin, kv };
  }

  #workerUp(worker: number): void {
    this.#workers.post(worker, { type: "staples", staples: this.#stapling.staples() });
    this.#challenges.workerUp(worker);
    this.#acme.workerUp(worker);
    if (this.#workerPool.up(worker) || this.#reloader.current === null) return;
    void this.#reloader.bringUp(worker).then((done) => {
      if (!done) this.#workers.end(worker);
    });
  }

  #receive(worker: number, message: FromWorker): void {
    if (message.type === "log") this.log[message.level]({ worker, ...message.fields }, message.message);
    else if (message.type === "trace") this.#admin.traces.add(worker, message.record, message.dropped);
    else if (message.type === "plugin") {
      if (message.rollout === undefined) this.#health.receive(worker, message);
      else this.#rollouts.receive(worker, message);
    } else if (message.type === "checked") this.#endpoints.pluginChecks.receive(worker, message);
    else if (message.type === "tunnels") this.#admin.tunnels.receive(worker, message);
    else if (message.type === "certificateWanted") this.#acme.request(worker, message.name);
    else if (message.type === "challengesReady") this.#challenges.confirmed(worker, message.number);
    else if (message.type === "health") this.#endpoints.passive.receive(message);
    else if (message.type === "endpointsReleased") this.#endpoints.sets.receive(worker, message.replaced);
    else if (message.type === "transferred") this.#listeners.addTransferred(message.address);
    else if (message.type === "drained") this.#workerPool.drained(worker);
    else this.#versions.receive(worker, message);
  }

  #workerEnded(worker: number, reason: string): void {
    this.#versions.forget(worker, reason);
    this.#endpoints.forget(worker);
    this.#health.forget(worker);
    this.#rollouts.forget(worker);
    this.#admin.tunnels.forget(worker);
    this.#challenges.forget(worker);
    this.#acme.forget(worker);
    this.#workerPool.ended(worker, reason);
  }
}

function addressesOf(admin: Config["admin"]): string {
  return JSON.stringify([admin?.address, admin?.metrics]);
}

/** Reads the configuration for the start. @throws StartError */
async function readFirstConfig({ file, env = process.env }: AppOptions): Promise<Config> {
  const text = await readConfigFile(file).catch((error: Error) => {
    throw new StartError([error.message]);
  });
  const { config, problems } = loadConfig(text, { file, env });
  if (config === null) throw new StartError(problems.map(formatProblem));
  return config;
}

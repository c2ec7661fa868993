/**
 * Makes new versions: reads the files, builds and checks a plan, binds addresses, and commits the plan on all workers. One
 * reload runs at a time; requests during it share the next one, which reads the files again. A rejected version changes
 * nothing.
 */
import { createHash } from "node:crypto";
import type { Config, Problem } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { type Built, buildPlan, type PlanSources } from "../plan/builder.ts";
import { listWasmFiles, type Modules, type ReadSettings, readWasmFiles, type WasmFiles } from "../plan/modules.ts";
import type { Plan } from "../plan/plan.ts";
import { placeMetrics } from "../plan/plugin-metrics.ts";
import {
  type CertificateInfo,
  listTlsFiles,
  type RevocationListInfo,
  readTlsFiles,
  type TlsFiles,
} from "../plan/tls-files.ts";
import type { CertificateManager } from "./acme/manager.ts";
import type { CanaryRollouts, Selection } from "./canary-rollouts.ts";
import { readConfigFile } from "./config-file.ts";
import type { EndpointSets } from "./endpoint-sets.ts";
import type { Listeners, Opening } from "./listeners.ts";
import type { OcspStapling } from "./ocsp-stapling.ts";
import type { PluginCheck } from "./plugin-start-check.ts";
import type { SharedMemory } from "./shared-memory.ts";
import type { Versions } from "./versions.ts";

export type ReloadResult = "accepted" | "unchanged" | "rejected";
export type Reloaded = {
  readonly result: ReloadResult;
  /** The version in service; 0 before the first. */
  readonly version: number;
  /** Why it was rejected: lines `file:line:col: path.to.key: problem`. */
  readonly problems: readonly string[];
  /** What the version in service configures that is probably a mistake, in the same form. */
  readonly warnings: readonly string[];
};

/** A version in service. */
export type Current = {
  readonly config: Config;
  readonly text: string;
  readonly plan: Plan;
  readonly certificates: readonly CertificateInfo[];
  readonly revocationLists: readonly RevocationListInfo[];
};

export type ReloaderOptions = {
  readonly file: string;
  readonly log: Log;
  readonly builtins: string;
  readonly parse: (text: string) => {
    readonly config: Config | null;
    readonly problems: readonly Problem[];
    readonly warnings: readonly Problem[];
  };
  readonly format: (problem: Problem) => string;
  readonly modules: Modules;
  readonly readSettings: ReadSettings;
  readonly rollouts: Pick<CanaryRollouts, "select" | "commit">;
  readonly endpoints: EndpointSets;
  readonly listeners: Listeners;
  readonly versions: Versions;
  readonly memory: Pick<SharedMemory, "cells" | "listenerRow" | "namespaces">;
  /** Frees the shared memory of a version that was not posted. */
  readonly release: (version: number) => void;
  readonly stapling: Pick<OcspStapling, "prepare">;
  readonly acme: Pick<CertificateManager, "prepare">;
  /** Starts the plugins of a plan once, without effects. */
  readonly checkPlugins: (built: Built, config: Config) => Promise<PluginCheck>;
  /** Called with the files to watch, also those of a rejected version. */
  readonly onFiles: (paths: readonly string[]) => void;
  /** Adds the workers that a version needs. @throws Error */
  readonly grow: (config: Config) => Promise<void>;
  /** Removes the workers that the version in service does not need. */
  readonly shrink: (config: Config) => void;
  readonly onAccepted: (current: Current) => void;
};

class Rejection extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** The files of a version. */
type Material = {
  text: string;
  config: Config;
  warnings: readonly Problem[];
  files: WasmFiles;
  tls: TlsFiles;
  /** Hash of the text and the files. */
  digest: string;
};

/** The same, with the selected versions of its plugins. */
type NewVersion = Material & { selection: Selection; fingerprint: string };

export class Reloader {
  readonly #options: ReloaderOptions;
  readonly #counts: Record<ReloadResult, number> = { accepted: 0, unchanged: 0, rejected: 0 };
  #version = 0;
  #fingerprint = "";
  #current: Current | null = null;
  /** The files of the version in service. */
  #accepted: Material | null = null;
  #last: (Reloaded & { at: Date }) | null = null;
  /** The last queued task. Tasks that change what workers serve run one after the other. */
  #tail: Promise<unknown> = Promise.resolve();
  #waiting: Promise<Reloaded> | null = null;
  #closed = false;

  constructor(options: ReloaderOptions) {
    this.#options = options;
  }

  get current(): Current | null {
    return this.#current;
  }

  get last(): (Reloaded & { at: Date }) | null {
    return this.#last;
  }

  /** Number of reloads by result. */
  get counts(): Readonly<Record<ReloadResult, number>> {
    return this.#counts;
  }

  /** Makes a version from the current files. Never rejects: problems are in the result. */
  reload(reason: string): Promise<Reloaded> {
    this.#waiting ??= this.#queue(() => {
      this.#waiting = null;
      return this.#run(reason, () => this.#read());
    });
    return this.#waiting;
  }

  /**
   * Makes a version from the files of the one in service, with a new selection of plugin versions. The files are not read
   * again, since an invalid file must not prevent a rollback.
   */
  rebuild(reason: string): Promise<Reloaded> {
    return this.#queue(() => this.#rebuild(reason));
  }

  /** Brings a replaced worker to the version in service. Returns false if it cannot be. */
  async bringUp(worker: number): Promise<boolean> {
    const { versions, listeners, log } = this.#options;
    return this.#queue(async () => {
      // It may have ended again, or be leaving.
      if (this.#closed || !versions.reaches(worker)) return true;
      try {
        await versions.bringUp(worker, listeners.bindAgain(worker));
        log.info({ worker, version: versions.committed?.version }, "worker replaced");
        // The missing worker may be why the last reload was rejected.
        if (this.#last?.result === "rejected") void this.reload("worker replaced");
        return true;
      } catch (error) {
        log.error({ worker, problem: (error as Error).message }, "worker cannot prepare the version in service");
        return false;
      }
    });
  }

  /** Rejects further reloads, and waits for the current one. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#tail;
  }

  #queue<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#tail.then(task);
    this.#tail = done.catch(() => undefined);
    return done;
  }

  /** Since the files are not read again, a rejection of them stays the reported result. */
  async #rebuild(reason: string): Promise<Reloaded> {
    const before = this.#last;
    const reloaded = await this.#run(reason, async () => this.#accepted ?? this.#read());
    if (before?.result === "rejected" && reloaded.result !== "rejected")
      this.#last = { ...before, version: reloaded.version };
    return reloaded;
  }

  async #run(reason: string, read: () => Promise<Material>): Promise<Reloaded> {
    const { log } = this.#options;
    let result: ReloadResult = "rejected";
    let problems: readonly string[] = [];
    try {
      result = await this.#make(read);
    } catch (error) {
      problems = error instanceof Rejection ? error.problems : [error instanceof Error ? error.message : String(error)];
    }
    const version = this.#current?.plan.version ?? 0;
    this.#counts[result]++;
    const warnings = (this.#accepted?.warnings ?? []).map(this.#options.format);
    this.#last = { result, version, problems, warnings, at: new Date() };
    if (result === "accepted") log.info({ version, reason }, "new version in service");
    if (result === "unchanged") log.debug({ version, reason }, "configuration unchanged");
    // At the start the problems are reported by `StartError`.
    if (result === "rejected" && version > 0)
      log.error({ version, reason, problems }, "reload rejected, keeping the current configuration");
    return this.#last;
  }

  async #make(read: () => Promise<Material>): Promise<ReloadResult> {
    if (this.#closed) throw new Rejection(["shutting down"]);
    const next = this.#select(await read());
    if (next.fingerprint === this.#fingerprint) return "unchanged";
    const { config, files, selection } = next;
    const { plugins, problems } = await this.#options.modules.load(config, files, selection.versions);
    this.#rejectIf(problems);
    try {
      await this.#options.grow(next.config);
      await this.#take(next, plugins);
    } finally {
      // Removes workers that the new version, or after a rejection the old one, does not need.
      if (this.#current !== null) this.#options.shrink(this.#current.config);
    }
    return "accepted";
  }

  #select(material: Material): NewVersion {
    const selection = this.#options.rollouts.select(material.config, material.files);
    return { ...material, selection, fingerprint: `${material.digest} ${selection.identity}` };
  }

  async #take(next: NewVersion, plugins: PlanSources["plugins"]): Promise<void> {
    const version = ++this.#version;
    const opening = await this.#options.listeners.open(next.config.listeners);
    try {
      const built = await this.#build(version, next, plugins, opening);
      await this.#options.versions.take(built.plan, opening.sockets);
      this.#accept(next, built, opening);
    } finally {
      // Closes sockets that were not posted: the version was rejected, or a worker is being replaced.
      this.#options.listeners.release(opening);
    }
  }

  async #read(): Promise<Material> {
    const { file, parse, builtins, onFiles } = this.#options;
    const text = await readConfigFile(file);
    const { config, problems, warnings } = parse(text);
    this.#rejectIf(problems);
    if (config === null) throw new Rejection([`${file}: no configuration`]);
    const paths = [...listWasmFiles(config, builtins).keys()];
    onFiles([file, ...paths, ...listTlsFiles(config)]);
    const files = await readWasmFiles(paths);
    const tls = await readTlsFiles(config);
    this.#rejectIf(tls.problems);
    const hash = createHash("sha256").update(text);
    for (const content of files.values()) hash.update(createHash("sha256").update(content).digest());
    for (const { key } of [...tls.servers.values(), ...tls.clients.values()]) hash.update(key);
    hash.update(JSON.stringify(tls.acmeCa));
    await Promise.all([
      this.#options.endpoints.prepare(config),
      this.#options.stapling.prepare(tls.certificates),
      this.#options.acme.prepare(config, tls.acmeCa),
    ]);
    return { text, config, warnings: [...warnings, ...tls.warnings], files, tls, digest: hash.digest("hex") };
  }

  async #build(version: number, next: NewVersion, plugins: PlanSources["plugins"], opening: Opening): Promise<Built> {
    const { endpoints, memory, release, checkPlugins, readSettings } = this.#options;
    const cells: PlanSources["cells"] = (kind, labels) => memory.cells(version, kind, labels);
    const { config } = next;
    try {
      const built = buildPlan({
        version,
        config,
        tls: next.tls.servers,
        tlsToEndpoints: next.tls.clients,
        plugins,
        readSettings,
        endpoints: (cluster) => endpoints.build(version, cluster),
        listeners: opening.places,
        listenerRow: (address) => memory.listenerRow(version, address),
        cells,
        namespace: (name) => memory.namespaces.numberOf(name),
      });
      endpoints.follow(built.plan);
      const { problems, metrics } = await checkPlugins(built, config);
      this.#rejectIf(problems);
      return placeMetrics(built, metrics, cells);
    } catch (error) {
      release(version);
      throw error;
    }
  }

  #accept(next: NewVersion, { plan }: Built, opening: Opening): void {
    const { listeners, endpoints, rollouts, onAccepted, log, format } = this.#options;
    const { config, text, warnings, fingerprint, selection } = next;
    if (warnings !== this.#accepted?.warnings)
      for (const warning of warnings) log.warn({ warning: format(warning) }, "configuration warning");
    listeners.commit(opening);
    rollouts.commit(selection, plan);
    this.#fingerprint = fingerprint;
    this.#accepted = next;
    const { certificates, revocationLists } = next.tls;
    this.#current = { config, text, plan, certificates, revocationLists };
    onAccepted(this.#current);
    endpoints.commit(plan);
  }

  #rejectIf(problems: readonly Problem[]): void {
    if (problems.length > 0) throw new Rejection(problems.map(this.#options.format));
  }
}

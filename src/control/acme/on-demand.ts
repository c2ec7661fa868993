/**
 * Certificates that are obtained at the first handshake with a name. Clients choose the names, so everything that they
 * cause is bounded: `names` and `ask` decide, `rate` limits orders, `limit` certificates, MAX_ASKING requests to `ask`
 * at once; a name that is denied stays so for a time; nothing is saved of a name without a certificate.
 */
import { join } from "node:path";
import { DeniedNames } from "../../net/denied-names.ts";
import { isServerName, matchesAny, onDemandId } from "../../net/managed-certificates.ts";
import { Semaphore } from "../semaphore.ts";
import type { Workers } from "../workers.ts";
import { askFor } from "./ask.ts";
import { boundText } from "./problem.ts";
import { CertificateFiles } from "./storage.ts";
import { CertificateTask, type SharedOptions, type TaskContext } from "./task.ts";

export type OnDemandSettings = {
  readonly names: readonly string[];
  readonly ask?: string;
  /** Certificates at most. */
  readonly limit: number;
  /** Orders per minute. */
  readonly rate: number;
  readonly ocsp: "fetch" | "off";
  /** Names of the listeners. */
  readonly listeners: readonly string[];
};

/** What a version needs. `loaded`: certificates on disk by name, unless they are in service already. */
export type PreparedOnDemand = {
  readonly settings: OnDemandSettings;
  readonly shared: SharedOptions;
  readonly loaded: ReadonlyMap<string, CertificateTask>;
};

export type OnDemandOptions = {
  readonly context: TaskContext;
  readonly workers: () => Pick<Workers, "up" | "post">;
  readonly signal: AbortSignal;
  readonly removed: (id: string) => void;
};

/** Results of requests, for counters. */
const RESULTS = ["issued", "denied", "rate_limited", "limit", "failed"] as const;
type Result = (typeof RESULTS)[number];

const MAX_ASKING = 16;
/** How long a name is denied, ms. */
const DENIED_FOR: Record<Exclude<Result, "issued">, number> = {
  denied: 60_000,
  rate_limited: 10_000,
  limit: 60_000,
  failed: 600_000,
};
const MINUTE = 60_000;

/** A decision against a name. */
class Denial extends Error {
  readonly result: Exclude<Result, "issued">;
  constructor(result: Exclude<Result, "issued">, message: string) {
    super(message);
    this.result = result;
  }
}

export class OnDemand {
  readonly #options: OnDemandOptions;
  readonly #tasks = new Map<string, CertificateTask>();
  readonly #denied = new DeniedNames();
  /** Workers that wait for a name. */
  readonly #waiting = new Map<string, Set<number>>();
  readonly counts = Object.fromEntries(RESULTS.map((result) => [result, 0])) as Record<Result, number>;
  /** Of the version in service. */
  #prepared: PreparedOnDemand | null = null;
  readonly #asking = new Semaphore(MAX_ASKING);
  #ordering = 0;
  /** Orders that may be made now. Few at the start, so that a proxy that ends again and again orders little. */
  #tokens = 1;
  #filledAt: number;

  constructor(options: OnDemandOptions) {
    this.#options = options;
    this.#filledAt = options.context.now();
  }

  get size(): number {
    return this.#tasks.size;
  }

  get listeners(): readonly string[] {
    return this.#prepared?.settings.listeners ?? [];
  }

  tasks(): CertificateTask[] {
    return [...this.#tasks.values()];
  }

  /** Loads the saved certificates that a version may serve. */
  async prepare(settings: OnDemandSettings, shared: SharedOptions): Promise<PreparedOnDemand> {
    const loaded = new Map<string, CertificateTask>();
    const prepared = { settings, shared, loaded };
    if (this.#prepared?.shared.account === shared.account) return prepared;
    const files = this.#files(shared);
    for (const file of (await this.#list(files)).slice(0, settings.limit)) {
      const name = await this.#nameOf(files, file);
      if (!isServerName(name) || !matchesAny(settings.names, name)) continue;
      const task = this.#make(name, prepared);
      await task.load();
      if (task.served !== null && task.served.validTo > this.#options.context.now()) loaded.set(name, task);
    }
    return prepared;
  }

  /** Files that cannot be read do not stop a version: their certificates are obtained again. */
  #list(files: CertificateFiles): Promise<string[]> {
    return files.list().catch((error: Error) => {
      this.#cannotRead(files.directory, error);
      return [];
    });
  }

  /** The name that a file's certificate is for; empty: unknown. */
  async #nameOf(files: CertificateFiles, file: string): Promise<string> {
    try {
      return (await files.readState(file))?.names[0] ?? "";
    } catch (error) {
      this.#cannotRead(join(files.directory, file), error as Error);
      return "";
    }
  }

  #cannotRead(file: string, { message: cause }: Error): void {
    this.#options.context.log.warn({ file, cause }, "saved certificates cannot be used");
  }

  /** Null: no listener uses it. */
  take(prepared: PreparedOnDemand | null): void {
    const isOther = this.#prepared?.shared.account !== prepared?.shared.account;
    this.#prepared = prepared;
    for (const [name, task] of this.#tasks)
      if (isOther || !this.#allows(name)) this.#remove(name, task, prepared?.loaded.has(name) === true);
    if (isOther) for (const [name, task] of prepared?.loaded ?? []) this.#tasks.set(name, task);
    for (const task of this.#tasks.values()) task.start();
  }

  #allows(name: string): boolean {
    return this.#prepared !== null && isServerName(name) && matchesAny(this.#prepared.settings.names, name);
  }

  /** Obtains the certificate for a name, unless it is denied, and informs the workers that wait. Never rejects. */
  async request(worker: number, name: string): Promise<void> {
    const others = this.#waiting.get(name);
    if (others !== undefined) return void others.add(worker);
    this.#waiting.set(name, new Set([worker]));
    // A denial is not prolonged by further requests.
    let deniedUntil = this.#denied.until(name, this.#options.context.now());
    try {
      if (deniedUntil === null) await this.#obtain(name);
    } catch (error) {
      const { result, message } = error instanceof Denial ? error : new Denial("failed", (error as Error).message);
      deniedUntil = this.#options.context.now() + DENIED_FOR[result];
      this.#denied.add(name, deniedUntil);
      this.counts[result]++;
      this.#log(name, result, message);
    }
    const { up, post } = this.#poster();
    const workers = this.#waiting.get(name) ?? [];
    this.#waiting.delete(name);
    for (const one of workers) if (up.includes(one)) post(one, { type: "certificateDecided", name, deniedUntil });
  }

  /** A worker has ended. */
  forget(worker: number): void {
    for (const workers of this.#waiting.values()) workers.delete(worker);
  }

  #poster() {
    const workers = this.#options.workers();
    return { up: workers.up(), post: workers.post.bind(workers) };
  }

  async #obtain(name: string): Promise<void> {
    const prepared = this.#prepared;
    // The worker may have it by now.
    if (this.#tasks.get(name)?.served) return;
    if (prepared === null || !this.#allows(name)) throw new Denial("denied", "acme.onDemand.names does not contain it");
    const { settings } = prepared;
    const denial = await this.#findDenial(name);
    if (denial !== "") throw new Denial("denied", denial);
    if (this.#tasks.size + this.#ordering >= settings.limit)
      throw new Denial("limit", `acme.onDemand.limit (${settings.limit}) is reached`);
    if (!this.#takeToken(settings.rate))
      throw new Denial("rate_limited", `acme.onDemand.rate (${settings.rate}) is reached`);
    const task = this.#make(name, prepared);
    this.#ordering++;
    await task.order();
    this.#ordering--;
    // One that could not be saved is served, and saved later.
    if (task.served === null || !this.#allows(name)) {
      void task.stop();
      throw new Denial("failed", task.describe([]).problem || "it is not allowed any more");
    }
    this.counts.issued++;
    this.#tasks.set(name, task);
    task.start();
  }

  #make(name: string, { settings, shared }: PreparedOnDemand): CertificateTask {
    const { root: _, ...options } = shared;
    const { context } = this.#options;
    return new CertificateTask(
      {
        ...options,
        id: onDemandId(name),
        names: [name],
        files: this.#files(shared),
        ocsp: settings.ocsp,
        onDemand: true,
        findDenial: (one) => this.#renewalDenial(one),
      },
      context,
    );
  }

  #files({ root }: SharedOptions): CertificateFiles {
    return new CertificateFiles(join(root, "on-demand"));
  }

  /** Whether a certificate in service may be renewed; one that expired is removed. */
  async #renewalDenial(name: string): Promise<string> {
    const task = this.#tasks.get(name);
    // The first order: it was decided before.
    if (task === undefined) return "";
    if (task.served !== null && task.served.validTo < this.#options.context.now()) {
      this.#remove(name, task, false);
      await task.removeFiles();
      return "it has expired";
    }
    return this.#findDenial(name);
  }

  #remove(name: string, task: CertificateTask, isReplaced: boolean): void {
    void task.stop();
    this.#tasks.delete(name);
    if (!isReplaced) this.#options.removed(onDemandId(name));
  }

  /** Asks `ask`; empty: the name is allowed. */
  async #findDenial(name: string): Promise<string> {
    const ask = this.#prepared?.settings.ask;
    if (ask === undefined) return "";
    try {
      return await this.#asking.run(() => askFor(ask, name, this.#options.signal));
    } catch (error) {
      return `acme.onDemand.ask did not respond: ${boundText((error as Error).message)}`;
    }
  }

  #takeToken(rate: number): boolean {
    const now = this.#options.context.now();
    this.#tokens = Math.min(rate, this.#tokens + ((now - this.#filledAt) / MINUTE) * rate);
    this.#filledAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  #log(name: string, result: Result, cause: string): void {
    const { warnings } = this.#options.context;
    warnings.tick();
    if (warnings.admits("acme_on_demand", result))
      warnings.write("certificate on demand denied", { name, result, cause });
  }
}

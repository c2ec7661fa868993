/**
 * The certificates of the configuration in service that come from an ACME server. Workers get them by a message of their
 * own. A task of a certificate is kept over reloads as long as what concerns it is unchanged.
 */
import { join } from "node:path";
import type { ManagedCertificateStatus } from "../../admin/api.ts";
import type { Config } from "../../config/schema.ts";
import { managedId, type TlsCertificate } from "../../net/managed-certificates.ts";
import { servesPlainHttp } from "../../plan/acme-check.ts";
import type { CertificateInfo } from "../../plan/tls-files.ts";
import { Semaphore } from "../semaphore.ts";
import type { Workers } from "../workers.ts";
import { Account } from "./account.ts";
import { OnDemand, type OnDemandSettings, type PreparedOnDemand } from "./on-demand.ts";
import type { ChallengeType } from "./order.ts";
import { FAILURES, type Failure } from "./problem.ts";
import type { Served } from "./served.ts";
import { AccountFile, CertificateFiles, directoryOf } from "./storage.ts";
import { CertificateTask, type SharedOptions, type TaskContext, type TaskOptions } from "./task.ts";

export type ManagerOptions = Pick<TaskContext, "log" | "warnings" | "board"> & {
  readonly workers: () => Pick<Workers, "up" | "post">;
  /** Gets what a new certificate needs before it serves. */
  readonly prepare: (certificates: readonly CertificateInfo[]) => Promise<void>;
  /** The certificates in service have changed. */
  readonly onChange: () => void;
  /** Replaced in tests. */
  readonly now?: () => number;
  readonly random?: () => number;
};

type Uses = Pick<Config, "acme" | "listeners">;
type Wanted = { readonly names: readonly string[]; readonly listeners: string[]; ocsp: "fetch" | "off" };

/** `root`: the directory of the ACME server. */
type ServerAccount = { readonly key: string; readonly account: Account; readonly root: string };
type Prepared = {
  readonly account: ServerAccount;
  readonly wanted: ReadonlyMap<string, Wanted>;
  readonly tasks: ReadonlyMap<string, CertificateTask>;
  /** Null: no listener uses it. */
  readonly onDemand: PreparedOnDemand | null;
};

/** Concurrent orders; as many of on-demand names. */
const CONCURRENT = 4;
/** On-demand certificates that are shown. */
const MAX_SHOWN = 100;

export class CertificateManager {
  readonly #options: ManagerOptions;
  readonly #context: TaskContext;
  readonly #closing = new AbortController();
  readonly #counts = Object.fromEntries(["issued", ...FAILURES].map((result) => [result, 0])) as Record<
    "issued" | Failure,
    number
  >;
  readonly #onDemand: OnDemand;
  /** Those of the version in service. */
  #tasks: ReadonlyMap<string, CertificateTask> = new Map();
  readonly #prepared = new WeakMap<Uses, Prepared>();
  #wanted: ReadonlyMap<string, Wanted> = new Map();
  #account: ServerAccount | null = null;

  constructor(options: ManagerOptions) {
    this.#options = options;
    const { log, warnings, board, now = Date.now, random = Math.random } = options;
    const shared = {
      log,
      warnings,
      board,
      onServed: (task: CertificateTask, served: Served) => this.#serve(task, served),
      count: (result: "issued" | Failure) => this.#counts[result]++,
      now,
      random,
    };
    this.#context = { ...shared, ordering: new Semaphore(CONCURRENT) };
    this.#onDemand = new OnDemand({
      context: { ...shared, ordering: new Semaphore(CONCURRENT) },
      workers: options.workers,
      signal: this.#closing.signal,
      removed: (id) => this.#post([[id, null]]),
    });
  }

  /** Orders by result. */
  get counts(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  /** Requests for on-demand certificates, by result. */
  get requests(): Readonly<Record<string, number>> {
    return this.#onDemand.counts;
  }

  get onDemandCount(): number {
    return this.#onDemand.size;
  }

  /**
   * Loads the certificates on disk of a version that is to serve. Nothing in service changes, since the version may be
   * rejected. `ca`: PEM of `acme.ca`.
   */
  async prepare(config: Uses, ca: readonly string[]): Promise<void> {
    const account = this.#accountOf(config, ca);
    const shared: SharedOptions = {
      account: account.account,
      root: account.root,
      challenges: usableChallenges(config.acme.challenges, config.listeners),
      keyType: config.acme.keyType,
      onDemand: false,
      findDenial: async () => "",
    };
    const tasks = new Map<string, CertificateTask>();
    const loaded: CertificateTask[] = [];
    const wanted = findWanted(config);
    for (const [id, { names, ocsp }] of wanted) {
      const known = this.#tasks.get(id);
      const files = new CertificateFiles(join(account.root, "certificates"));
      const given = { ...shared, id, names, ocsp, files };
      const isKept = known !== undefined && isSame(known.options, given);
      const task = isKept ? known : new CertificateTask(given, this.#context);
      tasks.set(id, task);
      if (isKept) continue;
      await task.load();
      if (known === undefined) loaded.push(task);
    }
    const settings = onDemandSettings(config);
    const onDemand = settings && (await this.#onDemand.prepare(settings, shared));
    loaded.push(...(onDemand?.loaded.values() ?? []));
    this.#prepared.set(config, { account, wanted, tasks, onDemand });
    await this.#options.prepare(loaded.flatMap((task) => this.#infoOf(task, "")));
    // The version serves on workers before `take`.
    this.#post(loaded.flatMap((task) => (task.served === null ? [] : [[task.options.id, task.served.certificate]])));
  }

  /** A version with this configuration, which was prepared, serves. */
  take(config: Uses): void {
    const { account, wanted, tasks, onDemand } = this.#prepared.get(config)!;
    const before = this.#tasks;
    this.#account = account;
    this.#wanted = wanted;
    this.#tasks = tasks;
    for (const [id, task] of before) {
      if (tasks.get(id) === task) continue;
      const ended = task.stop();
      tasks.get(id)?.follow(task, ended);
      if (!tasks.has(id)) this.#post([[id, null]]);
    }
    for (const [id, task] of tasks) {
      if (task.served !== null && before.get(id) !== task) this.#post([[id, task.served.certificate]]);
      task.start();
    }
    this.#onDemand.take(onDemand);
  }

  /** The certificates in service, once for each listener. */
  list(): CertificateInfo[] {
    return [...this.#wanted].flatMap(([id, { listeners }]) => {
      const task = this.#tasks.get(id);
      return task === undefined ? [] : listeners.flatMap((listener) => this.#infoOf(task, listener));
    });
  }

  /** Those obtained on demand: their names are chosen by clients, so they are no labels of metrics. */
  listOnDemand(): CertificateInfo[] {
    return this.#onDemand.tasks().flatMap((task) => this.#infoOf(task, ""));
  }

  describe(): ManagedCertificateStatus[] {
    const configured = [...this.#wanted].flatMap(
      ([id, { listeners }]) => this.#tasks.get(id)?.describe(listeners) ?? [],
    );
    const onDemand = this.#onDemand.tasks().map((task) => task.describe(this.#onDemand.listeners));
    onDemand.sort((a, b) => Number(b.state === "failing") - Number(a.state === "failing"));
    return [...configured, ...onDemand.slice(0, MAX_SHOWN)];
  }

  /** When each configured certificate is ordered or renewed next, for metrics; wall-clock ms. */
  *schedule(): Iterable<{ file: string; at: number }> {
    for (const id of this.#wanted.keys()) {
      const task = this.#tasks.get(id);
      if (task !== undefined) yield { file: task.file, at: task.dueAt };
    }
  }

  /** A worker wants a certificate for a server name. */
  request(worker: number, name: string): void {
    void this.#onDemand.request(worker, name);
  }

  /** A worker has started. */
  workerUp(worker: number): void {
    const tasks = [...this.#tasks.values(), ...this.#onDemand.tasks()];
    const certificates = tasks.flatMap(({ options: { id }, served }): [string, TlsCertificate][] =>
      served === null ? [] : [[id, served.certificate]],
    );
    if (certificates.length > 0) this.#options.workers().post(worker, { type: "certificates", certificates });
  }

  forget(worker: number): void {
    this.#onDemand.forget(worker);
  }

  /** Cancels what runs; orders in progress are continued after the next start. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#tasks.values(), ...this.#onDemand.tasks()].map((task) => task.stop()));
  }

  async #serve(task: CertificateTask, served: Served): Promise<void> {
    await this.#options.prepare(this.#infoOf(task, ""));
    this.#post([[task.options.id, served.certificate]]);
    this.#options.onChange();
  }

  #post(certificates: [string, TlsCertificate | null][]): void {
    if (certificates.length === 0) return;
    const workers = this.#options.workers();
    for (const worker of workers.up()) workers.post(worker, { type: "certificates", certificates });
  }

  #infoOf({ served, options: { names }, file, renewedAt }: CertificateTask, listener: string): CertificateInfo[] {
    return served === null ? [] : [{ listener, file, names, expires: served.validTo, ocsp: served.ocsp, renewedAt }];
  }

  /** That in service if nothing of it differs. */
  #accountOf({ acme: { directory, email, externalAccount, storage } }: Uses, ca: readonly string[]): ServerAccount {
    const root = directoryOf(storage.path, directory);
    const key = JSON.stringify([root, directory, email, externalAccount, ca]);
    if (this.#account?.key === key) return this.#account;
    const contact = email === undefined ? [] : [`mailto:${email}`];
    const external = externalAccount ?? null;
    const { log } = this.#options;
    const signal = this.#closing.signal;
    const file = new AccountFile(root);
    return { key, root, account: new Account({ directory, ca, contact, external, file, log, signal }) };
  }
}

/** HTTP-01 needs a plain listener. */
function usableChallenges(given: readonly ChallengeType[], listeners: Uses["listeners"]): readonly ChallengeType[] {
  const isPlain = listeners.some(servesPlainHttp);
  const usable = given.filter((type) => type !== "http-01" || isPlain);
  // `check` has reported it.
  return usable.length > 0 ? usable : given;
}

/** The configured certificates by id. */
function findWanted({ listeners }: Uses): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  for (const { name, tls } of listeners)
    for (const { names } of tls?.managed ?? []) {
      const id = managedId(names);
      const known = wanted.get(id) ?? { names, listeners: [], ocsp: "off" };
      if (!known.listeners.includes(name)) known.listeners.push(name);
      if (tls?.ocsp === "fetch") known.ocsp = "fetch";
      wanted.set(id, known);
    }
  return wanted;
}

function onDemandSettings({ acme: { onDemand }, listeners }: Uses): OnDemandSettings | null {
  const used = listeners.filter(({ tls }) => tls?.onDemand);
  if (onDemand === undefined || used.length === 0) return null;
  const ocsp = used.some(({ tls }) => tls?.ocsp === "fetch") ? "fetch" : "off";
  return { ...onDemand, ocsp, listeners: used.map(({ name }) => name) };
}

function isSame(a: TaskOptions, b: TaskOptions): boolean {
  const isSameKind = a.ocsp === b.ocsp && a.keyType === b.keyType;
  return a.account === b.account && isSameKind && a.challenges.join() === b.challenges.join();
}

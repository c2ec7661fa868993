/** One managed certificate: obtains it, renews it in time, and tries again with growing delays after failures. */
import { join } from "node:path";
import type { ManagedCertificateStatus } from "../../admin/api.ts";
import type { KeyType } from "../../net/acme/certificates.ts";
import type { Log } from "../../observe/log.ts";
import type { ThrottledLog } from "../../observe/throttled-log.ts";
import type { Semaphore } from "../semaphore.ts";
import type { Account } from "./account.ts";
import type { ChallengeBoard } from "./challenge-board.ts";
import { LockedError } from "./lock.ts";
import { type ChallengeType, type Obtained, obtain } from "./order.ts";
import { AcmeError, boundText, endsOrder, type Failure } from "./problem.ts";
import { isEarly, nextCheck, plausibleTry, renewalTime, retryTime, selectTime } from "./schedule.ts";
import { makeServed, type Served } from "./served.ts";
import { type CertificateFiles, fileNameOf, NEW_STATE, type SavedState } from "./storage.ts";

/** What all tasks share. */
export type TaskContext = {
  readonly log: Pick<Log, "info" | "warn" | "error">;
  readonly warnings: ThrottledLog;
  readonly board: Pick<ChallengeBoard, "publish" | "withdraw">;
  /** Limits concurrent orders. */
  readonly ordering: Semaphore;
  /** A certificate is to be served from now on. */
  readonly onServed: (task: CertificateTask, served: Served) => Promise<void>;
  readonly count: (result: "issued" | Failure) => void;
  readonly now: () => number;
  readonly random: () => number;
};

export type TaskOptions = {
  readonly id: string;
  readonly names: readonly string[];
  readonly account: Account;
  readonly files: CertificateFiles;
  /** Most preferred first, not empty. */
  readonly challenges: readonly ChallengeType[];
  /** Of the next certificate. */
  readonly keyType: KeyType;
  readonly ocsp: "fetch" | "off";
  readonly onDemand: boolean;
  /** Why no certificate may be ordered for an on-demand name; empty: it may. */
  readonly findDenial: (name: string) => Promise<string>;
};

/** What tasks of a version share. `root`: the directory of the ACME server. */
export type SharedOptions = Omit<TaskOptions, "id" | "names" | "ocsp" | "files"> & { readonly root: string };

/** Of one attempt, ms. */
const ATTEMPT_TIMEOUT = 300_000;
/** ms. Then the due time is computed again: the system's clock may have been set meanwhile. */
const LONGEST_TIMER = 3_600_000;
/** Renewal information is read first after, ms. */
const FIRST_CHECK = 1000;
const DAY = 86_400_000;

export class CertificateTask {
  readonly options: TaskOptions;
  readonly file: string;
  readonly #context: TaskContext;
  readonly #fileName: string;
  readonly #closing = new AbortController();
  #served: Served | null = null;
  #state: SavedState;
  /** Without renewal information, or until it was read. */
  #renewal = 0;
  #checkAt = 0;
  #timer: NodeJS.Timeout | null = null;
  #started = false;
  /** Before it starts; never rejects. */
  #awaited: Promise<void> = Promise.resolve();
  /** Whether something runs: an order, or a request for renewal information. */
  #running: "order" | "check" | null = null;
  /** The last order, which never rejects. */
  #ended: Promise<unknown> = Promise.resolve();

  constructor(options: TaskOptions, context: TaskContext) {
    this.options = options;
    this.#context = context;
    this.#fileName = fileNameOf(options.names);
    this.#state = { ...NEW_STATE, names: options.names };
    this.file = join(options.files.directory, `${this.#fileName}.pem`);
  }

  get served(): Served | null {
    return this.#served;
  }

  /** Days before expiry at which it is renewed. */
  get renewedAt(): number {
    return this.#served === null ? 0 : (this.#served.validTo - this.#renewalAt()) / DAY;
  }

  /** Reads certificate and state from disk. */
  async load(): Promise<void> {
    const { files, names } = this.options;
    try {
      this.#state = (await files.readState(this.#fileName)) ?? this.#state;
      const saved = await files.readCertificate(this.#fileName);
      if (saved !== null)
        this.#take(makeServed(saved, { names, file: this.file, ocsp: this.options.ocsp, now: this.#now }));
    } catch (error) {
      this.#context.log.warn({ file: this.file, cause: (error as Error).message }, "saved certificate cannot be used");
    }
  }

  /**
   * Takes the place of a task for the same names. Starts when that one has ended, with its order, and serves its
   * certificate, which may be of another ACME server, until it has its own.
   */
  follow(other: CertificateTask, ended: Promise<void>): void {
    if (this.#served === null) this.#served = other.#served;
    this.#awaited = ended.then(() => this.load());
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    void this.#awaited.then(() => this.#schedule());
  }

  /** Cancels a running order, which a later start continues. Returns when its state is saved. */
  async stop(): Promise<void> {
    this.#started = false;
    this.#closing.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#ended;
  }

  removeFiles(): Promise<void> {
    return this.options.files.remove(this.#fileName);
  }

  describe(listeners: readonly string[]): ManagedCertificateStatus {
    const iso = (time: number) => new Date(time).toISOString();
    const { names, onDemand } = this.options;
    const { failures, problem } = this.#state;
    const isValid = this.#served !== null && this.#served.validTo > this.#now;
    const state = problem !== "" ? "failing" : isValid ? "valid" : "pending";
    return {
      listeners,
      names,
      onDemand,
      state,
      expires: this.#served === null ? null : iso(this.#served.validTo),
      nextTry: this.#running === "order" ? null : iso(this.dueAt),
      isOrdering: this.#running === "order",
      failures,
      problem,
    };
  }

  get #now(): number {
    return this.#context.now();
  }

  #take(served: Served): void {
    this.#served = served;
    this.#renewal = renewalTime(served.validFrom, served.validTo, this.#context.random());
    this.#checkAt = this.#state.suggestion?.checkAt ?? this.#now + FIRST_CHECK;
  }

  #renewalAt(): number {
    return this.#state.suggestion?.at ?? this.#renewal;
  }

  /** When the next order is due. */
  get dueAt(): number {
    const isUnfinished = this.#served === null || this.#state.order !== null;
    const due = isUnfinished ? this.#now : this.#renewalAt();
    return Math.max(due, plausibleTry(this.#state.nextTry, this.#now));
  }

  #schedule(): void {
    if (!this.#started || this.#running !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const due = this.dueAt;
    const next = this.#served?.renewalId ? Math.min(due, this.#checkAt) : due;
    const delay = Math.min(Math.max(next - this.#now, 0), LONGEST_TIMER);
    this.#timer = setTimeout(() => {
      if (this.dueAt <= this.#now) void this.order();
      else if (this.#checkAt <= this.#now && this.#served?.renewalId)
        void this.#check(this.#served, this.#served.renewalId);
      else this.#schedule();
    }, delay).unref();
  }

  /** Orders the certificate. Never rejects; returns whether it was obtained. */
  order(): Promise<boolean> {
    if (this.#running !== null) return Promise.resolve(false);
    this.#running = "order";
    const ordering = this.#order();
    this.#ended = ordering;
    return ordering;
  }

  async #order(): Promise<boolean> {
    const before = this.#state;
    let isDone = false;
    try {
      await this.#context.ordering.run(() => this.#orderLocked());
      isDone = true;
    } catch (error) {
      await this.#failed(error as Error, before);
    }
    this.#running = null;
    this.#schedule();
    return isDone;
  }

  async #orderLocked(): Promise<void> {
    this.#closing.signal.throwIfAborted();
    const unlock = await this.options.files.lock(this.#fileName, this.#closing.signal);
    try {
      if (!(await this.#takeSaved())) await this.#attempt();
    } finally {
      await unlock();
    }
  }

  /** Another process that uses the storage may have obtained the certificate. Returns whether no order is due then. */
  async #takeSaved(): Promise<boolean> {
    const { files, names, ocsp } = this.options;
    const saved = await files.readCertificate(this.#fileName).catch(() => null);
    if (saved === null || saved.key === this.#served?.certificate.key) return false;
    try {
      const served = makeServed(saved, { names, file: this.file, ocsp, now: this.#now });
      if (served.validTo <= Math.max(this.#now, this.#served?.validTo ?? 0)) return false;
      this.#state = (await files.readState(this.#fileName)) ?? this.#state;
      this.#take(served);
      await this.#context.onServed(this, served);
      this.#context.log.info({ names, file: this.file }, "certificate of another process is used");
    } catch {
      return false;
    }
    return this.dueAt > this.#now;
  }

  async #attempt(): Promise<void> {
    const { account, names, keyType, onDemand, findDenial, files } = this.options;
    const { now, random, board } = this.#context;
    if (onDemand) {
      const denial = await findDenial(names[0]!);
      if (denial !== "") throw new AcmeError("denied", denial);
    }
    const failures = this.#state.failures + 1;
    // Saved before the attempt: a process that crashes during it and is started again must not order without delay.
    const nextTry = retryTime(failures, null, { now: now(), random: random() });
    await this.#save({ ...this.#state, names, failures, nextTry, problem: "the process ended during the attempt" });
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(ATTEMPT_TIMEOUT)]);
    const obtained = await account.run((client) =>
      obtain({
        client: client.until(signal),
        names,
        keyType,
        challenges: this.#challengesOf(failures),
        saved: this.#state.order,
        replaces: this.#served?.renewalId ?? null,
        save: (order) => this.#save({ ...this.#state, order }),
        publish: (challenge) => board.publish(challenge),
        withdraw: (challenge) => board.withdraw(challenge),
        signal,
      }),
    );
    const served = this.#accept(obtained);
    this.#state = { ...this.#state, ...this.#issued(served), failures: 0, problem: "", suggestion: null };
    this.#take(served);
    await this.#context.onServed(this, served);
    await files.writeCertificate(this.#fileName, obtained);
    // The order is forgotten only now: until then a restart, or the next attempt, downloads the certificate again.
    await this.#save({ ...this.#state, order: null });
    this.#context.count("issued");
    const expires = new Date(served.validTo).toISOString();
    this.#context.log.info({ names, file: this.file, expires }, "certificate obtained");
  }

  /** @throws AcmeError if a certificate of the server cannot be used */
  #accept(obtained: Obtained): Served {
    const { names, ocsp } = this.options;
    const now = this.#now;
    let served: Served;
    try {
      served = makeServed(obtained, { names, file: this.file, ocsp, now });
    } catch (error) {
      throw new AcmeError("invalid_response", boundText((error as Error).message));
    }
    const { validFrom, validTo } = served;
    if (validTo > now && validFrom < now + DAY) return served;
    const period = `${new Date(validFrom).toISOString()} to ${new Date(validTo).toISOString()}`;
    throw new AcmeError("invalid_response", `the certificate is not valid now, but from ${period}`);
  }

  /**
   * A server may suggest renewals without end, or issue certificates that are to be renewed at once: each
   * renewal is delayed by more than the one before.
   */
  #issued({ validFrom, validTo }: Served): Pick<SavedState, "issuedAt" | "early" | "nextTry"> {
    const { now, random } = this.#context;
    const early = isEarly(this.#state.issuedAt, now(), validTo - validFrom) ? this.#state.early + 1 : 0;
    const nextTry = early === 0 ? 0 : retryTime(early, null, { now: now(), random: random() });
    return { issuedAt: now(), early, nextTry };
  }

  /** After a failure the next one is tried first. */
  #challengesOf(attempt: number): readonly ChallengeType[] {
    const { challenges } = this.options;
    const first = (attempt - 1) % challenges.length;
    return [...challenges.slice(first), ...challenges.slice(0, first)];
  }

  async #failed(error: Error, before: SavedState): Promise<void> {
    const { now, random, count } = this.#context;
    if (this.#closing.signal.aborted) {
      // Not a failure: the attempt continues after the start.
      await this.#save({ ...before, order: this.#state.order }).catch(() => undefined);
      return;
    }
    const known = error instanceof AcmeError ? error : new AcmeError("other", describeError(error));
    count(known.failure);
    const failures = before.failures + 1;
    const nextTry = retryTime(failures, known.retryAt, { now: now(), random: random() });
    const order = endsOrder(known) ? null : this.#state.order;
    this.#state = { ...this.#state, order, failures, nextTry, problem: known.message };
    // The state on disk is of the process that holds the lock.
    if (!(error instanceof LockedError)) await this.#saveFailure();
    this.#report(known);
  }

  async #saveFailure(): Promise<void> {
    const { warnings } = this.#context;
    await this.#save(this.#state).catch((problem: Error) => {
      if (warnings.admits("acme_state", this.options.account.options.directory))
        warnings.write("state of a certificate could not be saved", { file: this.file, cause: problem.message });
    });
  }

  #report({ message: cause, failure }: AcmeError): void {
    const { warnings } = this.#context;
    const { names, onDemand } = this.options;
    warnings.tick();
    if (!warnings.admits("acme_failed", onDemand ? "on-demand" : names[0]!)) return;
    const { failures, nextTry } = this.#state;
    const expires = this.#served === null ? null : new Date(this.#served.validTo).toISOString();
    const fields = { names, failure, cause, failures, nextTry: new Date(nextTry).toISOString(), expires };
    warnings.write("certificate could not be obtained", fields);
  }

  async #save(state: SavedState): Promise<void> {
    this.#state = state;
    // Clients can choose names on demand: nothing is kept of a name without a certificate.
    if (this.options.onDemand && this.#served === null) return;
    await this.options.files.writeState(this.#fileName, state);
  }

  /** Whether the state on disk is of this certificate: another process that uses the storage may have renewed it. */
  async #isSaved({ certificate }: Served): Promise<boolean> {
    const saved = await this.options.files.readCertificate(this.#fileName).catch(() => null);
    return saved === null || saved.key === certificate.key;
  }

  /** Reads the renewal information. */
  async #check(served: Served, id: string): Promise<void> {
    this.#running = "check";
    const { now, random, warnings } = this.#context;
    try {
      const client = await this.options.account.open();
      const window = await client.until(this.#closing.signal).renewalInfo(id);
      this.#checkAt = nextCheck(now());
      if (window !== null && this.#served === served) {
        const suggestion = selectTime(window, this.#state.suggestion, { now: now(), random: random(), ...served });
        this.#checkAt = suggestion.checkAt;
        this.#state = { ...this.#state, suggestion };
        if (await this.#isSaved(served)) await this.#save(this.#state);
      }
    } catch (error) {
      this.#checkAt = nextCheck(now());
      const cause = boundText((error as Error).message);
      warnings.tick();
      if (!this.#closing.signal.aborted && warnings.admits("acme_renewal_info", this.options.account.options.directory))
        warnings.write("renewal information could not be read", { names: this.options.names, cause });
    }
    this.#running = null;
    this.#schedule();
  }
}

function describeError(error: Error): string {
  const { name, message } = error;
  return name === "AbortError" || name === "TimeoutError"
    ? `not complete within ${ATTEMPT_TIMEOUT} ms`
    : boundText(message);
}

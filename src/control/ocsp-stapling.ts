/**
 * OCSP stapling: gets the responses of the certificates in service, verifies them, refreshes them at half of their
 * validity, and passes them to the workers. While a responder does not respond the last response is served until it
 * expires.
 */
import type { OcspStatus } from "../admin/api.ts";
import { makeRequest } from "../net/ocsp/request.ts";
import { isoTime, type OcspStatement, verifyResponse } from "../net/ocsp/response.ts";
import type { Staple } from "../net/staples.ts";
import type { Log } from "../observe/log.ts";
import type { ThrottledLog } from "../observe/throttled-log.ts";
import type { CertificateInfo } from "../plan/tls-files.ts";
import type { OcspSource } from "../plan/tls-ocsp.ts";
import { fetchOcsp } from "./ocsp-fetch.ts";
import { Semaphore } from "./semaphore.ts";

/** Results of an attempt. `unreachable`: no response; `invalid`: one that cannot be verified. */
type FetchResult = OcspStatement["status"] | "unreachable" | "invalid";

export type OcspStaplingOptions = {
  readonly log: Pick<Log, "info" | "error">;
  readonly warnings: ThrottledLog;
  /** Called when the response of a certificate has changed; null: it has none now. */
  readonly onStaple: (id: string, staple: Staple | null) => void;
  /** Replaced in tests. */
  readonly fetch?: (url: string, body: Buffer, signal: AbortSignal) => Promise<Buffer>;
  readonly now?: () => number;
};

/** ms. */
const SECOND = 1000;
/** Validity of a response that does not limit it. */
const DEFAULT_VALIDITY = 3_600_000;
const SHORTEST_INTERVAL = 10 * SECOND;
/** Delay after a failed attempt; it doubles with each further one. */
const FIRST_RETRY = 5 * SECOND;
const LONGEST_RETRY = 600 * SECOND;
/** Timers are limited to 24 days. */
const LONGEST_INTERVAL = 7 * 86_400_000;
/** Time limit for the responses of must-staple certificates before a new version serves. */
const PREPARE_TIME = 5 * SECOND;
/** Concurrent requests to a responder. */
const MAX_FETCHES = 8;

type Entry = {
  readonly source: OcspSource;
  /** For logs. */
  readonly file: string;
  staple: Staple | null;
  /** Wall-clock ms from and until which the last response is valid. */
  thisUpdate: number;
  until: number;
  revokedAt: number | null;
  /** Of the last attempt; empty: it succeeded. */
  problem: string;
  failures: number;
  timer: NodeJS.Timeout | null;
  /** An attempt is under way. */
  isTrying: boolean;
};

export class OcspStapling {
  readonly #options: OcspStaplingOptions;
  readonly #now: () => number;
  readonly #warnings: ThrottledLog;
  readonly #entries = new Map<string, Entry>();
  readonly #counts: Record<FetchResult, number> = { good: 0, revoked: 0, unknown: 0, invalid: 0, unreachable: 0 };
  /** Those in service: the others are not refreshed. */
  #serving: ReadonlySet<string> = new Set();
  readonly #closing = new AbortController();
  /** By responder. */
  readonly #fetching = new Map<string, Semaphore>();

  constructor(options: OcspStaplingOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#warnings = options.warnings;
  }

  /** Attempts by result. */
  get counts(): Readonly<Record<FetchResult, number>> {
    return this.#counts;
  }

  /** All current responses, for a worker that starts. */
  staples(): [id: string, staple: Staple][] {
    return [...this.#entries].flatMap(([id, { staple }]) => (staple === null ? [] : [[id, staple]]));
  }

  /** Gets the responses of new certificates. Waits, for a bounded time, for those of must-staple certificates. */
  async prepare(certificates: readonly CertificateInfo[]): Promise<void> {
    const required: Promise<void>[] = [];
    for (const { file, ocsp } of certificates) {
      if (ocsp.source === null || this.#entries.has(ocsp.source.id)) continue;
      const entry = newEntry(file, ocsp.source);
      this.#entries.set(ocsp.source.id, entry);
      const attempt = this.#attempt(entry);
      if (ocsp.mustStaple) required.push(attempt);
    }
    if (required.length === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, PREPARE_TIME);
    await Promise.race([promise, Promise.all(required)]);
    clearTimeout(timer);
  }

  /** A version with these certificates serves. */
  take(certificates: readonly CertificateInfo[]): void {
    this.#serving = new Set(certificates.flatMap(({ ocsp }) => ocsp.source?.id ?? []));
    for (const [id, entry] of this.#entries) {
      if (this.#serving.has(id)) {
        if (!entry.isTrying && entry.timer === null) this.#schedule(entry);
        continue;
      }
      if (entry.timer !== null) clearTimeout(entry.timer);
      this.#entries.delete(id);
      this.#options.onStaple(id, null);
    }
  }

  describe({ ocsp: { source, mustStaple, problem } }: Pick<CertificateInfo, "ocsp">): OcspStatus {
    const entry = source === null ? undefined : this.#entries.get(source.id);
    if (entry === undefined) return { state: "none", mustStaple, until: null, problem };
    const valid = this.#validStaple(entry);
    const until = valid && isoTime(valid.until);
    const failed = entry.problem === "" ? "pending" : "failed";
    const state = entry.revokedAt !== null ? "revoked" : until !== null ? "stapled" : failed;
    const reason = entry.revokedAt === null ? entry.problem : `revoked at ${isoTime(entry.revokedAt)}`;
    return { state, mustStaple, until, problem: reason };
  }

  /** Those of the certificates that should have a response, for metrics. */
  list(certificates: readonly CertificateInfo[]): { listener: string; file: string; until: number | null }[] {
    return certificates.flatMap(({ listener, file, ocsp: { source, mustStaple } }) => {
      const entry = source === null ? undefined : this.#entries.get(source.id);
      const until = (entry && this.#validStaple(entry)?.until) ?? null;
      return source === null && !mustStaple ? [] : [{ listener, file, until }];
    });
  }

  close(): void {
    this.#closing.abort();
    for (const { timer } of this.#entries.values()) if (timer !== null) clearTimeout(timer);
  }

  #validStaple({ staple }: Entry): Staple | null {
    return staple !== null && this.#now() < staple.until ? staple : null;
  }

  /** Never rejects. */
  async #attempt(entry: Entry): Promise<void> {
    const { source } = entry;
    entry.isTrying = true;
    let result: FetchResult = "unreachable";
    try {
      const response = source.response ?? (await this.#fetch(source));
      result = "invalid";
      const statement = verifyResponse(response, source, this.#now());
      // It may be from a cache, or be replayed to hide a revocation.
      if (statement.thisUpdate < entry.thisUpdate) throw new Error("the response is older than the current one");
      result = statement.status;
      this.#accept(entry, response, statement);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      this.#failed(entry, error as Error);
    }
    if (source.response === null) this.#counts[result]++;
    entry.isTrying = false;
    if (this.#isServing(entry)) this.#schedule(entry);
  }

  /** False also if the certificate was removed and added again while an attempt was under way. */
  #isServing(entry: Entry): boolean {
    const { id } = entry.source;
    return this.#serving.has(id) && this.#entries.get(id) === entry;
  }

  #fetch({ from, ...issued }: OcspSource): Promise<Buffer> {
    const { fetch = fetchOcsp } = this.#options;
    const fetching = this.#fetching.getOrInsertComputed(from, () => new Semaphore(MAX_FETCHES));
    return fetching.run(() => fetch(from, makeRequest(issued), this.#closing.signal));
  }

  #accept(entry: Entry, response: Buffer, { status, thisUpdate, nextUpdate, revokedAt }: OcspStatement): void {
    if (status === "unknown") throw new Error("the responder does not know the certificate");
    const until = nextUpdate ?? this.#now() + DEFAULT_VALIDITY;
    // A copy: a small buffer is a part of a shared one, which the message to the workers would contain.
    const staple = status === "good" ? { response: new Uint8Array(response), until } : null;
    entry.thisUpdate = thisUpdate;
    entry.until = until;
    entry.revokedAt = revokedAt;
    entry.failures = 0;
    entry.problem = "";
    const { file, source } = entry;
    const fields = { file, from: source.from, until: isoTime(until) };
    if (staple !== null) this.#options.log.info(fields, "OCSP response received");
    else this.#options.log.error({ ...fields, revokedAt: isoTime(revokedAt ?? 0) }, "certificate is revoked");
    entry.staple = staple;
    if (this.#entries.get(source.id) === entry) this.#options.onStaple(source.id, staple);
  }

  #failed(entry: Entry, { message, code = "" }: NodeJS.ErrnoException): void {
    // An AggregateError has no message.
    const cause = message || code;
    const { file, source } = entry;
    const { from, mustStaple } = source;
    entry.problem = cause;
    entry.failures++;
    const until = this.#validStaple(entry)?.until ?? null;
    const isMissing = mustStaple && until === null;
    const [kind, object] = isMissing ? ["ocsp_must_staple", file] : ["ocsp_failed", from];
    this.#warnings.tick();
    if (!this.#warnings.admits(kind, object)) return;
    this.#warnings.write(
      isMissing ? "must-staple certificate has no valid OCSP response" : "no OCSP response was received",
      { file, from, cause, until: until === null ? null : isoTime(until) },
    );
  }

  /** Plans the next attempt: for a file, when its response expires, so that this is logged. */
  #schedule(entry: Entry): void {
    const { source, failures, until } = entry;
    if (source.response !== null && failures > 0) return;
    // Half of the remaining validity: a responder may return the same response again.
    const left = (until - this.#now()) / (source.response === null ? 2 : 1);
    const refresh = Math.min(LONGEST_INTERVAL, Math.max(SHORTEST_INTERVAL, left));
    const delay = failures > 0 ? retryDelay(failures) : refresh;
    entry.timer = setTimeout(() => {
      entry.timer = null;
      void this.#attempt(entry);
    }, delay).unref();
  }
}

function newEntry(file: string, source: OcspSource): Entry {
  return {
    source,
    file,
    staple: null,
    thisUpdate: 0,
    until: 0,
    revokedAt: null,
    problem: "",
    failures: 0,
    timer: null,
    isTrying: false,
  };
}

/** With jitter, so that the certificates of one responder are not all tried at once. */
function retryDelay(failures: number): number {
  const delay = Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** (failures - 1));
  return delay * (0.75 + Math.random() / 4);
}

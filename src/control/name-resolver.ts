/**
 * Resolves names of endpoints repeatedly: when their time to live is over, and after a failure with growing pauses. A
 * failed or empty resolution keeps the last addresses. A name without addresses is not an error.
 */
import type { Log } from "../observe/log.ts";

/** Resolves a name. @throws Error */
export type Lookup<T = string> = (name: string) => Promise<Resolution<T>>;
/** `ttl` in milliseconds. */
export type Resolution<T = string> = { readonly addresses: readonly T[]; readonly ttl: number };

export type ResolverOptions<T = string> = {
  readonly log: Log;
  /** Called when the addresses of a watched name have changed. */
  readonly onChange: (name: string) => void;
  readonly lookup: Lookup<T>;
  /** Maximum duration of `resolve`, ms; addresses found later are reported as a change. */
  readonly timeout?: number;
};

/** Number of attempts by result. */
export type ResolveCounts = { resolved: number; empty: number; failed: number };

/** Status of a name. Times are ms since the epoch. */
export type NameStatus = { resolvedAt: number | null; nextAt: number | null; problem: string | null };

const TIMEOUT = 3_000;
const MIN_PAUSE = 1_000;
const MAX_PAUSE = 30_000;
/** Random addition, as a share of the time to live, so that names resolved together do not stay synchronised. */
const JITTER = 0.1;

type State<T> = {
  /** The result of the last success. */
  addresses: readonly T[];
  /** ms since the epoch of the last success; 0: none. */
  resolvedAt: number;
  /** Time of the next attempt (performance.now()). */
  dueAt: number;
  /** Consecutive. */
  failures: number;
  problem: string | null;
  pending: Promise<void> | null;
  /** Pending calls of `resolve`, which receive the result. */
  waiting: number;
};

/** Error codes of names that do not exist or have no such records. */
const ABSENT: ReadonlySet<string> = new Set(["ENOTFOUND", "ENODATA"]);

export class Resolver<T = string> {
  readonly #options: ResolverOptions<T>;
  readonly #states = new Map<string, State<T>>();
  /** The reported addresses of the watched names. */
  #watched = new Map<string, readonly T[]>();
  readonly #counts: ResolveCounts = { resolved: 0, empty: 0, failed: 0 };
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: ResolverOptions<T>) {
    this.#options = options;
  }

  get counts(): Readonly<ResolveCounts> {
    return this.#counts;
  }

  /** Returns the addresses of a name, in the order of the lookup; empty if it cannot be resolved in time. */
  async resolve(name: string): Promise<readonly T[]> {
    const state = this.#stateOf(name);
    if (state.addresses.length > 0 && state.dueAt > performance.now()) return state.addresses;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, this.#options.timeout ?? TIMEOUT);
    state.waiting++;
    await Promise.race([this.#resolveOnce(name, state), late.promise]);
    state.waiting--;
    clearTimeout(timer);
    return state.addresses;
  }

  /** The known addresses of the name. */
  addressesOf(name: string): readonly T[] {
    return this.#states.get(name)?.addresses ?? [];
  }

  /** Why a name has no address, or null. */
  problemOf(name: string): string | null {
    const state = this.#states.get(name);
    return state === undefined || state.addresses.length > 0 ? null : (state.problem ?? "not resolved yet");
  }

  describe(name: string): NameStatus {
    const state = this.#states.get(name);
    if (state === undefined) return { resolvedAt: null, nextAt: null, problem: null };
    const nextAt = state.pending === null ? Math.round(Date.now() + state.dueAt - performance.now()) : null;
    return { resolvedAt: state.resolvedAt || null, nextAt, problem: state.problem ?? this.problemOf(name) };
  }

  /** Keeps these names resolved, reporting addresses that differ from the given ones; forgets all others. */
  watch(names: ReadonlyMap<string, readonly T[]>): void {
    this.#watched = new Map(names);
    for (const name of this.#states.keys()) if (!names.has(name)) this.#states.delete(name);
    for (const name of names.keys()) this.#reportChange(name, this.#stateOf(name));
    this.#schedule();
  }

  /** Resolves every watched name at once, because the servers have changed. */
  refresh(): void {
    for (const state of this.#states.values()) state.dueAt = 0;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #stateOf(name: string): State<T> {
    const state = { addresses: [], resolvedAt: 0, dueAt: 0, failures: 0, problem: null, pending: null, waiting: 0 };
    return this.#states.getOrInsert(name, state);
  }

  /** Starts an attempt, or returns the pending one. Never rejects. */
  #resolveOnce(name: string, state: State<T>): Promise<void> {
    state.pending ??= this.#attempt(name, state).finally(() => {
      state.pending = null;
      if (this.#closed) return;
      if (state.waiting === 0) this.#reportChange(name, state);
      this.#schedule();
    });
    return state.pending;
  }

  async #attempt(name: string, state: State<T>): Promise<void> {
    const { log } = this.#options;
    try {
      const { addresses, ttl } = await this.#options.lookup(name);
      if (addresses.length === 0) throw Object.assign(new Error("no address"), { code: "ENODATA" });
      this.#counts.resolved++;
      if (state.failures > 0) log.info({ name, addresses: addresses.length }, "name resolved again");
      const dueAt = performance.now() + ttl * (1 + JITTER * Math.random());
      Object.assign(state, { addresses, failures: 0, problem: null, dueAt, resolvedAt: Date.now() });
    } catch (error) {
      if (this.#closed) return;
      const failures = ++state.failures;
      state.problem = error instanceof Error && "code" in error ? String(error.code) : (error as Error).message;
      this.#counts[ABSENT.has(state.problem) ? "empty" : "failed"]++;
      const pause = Math.min(MAX_PAUSE, MIN_PAUSE * 2 ** Math.min(failures - 1, 10));
      state.dueAt = performance.now() + pause;
      // Logs failures 1, 2, 4, 8 and so on.
      if ((failures & (failures - 1)) === 0)
        log.warn({ name, problem: state.problem, failures, kept: state.addresses.length }, "name cannot be resolved");
    }
  }

  #reportChange(name: string, { addresses }: State<T>): void {
    const known = this.#watched.get(name);
    if (known === undefined || JSON.stringify(addresses) === JSON.stringify(known)) return;
    this.#watched.set(name, addresses);
    this.#options.onChange(name);
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    let next = Number.POSITIVE_INFINITY;
    for (const name of this.#watched.keys()) {
      const state = this.#states.get(name);
      if (state?.pending === null) next = Math.min(next, state.dueAt);
    }
    if (next === Number.POSITIVE_INFINITY || this.#closed) return;
    this.#timer = setTimeout(() => this.#refresh(), Math.max(50, next - performance.now()));
    this.#timer.unref();
  }

  #refresh(): void {
    const now = performance.now();
    for (const name of this.#watched.keys()) {
      const state = this.#stateOf(name);
      if (state.dueAt <= now) void this.#resolveOnce(name, state);
    }
    this.#schedule();
  }
}

/**
 * Names of endpoints and what they stand for, resolved again and again. A name without an address is a state and not an
 * error: its endpoints are not there yet. Names in use are resolved when their time to live is over, after a failure
 * with growing pauses; a failure or an empty answer keeps the last addresses.
 */
import type { Log } from "../observe/log.ts";

/** What a name stands for, and for how many milliseconds. @throws Error when there is nothing. */
export type Lookup<T = string> = (name: string) => Promise<Answer<T>>;
export type Answer<T = string> = { readonly addresses: readonly T[]; readonly ttl: number };

export type ResolverOptions<T = string> = {
  readonly log: Log;
  /** Called when the addresses of a name in use are others than those that are served. */
  readonly onChange: (name: string) => void;
  readonly lookup: Lookup<T>;
  /** Milliseconds that `resolve` waits for a name; an answer that is received later is a change. */
  readonly patience?: number;
};

/** Attempts, by result. */
export type ResolveCounts = { resolved: number; empty: number; failed: number };

/** What is known of a name. Times are ms since the epoch. */
export type NameStatus = { resolvedAt: number | null; nextAt: number | null; problem: string | null };

const PATIENCE = 3_000;
const LEAST_PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;
/** Of the time to live, at random on top, so that names that were resolved together do not stay together. */
const JITTER = 0.1;

type State<T> = {
  /** The last that were found, also when asking again has failed: endpoints that serve are not taken away. */
  addresses: readonly T[];
  /** ms since the epoch of the last good answer; 0: there was none. */
  resolvedAt: number;
  /** When it is asked again (performance.now()). */
  next: number;
  /** In a row. */
  failures: number;
  problem: string | null;
  pending: Promise<void> | null;
  /** Calls of `resolve` that take what is found. */
  waiting: number;
};

/** Codes of answers that say that there is no address: the name or its records do not exist. */
const ABSENT: ReadonlySet<string> = new Set(["ENOTFOUND", "ENODATA"]);

export class Resolver<T = string> {
  readonly #options: ResolverOptions<T>;
  readonly #states = new Map<string, State<T>>();
  /** The addresses that are in service, by name. */
  #served = new Map<string, readonly T[]>();
  readonly #counts: ResolveCounts = { resolved: 0, empty: 0, failed: 0 };
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: ResolverOptions<T>) {
    this.#options = options;
  }

  /** Attempts without an address, since the start. */
  get failures(): number {
    return this.#counts.empty + this.#counts.failed;
  }

  get counts(): Readonly<ResolveCounts> {
    return this.#counts;
  }

  /** The addresses of a name, in the lookup's order; none where it cannot be resolved, yet. */
  async resolve(name: string): Promise<readonly T[]> {
    const state = this.#stateOf(name);
    if (state.addresses.length > 0 && state.next > performance.now()) return state.addresses;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, this.#options.patience ?? PATIENCE);
    state.waiting++;
    await Promise.race([this.#ask(name, state), late.promise]);
    state.waiting--;
    clearTimeout(timer);
    return state.addresses;
  }

  /** What the name stands for by now. */
  addressesOf(name: string): readonly T[] {
    return this.#states.get(name)?.addresses ?? [];
  }

  /** Why a name has no address, or null. */
  problemOf(name: string): string | null {
    const state = this.#states.get(name);
    return state === undefined || state.addresses.length > 0 ? null : (state.problem ?? "no answer yet");
  }

  describe(name: string): NameStatus {
    const state = this.#states.get(name);
    if (state === undefined) return { resolvedAt: null, nextAt: null, problem: null };
    const nextAt = state.pending === null ? Math.round(Date.now() + state.next - performance.now()) : null;
    return { resolvedAt: state.resolvedAt || null, nextAt, problem: state.problem ?? this.problemOf(name) };
  }

  /** These names, with these addresses, are in service from now on; other names are forgotten. */
  watch(served: ReadonlyMap<string, readonly T[]>): void {
    this.#served = new Map(served);
    for (const name of this.#states.keys()) if (!served.has(name)) this.#states.delete(name);
    for (const name of served.keys()) this.#report(name, this.#stateOf(name));
    this.#schedule();
  }

  /** Resolves every name in service now: other servers are asked than before. */
  refresh(): void {
    for (const state of this.#states.values()) state.next = 0;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #stateOf(name: string): State<T> {
    let state = this.#states.get(name);
    if (state === undefined) {
      state = { addresses: [], resolvedAt: 0, next: 0, failures: 0, problem: null, pending: null, waiting: 0 };
      this.#states.set(name, state);
    }
    return state;
  }

  /** One attempt at a time: further calls wait for the one under way. Never throws. */
  #ask(name: string, state: State<T>): Promise<void> {
    state.pending ??= this.#attempt(name, state).finally(() => {
      state.pending = null;
      if (this.#closed) return;
      if (state.waiting === 0) this.#report(name, state);
      this.#schedule();
    });
    return state.pending;
  }

  async #attempt(name: string, state: State<T>): Promise<void> {
    const { log } = this.#options;
    try {
      const { addresses, ttl } = await this.#options.lookup(name);
      if (addresses.length === 0) throw Object.assign(new Error("it has no address"), { code: "ENODATA" });
      this.#counts.resolved++;
      if (state.failures > 0) log.info({ name, addresses: addresses.length }, "name resolved again");
      const next = performance.now() + ttl * (1 + JITTER * Math.random());
      Object.assign(state, { addresses, failures: 0, problem: null, next, resolvedAt: Date.now() });
    } catch (error) {
      if (this.#closed) return;
      const failures = ++state.failures;
      state.problem = error instanceof Error && "code" in error ? String(error.code) : (error as Error).message;
      this.#counts[ABSENT.has(state.problem) ? "empty" : "failed"]++;
      const pause = Math.min(LONGEST_PAUSE, LEAST_PAUSE * 2 ** Math.min(failures - 1, 10));
      state.next = performance.now() + pause;
      // The first, and then as seldom as it lasts long.
      if ((failures & (failures - 1)) === 0)
        log.warn({ name, problem: state.problem, failures, kept: state.addresses.length }, "name cannot be resolved");
    }
  }

  #report(name: string, { addresses }: State<T>): void {
    const served = this.#served.get(name);
    if (served === undefined || JSON.stringify(addresses) === JSON.stringify(served)) return;
    this.#served.set(name, addresses);
    this.#options.onChange(name);
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    let next = Number.POSITIVE_INFINITY;
    for (const name of this.#served.keys()) {
      const state = this.#states.get(name);
      if (state?.pending === null) next = Math.min(next, state.next);
    }
    if (next === Number.POSITIVE_INFINITY || this.#closed) return;
    this.#timer = setTimeout(() => this.#refresh(), Math.max(50, next - performance.now()));
    this.#timer.unref();
  }

  #refresh(): void {
    const now = performance.now();
    for (const name of this.#served.keys()) {
      const state = this.#stateOf(name);
      if (state.next <= now) void this.#ask(name, state);
    }
    this.#schedule();
  }
}

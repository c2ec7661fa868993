/**
 * Host names of endpoints to numeric addresses. A name without an address is a state and not an error: its endpoints
 * are not there yet. Names in use are asked again when their time is up, after a failure with growing pauses.
 */
import { Resolver as DnsResolver, lookup as lookupName } from "node:dns/promises";
import type { Log } from "../observe/log.ts";

/** What a name stands for, and for how many milliseconds. @throws Error when there is nothing. */
export type Lookup = (name: string) => Promise<{ readonly addresses: readonly string[]; readonly ttl: number }>;

export type ResolverOptions = {
  readonly log: Log;
  /** Called when the addresses of a name in use are others than those that are served. */
  readonly onChange: (name: string) => void;
  /** Instead of the system's; for tests. */
  readonly lookup?: Lookup;
  /** Milliseconds that a version waits for a name; what comes later is a change. */
  readonly patience?: number;
};

const LEAST_TTL = 1_000;
const USUAL_TTL = 30_000;
const LONGEST_TTL = 300_000;
/** Longest wait for the time to live, once the addresses are known. */
const TTL_WAIT = 500;
const PATIENCE = 3_000;
const LEAST_PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;

type State = {
  /** The last that were found, also when asking again has failed: endpoints that serve are not taken away. */
  addresses: readonly string[];
  /** When it is asked again. */
  next: number;
  /** In a row. */
  failures: number;
  problem: string | null;
  pending: Promise<void> | null;
  /** Calls of `resolve` that take what is found. */
  waiting: number;
};

export class Resolver {
  readonly #options: ResolverOptions;
  readonly #lookup: Lookup;
  readonly #dns = new DnsResolver({ timeout: 1000, tries: 2 });
  readonly #states = new Map<string, State>();
  /** The addresses that the version in service has, by name. */
  #served: ReadonlyMap<string, readonly string[]> = new Map();
  #timer: NodeJS.Timeout | null = null;
  #failures = 0;
  #closed = false;

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#lookup = options.lookup ?? ((name) => lookUp(name, this.#dns));
  }

  /** Attempts that failed, since the start. */
  get failures(): number {
    return this.#failures;
  }

  /** The addresses of a name, sorted: IPv4 where there are any, else IPv6; none where it cannot be resolved, yet. */
  async resolve(name: string): Promise<readonly string[]> {
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

  /** Why a name has no address, or null. */
  problemOf(name: string): string | null {
    const state = this.#states.get(name);
    return state === undefined || state.addresses.length > 0 ? null : (state.problem ?? "no answer yet");
  }

  /** A version with these names, at these addresses, serves from now on; other names are forgotten. */
  watch(served: ReadonlyMap<string, readonly string[]>): void {
    this.#served = served;
    for (const name of this.#states.keys()) if (!served.has(name)) this.#states.delete(name);
    for (const name of served.keys()) this.#tell(name, this.#stateOf(name));
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#dns.cancel();
  }

  #stateOf(name: string): State {
    let state = this.#states.get(name);
    if (state === undefined) {
      state = { addresses: [], next: 0, failures: 0, problem: null, pending: null, waiting: 0 };
      this.#states.set(name, state);
    }
    return state;
  }

  /** One attempt at a time: further calls wait for the one under way. Never throws. */
  #ask(name: string, state: State): Promise<void> {
    state.pending ??= this.#attempt(name, state).finally(() => {
      state.pending = null;
      if (this.#closed) return;
      if (state.waiting === 0) this.#tell(name, state);
      this.#schedule();
    });
    return state.pending;
  }

  async #attempt(name: string, state: State): Promise<void> {
    const { log } = this.#options;
    try {
      const { addresses, ttl } = await this.#lookup(name);
      if (addresses.length === 0) throw new Error("it has no address");
      if (state.failures > 0) log.info({ name, addresses }, "name resolved again");
      Object.assign(state, { addresses, failures: 0, problem: null, next: performance.now() + ttl });
    } catch (error) {
      if (this.#closed) return;
      this.#failures++;
      const failures = ++state.failures;
      state.problem = error instanceof Error && "code" in error ? String(error.code) : (error as Error).message;
      const pause = Math.min(LONGEST_PAUSE, LEAST_PAUSE * 2 ** Math.min(failures - 1, 10));
      state.next = performance.now() + pause;
      // The first, and then as seldom as it lasts long.
      if ((failures & (failures - 1)) === 0)
        log.warn({ name, problem: state.problem, failures, keeps: state.addresses }, "name cannot be resolved");
    }
  }

  #tell(name: string, { addresses }: State): void {
    const served = this.#served.get(name);
    if (served !== undefined && addresses.join() !== served.join()) this.#options.onChange(name);
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

/** The system's own resolver decides (hosts file, search domains); DNS is asked beside it only for how long it holds. */
async function lookUp(name: string, dns: DnsResolver): ReturnType<Lookup> {
  const ttl = askTtl(name, dns);
  const found = await lookupName(name, { all: true });
  const v4 = found.filter(({ family }) => family === 4);
  const addresses = [...new Set((v4.length > 0 ? v4 : found).map(({ address }) => address))].sort();
  const late = Promise.withResolvers<number>();
  const timer = setTimeout(() => late.resolve(USUAL_TTL), TTL_WAIT);
  const lives = Math.min(LONGEST_TTL, Math.max(LEAST_TTL, await Promise.race([ttl, late.promise])));
  clearTimeout(timer);
  return { addresses, ttl: lives };
}

/** A name that only the system knows (hosts file, mDNS) has no time to live. */
async function askTtl(name: string, dns: DnsResolver): Promise<number> {
  try {
    const records = await dns.resolve4(name, { ttl: true });
    return Math.min(LONGEST_TTL, ...records.map((record) => record.ttl * 1000));
  } catch {
    return USUAL_TTL;
  }
}

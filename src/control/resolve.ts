/**
 * Host names of endpoints to numeric addresses. The system's own resolver decides (hosts file, search domains); DNS
 * is asked beside it only for how long the answer holds. Names in use are asked again when their time is up.
 */
import { Resolver as DnsResolver, lookup } from "node:dns/promises";

const LEAST_TTL = 1_000;
const USUAL_TTL = 30_000;
const LONGEST_TTL = 300_000;
/** Longest wait for the time to live, once the addresses are known. */
const TTL_WAIT = 500;

type Answer = { readonly addresses: readonly string[]; readonly expires: number };

export class Resolver {
  readonly #answers = new Map<string, Answer>();
  readonly #dns = new DnsResolver({ timeout: 1000, tries: 2 });
  readonly #onChange: (name: string) => void;
  #timer: NodeJS.Timeout | null = null;
  #inUse: ReadonlySet<string> = new Set();

  /** `onChange` is called when the addresses of a name in use have changed. */
  constructor(onChange: (name: string) => void) {
    this.#onChange = onChange;
  }

  /** The addresses of a name, sorted: IPv4 where there are any, else IPv6. @throws Error when there are none. */
  async resolve(name: string): Promise<readonly string[]> {
    const known = this.#answers.get(name);
    if (known !== undefined && known.expires > performance.now()) return known.addresses;
    try {
      return await this.#ask(name);
    } catch (error) {
      // A resolver that is out of order for a while must not take away endpoints that serve.
      if (known !== undefined) return known.addresses;
      const code = error instanceof Error && "code" in error ? ` (${error.code})` : "";
      throw new Error(`the name ${name} cannot be resolved${code}`, { cause: error });
    }
  }

  /** These names are in use from now on; others are forgotten. */
  watch(names: Iterable<string>): void {
    this.#inUse = new Set(names);
    for (const name of this.#answers.keys()) if (!this.#inUse.has(name)) this.#answers.delete(name);
    this.#schedule();
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#inUse = new Set();
    this.#dns.cancel();
  }

  async #ask(name: string): Promise<readonly string[]> {
    const ttl = this.#askTtl(name);
    const found = await lookup(name, { all: true });
    const v4 = found.filter(({ family }) => family === 4);
    const addresses = [...new Set((v4.length > 0 ? v4 : found).map(({ address }) => address))].sort();
    const late = Promise.withResolvers<number>();
    const timer = setTimeout(() => late.resolve(USUAL_TTL), TTL_WAIT);
    const lives = Math.min(LONGEST_TTL, Math.max(LEAST_TTL, await Promise.race([ttl, late.promise])));
    clearTimeout(timer);
    this.#answers.set(name, { addresses, expires: performance.now() + lives });
    return addresses;
  }

  /** A name that only the system knows (hosts file, mDNS) has no time to live. */
  async #askTtl(name: string): Promise<number> {
    try {
      const records = await this.#dns.resolve4(name, { ttl: true });
      return Math.min(USUAL_TTL * 10, ...records.map((record) => record.ttl * 1000));
    } catch {
      return USUAL_TTL;
    }
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    let next = Number.POSITIVE_INFINITY;
    for (const name of this.#inUse) next = Math.min(next, this.#answers.get(name)?.expires ?? next);
    if (next === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => void this.#refresh(), Math.max(LEAST_TTL, next - performance.now()));
    this.#timer.unref();
  }

  async #refresh(): Promise<void> {
    const now = performance.now();
    for (const name of this.#inUse) {
      const before = this.#answers.get(name);
      if (before === undefined || before.expires > now) continue;
      // Whatever comes of it, the next attempt is not at once.
      this.#answers.set(name, { addresses: before.addresses, expires: now + USUAL_TTL });
      const addresses = await this.#ask(name).catch(() => before.addresses);
      if (addresses.join() !== before.addresses.join() && this.#inUse.has(name)) this.#onChange(name);
    }
    this.#schedule();
  }
}

/**
 * Questions to DNS: the addresses of a host name, and those of a service (SRV records, RFC 2782), with their time to
 * live. Without servers of its own it is the system's resolver that decides, hosts file and search domains included.
 */
import { Resolver as DnsResolver, lookup as lookupName } from "node:dns/promises";
import type { Config } from "../config/schema.ts";
import type { Answer } from "./resolve.ts";

export type DnsSettings = Config["resolver"];

/** An address of a target of a service. */
export type ServiceAddress = { readonly host: string; readonly port: number; readonly weight: number };

/** For names without a known time to live: those of the hosts file. */
const USUAL_TTL = 30_000;
/** Longest wait for the time to live, once the addresses are known. */
const TTL_WAIT = 500;
const TRIES = 2;
const MOST_WEIGHT = 1000;

export class Dns {
  #settings: DnsSettings;
  #resolver: DnsResolver;

  constructor(settings: DnsSettings) {
    this.#settings = settings;
    this.#resolver = makeResolver(settings);
  }

  /** From now on these servers are asked. Whether that differs from before. */
  configure(settings: DnsSettings): boolean {
    if (JSON.stringify(settings) === JSON.stringify(this.#settings)) return false;
    this.#settings = settings;
    // Questions to the servers before are answered, or time out.
    this.#resolver = makeResolver(settings);
    return true;
  }

  /** Numeric addresses, sorted: IPv4 where there are any, else IPv6. @throws Error with the code of `node:dns` */
  async lookUpHost(name: string): Promise<Answer> {
    const { addresses, ttl } = await (this.#settings.servers.length > 0
      ? this.#askServers(name)
      : this.#askSystem(name));
    return { addresses: [...new Set(addresses)].sort(), ttl: this.#bound(ttl) };
  }

  /**
   * The addresses of the targets of the lowest priority that has any. Node does not report the time to live of SRV
   * records: the shortest of the targets' addresses is used. @throws Error with the code of `node:dns`
   */
  async lookUpService(name: string): Promise<Answer<ServiceAddress>> {
    const records = await this.#resolver.resolveSrv(name);
    const groups = [...Map.groupBy(records, ({ priority }) => priority)].sort(([a], [b]) => a - b);
    let problem: unknown = null;
    for (const [, group] of groups) {
      const found = await Promise.allSettled(group.map(({ name: target }) => this.lookUpHost(target)));
      problem ??= found.find((one) => one.status === "rejected")?.reason;
      // A target that fails must not take the endpoints of others with it, nor move traffic to a lower priority.
      if (found.some((one) => one.status === "rejected" && !isAbsent(one.reason))) throw problem;
      const answers = found.map((one) => (one.status === "fulfilled" ? one.value : null));
      const addresses = group.flatMap(({ port, weight }, index) =>
        (answers[index]?.addresses ?? []).map((host) => ({ host, port, weight: scaleWeight(weight, group) })),
      );
      if (addresses.length === 0) continue;
      const ttl = Math.min(...answers.map((answer) => answer?.ttl ?? Number.POSITIVE_INFINITY));
      return { addresses: addresses.sort(compareAddresses), ttl };
    }
    if (problem !== null) throw problem;
    return { addresses: [], ttl: 0 };
  }

  close(): void {
    this.#resolver.cancel();
  }

  #bound(ttl: number): number {
    const { minTtl, maxTtl } = this.#settings;
    return Math.max(minTtl, Math.min(maxTtl, ttl));
  }

  /** What the configured servers do not know may be in the system's hosts file or search domains. */
  async #askServers(name: string): Promise<Answer> {
    try {
      return answerOf(await this.#resolver.resolve4(name, { ttl: true }));
    } catch (error) {
      // A server that fails says nothing about IPv4: the addresses must not become others for that.
      if (!isAbsent(error)) throw error;
    }
    try {
      return answerOf(await this.#resolver.resolve6(name, { ttl: true }));
    } catch (error) {
      if (!isAbsent(error)) throw error;
      return await askSystemAlone(name).catch(() => Promise.reject(error));
    }
  }

  /** DNS is asked beside the system for the time to live alone. */
  async #askSystem(name: string): Promise<Answer> {
    const ttl = this.#resolver.resolve4(name, { ttl: true }).then(
      (records) => answerOf(records).ttl,
      () => USUAL_TTL,
    );
    const { addresses } = await askSystemAlone(name);
    const late = Promise.withResolvers<number>();
    const timer = setTimeout(() => late.resolve(USUAL_TTL), TTL_WAIT);
    const lives = await Promise.race([ttl, late.promise]);
    clearTimeout(timer);
    return { addresses, ttl: lives };
  }
}

async function askSystemAlone(name: string): Promise<Answer> {
  const found = await lookupName(name, { all: true });
  const v4 = found.filter(({ family }) => family === 4);
  return { addresses: (v4.length > 0 ? v4 : found).map(({ address }) => address), ttl: USUAL_TTL };
}

function makeResolver({ servers, timeout }: DnsSettings): DnsResolver {
  const resolver = new DnsResolver({ timeout, tries: TRIES });
  if (servers.length > 0) resolver.setServers(servers.map(({ text }) => text));
  return resolver;
}

function answerOf(records: readonly { address: string; ttl: number }[]): Answer {
  const ttl = Math.min(...records.map((record) => record.ttl)) * 1000;
  return { addresses: records.map(({ address }) => address), ttl };
}

/** The name or its records do not exist: an answer, where any other error is the lack of one. */
function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOTFOUND" || error.code === "ENODATA");
}

/** Weights of SRV records go to 65,535; the ratio is kept, and 0 becomes the least weight. */
function scaleWeight(weight: number, group: readonly { weight: number }[]): number {
  const most = Math.max(...group.map((record) => record.weight));
  return Math.max(1, most > MOST_WEIGHT ? Math.round((weight * MOST_WEIGHT) / most) : weight);
}

function compareAddresses(a: ServiceAddress, b: ServiceAddress): number {
  return a.host < b.host ? -1 : a.host > b.host ? 1 : a.port - b.port;
}

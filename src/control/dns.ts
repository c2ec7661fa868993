/**
 * DNS queries for the addresses of a host name or a service (SRV records, RFC 2782), with their time to live. Without
 * configured servers the system's resolver is used, with its hosts file and search domains.
 */
import { Resolver as DnsResolver, lookup as lookupName } from "node:dns/promises";
import type { Config } from "../config/schema.ts";
import type { Resolution } from "./name-resolver.ts";

export type DnsSettings = Config["resolver"];

/** An address of an SRV target. */
export type ServiceAddress = { readonly host: string; readonly port: number; readonly weight: number };

/** ms; for names without a known time to live, for example of the hosts file. */
const DEFAULT_TTL = 30_000;
/** ms to wait for the time to live when the addresses are known. */
const TTL_TIMEOUT = 500;
const TRIES = 2;
const MAX_WEIGHT = 1000;

export class Dns {
  #settings: DnsSettings;
  #resolver: DnsResolver;

  constructor(settings: DnsSettings) {
    this.#settings = settings;
    this.#resolver = makeResolver(settings);
  }

  /** Changes the settings. Returns whether they differ from the previous ones. */
  configure(settings: DnsSettings): boolean {
    if (JSON.stringify(settings) === JSON.stringify(this.#settings)) return false;
    this.#settings = settings;
    // Pending queries of the previous resolver complete or time out.
    this.#resolver = makeResolver(settings);
    return true;
  }

  /** Returns the sorted IPv4 addresses, or IPv6 if there are none. @throws Error with a code of `node:dns` */
  async lookUpHost(name: string): Promise<Resolution> {
    const { addresses, ttl } = await (this.#settings.servers.length > 0
      ? this.#queryServers(name)
      : this.#querySystem(name));
    return { addresses: [...new Set(addresses)].sort(), ttl: this.#bound(ttl) };
  }

  /**
   * Returns the addresses of the targets of the lowest priority value that has any. Node does not report the time to live
   * of SRV records: the shortest of the targets' addresses is used. @throws Error with a code of `node:dns`
   */
  async lookUpService(name: string): Promise<Resolution<ServiceAddress>> {
    const records = await this.#resolver.resolveSrv(name);
    const groups = [...Map.groupBy(records, ({ priority }) => priority)].sort(([a], [b]) => a - b);
    let problem: unknown = null;
    for (const [, group] of groups) {
      const found = await Promise.allSettled(group.map(({ name: target }) => this.lookUpHost(target)));
      problem ??= found.find((one) => one.status === "rejected")?.reason;
      // A failing query must not remove the endpoints of other targets, nor move traffic to a lower priority.
      if (found.some((one) => one.status === "rejected" && !isAbsent(one.reason))) throw problem;
      const resolutions = found.map((one) => (one.status === "fulfilled" ? one.value : null));
      const addresses = group.flatMap(({ port, weight }, index) =>
        (resolutions[index]?.addresses ?? []).map((host) => ({ host, port, weight: scaleWeight(weight, group) })),
      );
      if (addresses.length === 0) continue;
      const ttl = Math.min(...resolutions.map((one) => one?.ttl ?? Number.POSITIVE_INFINITY));
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

  /** Queries the configured servers, then, for an unknown name, the system (hosts file and search domains). */
  async #queryServers(name: string): Promise<Resolution> {
    try {
      return toResolution(await this.#resolver.resolve4(name, { ttl: true }));
    } catch (error) {
      // A failed query does not mean that there is no IPv4 address: IPv6 ones must not replace them.
      if (!isAbsent(error)) throw error;
    }
    try {
      return toResolution(await this.#resolver.resolve6(name, { ttl: true }));
    } catch (error) {
      if (!isAbsent(error)) throw error;
      return await lookUpInSystem(name).catch(() => Promise.reject(error));
    }
  }

  /** Queries the system for the addresses, and DNS only for their time to live. */
  async #querySystem(name: string): Promise<Resolution> {
    const ttl = this.#resolver.resolve4(name, { ttl: true }).then(
      (records) => toResolution(records).ttl,
      () => DEFAULT_TTL,
    );
    const { addresses } = await lookUpInSystem(name);
    const late = Promise.withResolvers<number>();
    const timer = setTimeout(() => late.resolve(DEFAULT_TTL), TTL_TIMEOUT);
    const known = await Promise.race([ttl, late.promise]);
    clearTimeout(timer);
    return { addresses, ttl: known };
  }
}

async function lookUpInSystem(name: string): Promise<Resolution> {
  const found = await lookupName(name, { all: true });
  const v4 = found.filter(({ family }) => family === 4);
  return { addresses: (v4.length > 0 ? v4 : found).map(({ address }) => address), ttl: DEFAULT_TTL };
}

function makeResolver({ servers, timeout }: DnsSettings): DnsResolver {
  const resolver = new DnsResolver({ timeout, tries: TRIES });
  if (servers.length > 0) resolver.setServers(servers.map(({ text }) => text));
  return resolver;
}

function toResolution(records: readonly { address: string; ttl: number }[]): Resolution {
  const ttl = Math.min(...records.map((record) => record.ttl)) * 1000;
  return { addresses: records.map(({ address }) => address), ttl };
}

/** Whether the error means that the name or its records do not exist. */
function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOTFOUND" || error.code === "ENODATA");
}

/** Scales an SRV weight (0 to 65,535) to 1 to 1000 in proportion to the largest of its group. */
function scaleWeight(weight: number, group: readonly { weight: number }[]): number {
  const most = Math.max(...group.map((record) => record.weight));
  return Math.max(1, most > MAX_WEIGHT ? Math.round((weight * MAX_WEIGHT) / most) : weight);
}

function compareAddresses(a: ServiceAddress, b: ServiceAddress): number {
  return a.host < b.host ? -1 : a.host > b.host ? 1 : a.port - b.port;
}

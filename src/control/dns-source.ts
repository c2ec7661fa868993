/** Endpoints by DNS: `name:port` is one for each address of the name, `srv:name` one for each address of an SRV target. */
import { isIP } from "node:net";
import type { EndpointConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import type { EndpointSource, SourceEndpoint, SourceStatus } from "../plan/endpoint-source.ts";
import { Dns, type DnsSettings, type ServiceAddress } from "./dns.ts";
import { type Lookup, type ResolveCounts, Resolver } from "./resolve.ts";

export type DnsSourcesOptions = {
  readonly log: Log;
  readonly settings: DnsSettings;
  /** Called when the endpoints of entries with this host have changed. */
  readonly onChange: (host: string) => void;
  /** Replaces DNS for host names, in tests. */
  readonly lookup?: Lookup;
};

/** The sources of host names and of services. */
export class DnsSources {
  readonly hosts: EndpointSource;
  readonly services: EndpointSource;
  readonly #dns: Dns;
  readonly #names: Resolver;
  readonly #services: Resolver<ServiceAddress>;

  constructor({ log, settings, onChange, lookup }: DnsSourcesOptions) {
    this.#dns = new Dns(settings);
    const lookUpHost = lookup ?? ((name) => this.#dns.lookUpHost(name));
    this.#names = new Resolver({ log, onChange, lookup: lookUpHost });
    this.#services = new Resolver({ log, onChange, lookup: (name) => this.#dns.lookUpService(name) });
    this.hosts = new NameSource("dns", this.#names, isHostName, (host, { address, weight }) => {
      return { host, port: address.port, path: "", weight };
    });
    this.services = new NameSource("srv", this.#services, isService, (found) => ({ ...found, path: "" }));
  }

  /** Number of attempts by result. */
  get counts(): ResolveCounts {
    const [a, b] = [this.#names.counts, this.#services.counts];
    return { resolved: a.resolved + b.resolved, empty: a.empty + b.empty, failed: a.failed + b.failed };
  }

  configure(settings: DnsSettings): void {
    if (!this.#dns.configure(settings)) return;
    this.#names.refresh();
    this.#services.refresh();
  }

  close(): void {
    this.#names.close();
    this.#services.close();
    this.#dns.close();
  }
}

class NameSource<T> implements EndpointSource {
  readonly kind: "dns" | "srv";
  readonly has: (entry: EndpointConfig) => boolean;
  readonly #resolver: Resolver<T>;
  readonly #make: (found: T, entry: EndpointConfig) => SourceEndpoint;

  constructor(
    kind: "dns" | "srv",
    resolver: Resolver<T>,
    has: (entry: EndpointConfig) => boolean,
    make: (found: T, entry: EndpointConfig) => SourceEndpoint,
  ) {
    this.kind = kind;
    this.has = has;
    this.#resolver = resolver;
    this.#make = make;
  }

  async prepare({ address }: EndpointConfig): Promise<void> {
    await this.#resolver.resolve(address.host);
  }

  endpoints(entry: EndpointConfig): readonly SourceEndpoint[] {
    return this.#resolver.addressesOf(entry.address.host).map((found) => this.#make(found, entry));
  }

  watch(entries: readonly EndpointConfig[]): void {
    this.#resolver.watch(
      new Map(entries.map(({ address: { host } }) => [host, this.#resolver.addressesOf(host)] as const)),
    );
  }

  describe({ address }: EndpointConfig): SourceStatus {
    return { kind: this.kind, ...this.#resolver.describe(address.host) };
  }
}

function isService({ address }: EndpointConfig): boolean {
  return address.text.startsWith("srv:");
}

function isHostName(entry: EndpointConfig): boolean {
  return entry.address.path === "" && !isService(entry) && isIP(entry.address.host) === 0;
}

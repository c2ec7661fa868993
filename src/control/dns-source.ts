/** Endpoints by DNS: `name:port` is one for each address of the name, `srv:name` one for each address of an SRV target. */
import { isIP } from "node:net";
import type { EndpointConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import type { EndpointSource, SourceEndpoint, SourceStatus } from "../plan/endpoint-source.ts";
import { Dns, type DnsSettings, type ServiceAddress } from "./dns.ts";
import { type Lookup, type ResolveCounts, Resolver } from "./name-resolver.ts";

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
    this.hosts = makeSource("dns", this.#names, isHostName, (host, { address, weight }) => {
      return { host, port: address.port, path: "", weight };
    });
    this.services = makeSource("srv", this.#services, isService, (found) => ({ ...found, path: "" }));
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

/** The entries that `has` accepts, each with an endpoint for everything that its name resolves to. */
function makeSource<T>(
  kind: "dns" | "srv",
  resolver: Resolver<T>,
  has: EndpointSource["has"],
  make: (found: T, entry: EndpointConfig) => SourceEndpoint,
): EndpointSource {
  const watched = ({ address: { host } }: EndpointConfig) => [host, resolver.addressesOf(host)] as const;
  return {
    kind,
    has,
    prepare: async ({ address }) => void (await resolver.resolve(address.host)),
    endpoints: (entry) => resolver.addressesOf(entry.address.host).map((found) => make(found, entry)),
    watch: (entries) => resolver.watch(new Map(entries.map(watched))),
    describe: ({ address }): SourceStatus => ({ kind, ...resolver.describe(address.host) }),
  };
}

function isService({ address }: EndpointConfig): boolean {
  return address.text.startsWith("srv:");
}

function isHostName(entry: EndpointConfig): boolean {
  return entry.address.path === "" && !isService(entry) && isIP(entry.address.host) === 0;
}

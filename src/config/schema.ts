/**
 * Every key of the configuration: its type, default, limits and meaning. The type `Config`, the checks with their
 * places, the JSON Schema (`sluice schema`) and docs/configuration.md are made from this file and the schemas that it imports.
 */
import { NAME } from "../http/head.ts";
import { accessLog } from "./access-log.ts";
import { acme } from "./acme-schema.ts";
import { dnsServer } from "./address-values.ts";
import { admin } from "./admin-schema.ts";
import { cluster } from "./cluster-schema.ts";
import { fieldName } from "./http-values.ts";
import { listener } from "./listener-schema.ts";
import { clusterName, file, placedTarget, type Reference } from "./references.ts";
import { convert, free, type Infer, list, named, object, optional, required, withDefault } from "./shape.ts";
import { choice, count, debugToken, duration, name, percent, percentage, size, textOf } from "./values.ts";

export { type Address, endpointAddress, isLoopback } from "./address-values.ts";
export { BUILTIN_FETCH, BUILTIN_NAMESPACES, BUILTINS } from "./builtins.ts";
export type { ProbeConfig } from "./health-schema.ts";
export type { Place, Problem } from "./place.ts";
export type { NamedFile, Reference } from "./references.ts";
export type { Action, OneOrMore, ValueMatch, ValueTable } from "./route-schema.ts";
export type { PluginUse, Settings } from "./shape.ts";
export { isRelayed } from "./tcp-keys.ts";

/** Permissions. A module's imports show what it can do; these keys determine what it may do. */
const allow = convert(
  object({
    clusters: optional(list(clusterName), "Clusters that the plugin may choose. Default: any."),
    fetch: withDefault(
      list(placedTarget),
      [],
      "Targets of the plugin's subrequests: `cluster:NAME`, an origin such as `https://keys.example.com`, or `endpoint`, the endpoint that its hook `health_check` checks.",
    ),
    headers: withDefault(
      object({
        hide: withDefault(
          list(fieldName),
          [],
          "Header names hidden from the plugin in requests and responses: it can neither read nor change them.",
        ),
      }),
      {},
      "Access to headers.",
    ),
    clock: withDefault(
      choice(["coarse", "precise"]),
      "coarse",
      "`coarse`: a clock with a resolution of 50 ms; `precise`: also one with microseconds.",
    ),
    kv: withDefault(
      list(name),
      [],
      "Key-value namespaces that the plugin may use. Plugins with the same namespace share its entries.",
    ),
    share: withDefault(
      list(name),
      [],
      "Names of request values that the plugin may set for other plugins to read, such as the authenticated user.",
    ),
  }),
  (value, at) => ({ ...value, at }),
);

const rollout = object({
  percent: withDefault(
    percent(0.01, 100, "optional"),
    5,
    "Share of the plugin's requests that the canary version receives. `rollout: {}` enables canary rollout with the defaults; without `rollout` a new `.wasm` replaces the old one at once.",
  ),
  watch: withDefault(duration("1s", "24h"), "30s", "Minimum duration of the canary rollout."),
  minRequests: withDefault(
    count(1, 1_000_000_000),
    500,
    "Minimum number of requests on the canary version before it can be promoted, however long that takes.",
  ),
  maxFailures: withDefault(
    percent(0, 100, "required"),
    "0.1%",
    "Maximum share of those requests on which the canary version may fail; if the old version fails more often, that version's share.",
  ),
});

const exported = convert(textOf(1, 256), (name, at): Reference => ({ name, at }));
const extismHooks = object({
  on_configure: optional(exported, "For each configuration, before all others."),
  on_request: optional(exported, "For each request."),
  route: optional(exported, "Where it is a `router`."),
  on_response: optional(exported, "For each response."),
  on_request_body: optional(exported, "For each chunk of a request's body."),
  on_response_body: optional(exported, "For each chunk of a response's body."),
  on_update: optional(exported, "Where it is a `strategy`, when endpoints have changed."),
  pick: optional(exported, "Where it is a `strategy`."),
  on_log: optional(exported, "When a request has ended."),
  on_connection: optional(exported, "For each accepted connection."),
  on_health_check: optional(exported, "For each check of an endpoint, where it is `health.active.plugin`."),
  on_tick: optional(exported, "Every second, or at the interval that the hook sets."),
});

const plugin = convert(
  object({
    wasm: optional(
      file,
      "The WebAssembly module, relative to this file. Default: `source` with the extension `.wasm`.",
    ),
    config: optional(free, "Any YAML: the plugin's configuration where it is used without one."),
    source: optional(file, "The AssemblyScript source from which the `.wasm` is built."),
    hooks: optional(
      extismHooks,
      "Extism plugins: the exported functions that are its hooks. Default: an export of the hook's name. docs/extism.md describes each.",
    ),
    onFailure: withDefault(
      choice(["reject", "skip"]),
      "reject",
      "Failure policy: `reject` responds 500, or closes the connection if the hook is `connection`; `skip` continues without the plugin.",
    ),
    limits: withDefault(
      object({
        fuel: withDefault(
          count(1000, 2_000_000_000),
          500_000,
          "Fuel of one hook call, in units of work. Each byte of the call's input (headers as received, the body chunk, fetched responses) adds 40. docs/abi.md has the prices.",
        ),
        memory: withDefault(
          size("64KiB", "1GiB"),
          "16MiB",
          "Memory of one instance. The same limit applies to its tables, and to what the proxy keeps because of one request or call (values, edits, responses, fetched bodies).",
        ),
        body: withDefault(
          size("0", "64MiB"),
          "1MiB",
          "Maximum size of a body that the plugin buffers, and of what it may add to one chunk.",
        ),
        tooLarge: withDefault(
          choice(["reject", "skip"]),
          "reject",
          "What to do with a larger body that the plugin wants buffered: `reject` responds 413, or 502 for a response body; `skip` forwards it without the plugin's body hook.",
        ),
        time: withDefault(
          duration("1ms", "1h"),
          "5s",
          "Time limit for one call of an asynchronous hook, including its time in the queue; then the call fails.",
        ),
        guests: withDefault(
          count(1, 1000),
          16,
          "Concurrent calls per worker of a plugin with asynchronous calls, including a `tick`. Up to 8 × this many calls are queued; further ones get 503.",
        ),
        slow: withDefault(
          percentage,
          "0.25%",
          "Share of each worker's time for what slow calls take beyond 5 ms, or beyond 10 ns a unit of fuel if that is more (ordinary code takes 2). Above it calls are not made, and `onFailure` applies. `100%`: no limit.",
        ),
      }),
      {},
      "Limits of one call of the plugin.",
    ),
    allow: withDefault(allow, {}, "Permissions of the plugin."),
    rollout: optional(
      rollout,
      "Canary rollout: a new `.wasm` first receives a share of requests, and is then promoted or rolled back. Default: it replaces the old one at once.",
    ),
  }),
  (value, at, conversion) => {
    const wasm = value.wasm ?? deriveModule(value.source);
    if (wasm === undefined)
      conversion.report(
        at,
        'no module is given, expected "wasm" or "source" (a built-in plugin is used by its name, e.g. `chain: [headers]`, without an entry here)',
      );
    return wasm && { ...value, wasm };
  },
);

function deriveModule(source: Infer<typeof file> | undefined): Infer<typeof file> | undefined {
  return source && { path: `${source.path.replace(/\.[^./\\]*$/, "")}.wasm`, at: source.at };
}

const trace = convert(
  object({
    token: optional(
      debugToken,
      "Debug token: a request that carries it is traced; `x-sluice-trace` in the response has the trace's id. Default: no request is traced by token.",
    ),
    header: withDefault(
      fieldName,
      "x-sluice-debug",
      "The header that carries the token. If a token is set, this header is removed from every request, whatever its value.",
    ),
    sample: withDefault(percentage, "0%", "Share of all other requests that are traced."),
    keep: withDefault(count(1, 10_000), 100, "Number of latest traces that are kept; 16 MiB in total at most."),
    mask: withDefault(
      list(fieldName),
      [],
      "Headers and query parameters whose values are masked, in addition to those with names of secrets.",
    ),
  }),
  (value, at, { report }) => {
    if (value.header in NAME) report(at, `the header ${value.header} has another meaning, expected a different header`);
    return value;
  },
);

const resolver = convert(
  object({
    servers: withDefault(
      list(dnsServer),
      [],
      "DNS servers, such as `10.0.0.2` or `127.0.0.1:8600`. A name that they do not know is resolved by the system (hosts file, search domains). `[]`: the system's resolver.",
    ),
    timeout: withDefault(
      duration("50ms", "30s"),
      "1s",
      "Time for a response of a server; each is queried up to twice.",
    ),
    minTtl: withDefault(duration("100ms", "24h"), "1s", "Lower bound on the time to live of records."),
    maxTtl: withDefault(
      duration("100ms", "24h"),
      "5m",
      "Upper bound on the time to live of records, at least `minTtl`.",
    ),
  }),
  (value, at, { report }) => {
    const { minTtl, maxTtl } = value;
    if (maxTtl < minTtl) report(at, `maxTtl (${maxTtl}ms) is below minTtl (${minTtl}ms), expected at least as much`);
    return value;
  },
);

/** The whole file. */
export const configuration = object({
  workers: withDefault(
    count(0, 256),
    0,
    "Number of workers. 0: one per core. A reload changes it without losing a connection; `--workers` fixes it.",
  ),
  admin: withDefault(
    admin,
    "127.0.0.1:9901",
    "The admin interface: metrics, health endpoints, API, status page. An address, or a map; `false` turns it off. Address changes take effect at the next start.",
  ),
  log: withDefault(
    object({
      level: withDefault(choice(["debug", "info", "warn", "error"]), "info", "The lowest level that is written."),
      access: withDefault(accessLog, false, "The access log: `true`, or a map. docs/operations.md lists all fields."),
    }),
    {},
    "The program's log, JSON lines on standard output; and the access log.",
  ),
  shutdown: withDefault(
    object({
      announce: withDefault(
        duration("0", "24h"),
        "0s",
        "How long `/ready` responds 503 while listeners still accept, before the drain begins, so that a load balancer in front stops sending first.",
      ),
      grace: withDefault(
        duration("0", "24h"),
        "30s",
        "How long requests in progress, tunnels and TCP connections may then take to finish; also those of a drained endpoint.",
      ),
    }),
    {},
    "Shutdown on SIGTERM and SIGINT; a second signal exits at once.",
  ),
  resolver: withDefault(
    resolver,
    {},
    "How names of endpoints are resolved. A changed result changes the endpoints of a cluster without a reload.",
  ),
  acme: withDefault(
    acme,
    {},
    "Certificates from an ACME server such as Let's Encrypt, for the names in `listeners.*.tls.acme`. Using it means agreement to the server's terms of service. acme.md.",
  ),
  kv: withDefault(
    object({
      size: withDefault(
        size("1MiB", "1GiB"),
        "16MiB",
        "Memory of the key-value store that plugins on all workers share; when it is full, entries are evicted. A change takes effect at the next start.",
      ),
    }),
    {},
    "The key-value store.",
  ),
  trace: withDefault(
    trace,
    {},
    "Traces of requests: what each plugin did, and why a route, cluster and endpoint were chosen.",
  ),
  plugins: withDefault(named(name, plugin), {}, "WebAssembly plugins, by name."),
  listeners: required(named(name, listener), "Listeners: addresses on which clients connect."),
  clusters: withDefault(named(name, cluster), {}, "Clusters: groups of equivalent endpoints."),
});

type Whole = Infer<typeof configuration>;

/** A checked configuration with all defaults filled in. Times are ms, sizes bytes. */
export type Config = Whole & { readonly file: string };

export type PluginConfig = Config["plugins"][number];

export type ListenerConfig = Config["listeners"][number];

export type RouteConfig = ListenerConfig["routes"][number];

export type ClusterConfig = Config["clusters"][number];

export type EndpointConfig = ClusterConfig["endpoints"][number];

export type MatchConfig = RouteConfig["match"];

/**
 * Every key of the configuration: its type, default, limits and meaning. The type `Config`, the checks with their
 * places, the JSON Schema (`sluice schema`) and docs/configuration.md are made from this file and the schemas that it imports.
 */
import { FORM, NAME } from "../http/head.ts";
import { accessLog } from "./access-log.ts";
import { addressBlock, dnsServer, listenAddress } from "./address-values.ts";
import { admin } from "./admin-schema.ts";
import { cluster } from "./cluster-schema.ts";
import { fieldName } from "./http-values.ts";
import { clusterName, file, placedTarget, type Reference } from "./references.ts";
import { route } from "./route-schema.ts";
import { convert, free, type Infer, list, named, object, optional, required, use, withDefault } from "./shape.ts";
import { listenerTls } from "./tls-schema.ts";
import {
  choice,
  count,
  debugToken,
  duration,
  flag,
  idleTimeouts,
  name,
  percent,
  percentage,
  size,
  textOf,
} from "./values.ts";

export { type Address, isLoopback } from "./address-values.ts";
export { BUILTIN_FETCH, BUILTIN_NAMESPACES, BUILTINS, LATER_BUILTINS } from "./builtins.ts";
export type { ProbeConfig } from "./health-schema.ts";
export type { Place, Problem } from "./place.ts";
export type { NamedFile, Reference } from "./references.ts";
export type { Action } from "./route-schema.ts";
export type { PluginUse, Settings } from "./shape.ts";

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
    if (wasm === undefined) conversion.report(at, 'no module is given, expected "wasm" or "source"');
    return wasm && { ...value, wasm };
  },
);

function deriveModule(source: Infer<typeof file> | undefined): Infer<typeof file> | undefined {
  return source && { path: `${source.path.replace(/\.[^./\\]*$/, "")}.wasm`, at: source.at };
}

/** Whether no normalised path can match the text, because of `form` (bits of FORM). */
function isUnreachable(text: string, form: number): boolean {
  const slashes = (form & FORM.mergeSlashes) !== 0 && text.includes("//");
  return slashes || ((form & (FORM.decodeSlashes | FORM.rejectSlashes)) !== 0 && text.includes("%2F"));
}

const pathReading = convert(
  object({
    ambiguous: withDefault(
      choice(["reject", "allow"]),
      "reject",
      "A path that contains `//`, an encoded slash, another escape of a character that may appear unescaped, or `;`, is also matched as other programs read it: slashes merged, escapes decoded, `;` and the rest of its segment removed. If one of these readings selects another route, or none: `reject` responds 400, `allow` uses the route that the path as received selects.",
    ),
    mergeSlashes: withDefault(
      flag,
      false,
      "Merge consecutive slashes before routes are matched; the endpoint gets the merged path.",
    ),
    encodedSlash: withDefault(
      choice(["keep", "decode", "reject"]),
      "keep",
      "Treatment of `%2F`: `keep` leaves it; `decode` turns it into a slash before routes are matched, and the endpoint gets the decoded path; `reject` responds 400.",
    ),
  }),
  ({ ambiguous, mergeSlashes, encodedSlash }) => ({
    allowsAmbiguous: ambiguous === "allow",
    form:
      (mergeSlashes ? FORM.mergeSlashes : 0) |
      (encodedSlash === "decode" ? FORM.decodeSlashes : encodedSlash === "reject" ? FORM.rejectSlashes : 0),
  }),
);

const listenerFields = object({
  address: required(
    listenAddress,
    "Where to listen: `:8080` (every address), `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`.",
  ),
  protocol: withDefault(choice(["http"], ["tcp", "auto"]), "http", "The protocol of the listener."),
  tls: optional(listenerTls, "TLS: clients connect by https. Default: plain HTTP. tls.md shows each use."),
  timeouts: withDefault(
    object({
      handshake: withDefault(idleTimeouts, "10s", "From the connection to the end of the TLS handshake."),
      head: withDefault(idleTimeouts, "15s", "From a request's first byte to the end of its headers; then 408."),
      body: withDefault(idleTimeouts, "60s", "Between two reads of a request's body."),
      write: withDefault(idleTimeouts, "60s", "Between two successful writes to the client."),
      idle: withDefault(idleTimeouts, "75s", "Between two requests on one connection."),
    }),
    {},
    "Timeouts for the client.",
  ),
  limits: withDefault(
    object({
      head: withDefault(size("1KiB", "512KiB"), "32KiB", "Size of the request headers; above it 431."),
      target: withDefault(size("64B", "64KiB"), "16KiB", "Size of the request target; above it 414."),
      headers: withDefault(count(1, 500), 100, "Number of request headers; above it 431."),
      body: withDefault(size("0", "1024GiB"), 0, "Size of the request body; above it 413. 0: no limit."),
      connections: withDefault(
        count(0, 10_000_000),
        0,
        "Concurrent client connections over all workers; further ones are closed. 0: no limit.",
      ),
      connectionsPerClient: withDefault(
        count(0, 10_000_000),
        0,
        "Concurrent connections of one client address (IPv6: one /64 network) over all workers; further ones are closed. Peers in `trustedProxies` are exempt. 0: no limit.",
      ),
    }),
    {},
    "Limits of requests and connections.",
  ),
  path: withDefault(pathReading, {}, "Handling of ambiguous paths: paths.md."),
  trustedProxies: withDefault(
    list(addressBlock),
    [],
    "Peers whose X-Forwarded-* headers are used for the client's address, scheme, host and port. From all other peers these headers are dropped, in every spelling: behind-a-proxy.md.",
  ),
  halfClose: withDefault(
    flag,
    false,
    "Complete the response to a client that has closed its sending side. By default such a request is cancelled and its response aborted, as in nginx, because a client that has disconnected cannot be distinguished.",
  ),
  chain: withDefault(list(use("filter")), [], "Plugins that run for every request of this listener, in order."),
  routes: optional(list(route), "The routes; the first one that matches is used."),
  cluster: optional(clusterName, "Short for one route that sends every request to this cluster."),
});

const listener = convert(listenerFields, ({ routes, cluster, ...rest }, at, { report, warn, read }) => {
  if (routes && cluster) report(at, 'both "routes" and "cluster" are given, expected one of them');
  if (!routes && !cluster && rest.chain.length === 0)
    report(at, "the listener has no action, expected cluster or routes");
  const short = cluster && read(route, { cluster: cluster.name }, cluster.at);
  const all = routes ?? (short ? [short] : []);
  for (const { match, at } of all)
    for (const text of [match, ...(match.not ?? [])].flatMap(({ path, prefix }) => [path, prefix]))
      if (text !== undefined && isUnreachable(text, rest.path.form))
        report(at, `"${text}" can never match: the listener's "path" normalises every path to another form`);
  const named = all.map((route, i) => ({ ...route, name: route.name ?? String(i) }));
  for (const [i, { name, at }] of named.entries())
    if (named.findIndex((other) => other.name === name) < i)
      warn(at, `another route is named "${name}": metrics and logs do not distinguish them`);
  return { ...rest, routes: named };
});

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
    if (value.header in NAME)
      report(at, `the header ${value.header} has another meaning, expected a header of its own`);
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
      grace: withDefault(duration("0", "24h"), "30s", "How long requests in progress may then take to finish."),
    }),
    {},
    "Shutdown on SIGTERM and SIGINT; a second signal exits at once.",
  ),
  resolver: withDefault(
    resolver,
    {},
    "How names of endpoints are resolved. A changed result changes the endpoints of a cluster without a reload.",
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

/**
 * Every key of the configuration: its type, default, limits and meaning. The type `Config`, the checks with their
 * places, the JSON Schema (`sluice schema`) and docs/configuration.md are made from this file.
 */
import { FORM, NAME } from "../http/head.ts";
import { accessLog } from "./access-log.ts";
import type { Place } from "./place.ts";
import {
  convert,
  entries,
  free,
  type Infer,
  list,
  named,
  object,
  oneOrMore,
  optional,
  type PluginUse,
  type Role,
  required,
  table,
  use,
  withDefault,
} from "./shape.ts";
import {
  addressBlock,
  adminAddress,
  authority,
  choice,
  count,
  debugToken,
  dnsServer,
  duration,
  endpointAddress,
  fetchTarget,
  fieldName,
  fieldValue,
  filePath,
  flag,
  hostPattern,
  isLoopback,
  listenAddress,
  method,
  name,
  pathPattern,
  pathPrefix,
  pathRegex,
  percent,
  percentage,
  queryName,
  queryValue,
  requestTarget,
  retryReason,
  serverError,
  size,
  statuses,
  textOf,
  upgradeProtocol,
  yes,
} from "./values.ts";

export type { Place, Problem } from "./place.ts";
export type { PluginUse, Settings } from "./shape.ts";
export { type Address, isLoopback } from "./values.ts";

/** The built-in plugins. A plugin of the same name under `plugins` replaces the built-in one. */
export const BUILTINS: Readonly<Record<string, Role>> = {
  "round-robin": "strategy",
  "least-connections": "strategy",
  random: "strategy",
  "power-of-two": "strategy",
  "ip-hash": "strategy",
  headers: "filter",
  "request-id": "filter",
  rewrite: "filter",
  redirect: "filter",
  "api-key": "filter",
  "basic-auth": "filter",
  cors: "filter",
  delay: "filter",
  "ext-auth": "filter",
  fault: "filter",
  "ip-filter": "filter",
  jwt: "filter",
  "jwt-jwks": "filter",
  "rate-limit": "filter",
};

/** Key-value namespaces of built-ins: they have no `allow`. A plugin that names the same one shares its entries. */
export const BUILTIN_NAMESPACES: Readonly<Record<string, readonly string[]>> = {
  "rate-limit": ["rate-limit"],
  "jwt-jwks": ["jwt-jwks"],
};

/** The key of a built-in's configuration that names the only target it may send requests to: a cluster, or a URL. */
export const BUILTIN_FETCH: Readonly<Record<string, string>> = { "ext-auth": "cluster", "jwt-jwks": "jwks" };

/** Names of built-ins that this version does not implement yet. */
export const LATER_BUILTINS: readonly string[] = ["consistent-hash", "fastest-response", "adaptive"];

/** A reference to another entry of the file, with its place. */
export type Reference = { readonly name: string; readonly at: Place };

const placedName = convert(name, (name, at): Reference => ({ name, at }));

const clusterName = convert(placedName, (reference, at, conversion) => {
  conversion.checkCluster(reference.name, at);
  return reference;
});

const file = convert(filePath, (path, at, conversion) => ({ path: conversion.resolvePath(path), at }));

/** A target of a plugin's requests: `cluster:NAME`, an origin such as `https://keys.example.com`, or `endpoint`. */
const placedTarget = convert(fetchTarget, (target, at, conversion) => {
  if (target.startsWith("cluster:")) conversion.checkCluster(target.slice("cluster:".length), at);
  return target;
});

/** Permissions. A module's imports show what it could do; these keys say what it may. */
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

const plugin = convert(
  object({
    wasm: optional(
      file,
      "The WebAssembly module, relative to this file. Default: `source` with the extension `.wasm`.",
    ),
    config: optional(free, "Any YAML: the plugin's configuration where it is used without one."),
    source: optional(file, "The AssemblyScript source from which the `.wasm` is built."),
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

const match = object({
  scheme: optional(
    choice(["http", "https"]),
    "The scheme that the client used: of the connection, or as reported by a trusted proxy.",
  ),
  host: optional(hostPattern, "The host that the client sent, without port; `*.` matches one or more labels."),
  path: optional(pathPattern, "The whole path, compared exactly."),
  prefix: optional(
    pathPrefix,
    "The beginning of the path, byte for byte: `/api` matches `/apix` too, `/api/` does not.",
  ),
  regex: optional(pathRegex, "A regular expression in RE2 syntax that the whole path must match."),
  method: optional(oneOrMore(method), "The method, or a list of methods."),
  headers: optional(
    table(fieldName, fieldValue),
    "Header names, each with the exact value that one header of that name must have.",
  ),
  query: optional(
    table(queryName, queryValue),
    "Query parameter names, each with the exact value that the first parameter of that name must have, decoded like forms: `+` in a request is a space, `%2B` a plus.",
  ),
});

const split = convert(entries(name, count(0, 1_000_000)), (parts, at, conversion) => {
  for (const part of parts) conversion.checkCluster(part.name, part.at);
  if (parts.every((part) => part.value === 0)) conversion.report(at, "the weights add up to 0, expected more");
  return parts.map(({ name, at, value }) => ({ name, at, weight: value }));
});

const retry = convert(
  object({
    attempts: optional(
      count(0, 10),
      "Maximum number of further attempts, each on an endpoint not tried yet. Default: until every endpoint was tried, within the route's `timeout`.",
    ),
    on: withDefault(
      list(retryReason),
      ["connect", "reset", "timeout"],
      "Failures that are retried: `connect` (no connection could be established), `reset` (it ended before the response), `timeout` (no response in time), or status codes. A request that may have reached an endpoint is retried only if its method is idempotent (RFC 9110, 9.2.2).",
    ),
  }),
  ({ attempts = Number.MAX_SAFE_INTEGER, on }) => ({
    attempts,
    connect: on.includes("connect"),
    reset: on.includes("reset"),
    timeout: on.includes("timeout"),
    statuses: on.filter((reason) => typeof reason === "number"),
  }),
);

const routeFields = object({
  match: withDefault(match, {}, "Conditions of the route; all given keys must match. Default: every request matches."),
  chain: withDefault(list(use("filter")), [], "Plugins that run for the requests of this route, in order."),
  cluster: optional(clusterName, "The cluster that receives the request."),
  split: optional(split, "Clusters with their weights."),
  router: optional(use("router"), "A plugin that chooses one of `clusters`, or passes the request to the next route."),
  clusters: optional(list(clusterName), "Clusters from which `router` may choose."),
  name: optional(name, "The name of the route in metrics and logs. Default: its number, from 0."),
  timeout: withDefault(
    duration("0", "24h"),
    "0",
    "Time limit from the end of the request headers to the response headers, over all attempts and asynchronous plugin calls; 0: only the cluster's timeouts.",
  ),
  retry: withDefault(retry, {}, "When and how often a failed attempt is retried."),
  upgrade: withDefault(
    list(upgradeProtocol),
    ["websocket"],
    "Protocols that a request may be upgraded to, by the name in its header `Upgrade`; case is ignored. If the endpoint confirms it (101), the connection becomes a tunnel. The headers `Upgrade` and `Connection` of all other requests are not forwarded. `[]`: no upgrade. See upgrades.md.",
  ),
});

/** Where a matched request goes. */
export type Action =
  | { readonly kind: "cluster"; readonly cluster: Reference }
  | { readonly kind: "split"; readonly parts: Infer<typeof split> }
  | { readonly kind: "router"; readonly router: PluginUse; readonly clusters: readonly Reference[] };

const route = convert(routeFields, ({ cluster, split, router, clusters, ...rest }, at, { report }) => {
  const given = [cluster && "cluster", split && "split", router && "router"].filter((key) => key !== undefined);
  if (given.length !== 1) {
    const found = given.length === 0 ? "nowhere to go" : `both ${given.join(" and ")}`;
    report(at, `the route has ${found}, expected one of cluster, split, router`);
    return undefined;
  }
  if (router && !clusters?.length) report(at, "the router has nothing to choose from, expected a list under clusters");
  if (!router && clusters) report(at, '"clusters" belongs to "router", expected both or neither');
  let action: Action | undefined;
  if (cluster) action = { kind: "cluster", cluster };
  else if (split) action = { kind: "split", parts: split };
  else if (router) action = { kind: "router", router, clusters: clusters ?? [] };
  return action && { ...rest, action, at };
});

const idleTimeouts = duration("10ms", "24h");

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

const listenerFields = object(
  {
    address: required(
      listenAddress,
      "Where to listen: `:8080` (every address), `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`.",
    ),
    protocol: withDefault(choice(["http"], ["tcp", "auto"]), "http", "The protocol of the listener."),
    timeouts: withDefault(
      object({
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
      "Complete the response to a client that has closed its sending side. By default this ends the request, and a response that has begun.",
    ),
    chain: withDefault(list(use("filter")), [], "Plugins that run for every request of this listener, in order."),
    routes: optional(list(route), "The routes; the first one that matches is used."),
    cluster: optional(clusterName, "Short for one route that sends every request to this cluster."),
  },
  { later: ["tls"] },
);

const listener = convert(listenerFields, ({ routes, cluster, ...rest }, at, { report, warn, read }) => {
  if (routes && cluster) report(at, 'both "routes" and "cluster" are given, expected one of them');
  if (!routes && !cluster && rest.chain.length === 0)
    report(at, "the listener has no action, expected cluster or routes");
  const short = cluster && read(route, { cluster: cluster.name }, cluster.at);
  const all = routes ?? (short ? [short] : []);
  for (const { match, at } of all)
    for (const text of [match.path, match.prefix])
      if (text !== undefined && isUnreachable(text, rest.path.form))
        report(at, `"${text}" can never match: the listener's "path" normalises every path to another form`);
  const named = all.map((route, i) => ({ ...route, name: route.name ?? String(i) }));
  for (const [i, { name, at }] of named.entries())
    if (named.findIndex((other) => other.name === name) < i)
      warn(at, `another route is named "${name}": metrics and logs do not distinguish them`);
  return { ...rest, routes: named };
});

const endpoint = convert(
  object(
    {
      address: required(
        endpointAddress,
        "`127.0.0.1:9001`, `name:9001`, `[::1]:9001`, `unix:/path`, or `srv:_http._tcp.name`. A name becomes one endpoint per address (IPv4, or IPv6 if there is no IPv4 address), and is resolved again when its time to live ends. While it has no address it has no endpoint, and resolution is retried. `srv:` uses SRV records: the targets with the lowest priority number, with their ports and weights (in place of `weight`).",
      ),
      weight: withDefault(count(1, 1000), 1, "Weight relative to the other endpoints."),
      zone: withDefault(fieldValue, "", "Zone of the endpoint; strategies may prefer a zone."),
    },
    { shorthand: { scalar: "address" } },
  ),
  (value, at) => ({ ...value, at }),
);

const endpoints = convert(list(endpoint), (all, _at, { report }) => {
  const seen = new Set<string>();
  for (const { address, at } of all) {
    if (seen.has(address.text)) report(at, `duplicate endpoint ${address.text}`);
    seen.add(address.text);
  }
  return all;
});

const strategies = convert(oneOrMore(use("strategy")), (all, at, { report }) => {
  if (all.length === 0) report(at, "the list is empty, expected a strategy");
  return all;
});

const httpCheck = object(
  {
    path: required(requestTarget, "The request target; `http: /healthz` is short for this key alone."),
    method: withDefault(choice(["GET", "HEAD"]), "GET", "The method of the request."),
    host: optional(authority, "The `Host` of the request. Default: the endpoint's address."),
    status: withDefault(
      oneOrMore(statuses),
      ["2xx", "3xx"],
      "Status codes, or classes such as `2xx`, of a healthy response.",
    ),
  },
  { shorthand: { scalar: "path" } },
);

const tcpCheck = object(
  {
    connect: withDefault(yes, true, "`tcp: true`: an established connection is sufficient."),
    send: withDefault(textOf(0, 4096), "", "Text that is sent after connecting."),
    expect: withDefault(textOf(0, 1024), "", "Text that must be in the first 16 KiB that the endpoint sends."),
  },
  { shorthand: { scalar: "connect" } },
);

const activeCheck = convert(
  object(
    {
      http: optional(httpCheck, "Check by an HTTP request on a new connection."),
      tcp: optional(tcpCheck, "Check by a TCP connection."),
      plugin: optional(
        use("health check"),
        "Check by a plugin with the hook `health_check`: its name, or a map of the name to its configuration.",
      ),
      interval: withDefault(
        duration("100ms", "1h"),
        "5s",
        "Time between the starts of two checks, with a jitter of 10 %; up to four times as long while an endpoint stays down.",
      ),
      timeout: withDefault(duration("1ms", "5m"), "1s", "Time limit of a whole check."),
      healthyAfter: withDefault(
        count(1, 100),
        2,
        "Consecutive successful checks after which an unhealthy endpoint is healthy.",
      ),
      unhealthyAfter: withDefault(
        count(1, 100),
        3,
        "Consecutive failed checks after which an endpoint is unhealthy. For a new endpoint the first check decides.",
      ),
    },
    { one: ["http", "tcp", "plugin"] },
  ),
  ({ http, tcp, plugin, ...rest }, at, { warn }) => {
    if (rest.timeout > rest.interval)
      warn(at, "the timeout is longer than the interval: the next check waits for the end of the last");
    let probe: ProbeConfig | undefined;
    if (http) probe = { kind: "http", ...http };
    else if (tcp) probe = { kind: "tcp", ...tcp };
    else if (plugin) probe = { kind: "plugin", use: plugin };
    return probe && { ...rest, probe };
  },
);

/** The kind of active check, with its settings. */
export type ProbeConfig =
  | ({ readonly kind: "http" } & Infer<typeof httpCheck>)
  | ({ readonly kind: "tcp" } & Infer<typeof tcpCheck>)
  | { readonly kind: "plugin"; readonly use: PluginUse };

const passiveCheck = object(
  {
    enabled: withDefault(flag, true, "`passive: false` turns it off."),
    consecutiveFailures: withDefault(
      count(1, 1000),
      5,
      "Consecutive failed attempts that eject an endpoint: refused or broken connections, response timeouts, and `statuses`. A response timeout ejects it at once if nothing was received from the endpoint during that time.",
    ),
    statuses: withDefault(
      list(serverError),
      [502, 503, 504],
      "Statuses that count as failures. `[]`: none; only connection failures and timeouts count.",
    ),
    ejectFor: withDefault(
      duration("100ms", "1h"),
      "10s",
      "Duration of an ejection; doubled with each ejection that soon follows another. Then a single request is sent to the endpoint, and its result decides.",
    ),
    maxEjectFor: withDefault(duration("100ms", "24h"), "5m", "Maximum to which `ejectFor` grows."),
    maxEjected: withDefault(
      percentage,
      "50%",
      "Maximum share of the cluster's endpoints that may be ejected at the same time, rounded down, but at least one if there are several. The only endpoint of a cluster is never ejected, and of two only one at a time.",
    ),
    panic: withDefault(
      percentage,
      "50%",
      "If the share of remaining endpoints is below this, ejections are ignored, since the cause is then more likely the proxy, the network or a request. Results of active checks still apply.",
    ),
  },
  { shorthand: { scalar: "enabled" } },
);

const health = object({
  active: optional(activeCheck, "Active health checks. Default: none."),
  passive: withDefault(
    passiveCheck,
    {},
    "Passive health (outlier detection): endpoints on which requests fail are ejected for a time.",
  ),
});

const cluster = object(
  {
    strategy: withDefault(
      strategies,
      "round-robin",
      "The load-balancing strategy. In a list the first is the default; a plugin may choose another one for a request.",
    ),
    timeouts: withDefault(
      object({
        connect: withDefault(duration("1ms", "1h"), "3s", "To establish a connection; then 504."),
        response: withDefault(idleTimeouts, "60s", "From the end of the request to the response headers; then 504."),
        idle: withDefault(idleTimeouts, "60s", "Between two reads of a response body."),
        tunnel: withDefault(
          idleTimeouts,
          "1h",
          "How long a tunnel, such as a WebSocket connection, may be idle in both directions; then it is closed.",
        ),
      }),
      {},
      "Timeouts for the endpoint.",
    ),
    pool: withDefault(
      object({
        idle: withDefault(count(0, 100_000), 64, "Idle connections kept per endpoint and worker."),
        idleFor: withDefault(idleTimeouts, "55s", "How long an idle connection is kept."),
        connections: withDefault(
          count(0, 1_000_000),
          0,
          "Requests in flight to one endpoint, over all workers. 0: no limit.",
        ),
        requests: withDefault(count(0, 1_000_000_000), 1000, "Maximum requests per connection. 0: no limit."),
      }),
      {},
      "Connections to the endpoints.",
    ),
    limits: withDefault(
      object({
        head: withDefault(
          size("1KiB", "512KiB"),
          "64KiB",
          "Size of the response headers, and of all interim responses together; above it 502.",
        ),
        headers: withDefault(count(1, 1000), 256, "Number of response headers; above it 502."),
      }),
      {},
      "Limits of response headers.",
    ),
    health: withDefault(health, {}, "Health checks. An endpoint that is unhealthy or ejected receives no requests."),
    endpoints: required(endpoints, "The endpoints: addresses, or maps with an address."),
  },
  { later: ["tls"], shorthand: { list: "endpoints" } },
);

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

const admin = convert(
  object(
    {
      address: withDefault(
        adminAddress,
        "127.0.0.1:9901",
        "Address of the status page, the API, metrics and health endpoints; `false`: none.",
      ),
      token: optional(
        debugToken,
        "Token that a request must carry as `Authorization: Bearer TOKEN`. A browser sends it as the password of any user, which allows reading only. `/health` and `/ready` need none. Required if other machines can reach the address. A reload changes it.",
      ),
      hosts: withDefault(
        list(hostPattern),
        [],
        "Without a token: names accepted in `Host`, in addition to addresses, `localhost` and the machine's name; `*.` matches one or more labels. Other names are rejected, since the request may come from a web page (DNS rebinding).",
      ),
      metrics: optional(
        listenAddress,
        "A second address that serves only `/metrics`, `/health` and `/ready`, without a token.",
      ),
    },
    { shorthand: { scalar: "address" } },
  ),
  ({ address, token = null, hosts, metrics = null }, at, { report }) => {
    if (address === null && metrics === null) return null;
    if (address !== null && token === null && !isLoopback(address))
      report(
        at,
        `other machines can reach ${address.text} and no token is given: write admin: { address: "${address.text}", token: "\${ADMIN_TOKEN}" }, or an address such as 127.0.0.1:9901; for metrics alone metrics: "${address.text}"`,
      );
    return { address, token, hosts, metrics, at };
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

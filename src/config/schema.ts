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
  yes,
} from "./values.ts";

export type { Place, Problem } from "./place.ts";
export type { PluginUse, Settings } from "./shape.ts";
export { type Address, isLoopback } from "./values.ts";

/** The plugins that come with Sluice. A plugin of the same name under `plugins` takes a built-in's place. */
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

/** The key by which a built-in's own configuration names whom it may send requests to, and nobody else: a cluster, or a URL. */
export const BUILTIN_FETCH: Readonly<Record<string, string>> = { "ext-auth": "cluster", "jwt-jwks": "jwks" };

/** Names of the language that this version does not serve yet. */
export const LATER_BUILTINS: readonly string[] = ["consistent-hash", "fastest-response", "adaptive"];

/** A name of something else in the file, and where it stands. */
export type Reference = { readonly name: string; readonly at: Place };

const placedName = convert(name, (name, at): Reference => ({ name, at }));

const clusterName = convert(placedName, (reference, at, conversion) => {
  conversion.checkCluster(reference.name, at);
  return reference;
});

const file = convert(filePath, (path, at, conversion) => ({ path: conversion.resolvePath(path), at }));

/** A cluster, `cluster:NAME`, an origin, `https://keys.example.com`, or `endpoint`: whom a plugin may ask. */
const placedTarget = convert(fetchTarget, (target, at, conversion) => {
  if (target.startsWith("cluster:")) conversion.checkCluster(target.slice("cluster:".length), at);
  return target;
});

/** What a module imports says what it could do; what stands here is what it may. */
const allow = convert(
  object({
    clusters: optional(list(clusterName), "Clusters that the plugin may choose. Without it: any."),
    fetch: withDefault(
      list(placedTarget),
      [],
      "Whom the plugin may send requests of its own to: `cluster:NAME`, an origin like `https://keys.example.com`, or `endpoint`: the one that its hook `health_check` is to check.",
    ),
    headers: withDefault(
      object({
        hide: withDefault(
          list(fieldName),
          [],
          "Header names that do not exist for the plugin, in requests and answers: it can neither read nor change them.",
        ),
      }),
      {},
      "What it may not see of a head.",
    ),
    clock: withDefault(
      choice(["coarse", "precise"]),
      "coarse",
      "`coarse`: the time moves every 50 ms; `precise`: it may also ask for the time to the microsecond.",
    ),
    kv: withDefault(
      list(name),
      [],
      "Key-value namespaces that it may use. Plugins that name the same one share its entries.",
    ),
    share: withDefault(
      list(name),
      [],
      "Names of values of a request that it may set for other plugins to read, such as the user that it has found.",
    ),
  }),
  (value, at) => ({ ...value, at }),
);

const rollout = object({
  percent: withDefault(
    percent(0.01, 100, "optional"),
    5,
    "With `rollout`, `{}` at least, a new `.wasm` takes over in stages; without it at once. Of the requests that come to the plugin, what the new version takes while it is watched.",
  ),
  watch: withDefault(duration("1s", "24h"), "30s", "How long it is watched at least."),
  minRequests: withDefault(
    count(1, 1_000_000_000),
    500,
    "Requests that the new version must have taken; below that nothing is promoted, however long it takes.",
  ),
  maxFailures: withDefault(
    percent(0, 100, "required"),
    "0.1%",
    "Of those requests, the ones on which the new version may have failed; where the old version fails more often, as many as that one.",
  ),
});

const plugin = convert(
  object({
    wasm: optional(
      file,
      "The WebAssembly module, relative to this file. Without it: `source` with the ending `.wasm`.",
    ),
    config: optional(free, "Any YAML, handed to the plugin where it is used without a configuration of its own."),
    source: optional(file, "The AssemblyScript source that the `.wasm` is made from."),
    onFailure: withDefault(
      choice(["reject", "skip"]),
      "reject",
      "When the plugin fails: `reject` answers the request with 500, or closes the connection that it judged; `skip` goes on without it.",
    ),
    limits: withDefault(
      object({
        fuel: withDefault(
          count(1000, 2_000_000_000),
          500_000,
          "Units of work for one hook call. Each byte that the call can see (heads as received, the chunk of a body, what it fetched) adds 40. docs/abi.md lists what costs how much.",
        ),
        memory: withDefault(
          size("64KiB", "1GiB"),
          "16MiB",
          "Memory of one instance; as much again for its tables, and for what the proxy keeps because of one request or call of it (values, edits, responses, what it fetched).",
        ),
        body: withDefault(
          size("0", "64MiB"),
          "1MiB",
          "Of a body that the plugin holds until it is whole, and that it may add to a piece of one.",
        ),
        tooLarge: withDefault(
          choice(["reject", "skip"]),
          "reject",
          "A body to be held that is larger: `reject` answers 413, or 502 when it is the endpoint's; `skip` passes it on without the plugin's body hook.",
        ),
        time: withDefault(
          duration("1ms", "1h"),
          "5s",
          "One call of a hook that waits, its place in line included; beyond it the call fails.",
        ),
        guests: withDefault(
          count(1, 1000),
          16,
          "Of a plugin that waits: calls at one time on each thread, a `tick` included. Eight times as many stand in line, then 503.",
        ),
      }),
      {},
      "What one call of the plugin may use.",
    ),
    allow: withDefault(allow, {}, "What the plugin may reach."),
    rollout: optional(
      rollout,
      "How a new `.wasm` takes over: by a share of requests first, then promoted or rolled back. Without it: at once.",
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
  host: optional(hostPattern, "The host that the client named, without port; `*.` matches one or more labels."),
  path: optional(pathPattern, "The whole path, exactly."),
  prefix: optional(
    pathPrefix,
    "What the path begins with, byte for byte: `/api` matches `/apix` too, `/api/` does not.",
  ),
  regex: optional(pathRegex, "An expression that the whole path must match, in the syntax of RE2."),
  method: optional(oneOrMore(method), "The method, or a list of methods."),
  headers: optional(
    table(fieldName, fieldValue),
    "Header names with the exact value that one field of that name must have.",
  ),
  query: optional(
    table(queryName, queryValue),
    "Parameter names with the exact value that the first parameter of that name must have, read as forms are: `+` in a request is a space, `%2B` a plus.",
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
      "Further attempts after the first, each on an endpoint not yet tried. Without it: while there is one, within the route's `timeout`.",
    ),
    on: withDefault(
      list(retryReason),
      ["connect", "reset", "timeout"],
      "When: `connect` (no connection could be made), `reset` (it ended before the response), `timeout` (no response in time), or status codes. A request that may have reached an endpoint is sent again only when its method is idempotent (RFC 9110, 9.2.2).",
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
  match: withDefault(match, {}, "What a request must be; all given keys must hold. Without it: every request."),
  chain: withDefault(list(use("filter")), [], "Plugins that run for the requests of this rule, in order."),
  cluster: optional(clusterName, "The cluster that takes the request."),
  split: optional(split, "Clusters with their shares of the requests."),
  router: optional(use("router"), "A plugin that names one of `clusters`, or passes the request to the next rule."),
  clusters: optional(list(clusterName), "What `router` may choose from."),
  name: optional(name, "The label in metrics and logs. Without it: the rule's number, from 0."),
  timeout: withDefault(
    duration("0", "24h"),
    "0",
    "From the complete request head to the answer's head, over all attempts and all that plugins wait for; 0: only the cluster's timeouts.",
  ),
  retry: withDefault(retry, {}, "When and how often a request is tried again."),
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
    report(at, `the rule has ${found}, expected one of cluster, split, router`);
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

/** Whether a path holds what that form takes away, so that no request's path matches it. */
function isUnreachable(text: string, form: number): boolean {
  const slashes = (form & FORM.mergeSlashes) !== 0 && text.includes("//");
  return slashes || ((form & (FORM.decodeSlashes | FORM.refuseSlashes)) !== 0 && text.includes("%2F"));
}

const pathReading = convert(
  object({
    ambiguous: withDefault(
      choice(["reject", "allow"]),
      "reject",
      "Where a path holds `//`, an encoded slash, another escape of a character that may stand there as itself, or `;`, it is matched again as other programs read it: slashes merged, escapes decoded, `;` and what follows it in a segment cut off. When one of these readings selects another route, or none: `reject` answers 400, `allow` takes the route that the path as it is selects.",
    ),
    mergeSlashes: withDefault(
      flag,
      false,
      "Make one slash of several, before routes are matched; the endpoint gets the path so.",
    ),
    encodedSlash: withDefault(
      choice(["keep", "decode", "reject"]),
      "keep",
      "What becomes of `%2F`: it stays, it becomes a slash before routes are matched and the endpoint gets the path so, or the request gets 400.",
    ),
  }),
  ({ ambiguous, mergeSlashes, encodedSlash }) => ({
    allowsAmbiguous: ambiguous === "allow",
    form:
      (mergeSlashes ? FORM.mergeSlashes : 0) |
      (encodedSlash === "decode" ? FORM.decodeSlashes : encodedSlash === "reject" ? FORM.refuseSlashes : 0),
  }),
);

const listenerFields = object(
  {
    address: required(
      listenAddress,
      "Where to listen: `:8080` (every address), `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`.",
    ),
    protocol: withDefault(choice(["http"], ["tcp", "auto"]), "http", "What is spoken there."),
    timeouts: withDefault(
      object({
        head: withDefault(idleTimeouts, "15s", "From a request's first byte to the end of its head; then 408."),
        body: withDefault(idleTimeouts, "60s", "Between two reads of a request's body."),
        write: withDefault(idleTimeouts, "60s", "Between two writes that the client takes."),
        idle: withDefault(idleTimeouts, "75s", "Between two requests on one connection."),
      }),
      {},
      "How long a client may take.",
    ),
    limits: withDefault(
      object({
        head: withDefault(size("1KiB", "512KiB"), "32KiB", "A request's head; above it 431."),
        target: withDefault(size("64B", "64KiB"), "16KiB", "A request's target; above it 414."),
        headers: withDefault(count(1, 500), 100, "Header fields of a request; above it 431."),
        body: withDefault(size("0", "1024GiB"), 0, "A request's body; above it 413. 0: no limit."),
        connections: withDefault(
          count(0, 10_000_000),
          0,
          "Client connections at one time, over all workers; further ones are closed. 0: no limit.",
        ),
      }),
      {},
      "How large a request may be.",
    ),
    path: withDefault(pathReading, {}, "How paths are read that other programs read in another way."),
    trustedProxies: withDefault(
      list(addressBlock),
      [],
      "Peers that are believed when they say the client's address, scheme, host and port (X-Forwarded-*). From all others these headers are dropped, in every spelling: behind-a-proxy.md.",
    ),
    halfClose: withDefault(
      flag,
      false,
      "Complete the response to a client that has closed its own direction; without it that ends the request, and the response where it had begun.",
    ),
    chain: withDefault(list(use("filter")), [], "Plugins that run for every request of this listener, in order."),
    routes: optional(list(route), "The rules; the first that matches is taken."),
    cluster: optional(clusterName, "Short for one rule that sends every request to this cluster."),
  },
  { later: ["tls"] },
);

const listener = convert(listenerFields, ({ routes, cluster, ...rest }, at, { report, warn, read }) => {
  if (routes && cluster) report(at, 'both "routes" and "cluster" are given, expected one of them');
  if (!routes && !cluster && rest.chain.length === 0) report(at, "nothing answers here, expected cluster or routes");
  const short = cluster && read(route, { cluster: cluster.name }, cluster.at);
  const rules = routes ?? (short ? [short] : []);
  for (const { match, at } of rules)
    for (const text of [match.path, match.prefix])
      if (text !== undefined && isUnreachable(text, rest.path.form))
        report(at, `"${text}" can never match: the listener's "path" brings every path into another form`);
  const named = rules.map((rule, i) => ({ ...rule, name: rule.name ?? String(i) }));
  for (const [i, { name, at }] of named.entries())
    if (named.findIndex((other) => other.name === name) < i)
      warn(at, `another route is named "${name}": metrics and logs do not tell them apart`);
  return { ...rest, routes: named };
});

const endpoint = convert(
  object(
    {
      address: required(
        endpointAddress,
        "`127.0.0.1:9001`, `name:9001`, `[::1]:9001` or `unix:/path`. A name is one endpoint for each of its addresses; it is resolved again when its time to live is over. While it has no address it is no endpoint, and is asked for again.",
      ),
      weight: withDefault(count(1, 1000), 1, "Its share, next to the others' weights."),
      zone: withDefault(fieldValue, "", "Where it stands; strategies may prefer a zone."),
    },
    { shorthand: { scalar: "address" } },
  ),
  (value, at) => ({ ...value, at }),
);

const endpoints = convert(list(endpoint), (all, _at, { report }) => {
  const seen = new Set<string>();
  for (const { address, at } of all) {
    if (seen.has(address.text)) report(at, `the endpoint ${address.text} stands here a second time`);
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
    path: required(requestTarget, "What is asked for; `http: /healthz` is short for this key alone."),
    method: withDefault(choice(["GET", "HEAD"]), "GET", "The method of the request."),
    host: optional(authority, "The `Host` of the request. Without it: the endpoint's address."),
    status: withDefault(
      oneOrMore(statuses),
      ["2xx", "3xx"],
      "Codes, or classes such as `2xx`, of an answer that is healthy.",
    ),
  },
  { shorthand: { scalar: "path" } },
);

const tcpCheck = object(
  {
    connect: withDefault(yes, true, "`tcp: true`: a connection that stands is enough."),
    send: withDefault(textOf(0, 4096), "", "Text that is sent when it stands."),
    expect: withDefault(textOf(0, 1024), "", "Text that must be in the first 16 KiB of what the endpoint sends."),
  },
  { shorthand: { scalar: "connect" } },
);

const activeCheck = convert(
  object(
    {
      http: optional(httpCheck, "A request on a connection of its own, and the status of its answer."),
      tcp: optional(tcpCheck, "A connection, and what is said on it."),
      plugin: optional(
        use("health check"),
        "A plugin with the hook `health_check`, by name or as a map of the name to its configuration.",
      ),
      interval: withDefault(
        duration("100ms", "1h"),
        "5s",
        "From the beginning of one check to that of the next, a tenth more or less by chance; up to four times as long while an endpoint stays down.",
      ),
      timeout: withDefault(duration("1ms", "5m"), "1s", "For the whole of one check."),
      healthyAfter: withDefault(count(1, 100), 2, "Good checks in a row that bring an endpoint back."),
      unhealthyAfter: withDefault(
        count(1, 100),
        3,
        "Bad checks in a row that take an endpoint out. Of one that is new, the first check decides.",
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

/** By what an endpoint is checked. */
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
      "Failed attempts in a row that eject an endpoint: refused or broken connections, response timeouts, and `statuses`. A response timeout ejects it at once if nothing else was heard of the endpoint meanwhile.",
    ),
    statuses: withDefault(
      list(serverError),
      [502, 503, 504],
      "Statuses that count as failures. `[]`: none; the endpoint's connections alone decide.",
    ),
    ejectFor: withDefault(
      duration("100ms", "1h"),
      "10s",
      "Time without traffic; doubled with each ejection that soon follows another. Then a single request is let through, and its result decides.",
    ),
    maxEjectFor: withDefault(duration("100ms", "24h"), "5m", "The longest that `ejectFor` grows to."),
    maxEjected: withDefault(
      percentage,
      "50%",
      "Share of the cluster's endpoints, rounded down but at least one of several, that may be ejected at the same time. The only endpoint of a cluster is never ejected, and of two only one at a time.",
    ),
    panic: withDefault(
      percentage,
      "50%",
      "When a smaller share of the endpoints than this is left, ejections are ignored: it is then more likely that the proxy, the network or a request is at fault. What active checks have found still holds.",
    ),
  },
  { shorthand: { scalar: "enabled" } },
);

const health = object({
  active: optional(activeCheck, "Checks that are made whether there is traffic or not. Without it: none."),
  passive: withDefault(
    passiveCheck,
    {},
    "What the requests themselves show: endpoints that fail are ejected for a while.",
  ),
});

const cluster = object(
  {
    strategy: withDefault(
      strategies,
      "round-robin",
      "How an endpoint is picked. A list: the first is the default, a plugin may choose another of them for a request.",
    ),
    timeouts: withDefault(
      object({
        connect: withDefault(duration("1ms", "1h"), "3s", "For a connection to be made; then 504."),
        response: withDefault(idleTimeouts, "60s", "From the request sent to the answer's head; then 504."),
        idle: withDefault(idleTimeouts, "60s", "Between two reads of an answer's body, and of a tunnel."),
      }),
      {},
      "How long an endpoint may take.",
    ),
    pool: withDefault(
      object({
        idle: withDefault(count(0, 100_000), 64, "Unused connections kept for each endpoint, on each thread."),
        idleFor: withDefault(idleTimeouts, "55s", "How long they are kept."),
        connections: withDefault(
          count(0, 1_000_000),
          0,
          "Requests in flight to one endpoint, over all threads. 0: no limit.",
        ),
        requests: withDefault(count(0, 1_000_000_000), 1000, "Requests on one connection. 0: no limit."),
      }),
      {},
      "Connections to the endpoints.",
    ),
    limits: withDefault(
      object({
        head: withDefault(
          size("1KiB", "512KiB"),
          "64KiB",
          "A response's head, and all interim responses before it together; above it 502.",
        ),
        headers: withDefault(count(1, 1000), 256, "Header fields of a response; above it 502."),
      }),
      {},
      "How large the head of a response may be.",
    ),
    health: withDefault(health, {}, "How endpoints that are down are found. One that is found gets no requests."),
    endpoints: required(endpoints, "The endpoints: addresses, or maps with an address."),
  },
  { later: ["tls"], shorthand: { list: "endpoints" } },
);

const trace = convert(
  object({
    token: optional(
      debugToken,
      "A request that carries it is traced; the answer's `x-sluice-trace` names the trace. Without it: none is traced for a token.",
    ),
    header: withDefault(
      fieldName,
      "x-sluice-debug",
      "The field that carries the token. With a token set it is taken off every request, whatever it says.",
    ),
    sample: withDefault(percentage, "0%", "Of all other requests, those that are traced."),
    keep: withDefault(count(1, 10_000), 100, "Traces that are kept, the last ones; of 16 MiB in all at most."),
    mask: withDefault(
      list(fieldName),
      [],
      "Fields and query parameters whose values no trace shows, besides those whose name says that they are secret.",
    ),
  }),
  (value, at, { report }) => {
    if (value.header in NAME) report(at, `the field ${value.header} has a meaning of its own, expected another`);
    return value;
  },
);

const admin = convert(
  object(
    {
      address: withDefault(
        adminAddress,
        "127.0.0.1:9901",
        "Where the page, the API and all of the below are served; `false`: nowhere.",
      ),
      token: optional(
        debugToken,
        "What a request must carry, as `Authorization: Bearer TOKEN`; a browser sends it as the password of any user, and can only read with it. `/health` and `/ready` need none. Needed where other machines reach the address. A reload changes it.",
      ),
      hosts: withDefault(
        list(hostPattern),
        [],
        "Without a token: names in `Host` that are this interface's, beside addresses, `localhost` and the machine's own name; `*.` matches one or more labels. Any other name is refused, since it may be a web page's.",
      ),
      metrics: optional(
        listenAddress,
        "A further address, which serves `/metrics`, `/health` and `/ready` and nothing else, and needs no token.",
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

/** The whole file. */
export const configuration = object({
  workers: withDefault(
    count(0, 256),
    0,
    "Data threads. 0: one for each core. A reload changes their number, and loses no connection; `--workers` fixes it.",
  ),
  admin: withDefault(
    admin,
    "127.0.0.1:9901",
    "The admin interface: metrics, health, API, page. An address, or a map with more; `false` turns it off. Other addresses take effect at the next start.",
  ),
  log: withDefault(
    object({
      level: withDefault(choice(["debug", "info", "warn", "error"]), "info", "The least level that is written."),
      access: withDefault(
        accessLog,
        false,
        "A line for each request, at its end: `true`, or a map. See docs/operations.md for all fields.",
      ),
    }),
    {},
    "The program's log, JSON lines on standard output; and the access log.",
  ),
  shutdown: withDefault(
    object({
      announce: withDefault(
        duration("0", "24h"),
        "0s",
        "How long `/ready` answers 503 while listeners still accept, before the drain begins: so that a load balancer in front stops sending first.",
      ),
      grace: withDefault(duration("0", "24h"), "30s", "How long running requests may then take to finish."),
    }),
    {},
    "What happens on SIGTERM and SIGINT; a second one exits at once.",
  ),
  kv: withDefault(
    object({
      size: withDefault(
        size("1MiB", "1GiB"),
        "16MiB",
        "Memory of the key-value store that plugins on all threads share; entries make room for others when it is full. A change takes effect at the next start.",
      ),
    }),
    {},
    "The key-value store.",
  ),
  trace: withDefault(trace, {}, "Which requests are traced: what each plugin did to them, and why they went where."),
  plugins: withDefault(named(name, plugin), {}, "WebAssembly modules, by the names that rules use."),
  listeners: required(named(name, listener), "Where clients connect."),
  clusters: withDefault(named(name, cluster), {}, "Groups of endpoints that take the same requests."),
});

type Whole = Infer<typeof configuration>;
/** A checked configuration: what the file says, with every default in its place. Times are ms, sizes bytes. */
export type Config = Whole & { readonly file: string };
export type PluginConfig = Config["plugins"][number];
export type ListenerConfig = Config["listeners"][number];
export type RouteConfig = ListenerConfig["routes"][number];
export type ClusterConfig = Config["clusters"][number];
export type EndpointConfig = ClusterConfig["endpoints"][number];
export type MatchConfig = RouteConfig["match"];

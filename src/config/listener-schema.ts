/** Listeners: where to listen, TLS, timeouts, limits, and which route serves a request. */
import { FORM } from "../http/head.ts";
import { type Address, addressBlock, listenAddress, peerBlock } from "./address-values.ts";
import { findWildcard, grpcMethod } from "./http-values.ts";
import { http2 } from "./http2-schema.ts";
import { LISTENER_PROTOCOLS } from "./peer-words.ts";
import type { Place } from "./place.ts";
import { clusterName } from "./references.ts";
import { makeRoute, route, routeFields } from "./route-schema.ts";
import {
  type Conversion,
  convert,
  free,
  type Infer,
  list,
  object,
  oneOrMore,
  optional,
  required,
  use,
  withDefault,
} from "./shape.ts";
import { checkKeys } from "./tcp-keys.ts";
import { listenerTls } from "./tls-schema.ts";
import { findEntry, type Tree } from "./tree.ts";
import { byteRate, choice, count, duration, flag, idleTimeouts, rate, size } from "./values.ts";

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

const proxyProtocol = convert(
  object(
    {
      from: required(
        oneOrMore(peerBlock),
        "The load balancers: networks (`10.0.0.0/8`) and addresses, or `unix` for those that connect by a Unix socket. From all other peers no header is read.",
      ),
      optional: withDefault(
        flag,
        false,
        "Also serve connections of these peers that do not begin with a header, with their own address as the client's. By default they are closed.",
      ),
    },
    { shorthand: { scalar: "from", list: "from" } },
  ),
  (value, at, { report, warn, hasProblem }) => {
    if (value.from.some((block) => block.endsWith("/0")))
      warn(at, "every client may send a PROXY protocol header, and so any address: list only load balancers");
    if (value.from.length === 0 && !hasProblem(at.path))
      report(at, "no peers are listed in `from`, expected at least one");
    return value;
  },
);

const connectionRate = convert(
  object(
    {
      rate: required(rate, "Connections per second (`10/s`) or minute (`600/m`)."),
      burst: optional(
        count(1, 1_000_000),
        "Connections that a client may open at once; then they are admitted at `rate`. Default: those of one second.",
      ),
    },
    { shorthand: { scalar: "rate" } },
  ),
  ({ rate, burst }) => ({ rate, burst: burst ?? Math.max(1, Math.ceil(rate)) }),
);

const udp = object({
  responses: withDefault(
    count(0, 1000),
    0,
    "Datagrams of the endpoint for each datagram of the client; when all have arrived, the session ends. 1 for DNS. 0: unknown, sessions end by `timeouts.idle` (default: 60s).",
  ),
  quic: withDefault(
    flag,
    false,
    "Recognise sessions also by the connection IDs of QUIC, so that they continue when a NAT changes the client's address. All datagrams are handled by one worker.",
  ),
});

const listenerFields = object({
  address: required(
    listenAddress,
    "Where to listen: `:8080` (every address), `127.0.0.1:8080`, `[::1]:8080`, `unix:/path`.",
  ),
  protocol: withDefault(
    choice(["http", "tcp", "auto", "udp"], LISTENER_PROTOCOLS),
    "http",
    "`http`: HTTP/1 and HTTP/2; `tcp`: connections are relayed without being interpreted (tcp.md); `auto`: the first bytes of a connection decide, and routes with `match.protocol: tcp` are for those that are neither HTTP nor TLS; `udp`: datagrams are relayed (udp.md).",
  ),
  udp: withDefault(udp, {}, "`protocol: udp`: how sessions are recognised and when they end: udp.md."),
  tls: optional(listenerTls, "TLS: clients connect by https. Default: plain HTTP. tls.md shows each use."),
  proxyProtocol: optional(
    proxyProtocol,
    "Load balancers in front that begin each connection with a header of the PROXY protocol, version 1 or 2. The client's address is the one in the header. A list of peers is short for `from`. protocols.md shows each use.",
  ),
  allow: optional(
    list(addressBlock),
    "Networks and addresses whose connections are accepted, before a byte is read; others are closed. It is the client's address that counts: with `proxyProtocol` the one in the header. Default: all.",
  ),
  deny: optional(
    list(addressBlock),
    "Networks and addresses whose connections are closed before a byte is read; has precedence over `allow`.",
  ),
  timeouts: withDefault(
    object({
      handshake: withDefault(
        idleTimeouts,
        "10s",
        "From the connection to the end of the TLS handshake; and before it, to the end of the PROXY protocol header.",
      ),
      head: withDefault(idleTimeouts, "15s", "From a request's first byte to the end of its headers; then 408."),
      body: withDefault(idleTimeouts, "60s", "Between two reads of a request's body."),
      write: withDefault(idleTimeouts, "60s", "Between two successful writes to the client."),
      idle: withDefault(
        idleTimeouts,
        "75s",
        "Between two requests on one connection; with `protocol: tcp`, time without a byte in either direction (default: the cluster's `timeouts.tunnel`).",
      ),
      detect: optional(
        idleTimeouts,
        "`protocol: tcp` with routes by `sni` or `alpn`: time for the ClientHello; `protocol: auto`: time until the protocol is known. A client that has sent nothing until then is served by routes for TCP. Default: 5s.",
      ),
      lifetime: optional(
        duration("1ms", "365d"),
        "TCP connections: how long one may last; then it is reset. Default: no limit.",
      ),
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
      bandwidth: optional(
        object(
          {
            connection: optional(byteRate, "Of each connection."),
            client: optional(
              byteRate,
              "Of all connections of one client address (IPv6: one /64 network) together, over all workers. Peers in `trustedProxies` are exempt.",
            ),
          },
          { shorthand: { scalar: "connection" } },
        ),
        "Bytes per second in each direction, such as `1MiB/s`; a faster connection pauses. A rate alone is short for `connection`. Default: no limit.",
      ),
      connectionRatePerClient: optional(
        connectionRate,
        "New connections of one client address (IPv6: one /64 network) per second, over all workers, such as `10/s`; further ones are closed. Peers in `trustedProxies` are exempt. Default: no limit.",
      ),
    }),
    {},
    "Limits of requests and connections.",
  ),
  grpc: withDefault(
    object({
      methods: withDefault(
        list(grpcMethod),
        [],
        "Methods (`package.Service/Method`) whose calls are counted by name in `sluice_grpc_method_requests_total`; all others are counted as `other`. `[]`: this metric is absent.",
      ),
    }),
    {},
    "Metrics of gRPC calls: grpc.md.",
  ),
  http2: withDefault(http2, {}, "Limits of HTTP/2 connections: http2.md."),
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
  respond: optional(
    free,
    "Short for one route that responds to every request: `{ status: 503, body: … }`. See routes.",
  ),
  redirect: optional(
    free,
    "Short for one route that redirects every request: `{ https: true, status: 308 }`. See routes.",
  ),
});

/** Default of `timeouts.detect`, ms. */
const DETECT = 5000;

/** Keys of a listener of which one says what becomes of requests; of connections and datagrams. */
const RELAY_ACTIONS = ["routes", "cluster"] as const;
const ACTIONS = [...RELAY_ACTIONS, "respond", "redirect"] as const;

type Fields = Infer<typeof listenerFields>;
type Route = Infer<typeof route>;

export const listener = convert(listenerFields, (fields, at, conversion, tree) => {
  const { routes, cluster, respond, redirect, ...rest } = fields;
  const { report } = conversion;
  checkKeys(rest.protocol, tree, report);
  const given = ACTIONS.filter((key) => findEntry(tree, key) !== undefined);
  if (given.length > 1)
    report(at, `both ${given.map((key) => `"${key}"`).join(" and ")} are given, expected one of them`);
  const isRelay = rest.protocol === "tcp" || rest.protocol === "udp";
  if (given.length === 0 && (rest.chain.length === 0 || isRelay))
    report(
      at,
      `the listener has no action, expected one of ${(isRelay ? RELAY_ACTIONS : ACTIONS).join(", ")}`,
      ACTIONS,
    );
  const short = given.length === 1 ? makeShort(fields, conversion, tree) : undefined;
  const all = routes ?? (short ? [short] : []);
  checkRoutes(rest, all, conversion);
  const hasIdle = isRelay && findEntry(findEntry(tree, "timeouts"), "idle") !== undefined;
  const idle = hasIdle ? rest.timeouts.idle : 0;
  const named = all.map((route, i) => ({ ...route, name: route.name ?? String(i) }));
  if (rest.protocol === "udp" && rest.address.path !== "")
    report(at, `${rest.address.text} receives no datagrams: expected an address with a port for protocol: udp`);
  const address = rest.protocol === "udp" ? udpAddress(rest.address, rest.udp.quic) : rest.address;
  return {
    ...rest,
    address,
    routes: named,
    relay: { idle, lifetime: rest.timeouts.lifetime ?? 0, detect: rest.timeouts.detect ?? DETECT },
  };
});

/** The route of a listener with an action in place of `routes`. */
function makeShort({ cluster, respond, redirect }: Fields, conversion: Conversion, tree: Tree): Route | undefined {
  const at = cluster?.at ?? respond?.tree.at ?? redirect?.tree.at;
  const defaults = at && conversion.read(routeFields, {}, at);
  if (defaults === undefined) return undefined;
  const action = { ...(cluster && { cluster }), ...(respond && { respond }), ...(redirect && { redirect }) };
  return makeRoute({ ...defaults, ...action }, at!, conversion, tree);
}

function warnOfWildcard(text: string | undefined, at: Place, warn: Conversion["warn"]): void {
  const wildcard = text === undefined ? undefined : findWildcard(text);
  if (wildcard !== undefined)
    warn(at, `"${wildcard}" in "${text}" matches only itself: expected a "prefix" without it, or a "regex"`);
}

/** The address as displayed: one of TCP may have the same port. */
function udpAddress(address: Address, quic: boolean): Address {
  return { ...address, text: `${quic ? "quic" : "udp"}:${address.text}` };
}

/** Checks the routes for the listener that has them. */
function checkRoutes(
  { path, protocol, tls }: Omit<Fields, "routes">,
  all: readonly Route[],
  conversion: Conversion,
): void {
  const { report, warn } = conversion;
  for (const { match, passthrough, at } of all) {
    for (const text of [match, ...(match.not ?? [])].flatMap(({ path, prefix }) => [path, prefix].flat()))
      if (text !== undefined && isUnreachable(text, path.form))
        report(at, `"${text}" can never match: the listener's "path" normalises every path to another form`);
      else warnOfWildcard(text, at, warn);
    if (!tls && protocol === "http" && passthrough)
      report(at, "`passthrough` without `tls`: expected `tls`, or `protocol: tcp`");
    else if (!tls && protocol === "tcp" && passthrough)
      warn(at, "`passthrough` has no effect: without `tls`, all connections are relayed as they are");
    else if (!tls && protocol === "http" && match.sni)
      warn(at, "no request matches `sni`: without `tls` there is no server name (SNI)");
  }
  const names = all.map(({ name }, i) => name ?? String(i));
  for (const [i, name] of names.entries())
    if (names.indexOf(name) < i)
      warn(all[i]!.at, `another route is named "${name}": metrics and logs do not distinguish them`);
}

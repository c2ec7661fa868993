/** `routes` of a listener: conditions, target, retries and upgrades. */

import { GRPC } from "../http/grpc.ts";
import { addressBlock, hostPattern } from "./address-values.ts";
import * as http from "./http-values.ts";
import { checkLocalKeys, conditionsOfTarget, LOCAL_ACTIONS, type LocalAction } from "./local-actions.ts";
import type { Place } from "./place.ts";
import { clusterName, type Reference } from "./references.ts";
import {
  type Conversion,
  convert,
  entries,
  free,
  type Infer,
  list,
  object,
  oneOrMore,
  optional,
  type PluginUse,
  type ScalarShape,
  type Settings,
  type Shape,
  table,
  use,
  withDefault,
} from "./shape.ts";
import { findEntry, type Tree } from "./tree.ts";
import { byteRate, choice, count, duration, flag, name, textOf } from "./values.ts";

/** A text is compared exactly; `regex` must match the whole value. */
export type ValueMatch =
  | string
  | { readonly present: boolean }
  | { readonly prefix: string }
  | { readonly regex: string };
export type OneOrMore<T> = T | readonly T[];
export type ValueTable = Readonly<Record<string, OneOrMore<ValueMatch>>>;

/** A list of which one value must match. An empty one would never match. */
const anyOf = <T>(item: Shape<T>) =>
  convert(oneOrMore(item), (values, at, { report, hasProblem }): readonly T[] | undefined => {
    if (values.length > 0) return values;
    if (!hasProblem(at.path)) report(at, "empty list, which no request matches: expected at least one value");
    return undefined;
  });

/** A single value is kept as it is. */
const oneOrAny = <T>(item: Shape<T>) =>
  convert(anyOf(item), (values): OneOrMore<T> => (values.length === 1 ? values[0]! : values));

/** A text, or conditions. */
const valueTable = (key: ScalarShape<string>, text: ScalarShape<string>) =>
  table(
    key,
    oneOrAny(
      convert(
        object(
          {
            exact: optional(text, "The whole value; the same as the text alone."),
            present: optional(flag, "`true`: any value; `false`: there is none of that name."),
            prefix: optional(text, "The beginning of the value."),
            regex: optional(http.regex, "A regular expression in RE2 syntax that the whole value must match."),
          },
          { shorthand: { scalar: "exact" }, one: ["exact", "present", "prefix", "regex"] },
        ),
        ({ exact, ...rest }): ValueMatch => exact ?? (rest as ValueMatch),
      ),
    ),
  );

const conditions = {
  scheme: optional(
    oneOrAny(choice(["http", "https"])),
    "The scheme that the client used: of the connection, or as reported by a trusted proxy.",
  ),
  host: optional(
    oneOrAny(hostPattern),
    "The host that the client sent, without port, or a list of hosts; `*.` matches one or more labels.",
  ),
  path: optional(oneOrAny(http.pathPattern), "The whole path, compared exactly, or a list of paths."),
  prefix: optional(
    oneOrAny(http.pathPrefix),
    "The beginning of the path, byte for byte, or a list: `/api` matches `/apix` too, `/api/` does not.",
  ),
  regex: optional(
    oneOrAny(http.regex),
    "A regular expression in RE2 syntax that the whole path must match, or a list. Its time is linear in the path.",
  ),
  method: optional(anyOf(http.method), "The method, or a list of methods."),
  headers: optional(
    valueTable(http.fieldName, http.fieldValue),
    "Header names, each with what one header of that name must have: the exact value, `{ present: true }`, `{ present: false }`, `{ prefix: … }`, `{ regex: … }`, or a list of which one must match.",
  ),
  query: optional(
    valueTable(http.queryName, http.queryValue),
    "Query parameter names, each with what the first parameter of that name must have, as in `headers`; decoded like forms: `+` in a request is a space, `%2B` a plus.",
  ),
  cookie: optional(
    valueTable(http.cookieName, http.cookieValue),
    "Cookie names, each with what the first cookie of that name must have, as in `headers`.",
  ),
  client: optional(
    anyOf(addressBlock),
    "Networks (`10.0.0.0/8`) or addresses of which one must contain the client's address: that of the connection, or the one that a trusted proxy reports.",
  ),
  sni: optional(
    anyOf(hostPattern),
    "The server name (SNI) of the client's TLS handshake, or a list of names; `*.` matches one or more labels. The client chooses it independently of the host: see `tls.strictSniHost`.",
  ),
  alpn: optional(
    anyOf(textOf(1, 255)),
    "TCP connections and `passthrough`: a protocol that the client offers in its TLS handshake (ALPN), such as `h2`, or a list of them.",
  ),
};

const match = object({
  ...conditions,
  protocol: optional(
    choice(["http", "tcp"]),
    "Listeners with `protocol: auto`: `tcp` is for connections that are neither HTTP nor TLS, `http` (default) for requests.",
  ),
  not: optional(
    anyOf(object(conditions)),
    "Conditions, or a list of them, that exclude requests: a request for which all keys of one of them match does not match.",
  ),
});

const split = convert(entries(name, count(0, 1_000_000)), (parts, at, conversion) => {
  for (const part of parts) conversion.checkCluster(part.name, part.at);
  if (parts.every((part) => part.value === 0) && !conversion.hasProblem(at.path))
    conversion.report(at, "the weights add up to 0, expected more");
  return parts.map(({ name, at, value }) => ({ name, at, weight: value }));
});

/** Statuses of gRPC that can be retried (as in Envoy). */
const GRPC_REASONS: Readonly<Record<string, number>> = {
  cancelled: GRPC.cancelled,
  "deadline-exceeded": GRPC.deadlineExceeded,
  internal: GRPC.internal,
  "resource-exhausted": GRPC.resourceExhausted,
  unavailable: GRPC.unavailable,
};

/** The set of statuses of gRPC among the reasons, as bits. */
function grpcStatuses(reasons: readonly http.RetryReason[]): number {
  let set = 0;
  for (const reason of reasons) if (reason in GRPC_REASONS) set |= 1 << GRPC_REASONS[reason]!;
  return set;
}

const retry = convert(
  object({
    attempts: optional(
      count(0, 10),
      "Maximum number of further attempts, each on an endpoint not tried yet. Default: until every endpoint was tried, within the route's `timeout`.",
    ),
    on: withDefault(
      list(http.retryReason),
      ["connect", "reset", "timeout"],
      "Failures that are retried: `connect` (no connection could be established), `reset` (it ended before the response), `timeout` (no response in time), or status codes. A request that may have reached an endpoint is retried only if its method is idempotent (RFC 9110, 9.2.2). Of gRPC calls also statuses: `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted`, `unavailable`; with one of them, all calls of the route count as idempotent. See grpc.md.",
    ),
  }),
  ({ attempts = Number.MAX_SAFE_INTEGER, on }) => ({
    attempts,
    connect: on.includes("connect"),
    reset: on.includes("reset"),
    timeout: on.includes("timeout"),
    statuses: on.filter((reason) => typeof reason === "number"),
    grpc: grpcStatuses(on),
  }),
);

export const routeFields = object({
  match: withDefault(match, {}, "Conditions of the route; all given keys must match. Default: every request matches."),
  chain: withDefault(list(use("filter")), [], "Plugins that run for the requests of this route, in order."),
  cluster: optional(clusterName, "The cluster that receives the request."),
  split: optional(split, "Clusters with their weights."),
  router: optional(use("router"), "A plugin that chooses one of `clusters`, or passes the request to the next route."),
  clusters: optional(list(clusterName), "Clusters from which `router` may choose."),
  respond: optional(
    free,
    "Respond without a cluster: `{ status: 200, body: ok, headers: { cache-control: no-store } }`, the configuration of the filter `respond`.",
  ),
  redirect: optional(
    free,
    'Redirect without a cluster: `{ https: true }`, `{ host: www.example.com }` or `{ to: "https://{host}/new{path}{query}" }`, and `status`: the configuration of the filter `redirect`. Requests that have this scheme and host already are left to the next route.',
  ),
  passthrough: withDefault(
    flag,
    false,
    "Relay TLS connections without decrypting them: chosen by `client`, `sni` and `alpn` of the ClientHello, before a certificate is. In a listener with `protocol: http` these routes are matched before all others. tcp.md shows each use.",
  ),
  name: optional(name, "The name of the route in metrics and logs. Default: its number, from 0."),
  timeout: withDefault(
    duration("0", "24h"),
    "0",
    "Time limit from the end of the request headers to the response headers, over all attempts and asynchronous plugin calls; 0: only the cluster's timeouts.",
  ),
  bandwidth: optional(
    byteRate,
    "Bytes per second in each direction, such as `10MiB/s`, of all requests and connections of the route together, over all workers: to and from their endpoints. Default: no limit.",
  ),
  retry: withDefault(retry, {}, "When and how often a failed attempt is retried."),
  upgrade: withDefault(
    list(http.upgradeProtocol),
    ["websocket"],
    "Protocols that a request may be upgraded to, by the name in its header `Upgrade`; case is ignored. If the endpoint confirms it (101), the connection becomes a tunnel. The headers `Upgrade` and `Connection` of all other requests are not forwarded. `[]`: no upgrade. See upgrades.md.",
  ),
});

type Fields = Infer<typeof routeFields>;
type Conditions = NonNullable<Fields["match"]["not"]>[number];

/** Where a matched request goes. */
export type Action =
  | { readonly kind: "cluster"; readonly cluster: Reference }
  | { readonly kind: "split"; readonly parts: Infer<typeof split> }
  | { readonly kind: "router"; readonly router: PluginUse; readonly clusters: readonly Reference[] }
  /** The last plugin of the route's chain responds. `excluded`: of `match.not`, requests to which it does not apply. */
  | { readonly kind: "local"; readonly excluded: Conditions | undefined };

const ACTIONS = ["cluster", "split", "router", ...LOCAL_ACTIONS] as const;

export const route = convert(routeFields, makeRoute);

/** `tree`: the map in which the action is written. */
export function makeRoute(fields: Fields, at: Place, { report }: Conversion, tree: Tree) {
  const given = ACTIONS.filter((key) => findEntry(tree, key) !== undefined);
  if (given.length !== 1) {
    const found = given.length === 0 ? "nowhere to go" : `both ${given.join(" and ")}`;
    const absent = given.length === 0 ? ACTIONS : undefined;
    report(at, `the route has ${found}, expected one of ${ACTIONS.join(", ")}`, absent);
    return undefined;
  }
  const { cluster, split, router, clusters, respond, redirect, ...rest } = fields;
  if (router && !clusters?.length) report(at, "the router has nothing to choose from, expected a list under clusters");
  if (!router && clusters) report(at, '"clusters" belongs to "router", expected both or neither');
  const config = respond ?? redirect;
  if (config) {
    const name = respond ? "respond" : "redirect";
    checkLocalKeys(tree, name, report);
    return { ...rest, ...makeLocal(rest, name, config), at };
  }
  let action: Action | undefined;
  if (cluster) action = { kind: "cluster", cluster };
  else if (split) action = { kind: "split", parts: split };
  else if (router) action = { kind: "router", router, clusters: clusters ?? [] };
  return action && { ...rest, action, at };
}

/** The parts of a route whose last plugin responds. A request to which a redirect does not apply is left to the next route. */
function makeLocal({ chain, match }: Pick<Fields, "chain" | "match">, name: LocalAction, config: Settings) {
  const excluded: Conditions | undefined = name === "redirect" ? conditionsOfTarget(config.tree) : undefined;
  const action: Action = { kind: "local", excluded };
  return {
    chain: [...chain, { name, config, at: config.tree.at }],
    match: excluded === undefined ? match : { ...match, not: [...(match.not ?? []), excluded] },
    action,
  };
}

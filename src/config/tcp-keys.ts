/** Keys that belong to one protocol of a listener: reported, so that a key without effect is not taken for a limit. */
import type { Conversion } from "./shape.ts";
import { findEntry, type Tree } from "./tree.ts";

type Report = Conversion["report"];

/** Keys of a listener that concern requests, by the map that contains them. */
const REQUEST_KEYS: readonly (readonly [map: string, keys: readonly string[]])[] = [
  ["", ["path", "halfClose", "grpc", "http2", "respond", "redirect"]],
  ["timeouts", ["head", "body", "write"]],
  ["limits", ["head", "target", "headers", "body"]],
  ["tls", ["strictSniHost"]],
];
/** The same of a route. */
const ROUTE_KEYS = ["chain", "router", "clusters", "respond", "redirect", "timeout", "upgrade"];
const MATCH_KEYS = ["scheme", "host", "path", "prefix", "regex", "method", "headers", "query", "cookie"];
const HELLO_KEYS = ["alpn"];
/** Of an attempt without a request, only connecting can be retried. */
const RETRY_KEYS = ["on"];
/** Keys of a listener, its limits and its routes that datagrams do not have. */
const STREAM_KEYS = ["tls", "trustedProxies", "proxyProtocol"];
const STREAM_LIMITS = ["bandwidth"];
const STREAM_ROUTE_KEYS = ["bandwidth", "passthrough"];
/** Keys of a listener that only connections without requests have. */
const CONNECTION_KEYS: readonly (readonly [map: string, keys: readonly string[]])[] = [
  ["timeouts", ["detect", "lifetime"]],
];

type Protocol = "http" | "tcp" | "udp" | "auto";

/** Whether a route is for connections that are relayed as they are. */
export function isRelayed(
  protocol: Protocol,
  route: { readonly passthrough: boolean; readonly match: { readonly protocol?: "http" | "tcp" } },
): boolean {
  return (
    protocol === "tcp" ||
    protocol === "udp" ||
    route.passthrough ||
    (protocol === "auto" && route.match.protocol === "tcp")
  );
}

/** Reports keys of `listener`, as written, that have no meaning for its protocol. */
export function checkKeys(protocol: Protocol, listener: Tree, report: Report): void {
  const routes = itemsOf(findEntry(listener, "routes"));
  const passes = routes.some((route) => isText(findEntry(route, "passthrough"), "true"));
  const isAllRelayed = protocol === "tcp" || protocol === "udp";
  const unused = isAllRelayed ? REQUEST_KEYS : protocol === "http" && !passes ? CONNECTION_KEYS : [];
  for (const [map, keys] of unused) {
    const tree = map === "" ? listener : findEntry(listener, map);
    reportKeys(tree, keys, map, `a listener with protocol: ${protocol}`, report);
  }
  const what = `a listener with protocol: ${protocol}`;
  reportKeys(listener, protocol === "udp" ? STREAM_KEYS : ["udp"], "", what, report);
  if (protocol === "udp") reportKeys(findEntry(listener, "limits"), STREAM_LIMITS, "limits", what, report);
  for (const route of routes) {
    if (protocol === "udp") checkDatagramRoute(route, what, report);
    const match = findEntry(route, "match");
    if (protocol !== "auto") reportKeys(match, ["protocol"], "match", what, report);
    const isTcp = isAllRelayed || isText(findEntry(match, "protocol"), "tcp");
    if (isTcp || isText(findEntry(route, "passthrough"), "true")) checkRoute(route, report);
    else checkRequestRoute(route, report);
  }
}

/** Reports keys of a route for requests that only connections have. */
function checkRequestRoute(route: Tree, report: Report): void {
  const what = "a route for requests";
  const match = findEntry(route, "match");
  for (const one of [match, ...itemsOf(findEntry(match, "not"))])
    reportKeys(one, HELLO_KEYS, one === match ? "match" : "match.not", what, report);
}

/** Reports keys of a route that datagrams do not have. */
function checkDatagramRoute(route: Tree, what: string, report: Report): void {
  reportKeys(route, STREAM_ROUTE_KEYS, "", what, report);
  const match = findEntry(route, "match");
  for (const one of [match, ...itemsOf(findEntry(match, "not"))])
    reportKeys(one, ["sni", "alpn"], one === match ? "match" : "match.not", what, report);
}

function isText(tree: Tree | undefined, text: string): boolean {
  return tree?.kind === "scalar" && tree.text === text;
}

/** Reports keys of a route for connections that only requests have. */
function checkRoute(route: Tree, report: Report): void {
  const what = "a route for TCP connections";
  reportKeys(route, ROUTE_KEYS, "", what, report);
  reportKeys(findEntry(route, "retry"), RETRY_KEYS, "retry", what, report);
  const match = findEntry(route, "match");
  reportKeys(match, MATCH_KEYS, "match", what, report);
  for (const excluded of itemsOf(findEntry(match, "not"))) reportKeys(excluded, MATCH_KEYS, "match.not", what, report);
}

function itemsOf(tree: Tree | undefined): readonly Tree[] {
  if (tree === undefined) return [];
  return tree.kind === "list" ? tree.items : [tree];
}

function reportKeys(tree: Tree | undefined, keys: readonly string[], map: string, what: string, report: Report): void {
  if (tree?.kind !== "map") return;
  for (const { key, keyAt } of tree.entries)
    if (keys.includes(key)) report(keyAt, `"${map === "" ? key : `${map}.${key}`}" has no meaning in ${what}`);
}

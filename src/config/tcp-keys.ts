/** Keys that belong to one protocol of a listener: reported, so that a key without effect is not taken for a limit. */
import type { Conversion } from "./shape.ts";
import { findEntry, type Tree } from "./tree.ts";

type Report = Conversion["report"];

/** Keys without a meaning, in the map that contains them (empty: the listener or route itself), and what to write. */
type Unused = { readonly map: string; readonly keys: readonly string[]; readonly expected: string };

const IN_HTTP = "it in a listener with protocol: http";
const IN_STREAMS = "it in a listener with protocol: http, tcp or auto";
const TARGET = "cluster or split";

/** Keys of a listener that concern requests. */
const REQUEST_KEYS: readonly Unused[] = [
  { map: "", keys: ["path", "halfClose", "grpc", "http2"], expected: IN_HTTP },
  { map: "", keys: ["respond", "redirect"], expected: "cluster or routes" },
  { map: "timeouts", keys: ["head", "body", "write"], expected: IN_HTTP },
  { map: "limits", keys: ["head", "target", "headers", "body"], expected: IN_HTTP },
  { map: "tls", keys: ["strictSniHost"], expected: IN_HTTP },
];
/** Keys of a listener that only connections without requests have. */
const CONNECTION_KEYS: readonly Unused[] = [
  { map: "timeouts", keys: ["detect", "lifetime"], expected: "it in a listener with protocol: tcp or auto" },
];
/** Keys of a listener that datagrams do not have; that only datagrams have. */
const STREAM_KEYS: readonly Unused[] = [
  { map: "", keys: ["tls", "trustedProxies", "proxyProtocol"], expected: IN_STREAMS },
  { map: "limits", keys: ["bandwidth"], expected: IN_STREAMS },
];
const DATAGRAM_KEYS: readonly Unused[] = [{ map: "", keys: ["udp"], expected: "it in a listener with protocol: udp" }];

/** Keys of a route that datagrams do not have. */
const STREAM_ROUTE_KEYS: readonly Unused[] = [
  { map: "", keys: ["bandwidth", "passthrough"], expected: IN_STREAMS },
  { map: "match", keys: ["sni", "alpn"], expected: "the condition client" },
];
/** Keys of a route that only requests have. Of an attempt without a request, only connecting can be retried. */
const REQUEST_ROUTE_KEYS: readonly Unused[] = [
  { map: "", keys: ["chain"], expected: "plugins in the chain of the listener" },
  { map: "", keys: ["router", "clusters", "respond", "redirect"], expected: TARGET },
  { map: "", keys: ["timeout"], expected: "timeouts.connect of the cluster" },
  { map: "", keys: ["upgrade"], expected: "it in a route for requests" },
  { map: "retry", keys: ["on"], expected: "only attempts, of failed connects" },
  {
    map: "match",
    keys: ["scheme", "host", "path", "prefix", "regex", "method", "headers", "query", "cookie"],
    expected: "conditions of connections: client, sni, alpn",
  },
];
/** Keys of a route for requests that only connections have. */
const HELLO_KEYS: readonly Unused[] = [
  { map: "match", keys: ["alpn"], expected: "it in a route with passthrough: true, or of protocol: tcp" },
];
const AUTO_KEYS: readonly Unused[] = [
  { map: "match", keys: ["protocol"], expected: "it in a listener with protocol: auto" },
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
  const what = `a listener with protocol: ${protocol}`;
  const check = (tree: Tree, unused: readonly Unused[]) => reportKeys(tree, unused, what, report);
  if (isAllRelayed) check(listener, REQUEST_KEYS);
  else if (protocol === "http" && !passes) check(listener, CONNECTION_KEYS);
  check(listener, protocol === "udp" ? STREAM_KEYS : DATAGRAM_KEYS);
  for (const route of routes) {
    if (protocol === "udp") check(route, STREAM_ROUTE_KEYS);
    if (protocol !== "auto") check(route, AUTO_KEYS);
    const isTcp = isAllRelayed || isText(findEntry(findEntry(route, "match"), "protocol"), "tcp");
    if (isTcp || isText(findEntry(route, "passthrough"), "true"))
      reportKeys(route, REQUEST_ROUTE_KEYS, "a route for TCP connections", report);
    else reportKeys(route, HELLO_KEYS, "a route for requests", report);
  }
}

function isText(tree: Tree | undefined, text: string): boolean {
  return tree?.kind === "scalar" && tree.text === text;
}

function itemsOf(tree: Tree | undefined): readonly Tree[] {
  if (tree === undefined) return [];
  return tree.kind === "list" ? tree.items : [tree];
}

function reportKeys(tree: Tree, unused: readonly Unused[], what: string, report: Report): void {
  for (const { map, keys, expected } of unused) {
    const inner = map === "" ? tree : findEntry(tree, map);
    const excluded = map === "match" ? itemsOf(findEntry(inner, "not")) : [];
    for (const one of [inner, ...excluded]) {
      if (one?.kind !== "map") continue;
      const prefix = map === "" ? "" : one === inner ? `${map}.` : "match.not.";
      for (const { key, keyAt } of one.entries)
        if (keys.includes(key)) report(keyAt, `"${prefix}${key}" has no meaning in ${what}: expected ${expected}`);
    }
  }
}

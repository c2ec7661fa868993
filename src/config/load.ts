/** Parses configuration text into a `Config`, or reports every problem with its position. Pure: performs no I/O. */
import { isDeepStrictEqual } from "node:util";
import { containsNetwork } from "../net/networks.ts";
import { findGrpcOverHttp1 } from "./grpc-clusters.ts";
import { findNestedTls } from "./nested-tls.ts";
import { byPlace, hasProblem, omitFollowUps, type Problem } from "./place.ts";
import { Reader } from "./read.ts";
import {
  type Address,
  type Config,
  configuration,
  type MatchConfig,
  type OneOrMore,
  type RouteConfig,
  type ValueMatch,
  type ValueTable,
} from "./schema.ts";
import type { Shape } from "./shape.ts";
import { isRelayed } from "./tcp-keys.ts";
import { type Environment, findEntry, makeTree, parseTree, type Tree } from "./tree.ts";
import { checkUdpClusters } from "./udp-clusters.ts";
import { findUnusedAcme, findUnusedClusters } from "./unused.ts";

export { formatProblem } from "./place.ts";

export type Loaded = {
  /** Null when there are problems. */
  readonly config: Config | null;
  readonly problems: readonly Problem[];
  /** Valid, but probably a mistake. */
  readonly warnings: readonly Problem[];
  /** The parts that could be read, with or without problems: for further checks, never for serving. */
  readonly readable: Readable | null;
};

/** Parts that contain problems are omitted or have default values. */
export type Readable = Pick<Config, "plugins" | "listeners" | "clusters" | "admin" | "file"> & {
  readonly acme?: Config["acme"] | undefined;
  readonly log?: Config["log"] | undefined;
  /** Includes omitted ones. */
  readonly clusterNames: readonly string[];
};

/** `file` is the name of the text in problems; relative paths are resolved against its directory. */
export function loadConfig(text: string, options: { file: string; env: Environment }): Loaded {
  const { file } = options;
  const { tree, problems } = parseTree(text, options);
  if (!tree) return { config: null, problems, warnings: [], readable: null };
  const reader = new Reader(tree, file);
  const value = reader.read(configuration, tree);
  problems.push(...reader.problems);
  const parts = value ?? readParts(tree, file);
  const clusters = findEntry(tree, "clusters");
  const clusterNames = clusters?.kind === "map" ? clusters.entries.map(({ key }) => key) : [];
  problems.push(...checkAddresses(parts), ...checkReach(parts, problems), ...checkUdpClusters(parts));
  const acme = findEntry(tree, "acme");
  const found =
    problems.length === 0
      ? [
          ...findUnusedClusters(parts),
          ...findGrpcOverHttp1(parts),
          ...findNestedTls(parts),
          ...findUnusedAcme(acme, parts),
        ]
      : [];
  const warnings = [...reader.warnings, ...found];
  return {
    config: value && problems.length === 0 ? { ...value, file } : null,
    problems: omitFollowUps(problems).sort(byPlace),
    warnings: warnings.sort(byPlace),
    readable: { ...parts, file, clusterNames },
  };
}

/** The readable parts of a file that is invalid as a whole, e.g. without `listeners`. Its problems are already reported. */
function readParts(tree: Tree, file: string): Omit<Readable, "file" | "clusterNames"> {
  const reader = new Reader(tree, file);
  const read = <T>(key: string, shape: Shape<T>): T | undefined => {
    const found = findEntry(tree, key);
    return found && reader.read(shape, found);
  };
  const { plugins, listeners, clusters, admin, acme, log } = configuration.fields;
  return {
    plugins: read("plugins", plugins.shape) ?? [],
    listeners: read("listeners", listeners.shape) ?? [],
    clusters: read("clusters", clusters.shape) ?? [],
    admin: read("admin", admin.shape) ?? null,
    acme: read("acme", acme.shape),
    log: read("log", log.shape),
  };
}

/** Reads `admin` only: commands that contact a running proxy must work even if the rest of the file is invalid. */
export function loadAdmin(
  text: string,
  options: { file: string; env: Environment },
): { admin: Config["admin"] | undefined; problems: readonly Problem[] } {
  const { tree, problems } = parseTree(text, options);
  if (!tree) return { admin: undefined, problems };
  const reader = new Reader(tree, options.file);
  const { shape, otherwise } = configuration.fields.admin;
  const given = findEntry(tree, "admin") ?? makeTree(typeof otherwise === "object" ? otherwise.default : null, tree.at);
  const admin = reader.read(shape, given);
  const own = problems.filter((problem) => hasProblem([problem], "admin"));
  return { admin, problems: [...own, ...reader.problems] };
}

/** Reports listeners that share an address with each other or with the admin interface. Port 0 is never shared. */
function checkAddresses({ listeners, admin }: Pick<Readable, "listeners" | "admin">): Problem[] {
  const owners = new Map<string, string>();
  const problems: Problem[] = [];
  const isFixed = (address: Address | null | undefined) => address && (address.port !== 0 || address.path !== "");
  if (admin?.address && isFixed(admin.address)) owners.set(identify(admin.address), "the admin interface");
  if (admin?.metrics && isFixed(admin.metrics)) {
    if (owners.has(identify(admin.metrics)))
      problems.push({
        ...admin.at,
        message: `the address ${admin.metrics.text} belongs to the admin interface already`,
      });
    owners.set(identify(admin.metrics), "the metrics");
  }
  for (const { name, address, at } of listeners) {
    if (!isFixed(address)) continue;
    const key = identify(address);
    const owner = owners.get(key);
    if (owner) problems.push({ ...at, message: `the address ${address.text} belongs to ${owner} already` });
    else owners.set(key, `the listener "${name}"`);
  }
  return problems;
}

function identify({ text, host, port, path }: Address): string {
  if (path !== "") return path;
  const name = host === "" || host === "::" || host === "0.0.0.0" ? "*" : host.toLowerCase();
  return `${/^(udp|quic):/.test(text) ? "udp " : ""}${name} ${port}`;
}

/**
 * Reports routes that are unreachable because an earlier route matches all of their requests. Routers may pass a
 * request on.
 */
function checkReach({ listeners }: Pick<Readable, "listeners">, found: readonly Problem[]): Problem[] {
  return listeners.flatMap((listener) => {
    // The match of a route with problems is not reliable.
    const routes = listener.routes.filter(({ at }) => !hasProblem(found, at.path));
    return routes.flatMap((route, index): Problem[] => {
      const excluding = route.match.not?.find((excluded) => covers(excluded, route.match));
      if (excluding !== undefined) {
        const isOwn = route.action.kind === "local" && route.action.excluded === excluding;
        const why = isOwn ? "its `redirect` applies to none" : "`not` excludes all";
        return [{ ...route.at, message: `unreachable route: ${why} of its requests` }];
      }
      const { protocol } = listener;
      const before = routes
        .slice(0, index)
        .find((earlier) => isCompared(protocol, earlier, route) && takesAll(earlier, route));
      if (before === undefined) return [];
      const number = before.at.path.slice(before.at.path.lastIndexOf(".") + 1);
      return [
        {
          ...route.at,
          message: `unreachable route: route ${number} matches all of its requests`,
        },
      ];
    });
  });
}

/** Whether both routes may match the same: routes for connections and requests are separate, `passthrough` is for TLS. */
function isCompared(
  protocol: Config["listeners"][number]["protocol"],
  earlier: RouteConfig,
  later: RouteConfig,
): boolean {
  if (isRelayed(protocol, earlier) !== isRelayed(protocol, later)) return false;
  return protocol === "tcp" || later.passthrough || !earlier.passthrough;
}

function takesAll(earlier: RouteConfig, later: RouteConfig): boolean {
  return earlier.action.kind !== "router" && covers(earlier.match, later.match);
}

/** Whether `wide` matches every request that `narrow` matches; false if undecided. */
function covers(wide: MatchConfig, narrow: MatchConfig): boolean {
  return (
    coversAny(wide.scheme, narrow.scheme, isEqual) &&
    coversAny(wide.host, narrow.host, coversHost) &&
    coversAny(wide.path, narrow.path, isEqual) &&
    coversAny(wide.prefix, narrow.path ?? narrow.prefix, coversPrefix) &&
    coversAny(wide.regex, narrow.regex, isEqual) &&
    coversAny(wide.method, narrow.method, isEqual) &&
    coversTable(wide.headers, narrow.headers) &&
    coversTable(wide.query, narrow.query) &&
    coversTable(wide.cookie, narrow.cookie) &&
    coversAny(wide.client, narrow.client, containsNetwork) &&
    coversAny(wide.sni, narrow.sni, coversHost) &&
    coversAny(wide.alpn, narrow.alpn, isEqual) &&
    (wide.not ?? []).every((one) => narrow.not?.some((other) => covers(other, one)) === true)
  );
}

const isEqual = <T>(wide: T, narrow: T): boolean => wide === narrow;
const coversPrefix = (wide: string, narrow: string): boolean => narrow.startsWith(wide);

function coversHost(wide: string, narrow: string): boolean {
  return wide === narrow || (wide.startsWith("*.") && narrow.replace(/^\*/, "x").endsWith(wide.slice(1)));
}

/** Whether each of `narrow` is covered by one of `wide`; a key that is absent in `wide` covers everything. */
function coversAny<T>(
  wide: OneOrMore<T> | undefined,
  narrow: OneOrMore<T> | undefined,
  covers: (wide: T, narrow: T) => boolean,
): boolean {
  if (wide === undefined) return true;
  if (narrow === undefined) return false;
  const all = [wide].flat() as T[];
  return ([narrow].flat() as T[]).every((one) => all.some((other) => covers(other, one)));
}

function coversTable(wide: ValueTable = {}, narrow: ValueTable = {}): boolean {
  return Object.entries(wide).every(
    ([name, value]) => Object.hasOwn(narrow, name) && coversAny<ValueMatch>(value, narrow[name], coversValue),
  );
}

function coversValue(wide: ValueMatch, narrow: ValueMatch): boolean {
  if (isDeepStrictEqual(wide, narrow)) return true;
  if (typeof wide === "string" || "regex" in wide) return false;
  if ("present" in wide) return wide.present && !(typeof narrow === "object" && "present" in narrow);
  const start = typeof narrow === "string" ? narrow : "prefix" in narrow ? narrow.prefix : undefined;
  return start?.startsWith(wide.prefix) === true;
}

/**
 * Selects the route of a request by comparing bytes. Allocates only for a route with a `regex`, which needs the path as a
 * string each time it is tried, and for a path that has several readings.
 */

import { equalsBytes, SLASH, startsWith, toLower } from "../http/bytes.ts";
import { findHostEnd } from "../http/fields.ts";
import {
  FIELD_WORDS,
  type Head,
  NAME,
  NAME_END,
  NAME_ID,
  NAME_START,
  PART,
  VALUE_END,
  VALUE_START,
} from "../http/head.ts";
import type { Scheme } from "../http/protocol.ts";
import { READINGS, writeReading } from "../http/readings.ts";
import { hasAddress } from "../net/networks.ts";
import type { MatchPlan } from "../plan/plan.ts";
import {
  type CompiledExtra,
  type CompiledMatch,
  compileMatch,
  type HostPattern,
  matchesForReadings,
  type Pair,
} from "./compile.ts";
import { matchesCookies } from "./cookies.ts";
import { matchesQuery } from "./query.ts";

/** Keys of a `match` in the order in which they are evaluated, as the configuration names them. */
const TARGET_KEYS = [
  ["path", "path"],
  ["prefix", "prefix"],
  ["method", "methods"],
  ["headers", "headers"],
  ["query", "query"],
  ["regex", "regex"],
] as const satisfies readonly (readonly [string, keyof CompiledMatch])[];
const MATCHES_ALL = compileMatch({});
/**
 * Bytes that all readings of one path may have, each counted once and once more for each route with a `regex`: beyond
 * it the path is rejected. A regular expression takes about 40 ns a byte, so 5 ms at most.
 */
const MOST_READ = 128 * 1024;

/** What a `match` is compared with. */
export interface MatchInput {
  readonly request: Head;
  readonly scheme: Scheme;
  /** An address in normal form, or any other text, which is in no network. */
  readonly clientAddress: string;
  /** Null without TLS. `serverName`: in lower case; `offered`: protocols (ALPN). */
  readonly tls: { readonly serverName: string; readonly offered?: readonly string[] } | null;
}

/** What another reading of a path selects: the index of a route, -1 for none, or -2 when the search limit was reached. */
export type Rival = { readonly route: number; readonly path: string };

export class Router {
  readonly #matches: readonly CompiledMatch[];
  /** For each of READINGS. */
  readonly #readings: readonly (readonly CompiledMatch[])[];
  /** Upper bound on how many times a byte of a reading is examined. */
  readonly #passes: number;

  constructor(routes: readonly { readonly match: MatchPlan }[]) {
    this.#matches = routes.map((route) => compileMatch(route.match));
    this.#readings = matchesForReadings(this.#matches);
    this.#passes = this.#matches.reduce((sum, match) => sum + countRegexes(match), 1);
  }

  /** The first key of a route's `match` that the request does not satisfy; empty when it satisfies all. */
  explain(input: MatchInput, route: number): string {
    const { request: head, scheme } = input;
    const compiled = this.#matches[route]!;
    if (compiled.scheme !== null && compiled.scheme !== scheme) return "scheme";
    const { bytes, parts } = head;
    const hostStart = parts[PART.authority]!;
    const hostEnd = findHostEnd(bytes, hostStart, parts[PART.authority + 1]!);
    if (compiled.host !== null && !matchesHost(compiled.host, compiled.wild, bytes, hostStart, hostEnd)) return "host";
    for (const [name, key] of TARGET_KEYS)
      if (!matchesTarget({ ...MATCHES_ALL, [key]: compiled[key] }, head)) return name;
    return compiled.extra === null ? "" : failedExtra(compiled.extra, input);
  }

  /** The index of the first route at or after `from` that matches the request, or -1. */
  match(input: MatchInput, from: number): number {
    return find(this.#matches, input, from);
  }

  /**
   * For a request with `doubts` for which `match` returned `selected`: the first other reading of its path that selects a
   * different route, or null. Leaves the head unchanged.
   */
  findRival(input: MatchInput, from: number, selected: number): Rival | null {
    const { request: head } = input;
    const { doubts, parts } = head;
    const [start, end] = [parts[PART.path]!, parts[PART.path + 1]!];
    if (head.bytes[start] !== SLASH) return null;
    head.reserve(end - start);
    const { bytes, end: to } = head;
    try {
      for (let i = 0, left = MOST_READ; i < READINGS.length; i++) {
        const reading = READINGS[i]!;
        if ((reading.needs & ~doubts) !== 0) continue;
        left -= (end - start) * this.#passes;
        if (left < 0) return { route: -2, path: "" };
        parts[PART.path] = to;
        parts[PART.path + 1] = writeReading(bytes, start, end, bytes, to, reading);
        const route = find(this.#readings[i]!, input, from);
        if (route !== selected) return { route, path: head.partText(PART.path) };
      }
    } finally {
      parts[PART.path] = start;
      parts[PART.path + 1] = end;
    }
    return null;
  }
}

function find(matches: readonly CompiledMatch[], input: MatchInput, from: number): number {
  const { request: head, scheme } = input;
  const { bytes, parts } = head;
  const hostStart = parts[PART.authority]!;
  const hostEnd = findHostEnd(bytes, hostStart, parts[PART.authority + 1]!);
  for (let i = from; i < matches.length; i++) {
    const match = matches[i]!;
    if (match.scheme !== null && match.scheme !== scheme) continue;
    if (match.host !== null && !matchesHost(match.host, match.wild, bytes, hostStart, hostEnd)) continue;
    if (!matchesTarget(match, head)) continue;
    if (match.extra === null || failedExtra(match.extra, input) === "") return i;
  }
  return -1;
}

function countRegexes({ regex, extra }: CompiledMatch): number {
  const own = regex === null ? 0 : 1;
  return extra === null ? own : extra.not.reduce((sum, excluded) => sum + countRegexes(excluded), own);
}

/** The first of these keys that the request does not satisfy; empty when it satisfies all. */
function failedExtra({ sni, alpn, clients, cookies, not }: CompiledExtra, input: MatchInput): string {
  if (sni !== null && !matchesServerName(sni, input.tls?.serverName ?? "")) return "sni";
  if (alpn !== null && !alpn.some((name) => input.tls?.offered?.includes(name))) return "alpn";
  if (clients !== null && !hasAddress(clients, input.clientAddress)) return "client";
  if (cookies !== null && !matchesCookies(cookies, input.request)) return "cookie";
  return not.length > 0 && find(not, input, 0) >= 0 ? "not" : "";
}

function matchesServerName(patterns: readonly HostPattern[], requested: string): boolean {
  const serverName = requested.endsWith(".") ? requested.slice(0, -1) : requested;
  return patterns.some(({ name, wild }) =>
    wild ? serverName.length > name.length && serverName.endsWith(name) : serverName === name,
  );
}

/** All keys but scheme and host, the cheapest first. */
function matchesTarget(match: CompiledMatch, head: Head): boolean {
  const { bytes, parts } = head;
  const start = parts[PART.path]!;
  const end = parts[PART.path + 1]!;
  if (match.path !== null && !equalsBytes(bytes, start, end, match.path)) return false;
  if (match.prefix !== null && !startsWith(bytes, start, end, match.prefix)) return false;
  if (match.methods !== null && !matchesMethod(match.methods, head)) return false;
  if (match.headers !== null && !matchesHeaders(match.headers, head)) return false;
  if (match.query !== null && !matchesQuery(match.query, head)) return false;
  return match.regex === null || match.regex.testExact(head.text(start, end));
}

function matchesHost(host: Uint8Array, wild: boolean, bytes: Uint8Array, start: number, end: number): boolean {
  const length = host.length;
  if (wild ? end - start <= length : end - start !== length) return false;
  for (let i = 0, at = end - length; i < length; i++, at++) if (toLower(bytes[at]!) !== host[i]) return false;
  return true;
}

function matchesMethod(methods: readonly Uint8Array[], head: Head): boolean {
  const start = head.parts[PART.method]!;
  const end = head.parts[PART.method + 1]!;
  for (let i = 0; i < methods.length; i++) if (equalsBytes(head.bytes, start, end, methods[i]!)) return true;
  return false;
}

function matchesHeaders(pairs: readonly Pair[], head: Head): boolean {
  for (let i = 0; i < pairs.length; i++) if (!hasField(pairs[i]!, head)) return false;
  return true;
}

/** Whether any field of that name has exactly that value. One walk over the table, whatever the number of fields. */
function hasField(pair: Pair, head: Head): boolean {
  const { bytes, fields, count } = head;
  const length = pair.name.length;
  for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS) {
    const start = fields[at + NAME_START]!;
    if (fields[at + NAME_END]! - start !== length || fields[at + NAME_ID]! >= NAME.lookalike) continue;
    let k = 0;
    while (k < length && toLower(bytes[start + k]!) === pair.name[k]) k++;
    if (k === length && equalsBytes(bytes, fields[at + VALUE_START]!, fields[at + VALUE_END]!, pair.value)) return true;
  }
  return false;
}

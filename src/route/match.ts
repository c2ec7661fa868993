/**
 * Selects the route of a request by comparing bytes. Allocates only for a route with a `regex`, which needs the text as a
 * string each time it is tried, and for a path that has several readings.
 */

import { equalsBytes, equalsWord, SLASH, startsWith } from "../http/bytes.ts";
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
} from "./compile.ts";
import { hasCookie } from "./cookies.ts";
import { hasParameter } from "./query.ts";
import { matchAll, matchesValue, type NamedTest } from "./values.ts";

/** Keys of a `match` in the order in which they are evaluated, as the configuration names them. */
const TARGET_KEYS = [
  ["path", "paths"],
  ["prefix", "prefixes"],
  ["method", "methods"],
  ["headers", "headers"],
  ["query", "query"],
  ["regex", "regexes"],
] as const satisfies readonly (readonly [string, keyof CompiledMatch])[];
const MATCHES_ALL = compileMatch({});
/**
 * Bytes that all readings of one path may have, each counted once and once more for each route with a `regex`: beyond
 * it the path is rejected. A usual expression takes about 40 ns a byte, so 5 ms at most; one of the largest size that a
 * configuration may have takes up to 3 µs.
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
  /** How many times `findRival` was called. */
  #searches = 0;

  constructor(routes: readonly { readonly match: MatchPlan }[]) {
    this.#matches = routes.map((route) => compileMatch(route.match));
    this.#readings = matchesForReadings(this.#matches);
    this.#passes = this.#matches.reduce((sum, match) => sum + countRegexes(match), 1);
  }

  /** The first key of a route's `match` that the request does not satisfy; empty when it satisfies all. */
  explain(input: MatchInput, route: number): string {
    const { request: head, scheme } = input;
    const compiled = this.#matches[route]!;
    if (compiled.schemes !== null && !compiled.schemes.includes(scheme)) return "scheme";
    const { bytes, parts } = head;
    const hostStart = parts[PART.authority]!;
    const hostEnd = findHostEnd(bytes, hostStart, parts[PART.authority + 1]!);
    if (compiled.hosts !== null && !matchesHost(compiled.hosts, bytes, hostStart, hostEnd)) return "host";
    for (const [name, key] of TARGET_KEYS)
      if (!matchesTarget({ ...MATCHES_ALL, [key]: compiled[key] }, head, 0)) return name;
    return compiled.extra === null ? "" : failedExtra(compiled.extra, input, 0);
  }

  /** The index of the first route at or after `from` that matches the request, or -1. */
  match(input: MatchInput, from: number): number {
    return find(this.#matches, input, from, 0);
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
    const memo = ++this.#searches;
    const { bytes, end: to } = head;
    try {
      for (let i = 0, left = MOST_READ; i < READINGS.length; i++) {
        const reading = READINGS[i]!;
        if ((reading.needs & ~doubts) !== 0) continue;
        left -= (end - start) * this.#passes;
        if (left < 0) return { route: -2, path: "" };
        parts[PART.path] = to;
        parts[PART.path + 1] = writeReading(bytes, start, end, bytes, to, reading);
        const route = find(this.#readings[i]!, input, from, memo);
        if (route !== selected) return { route, path: head.partText(PART.path) };
      }
    } finally {
      parts[PART.path] = start;
      parts[PART.path + 1] = end;
    }
    return null;
  }
}

/** `memo`: as in `matchAll`. */
function find(matches: readonly CompiledMatch[], input: MatchInput, from: number, memo: number): number {
  const { request: head, scheme } = input;
  const { bytes, parts } = head;
  const hostStart = parts[PART.authority]!;
  const hostEnd = findHostEnd(bytes, hostStart, parts[PART.authority + 1]!);
  for (let i = from; i < matches.length; i++) {
    const match = matches[i]!;
    if (match.schemes !== null && !match.schemes.includes(scheme)) continue;
    if (match.hosts !== null && !matchesHost(match.hosts, bytes, hostStart, hostEnd)) continue;
    if (!matchesTarget(match, head, memo)) continue;
    if (match.extra === null || failedExtra(match.extra, input, memo) === "") return i;
  }
  return -1;
}

function countRegexes({ regexes, extra }: CompiledMatch): number {
  const own = regexes === null ? 0 : regexes.length;
  return extra === null ? own : extra.not.reduce((sum, excluded) => sum + countRegexes(excluded), own);
}

/** The first of these keys that the request does not satisfy; empty when it satisfies all. */
function failedExtra({ sni, alpn, clients, cookies, not }: CompiledExtra, input: MatchInput, memo: number): string {
  if (sni !== null && !matchesServerName(sni, input.tls?.serverName ?? "")) return "sni";
  if (alpn !== null && !alpn.some((name) => input.tls?.offered?.includes(name))) return "alpn";
  if (clients !== null && !hasAddress(clients, input.clientAddress)) return "client";
  if (cookies !== null && !matchAll(cookies, input.request, memo, hasCookie)) return "cookie";
  return not.length > 0 && find(not, input, 0, memo) >= 0 ? "not" : "";
}

function matchesServerName(patterns: readonly HostPattern[], requested: string): boolean {
  const serverName = requested.endsWith(".") ? requested.slice(0, -1) : requested;
  return patterns.some(({ name, wild }) =>
    wild ? serverName.length > name.length && serverName.endsWith(name) : serverName === name,
  );
}

/** All keys but scheme and host, the cheapest first. */
function matchesTarget(match: CompiledMatch, head: Head, memo: number): boolean {
  const { bytes, parts } = head;
  const { paths, prefixes, regexes } = match;
  const start = parts[PART.path]!;
  const end = parts[PART.path + 1]!;
  if (paths !== null && !equalsAny(paths, bytes, start, end)) return false;
  if (prefixes !== null && !startsWithAny(prefixes, bytes, start, end)) return false;
  if (match.methods !== null && !matchesMethod(match.methods, head)) return false;
  if (match.headers !== null && !matchAll(match.headers, head, memo, hasField)) return false;
  if (match.query !== null && !matchAll(match.query, head, memo, hasParameter)) return false;
  if (regexes === null) return true;
  const path = head.text(start, end);
  for (let i = 0; i < regexes.length; i++) if (regexes[i]!.testExact(path)) return true;
  return false;
}

function equalsAny(words: readonly Uint8Array[], bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = 0; i < words.length; i++) if (equalsBytes(bytes, start, end, words[i]!)) return true;
  return false;
}

function startsWithAny(words: readonly Uint8Array[], bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = 0; i < words.length; i++) if (startsWith(bytes, start, end, words[i]!)) return true;
  return false;
}

function matchesHost(
  hosts: readonly HostPattern<Uint8Array>[],
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  for (let i = 0; i < hosts.length; i++) {
    const { name, wild } = hosts[i]!;
    if (wild ? end - start > name.length : end - start === name.length)
      if (equalsWord(bytes, end - name.length, end, name)) return true;
  }
  return false;
}

function matchesMethod(methods: readonly Uint8Array[], head: Head): boolean {
  return equalsAny(methods, head.bytes, head.parts[PART.method]!, head.parts[PART.method + 1]!);
}

/** Whether any field of that name has such a value. One walk over the table, whatever the number of fields. */
function hasField(test: NamedTest, head: Head): boolean {
  const { bytes, fields, count } = head;
  let isAbsent = true;
  for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS) {
    if (fields[at + NAME_ID]! >= NAME.lookalike) continue;
    if (!equalsWord(bytes, fields[at + NAME_START]!, fields[at + NAME_END]!, test.name)) continue;
    if (matchesValue(test, bytes, fields[at + VALUE_START]!, fields[at + VALUE_END]!)) return true;
    isAbsent = false;
  }
  return isAbsent && test.absent;
}

/** Compiles `match:` of the configuration to bytes that a head is compared with. */
import { RE2JS } from "re2js";
import { Head, PART } from "../http/head.ts";
import type { Scheme } from "../http/protocol.ts";
import { READINGS, type Reading, writeReading } from "../http/readings.ts";
import { normalizePath } from "../http/target.ts";
import { makeNetworks, type Networks } from "../net/networks.ts";
import type { MatchPlan } from "../plan/plan.ts";

/** A field or query parameter: its name and the value it must equal. */
export type Pair = { readonly name: Uint8Array; readonly value: Uint8Array };

/** A host pattern: lower case; of `*.example.com` only `.example.com`. */
export type HostPattern = { readonly name: string; readonly wild: boolean };

/** Keys of a `match` that few routes have. */
export type CompiledExtra = {
  readonly sni: readonly HostPattern[] | null;
  readonly alpn: readonly string[] | null;
  readonly clients: Networks | null;
  readonly cookies: readonly Pair[] | null;
  /** None of these may match. */
  readonly not: readonly CompiledMatch[];
};

/** A compiled `match`. Every key is present, so that all objects share one hidden class; null matches anything. */
export type CompiledMatch = {
  readonly scheme: Scheme | null;
  /** Lower case; of `*.example.com` only `.example.com`. */
  readonly host: Uint8Array | null;
  readonly wild: boolean;
  readonly path: Uint8Array | null;
  readonly prefix: Uint8Array | null;
  readonly regex: RE2JS | null;
  readonly methods: readonly Uint8Array[] | null;
  readonly headers: readonly Pair[] | null;
  readonly query: readonly Pair[] | null;
  readonly extra: CompiledExtra | null;
};

/** `match` was validated when the configuration was loaded. @throws when `regex` is not a regular expression. */
export function compileMatch(match: MatchPlan): CompiledMatch {
  const wild = match.host?.startsWith("*.") ?? false;
  return {
    scheme: match.scheme ?? null,
    host: encode(wild ? match.host?.slice(1) : match.host),
    wild,
    path: encode(match.path),
    prefix: encode(match.prefix),
    regex: match.regex === undefined ? null : RE2JS.compile(match.regex),
    methods: match.method?.map((method) => Buffer.from(method)) ?? null,
    headers: encodePairs(match.headers),
    query: encodePairs(match.query),
    extra: compileExtra(match),
  };
}

function compileExtra({ sni, alpn, client, cookie, not }: MatchPlan): CompiledExtra | null {
  if (!sni && !alpn && !client && !cookie && !not) return null;
  return {
    sni: sni?.map((text) => ({ name: text.replace(/^\*/, ""), wild: text.startsWith("*.") })) ?? null,
    alpn: alpn ?? null,
    clients: client === undefined ? null : makeNetworks(client),
    cookies: encodePairs(cookie),
    not: not?.map(compileMatch) ?? [],
  };
}

function encode(text: string | undefined): Uint8Array | null {
  return text === undefined ? null : Buffer.from(text);
}

function encodePairs(table: Readonly<Record<string, string>> | undefined): readonly Pair[] | null {
  const pairs = Object.entries(table ?? {}).map(([name, value]) => ({
    name: Buffer.from(name),
    value: Buffer.from(value),
  }));
  return pairs.length === 0 ? null : pairs;
}

/**
 * The matches for each of READINGS: a `path` or `prefix` with bytes that other programs read differently is rewritten in
 * the same way as the request's path, so that `prefix: /a%2Fb/` still selects `/a%2Fb/c`.
 */
export function matchesForReadings(matches: readonly CompiledMatch[]): readonly (readonly CompiledMatch[])[] {
  const doubts = matches.map(findDoubts);
  if (doubts.every((found) => found === 0)) return READINGS.map(() => matches);
  return READINGS.map((reading) =>
    matches.map((match, index) => ((doubts[index]! & reading.needs) === 0 ? match : matchForReading(match, reading))),
  );
}

function findDoubts({ path, prefix, extra }: CompiledMatch): number {
  const own = findTextDoubts(path ?? prefix);
  return extra === null ? own : extra.not.reduce((all, excluded) => all | findDoubts(excluded), own);
}

function findTextDoubts(text: Uint8Array | null): number {
  if (text === null) return 0;
  const head = new Head(text.length, 1);
  head.setPart(PART.path, text, 0, text.length);
  normalizePath(head);
  return head.doubts;
}

function matchForReading(match: CompiledMatch, reading: Reading): CompiledMatch {
  const { path, prefix, extra } = match;
  return {
    ...match,
    path: readText(path, reading),
    prefix: readText(prefix, reading),
    extra: extra && { ...extra, not: extra.not.map((excluded) => matchForReading(excluded, reading)) },
  };
}

function readText(text: Uint8Array | null, reading: Reading): Uint8Array | null {
  if (text === null) return null;
  const out = new Uint8Array(text.length);
  return out.subarray(0, writeReading(text, 0, text.length, out, 0, reading));
}

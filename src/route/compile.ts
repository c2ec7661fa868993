/** Compiles `match:` of the configuration to bytes that a head is compared with. */
import { RE2JS } from "re2js";
import type { OneOrMore } from "../config/schema.ts";
import { Head, PART } from "../http/head.ts";
import type { Scheme } from "../http/protocol.ts";
import { READINGS, type Reading, writeReading } from "../http/readings.ts";
import { normalizePath } from "../http/target.ts";
import { makeNetworks, type Networks } from "../net/networks.ts";
import type { MatchPlan } from "../plan/plan.ts";
import { compileValues, type NamedTest } from "./values.ts";

/** A host pattern: lower case; of `*.example.com` only `.example.com`. */
export type HostPattern<Name = string> = { readonly name: Name; readonly wild: boolean };

/** Keys of a `match` that few routes have. */
export type CompiledExtra = {
  readonly sni: readonly HostPattern[] | null;
  readonly alpn: readonly string[] | null;
  readonly clients: Networks | null;
  readonly cookies: readonly NamedTest[] | null;
  /** None of these may match. */
  readonly not: readonly CompiledMatch[];
};

/** A compiled `match`, all of one hidden class: null matches anything, a list any of its values. */
export type CompiledMatch = {
  readonly schemes: readonly Scheme[] | null;
  readonly hosts: readonly HostPattern<Uint8Array>[] | null;
  readonly paths: readonly Uint8Array[] | null;
  readonly prefixes: readonly Uint8Array[] | null;
  readonly regexes: readonly RE2JS[] | null;
  readonly methods: readonly Uint8Array[] | null;
  readonly headers: readonly NamedTest[] | null;
  readonly query: readonly NamedTest[] | null;
  readonly extra: CompiledExtra | null;
};

/** `match` was validated when the configuration was loaded. @throws when a regular expression is invalid. */
export function compileMatch(match: MatchPlan): CompiledMatch {
  return {
    schemes: listOf(match.scheme),
    hosts: listOf(match.host)?.map((text) => compileHost(text, encode)) ?? null,
    paths: listOf(match.path)?.map(encode) ?? null,
    prefixes: listOf(match.prefix)?.map(encode) ?? null,
    regexes: listOf(match.regex)?.map((text) => RE2JS.compile(text)) ?? null,
    methods: match.method?.map(encode) ?? null,
    headers: compileValues(match.headers),
    query: compileValues(match.query),
    extra: compileExtra(match),
  };
}

function compileExtra({ sni, alpn, client, cookie, not }: MatchPlan): CompiledExtra | null {
  if (!sni && !alpn && !client && !cookie && !not) return null;
  return {
    sni: sni?.map((text) => compileHost(text, String)) ?? null,
    alpn: alpn ?? null,
    clients: client === undefined ? null : makeNetworks(client),
    cookies: compileValues(cookie),
    not: not?.map(compileMatch) ?? [],
  };
}

function compileHost<Name>(text: string, convert: (text: string) => Name): HostPattern<Name> {
  return { name: convert(text.replace(/^\*/, "")), wild: text.startsWith("*.") };
}

function listOf<T extends string>(given: OneOrMore<T> | undefined): readonly T[] | null {
  return given === undefined ? null : ([given].flat() as T[]);
}

function encode(text: string): Uint8Array {
  return Buffer.from(text);
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

function findDoubts({ paths, prefixes, extra }: CompiledMatch): number {
  const own = [...(paths ?? []), ...(prefixes ?? [])].reduce((all, text) => all | findTextDoubts(text), 0);
  return extra === null ? own : extra.not.reduce((all, excluded) => all | findDoubts(excluded), own);
}

function findTextDoubts(text: Uint8Array): number {
  const head = new Head(text.length, 1);
  head.setPart(PART.path, text, 0, text.length);
  normalizePath(head);
  return head.doubts;
}

function matchForReading(match: CompiledMatch, reading: Reading): CompiledMatch {
  const { paths, prefixes, extra } = match;
  return {
    ...match,
    paths: paths?.map((text) => readText(text, reading)) ?? null,
    prefixes: prefixes?.map((text) => readText(text, reading)) ?? null,
    extra: extra && { ...extra, not: extra.not.map((excluded) => matchForReading(excluded, reading)) },
  };
}

function readText(text: Uint8Array, reading: Reading): Uint8Array {
  const out = new Uint8Array(text.length);
  return out.subarray(0, writeReading(text, 0, text.length, out, 0, reading));
}

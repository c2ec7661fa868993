/** `match:` as configured → what a head is compared with, in bytes. */
import { RE2JS } from "re2js";
import { Head, PART } from "../http/head.ts";
import { READINGS, type Reading, writeReading } from "../http/readings.ts";
import { normalizePath } from "../http/target.ts";
import type { MatchPlan } from "../plan/plan.ts";

/** A name with the value that it must have. */
export type Pair = { readonly name: Uint8Array; readonly value: Uint8Array };

/** A compiled match. Every key is there, so that all rules share one shape; null is "any". */
export type Rule = {
  /** Lower case; of `*.example.com` only `.example.com`. */
  readonly host: Uint8Array | null;
  readonly wild: boolean;
  readonly path: Uint8Array | null;
  readonly prefix: Uint8Array | null;
  readonly regex: RE2JS | null;
  readonly methods: readonly Uint8Array[] | null;
  readonly headers: readonly Pair[] | null;
  readonly query: readonly Pair[] | null;
};

/** The match was checked when the configuration was loaded. @throws when it was not, and `regex` is none. */
export function compileRule(match: MatchPlan): Rule {
  const wild = match.host?.startsWith("*.") ?? false;
  return {
    host: encode(wild ? match.host?.slice(1) : match.host),
    wild,
    path: encode(match.path),
    prefix: encode(match.prefix),
    regex: match.regex === undefined ? null : RE2JS.compile(match.regex),
    methods: match.method?.map((method) => Buffer.from(method)) ?? null,
    headers: encodePairs(match.headers),
    query: encodePairs(match.query),
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
 * The rules as each of READINGS meets them: a `path` or `prefix` that holds what other programs read in another way is
 * read in the same way as the request's path, so that `prefix: /a%2Fb/` stays the rule of `/a%2Fb/c`.
 */
export function readRules(rules: readonly Rule[]): readonly (readonly Rule[])[] {
  const doubts = rules.map(({ path, prefix }) => findDoubts(path ?? prefix));
  if (doubts.every((found) => found === 0)) return READINGS.map(() => rules);
  return READINGS.map((reading) =>
    rules.map((rule, index) => ((doubts[index]! & reading.needs) === 0 ? rule : readRule(rule, reading))),
  );
}

function findDoubts(text: Uint8Array | null): number {
  if (text === null) return 0;
  const head = new Head(text.length, 1);
  head.setPart(PART.path, text, 0, text.length);
  normalizePath(head);
  return head.doubts;
}

function readRule(rule: Rule, reading: Reading): Rule {
  return { ...rule, path: readText(rule.path, reading), prefix: readText(rule.prefix, reading) };
}

function readText(text: Uint8Array | null, reading: Reading): Uint8Array | null {
  if (text === null) return null;
  const out = new Uint8Array(text.length);
  return out.subarray(0, writeReading(text, 0, text.length, out, 0, reading));
}

/** Conditions on the values of headers, query parameters and cookies. */
import { RE2JS } from "re2js";
import type { ValueMatch, ValueTable } from "../config/schema.ts";
import { equalsBytes, startsWith } from "../http/bytes.ts";
import type { Head } from "../http/head.ts";

/** What one name must have: any of these. */
export type NamedTest = {
  readonly name: Uint8Array;
  /** Matches if there is none of the name. */
  readonly absent: boolean;
  /** Matches any value. */
  readonly present: boolean;
  readonly exact: readonly Uint8Array[];
  readonly prefixes: readonly Uint8Array[];
  /** Each must match the whole value. */
  readonly regexes: readonly RE2JS[];
  /** The last result of its regular expressions, which are not evaluated again for other readings of one path. */
  readonly memo: { id: number; result: boolean };
};

/** Null: no conditions. @throws when a regular expression is invalid. */
export function compileValues(table: ValueTable | undefined): readonly NamedTest[] | null {
  const tests = Object.entries(table ?? {}).map(([name, given]) => compileOne(name, [given].flat()));
  return tests.length === 0 ? null : tests;
}

function compileOne(name: string, wanted: readonly ValueMatch[]): NamedTest {
  const given = wanted.map((one) => (typeof one === "string" ? { exact: one } : one));
  const textsOf = (key: "exact" | "prefix" | "regex") =>
    given.flatMap((one) => (one as Partial<Record<typeof key, string>>)[key] ?? []);
  const presence = given.flatMap((one) => ("present" in one ? [one.present] : []));
  return {
    name: Buffer.from(name),
    absent: presence.includes(false),
    present: presence.includes(true),
    exact: textsOf("exact").map((text) => Buffer.from(text)),
    prefixes: textsOf("prefix").map((text) => Buffer.from(text)),
    regexes: textsOf("regex").map((text) => RE2JS.compile(text)),
    memo: { id: 0, result: false },
  };
}

/** Whether the value `bytes[start, end)`, which is present, matches. */
export function matchesValue(test: NamedTest, bytes: Uint8Array, start: number, end: number): boolean {
  const { exact, prefixes, regexes } = test;
  for (let i = 0; i < exact.length; i++) if (equalsBytes(bytes, start, end, exact[i]!)) return true;
  if (test.present) return true;
  for (let i = 0; i < prefixes.length; i++) if (startsWith(bytes, start, end, prefixes[i]!)) return true;
  if (regexes.length === 0) return false;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString();
  return regexes.some((regex) => regex.testExact(text));
}

/**
 * Whether all tests match, by `has` of one kind of values. `memo`: a number that is the same while the values are; 0: none.
 */
export function matchAll(
  tests: readonly NamedTest[],
  head: Head,
  memo: number,
  has: (test: NamedTest, head: Head) => boolean,
): boolean {
  for (let i = 0; i < tests.length; i++) {
    const test = tests[i]!;
    const matches = memo === 0 || test.regexes.length === 0 ? has(test, head) : hasOnce(test, head, memo, has);
    if (!matches) return false;
  }
  return true;
}

function hasOnce(test: NamedTest, head: Head, id: number, has: (test: NamedTest, head: Head) => boolean): boolean {
  const { memo } = test;
  if (memo.id !== id) {
    memo.result = has(test, head);
    memo.id = id;
  }
  return memo.result;
}

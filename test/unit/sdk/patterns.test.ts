/** The SDK's regular expressions, against JavaScript's, and its globs, against a plain backtracking matcher. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { loadSdkGuest } from "./sdk-guest.ts";

const guest = await loadSdkGuest("sdk-patterns.as.ts");

/**
 * A turn that may be left out and may be empty, as in `(?:|a)?` and `(?:a*?)*`: JavaScript looks for one that is not
 * empty, the SDK takes the first. The documentation states this.
 */
function hasEmptyTurn(inner: string, quantifier: string): boolean {
  const bare = inner.replaceAll(/\\b|\\B|(?<![[\\])\^|\$/gi, "");
  return quantifier !== "{2}" && quantifier !== "{0}" && new RegExp(`^(?:${bare})$`).test("");
}

type Parts = { regex: string; sequence: string; term: string; atom: string; repeated: string };

/** The syntax that both engines support. A group inside a repetition is left out: JavaScript forgets it at each turn. */
const expressions = (emptyTurns: boolean): fc.Arbitrary<string> =>
  fc.letrec<Parts>((tie) => ({
    regex: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      tie("sequence"),
      fc.tuple(tie("sequence"), tie("sequence")).map((parts) => parts.join("|")),
    ),
    sequence: fc.array(tie("term"), { maxLength: 4 }).map((terms) => terms.join("")),
    term: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      tie("atom"),
      fc
        .tuple(tie("repeated"), fc.constantFrom("*", "+", "?", "{2}", "{1,}", "{0,2}", "{0}"), fc.constantFrom("", "?"))
        .filter(([inner, quantifier]) => emptyTurns || !hasEmptyTurn(inner, quantifier))
        .map((parts) => parts.join("")),
      tie("regex").map((inner) => `(${inner})`),
      fc.constantFrom("^", "$", "\\b", "\\B"),
    ),
    repeated: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      tie("atom"),
      tie("regex").map((inner) => `(?:${inner.replaceAll(/\((?!\?)/g, "(?:")})`),
    ),
    atom: fc.constantFrom(
      ..."aabbc-_ ",
      ".",
      "[ab]",
      "[^a]",
      "[a-c]",
      "[^\\w]",
      "[-a]",
      "[a-]",
      "\\d",
      "\\W",
      "\\s",
      "\\x61",
      "\\.",
      "1",
      "[\\d_]",
      "\\n",
      "A",
    ),
  })).regex;
const text = fc.string({ unit: fc.constantFrom(..."aaabbc-_ .1AB\n\r"), maxLength: 12 });

function oracle(pattern: string, flags: string, given: string): string | null {
  const match = new RegExp(pattern, `${flags}d`).exec(given);
  if (match === null) return null;
  const groups = Array.from({ length: 9 }, (_, i) => (match[i + 1] === undefined ? "-" : `${match[i + 1]}.`));
  return [...match.indices![0]!, ...groups].join(" ");
}

/** Asks the guest and the oracle about each text. */
function findsTheSame(pattern: string, flags: string, texts: readonly string[]): void {
  for (const given of texts)
    assert.equal(
      guest.text("find", pattern, flags, given),
      oracle(pattern, flags, given),
      `/${pattern}/ in "${given}"`,
    );
}

const start = (found: string | null): string | undefined => found?.split(" ")[0];
const texts = fc.array(text, { minLength: 1, maxLength: 5 });
const groupsOf = (pattern: string): number => pattern.match(/\((?!\?)/g)?.length ?? 0;

describe("a regular expression", () => {
  test("finds the same matches and groups as JavaScript", () => {
    fc.assert(
      fc.property(expressions(false), fc.constantFrom("", "i"), texts, (pattern, flags, given) => {
        fc.pre(groupsOf(pattern) <= 9);
        findsTheSame(pattern, flags, given);
      }),
      { numRuns: 5000, examples: [["([^\\w]|)\\B(?:(?:a)){1,}", "", ["\nca"]]] },
    );
  });

  test("matches at the same position as JavaScript, also with empty iterations", () => {
    fc.assert(
      fc.property(expressions(true), texts, (pattern, list) => {
        fc.pre(groupsOf(pattern) <= 9);
        for (const given of list)
          assert.equal(start(guest.text("find", pattern, "", given)), start(oracle(pattern, "", given)), pattern);
      }),
      {
        numRuns: 2000,
        examples: [
          ["(?:|a*?)*", ["aa"]],
          ["(?:a*?)*", ["aa", ""]],
        ],
      },
    );
  });

  test("finds the same matches as JavaScript in heads of any bytes", () => {
    const patterns = [
      "^/v([0-9]+)/",
      "\\.(?:png|jpe?g|svg)$",
      "[^\\x00-\\x7f]+",
      "(a+)+$",
      "^(?:(?:25[0-5]|[1-9]?\\d)\\.){3}\\d+$",
      "[\\x80-\\xff]{2}",
      "\\W",
    ];
    const head = fc.string({ unit: fc.constantFrom(..."/v12.pngjesva25\u00e9\u00ff"), maxLength: 20 });
    fc.assert(
      fc.property(fc.constantFrom(...patterns), head, (pattern, given) =>
        assert.equal(start(guest.text("find", pattern, "", given)), start(oracle(pattern, "", given))),
      ),
      { numRuns: 2000 },
    );
  });

  test("takes time linear in the text, independent of the number of ways to match it", () => {
    for (const pattern of ["(a+)+$", "(a*)*b", "(a|a)*b", "(?:a?){50}a{50}"]) {
      guest.number("make", pattern);
      const given = `${"a".repeat(20_000)}c`;
      assert.equal(guest.number("testKept", given), pattern.endsWith("{50}") ? 1 : 0, pattern);
    }
  });

  test("is searched again after a partial match has failed", () => {
    findsTheSame("(?:x|)\\Ba", "", ["xca", "x a", "xxca"]);
  });

  test("that is not supported, or missing, is rejected with its place", () => {
    const patterns = [
      "(",
      ")",
      "a)",
      "(a",
      "[",
      "[a",
      "[]",
      "[^]",
      "[b-a]",
      "[\\d-a]",
      "*",
      "+a",
      "a**",
      "a{2}{3}",
      "^*",
      "\\b+",
      "a{",
      "a{1",
      "a{2,1}",
      "a{1001}",
      "a{,2}",
      "}",
      "]",
    ];
    patterns.push(
      "\\1",
      "(a)\\1",
      "(?=a)",
      "(?!a)",
      "(?<=a)",
      "(?<n>a)",
      "\\u0061",
      "\\p{L}",
      "\\cA",
      "\\k",
      "\\_",
      "\\",
      "\\x4",
      "\\00",
      "é",
      "[é]",
      "[[]",
      "\n",
    );
    patterns.push("(a)".repeat(10), "(?:".repeat(51) + ")".repeat(51), "(?:a{1000}){3}");
    for (const pattern of patterns) assert.throws(() => guest.text("find", pattern, "", "a"), /abort/, pattern);
    assert.throws(() => guest.text("find", "a", "g", "a"), /abort/);
    assert.match(guest.text("find", "(a)".repeat(9), "", "aaaaaaaaa")!, /^0 9/);
  });
});

/** The glob's documented meaning, character by character. */
function matches(pattern: string, given: string): boolean {
  if (pattern === "") return given === "";
  const rest = (from: number, cut: number) => matches(pattern.slice(from), given.slice(cut));
  const before = pattern.startsWith("\u0000");
  if (before) {
    const segment = /^\u0000\*\*\//.test(pattern);
    if (segment) {
      for (let cut = 0; cut >= 0; cut = given.indexOf("/", cut) + 1 || -1) if (rest(4, cut)) return true;
      return false;
    }
    return rest(1, 0);
  }
  if (pattern.startsWith("**")) return [...Array(given.length + 1).keys()].some((cut) => rest(2, cut));
  if (pattern[0] === "*") {
    const end = given.indexOf("/") < 0 ? given.length : given.indexOf("/");
    return [...Array(end + 1).keys()].some((cut) => rest(1, cut));
  }
  const [first = ""] = given;
  if (pattern[0] === "?") return first !== "" && first !== "/" && rest(1, 1);
  const klass = /^\[(!?)([a-c-]+)\]/.exec(pattern);
  if (klass) {
    const inside = new RegExp(`^[${klass[2]}]$`).test(first);
    return first !== "" && first !== "/" && inside !== (klass[1] === "!") && rest(klass[0].length, 1);
  }
  const literal = pattern.startsWith("\\") ? pattern[1]! : pattern[0]!;
  return first === literal && rest(pattern.startsWith("\\") ? 2 : 1, 1);
}

/** Marks where segments begin, for the matcher above. */
const mark = (pattern: string): string => `\u0000${pattern.replaceAll("/", "/\u0000")}`;

describe("a glob", () => {
  test("matches what its description states", () => {
    const pattern = fc.array(fc.constantFrom(..."ab/./", "*", "**", "?", "[ab]", "[!a]", "[a-c]", "\\*", "/**/"), {
      maxLength: 7,
    });
    const path = fc.string({ unit: fc.constantFrom(..."abc//.*"), maxLength: 9 });
    fc.assert(
      fc.property(pattern, fc.array(path, { minLength: 1, maxLength: 6 }), (parts, paths) => {
        const glob = parts.join("").replaceAll(/\*{3,}/g, "**");
        for (const given of paths)
          assert.equal(guest.number("glob", glob, given), matches(mark(glob), given) ? 1 : 0, `${glob} ${given}`);
      }),
      { numRuns: 5000 },
    );
  });

  test("by example", () => {
    const cases: [glob: string, yes: string[], no: string[]][] = [
      ["/a/**/b", ["/a/b", "/a/x/b", "/a/x/y/b"], ["/a/xb", "/ab", "/a/b/"]],
      ["/a/**", ["/a/", "/a/b", "/a/b/c"], ["/a", "/ab"]],
      ["**/x", ["x", "a/x", "/x", "a/b/x"], ["ax", "x/"]],
      ["*.js", ["a.js", ".js"], ["a/b.js", "a.jsx"]],
      ["**.js", ["a.js", "a/b.js"], ["a.ts"]],
      ["/static/*/*.[jt]s", ["/static/v1/a.ts"], ["/static/a.ts", "/static/v1/a.rs"]],
      ["a\\*b", ["a*b"], ["axb"]],
      ["[]a]", ["]", "a"], ["b"]],
      ["[a-]", ["-", "a"], ["b"]],
      ["[\\]]", ["]"], ["\\"]],
      ["", [""], ["a"]],
    ];
    for (const [glob, yes, no] of cases) {
      for (const given of yes) assert.equal(guest.number("glob", glob, given), 1, `${glob} ${given}`);
      for (const given of no) assert.equal(guest.number("glob", glob, given), 0, `${glob} ${given}`);
    }
    for (const bad of ["[a", "[", "a\\", "a***", "[b-a]", "[\\", "☃"])
      assert.throws(() => guest.number("glob", bad, "a"), /abort/, bad);
  });
});

/** The SDK's JSON, against JavaScript's. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { loadSdkGuest } from "./sdk-guest.ts";

const guest = await loadSdkGuest("sdk-json.as.ts");
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** JavaScript's value of the bytes; undefined if they are not JSON. */
function oracle(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(bytes));
  } catch {
    return undefined;
  }
}

function copied(bytes: Uint8Array): unknown {
  const copy = guest.bytes("copy", bytes);
  return copy === null ? undefined : oracle(copy);
}

/** Numbers with a large exponent are read, and numbers are written, to 15 digits. */
function assertSame(found: unknown, expected: unknown): void {
  const wanted: number[] = [];
  const flat = (given: unknown, to: number[]): string | undefined =>
    JSON.stringify(given, (_, inner) => (typeof inner === "number" ? `number ${to.push(inner)}` : inner));
  const numbers: number[] = [];
  assert.equal(flat(found, numbers), flat(expected, wanted));
  for (const [i, number] of numbers.entries()) {
    const want = wanted[i]!;
    const slack = Number.isSafeInteger(want) ? 0 : 4e-15 * Math.abs(want);
    assert.ok(number === want || Math.abs(number - want) <= slack, `${number} ${want}`);
  }
}

const finite = fc.double({ noDefaultInfinity: true, noNaN: true, min: -1e300, max: 1e300 });
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.oneof(fc.string({ unit: "binary" }), fc.maxSafeInteger(), finite, fc.boolean(), fc.constant(null)),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.string({ maxLength: 3 }), fc.constantFrom("a", "b")), tie("value"), { maxKeys: 4 }),
  ),
})).value;

describe("reading", () => {
  test("and writing again gives the same value", () => {
    fc.assert(
      fc.property(value, fc.constantFrom("", " ", "\t", "\n  "), (given, indent) => {
        const bytes = Buffer.from(JSON.stringify(given, null, indent));
        assertSame(copied(bytes), oracle(bytes));
      }),
      { numRuns: 2000 },
    );
  });

  test("accepts what JavaScript accepts, and nothing else", () => {
    const near = fc.string({
      unit: fc.constantFrom(
        ...'{}[],:""01-.eE+ \n\\u/tb',
        "true",
        "false",
        "null",
        '"a"',
        '"a":',
        "\\u00e9",
        "\\ud800",
        "\\x",
        "é",
        "\u0000",
        "\ufeff",
      ),
      maxLength: 14,
    });
    const broken = fc.tuple(value, fc.nat(), fc.nat(255)).map(([given, at, byte]) => {
      const bytes = Buffer.from(JSON.stringify(given));
      bytes[at % bytes.length] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(
        fc.oneof(
          near.map((text) => Buffer.from(text)),
          broken,
        ),
        (bytes) => {
          const expected = oracle(bytes);
          assert.equal(guest.bytes("copy", bytes) === null, expected === undefined, bytes.toString());
          if (expected !== undefined) assertSame(copied(bytes), expected);
        },
      ),
      { numRuns: 10_000 },
    );
  });

  test("goes 64 levels deep, and no further", () => {
    const nested = (depth: number) => Buffer.from("[".repeat(depth) + "]".repeat(depth));
    assert.notEqual(guest.bytes("copy", nested(64)), null);
    assert.equal(guest.bytes("copy", nested(65)), null);
    assert.equal(guest.bytes("copy", Buffer.from("[".repeat(100_000))), null);
  });

  test("finds values by path; of a duplicate key the last", () => {
    const json = Buffer.from('{"a":{"b":[1,{"c":"x"}]},"d\\u0065":2,"é":3,"a2":4,"k":1,"k":5,"":6,"0":7}');
    const cases: [path: string, expected: string | null][] = [
      ["a.b.1.c", '"x"'],
      ["a.b", '[1,{"c":"x"}]'],
      ["de", "2"],
      ["é", "3"],
      ["k", "5"],
      ["", "6"],
      ["0", "7"],
      ["a.b.2", null],
      ["a.b.x", null],
      ["a.b.1.c.d", null],
      ["a.c", null],
      ["a.b.", null],
      ["a.b.-1", null],
      ["a.b.4294967297", null],
    ];
    for (const [path, expected] of cases) assert.equal(guest.text("find", json, path), expected, path);
  });

  test("finds keys with dots, by their text and unambiguously by an escape", () => {
    const json = Buffer.from(
      '{"https://a.example/t":1,"k.io":{"n.s":[2]},"a":{"b":3},"a.b":4,"x":{"y":0},"x.y":{"z":5},"b\\\\.c":6,".":7,"..":8}',
    );
    const cases: [path: string, expected: string | null][] = [
      ["https://a.example/t", "1"],
      ["k.io.n.s.0", "2"],
      ["k\\.io.n\\.s", "[2]"],
      ["k.io.n", null],
      ["a.b", "3"],
      ["a\\.b", "4"],
      ["x.y.z", "5"],
      ["b\\\\\\.c", "6"],
      ["\\.", "7"],
      ["..", "8"],
      ["a\\.b.c", null],
      ["k.io\\", null],
    ];
    for (const [path, expected] of cases) assert.equal(guest.text("find", json, path), expected, path);
  });

  test("reads whole numbers to the last digit", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (given) =>
        assert.equal(guest.number("numberOf", Buffer.from(`${given}`)), given),
      ),
    );
    for (const text of ["-0", "1e3", "1.5", "-0.25", "9007199254740991", "1E+2"])
      assert.equal(guest.number("numberOf", Buffer.from(text)), Number(text));
    assert.ok(Number.isNaN(guest.number("numberOf", Buffer.from('"1"'))));
  });
});

describe("writing", () => {
  test("quotes any text as JavaScript reads it", () => {
    const text = fc.array(fc.nat(0xffff), { maxLength: 20 }).map((units) => String.fromCharCode(...units));
    fc.assert(
      fc.property(text, (given) => assert.equal(oracle(guest.bytes("quote", given)!), given)),
      { numRuns: 2000 },
    );
  });

  test("rejects text that is not one value", () => {
    for (const calls of ["", "{", "}", "{n", "{]", "[}", "{kk", "{k}", "nn", "[k", "k", "[n", "N", "[".repeat(65)])
      assert.throws(() => guest.text("writeCalls", calls), /abort/, calls);
    assert.equal(guest.text("writeCalls", "{kn" + "k[n[]n]" + "k{}}"), '{"k":1,"k":[1,[],1],"k":{}}');
  });
});

/** The same on JavaScript's values. */
function maskValue(given: unknown, paths: readonly (readonly string[])[]): unknown {
  const open = paths.flatMap((path): (readonly string[])[] => {
    const all = [path];
    for (let rest = path; rest[0] === "**"; all.push(rest)) rest = rest.slice(1);
    return all;
  });
  if (open.some((path) => path.length === 0)) return "***";
  const step = (key: string) =>
    open.flatMap((path) => (path[0] === "**" ? [path] : path[0] === "*" || path[0] === key ? [path.slice(1)] : []));
  if (Array.isArray(given)) return given.map((inner, i) => maskValue(inner, step(String(i))));
  if (typeof given !== "object" || given === null) return given;
  return Object.fromEntries(Object.entries(given).map(([key, inner]) => [key, maskValue(inner, step(key))]));
}

describe("masking", () => {
  test("replaces the values at the paths", () => {
    const small = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4, depthSize: "small" },
        fc.constantFrom<unknown>(1, "x", null),
        fc.array(tie("value"), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom("a", "b", "c"), tie("value")),
      ),
    })).value;
    const path = fc.array(fc.constantFrom("a", "b", "0", "1", "*", "**"), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(small, fc.array(path, { minLength: 1, maxLength: 3 }), (given, paths) => {
        const masked = guest.bytes(
          "mask",
          paths.map((parts) => parts.join(".")).join(" "),
          Buffer.from(JSON.stringify(given)),
        );
        assert.deepEqual(oracle(masked!), maskValue(given, paths));
      }),
      { numRuns: 5000 },
    );
  });

  test("leaves every other byte unchanged", () => {
    const mask = (paths: string, json: string) => String(guest.bytes("mask", paths, Buffer.from(json)));
    const json = ' { "a" : [1.0, {"b":\t"s\\u0065cret"} ],"A":1e2, "a":{}} ';
    assert.equal(mask("a.*.b", json), ' { "a" : [1.0, {"b":\t"***"} ],"A":1e2, "a":{}} ');
    assert.equal(mask("a", json), ' { "a" : "***","A":1e2, "a":"***"} ');
    assert.equal(mask("**.c", json), json);
    assert.equal(mask("s\\u", '{"a":1}'), '{"a":1}');
    assert.equal(mask("secret", '{"s\\u0065cret":[1,[2]],"x":1}'), '{"s\\u0065cret":"***","x":1}');
    assert.equal(String(guest.bytes("maskWith", "null", Buffer.from('{"a":1}'))), '{"a":null}');
  });

  test("inserts values computed from each value and its path", () => {
    const mask = (paths: string, json: string) => String(guest.bytes("maskComputed", paths, Buffer.from(json)));
    const json = '{"a":"four","b":[1,{"c":"x\\ty"}], "d":7}';
    assert.equal(mask("a b.*.c d", json), '{"a":[4,0],"b":[1,{"c":[3,1]}], "d":7}');
    assert.equal(mask("d", json), json);
    assert.equal(mask("x a **.c", json), '{"a":[4,1],"b":[1,{"c":[3,2]}], "d":7}');
    assert.equal(mask("**", '"root"'), "[4,0]");
    assert.equal(guest.bytes("maskComputed", "a", Buffer.from("{")), null);
    assert.throws(() => mask("a", '{"a":true}'), /abort/);
  });

  test("returns null for invalid JSON, and rejects an invalid mask", () => {
    assert.equal(guest.bytes("mask", "a", Buffer.from("{")), null);
    assert.equal(guest.bytes("mask", "a", Buffer.from("")), null);
    for (const paths of ["", "a..b", ".a", `${"a.".repeat(63)}a`])
      assert.throws(() => guest.bytes("mask", paths, Buffer.from("{}")), /abort/, paths);
    assert.throws(() => guest.bytes("maskWith", "x", Buffer.from("{}")), /abort/);
  });
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DOUBT, Head, PART } from "../../../src/http/head.ts";
import { READINGS, writeReading } from "../../../src/http/readings.ts";
import { normalizePath } from "../../../src/http/target.ts";
import { READERS, SPELLINGS } from "../../fixtures/path-spellings.ts";

function normalized(path: string, form = 0): Head | null {
  const head = new Head(16, 2);
  const bytes = Buffer.from(path, "latin1");
  head.form = form;
  head.setPart(PART.path, bytes, 0, bytes.length);
  return normalizePath(head) === 0 ? head : null;
}

/** Every interpretation of a path, the path itself first; none if it is rejected. */
function readingsOf(path: string): string[] {
  const head = normalized(path);
  if (head === null) return [];
  const own = head.partText(PART.path);
  const bytes = Buffer.from(own, "latin1");
  const found = new Set([own]);
  for (const reading of READINGS) {
    if ((reading.needs & ~head.doubts) !== 0) continue;
    const out = Buffer.alloc(bytes.length + 8, 1);
    const end = writeReading(bytes, 0, bytes.length, out, 4, reading);
    assert.ok(end <= 4 + bytes.length);
    found.add(out.toString("latin1", 4, end));
  }
  return [...found];
}

test("the parts of a path that make it ambiguous are recorded", () => {
  const doubts: [string, number][] = [
    ["/a/b.c/~x/caf%c3%a9/%20/%25/%3f", 0],
    ["/", 0],
    ["*", 0],
    ["//", DOUBT.slashes],
    ["/a//b", DOUBT.slashes],
    ["/a%2fb", DOUBT.encodedSlash],
    ["/a%2bb", DOUBT.escape],
    ["/a%3bb", DOUBT.escape],
    ["/a;b", DOUBT.parameter],
    ["/a;//%2F%40", DOUBT.parameter | DOUBT.slashes | DOUBT.encodedSlash | DOUBT.escape],
  ];
  for (const [path, expected] of doubts) assert.equal(normalized(path)?.doubts, expected, path);
});

test("a path has the interpretations that upstream programs give it", () => {
  const expected: [string, string[]][] = [
    ["/a/b", ["/a/b"]],
    ["//a", ["//a", "/a"]],
    ["/a%2Fb", ["/a%2Fb", "/a/b"]],
    ["/x%2F..%2Fa", ["/x%2F..%2Fa", "/a"]],
    ["/x/%2F..%2F/a", ["/x/%2F..%2F/a", "/x//a", "/a", "/x/a"]],
    ["/a%2Bb%2Fc", ["/a%2Bb%2Fc", "/a+b%2Fc", "/a+b/c"]],
    ["/a;b/c;d", ["/a;b/c;d", "/a/c"]],
    ["/x/..;/a", ["/x/..;/a", "/a"]],
    ["/;/a", ["/;/a", "//a", "/a"]],
    ["/a%3bb/c", ["/a%3Bb/c", "/a;b/c"]],
  ];
  for (const [path, readings] of expected) assert.deepEqual(readingsOf(path), readings, path);
});

test("every spelling of a path is rejected, or has an interpretation for each upstream program", () => {
  for (const spelling of SPELLINGS) {
    const readings = readingsOf(spelling);
    if (readings.length === 0) continue;
    for (const [name, read] of Object.entries(READERS)) {
      const seen = read(readings[0]!);
      if (seen?.startsWith("/private/x")) assert.ok(readings.includes(seen), `${spelling}, ${name}: ${readings}`);
    }
  }
});

test("the interpretations of any path are those of upstream programs", () => {
  const element = fc.constantFrom("/", "/", "a", ".", "..", ";", "%2F", "%2E", "%2b", "+", "%3B", "b");
  const path = fc.array(element, { maxLength: 12 }).map((elements) => `/${elements.join("")}`);
  fc.assert(
    fc.property(path, (text) => {
      const readings = readingsOf(text);
      for (const [name, read] of Object.entries(READERS)) {
        const seen = read(readings[0]!)!;
        assert.ok(readings.includes(seen), `${text}, ${name}: ${seen} is not of ${readings}`);
      }
    }),
    { numRuns: 3000 },
  );
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FORM, Head, PART } from "../../../src/http/head.ts";
import { checkTarget, normalizePath, setPath, setQuery, setTarget } from "../../../src/http/target.ts";

function headWith(path: string): Head {
  const head = new Head(16, 2);
  const bytes = Buffer.from(path, "latin1");
  head.setPart(PART.path, bytes, 0, bytes.length);
  return head;
}

/** The normal form of a path, or null if it is rejected. */
function normalized(path: string): string | null {
  const head = headWith(path);
  const status = normalizePath(head);
  if (status === 0) return head.partText(PART.path);
  assert.equal(status, -400);
  assert.notEqual(head.problem, "");
  return null;
}

const NORMAL_FORMS: [string, string | null][] = [
  ["/", "/"],
  ["*", "*"],
  ["/a/b.c", "/a/b.c"],
  ["/a/./b", "/a/b"],
  ["/a/../b", "/b"],
  ["/a/b/..", "/a/"],
  ["/a/b/.", "/a/b/"],
  ["/..", "/"],
  ["/.", "/"],
  ["/../../x", "/x"],
  ["/a/../../x", "/x"],
  ["/a//b", "/a//b"],
  ["/a//../b", "/a/b"],
  ["//..//x", "//x"],
  ["/...", "/..."],
  ["/.a/..b/c.", "/.a/..b/c."],
  ["/%2e%2E/x", "/x"],
  ["/a/%2e", "/a/"],
  ["/a/.%2e/b", "/b"],
  ["/%41%7a%30%2D%5F%7E", "/Az0-_~"],
  ["/%2f%2F", "/%2F%2F"],
  ["/a%2f..%2fb", "/a%2F..%2Fb"],
  ["/%3a%c3%a9", "/%3A%C3%A9"],
  ["/%C3%A9", "/%C3%A9"],
  ["/%252e%252e/x", "/%252e%252e/x"],
  ["/%c0%af", null],
  ["/%C1%81", null],
  ["/%e0%9f%bf", null],
  ["/%f0%8f%bf%bf", null],
  ["/%c0", "/%C0"],
  ["/%c0/%af", "/%C0/%AF"],
  ["/%e0%a0%80", "/%E0%A0%80"],
  ["/\xc3\xa9", "/%C3%A9"],
  ["/\xe9", null],
  ["/%00", null],
  ["/a%5c", null],
  ["/a%5C", null],
  ["/a\\b", null],
  ["/%", null],
  ["/%4", null],
  ["/%4g", null],
  ["/%g4", null],
];

test("a path has one normal form", () => {
  for (const [path, form] of NORMAL_FORMS) assert.equal(normalized(path), form, path);
});

test("a normal path is not copied", () => {
  for (const path of ["/a/b.c/..d", "/%2F%C3%A9", "//", "/.well-known/x"]) {
    const head = headWith(path);
    const before = head.end;
    assert.equal(normalizePath(head), 0);
    assert.equal(head.end, before);
    assert.equal(head.parts[PART.path], 0);
  }
});

const segment = fc
  .array(fc.constantFrom("a", ".", "..", "%2e", "%2E", "%2f", "%41", "%c3", "-", "b.c", ";x"), { maxLength: 3 })
  .map((elements) => elements.join(""));
const path = fc.array(segment, { minLength: 1, maxLength: 6 }).map((segments) => `/${segments.join("/")}`);

test("normalising is idempotent, leaves no dot segment, and agrees with the URL standard on what it decodes", () => {
  fc.assert(
    fc.property(path, (text) => {
      const form = normalized(text);
      assert.ok(form !== null);
      assert.equal(normalized(form), form);
      assert.ok(form.startsWith("/"));
      for (const part of form.split("/")) assert.ok(part !== "." && part !== "..", form);
      assert.doesNotMatch(form, /%[0-9A-F]?[a-f]|%2E|%41/);
      // An independent implementation: decode and upper-case first, then let WHATWG URL remove the dot segments.
      const decoded = text
        .replace(/%[0-9a-f]{2}/gi, (code) => code.toUpperCase())
        .replace(/%2E/g, ".")
        .replace(/%41/g, "A");
      assert.equal(form, new URL(`http://a${decoded}`).pathname);
    }),
  );
});

test("a plugin's target is checked, normalised and set as a whole", () => {
  const head = headWith("/old");
  const set = (text: string): boolean => {
    const bytes = Buffer.from(`<<${text}>>`, "latin1");
    return setTarget(head, bytes, 2, 2 + text.length);
  };
  const target = (): [string, string] => [head.partText(PART.path), head.partText(PART.query)];
  assert.ok(set("/a/../b?x=1?y#".slice(0, -1)));
  assert.deepEqual(target(), ["/b", "x=1?y"]);
  for (const bad of ["", "a", "?x", "/a b", "/a#b", "/a\r\n", "/a\\", "/%zz", "/%00?x", "/\xe9", "/?\xe9", "/\0"]) {
    assert.equal(set(bad), false, bad);
    assert.deepEqual(target(), ["/b", "x=1?y"]);
  }
  assert.ok(set("/c"));
  assert.deepEqual(target(), ["/c", ""]);
  assert.ok(set("/a?b\\"));
  assert.deepEqual(target(), ["/a", "b\\"]);
  assert.equal(set("*"), false, "* is for OPTIONS");
  head.setPart(PART.method, Buffer.from("OPTIONS"), 0, 7);
  assert.ok(set("*"));
  assert.deepEqual(target(), ["*", ""]);
});

test("path and query are set separately, and cannot change each other", () => {
  const head = headWith("/old");
  const bytes = (text: string): [Buffer, number, number] => [Buffer.from(text, "latin1"), 0, text.length];
  assert.equal(setPath(head, ...bytes("/a?b")), false);
  assert.ok(setPath(head, ...bytes("/x/%2e%2e/y")));
  assert.ok(setQuery(head, ...bytes("q=%zz?")));
  assert.equal(setQuery(head, ...bytes("a b")), false);
  assert.equal(setQuery(head, ...bytes("a#b")), false);
  assert.deepEqual([head.partText(PART.path), head.partText(PART.query)], ["/y", "q=%zz?"]);
  assert.ok(setQuery(head, ...bytes("")));
  assert.equal(head.parts[PART.query + 1], 0);
  head.form = FORM.rejectSlashes;
  for (const set of [setPath, setTarget]) assert.equal(set(head, ...bytes("/a%2Fb")), false);
  head.form = FORM.decodeSlashes | FORM.mergeSlashes;
  assert.ok(setTarget(head, ...bytes("/a%2F/b")));
  assert.equal(head.partText(PART.path), "/a/b");
});

test("checkTarget reads only its area", () => {
  const bytes = Buffer.from(" /a?b ", "latin1");
  assert.ok(checkTarget(bytes, 1, 5));
  assert.equal(checkTarget(bytes, 0, 5), false);
  assert.equal(checkTarget(bytes, 1, 6), false);
  assert.equal(checkTarget(bytes, 1, 1), false);
  // An escape may not be completed by bytes outside.
  assert.equal(checkTarget(Buffer.from("/%41"), 0, 3), false);
});

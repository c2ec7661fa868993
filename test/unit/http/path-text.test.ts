import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Head, PART } from "../../../src/http/head.ts";
import { normalizePathText, normalizeTargetText, normalizeTemplateText } from "../../../src/http/path-text.ts";
import { scanRequest } from "../../../src/http1/scan.ts";
import { LIMITS } from "../http1/reader.ts";

test("a configured path is normalised like a request's path", () => {
  const forms: [string, string | null][] = [
    ["/", "/"],
    ["/caf%c3%a9/%7Eann", "/caf%C3%A9/~ann"],
    ["/café b", "/caf%C3%A9%20b"],
    ["/a/../b/./c/..", "/b/"],
    ["/a//b%2fc;d", "/a//b%2Fc;d"],
    ["", null],
    ["a", null],
    ["*", null],
    ["/a?b", null],
    ["/a#b", null],
    ["/a\\b", null],
    ["/%zz", null],
    ["/%00", null],
    ["/%5c", null],
    ["/%c0%af", null],
  ];
  for (const [text, form] of forms) assert.equal(normalizePathText(text), form, text);
});

test("whatever a request's path can be, its text has the same form", () => {
  const element = fc.constantFrom(
    "/",
    "a",
    ".",
    "..",
    "%2e",
    "%2f",
    "%c3%a9",
    "\xc3\xa9",
    "%41",
    ";",
    "+",
    "%2b",
    "%C0%80",
  );
  const path = fc.array(element, { maxLength: 10 }).map((elements) => `/${elements.join("")}`);
  fc.assert(
    fc.property(path, (text) => {
      const raw = Buffer.from(`GET ${text} HTTP/1.1\r\nHost: a\r\n\r\n`, "latin1");
      const head = new Head();
      const taken = scanRequest(raw, 0, raw.length, head, LIMITS) > 0 ? head.partText(PART.path) : null;
      assert.equal(normalizePathText(Buffer.from(text, "latin1").toString("utf8")), taken);
    }),
  );
});

test("a target keeps its query, a template its fields", () => {
  assert.equal(normalizeTargetText("/a/../%62?x=%2f&y=é\\#".slice(0, -1)), "/b?x=%2f&y=%C3%A9\\");
  assert.equal(normalizeTargetText("/a?"), "/a?");
  for (const bad of ["?a", "/a?b#c", "/%zz?a", "a?b"]) assert.equal(normalizeTargetText(bad), null, bad);
  const template = "{scheme}://{host}/caf%c3%a9/%7e/é/../{path}{query}";
  assert.equal(normalizeTemplateText(template), "{scheme}://{host}/caf%C3%A9/~/%C3%A9/../{path}{query}");
  assert.equal(normalizeTemplateText("/%zz"), null);
  assert.equal(normalizeTemplateText("/a%"), null);
});

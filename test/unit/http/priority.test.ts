import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DEFAULT_URGENCY, INCREMENTAL, parsePriority } from "../../../src/http/priority.ts";

const parse = (text: string) => parsePriority(Buffer.from(text, "latin1"), 0, text.length);

test("the parameters of RFC 9218, in any order", () => {
  const cases: [string, number][] = [
    ["", DEFAULT_URGENCY],
    ["u=0", 0],
    ["u=7, i", 7 | INCREMENTAL],
    ["i,u=1", 1 | INCREMENTAL],
    ["i=?1", DEFAULT_URGENCY | INCREMENTAL],
    ["i=?0", DEFAULT_URGENCY],
    ["u=2;x=1 , \ti;y", 2 | INCREMENTAL],
    ["u=1, u=5", 5],
    ["i, i=?0", DEFAULT_URGENCY],
    ["x=1, u=4", 4],
  ];
  for (const [text, priority] of cases) assert.equal(parse(text), priority, text);
});

test("invalid values are ignored", () => {
  for (const text of ["u=8", "u=-1", "u", "u=1.0", "u=12", "U=1", "i=1", "i=?2", "ii", "=", ",,,", "u=a"])
    assert.equal(parse(text), DEFAULT_URGENCY, text);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const priority = parsePriority(bytes, 0, bytes.length);
      assert.ok(priority >= 0 && priority < 16);
    }),
  );
});

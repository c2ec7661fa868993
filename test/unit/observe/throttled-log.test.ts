import assert from "node:assert/strict";
import { test } from "node:test";
import { REJECTIONS, UPSTREAM_FAILURES } from "../../../src/observe/series.ts";
import { ThrottledLog } from "../../../src/observe/throttled-log.ts";
import { ERROR } from "../../../src/proxy/error.ts";

type Line = { level: string; message: string; fields: Record<string, unknown> };

function makeLog() {
  const lines: Line[] = [];
  let now = 1_000_000;
  const log = new ThrottledLog(
    (level, message, fields) => void lines.push({ level, message, fields }),
    () => now,
  );
  const fail = (object: string, times = 1) => {
    for (let i = 0; i < times; i++) if (log.admits("upstream_failure", object)) log.write("failed", { object, i });
  };
  const pass = (ms: number) => {
    for (const end = now + ms; now < end; log.tick()) now += 50;
  };
  return { lines, fail, pass };
}

test("the first of each kind and object is logged at once, the rest with their number", () => {
  const { lines, fail, pass } = makeLog();
  fail("a", 100);
  fail("b", 2);
  assert.deepEqual(
    lines.map(({ level, fields }) => [level, fields]),
    [
      ["warn", { event: "upstream_failure", object: "a", i: 0 }],
      ["warn", { event: "upstream_failure", object: "b", i: 0 }],
    ],
  );
  pass(1500);
  assert.deepEqual(
    lines.slice(2).map(({ fields }) => [fields.object, fields.suppressed]),
    [
      ["a", 99],
      ["b", 1],
    ],
  );
});

test("an event that lasts for an hour is logged every ten seconds, with its count", () => {
  const { lines, fail, pass } = makeLog();
  for (let i = 0; i < 3600; i++) {
    fail("a", 3);
    pass(1000);
  }
  assert.ok(lines.length < 3600 / 10 + 10, `${lines.length} lines`);
  pass(20_000);
  const admitted = lines.filter(({ fields }) => fields.suppressed === undefined).length;
  assert.ok(admitted >= 1);
  const before = lines.length;
  pass(60_000);
  assert.equal(lines.length, before);
  fail("a");
  assert.equal(lines.at(-1)!.fields.suppressed, undefined);
});

test("thousands of objects write a bounded number of lines", () => {
  const { lines, fail, pass } = makeLog();
  for (let i = 0; i < 5000; i++) fail(String(i));
  assert.equal(lines.length, 50);
  pass(60_000);
  assert.ok(lines.length < 60 * 50);
});

test("from 1,024 objects on, further ones of a kind share one entry", () => {
  const { lines, fail, pass } = makeLog();
  for (let i = 0; i < 1024; i++) fail(String(i));
  pass(1000);
  const before = lines.length;
  fail("a");
  fail("b");
  fail("1023");
  assert.deepEqual(
    lines.slice(before).map(({ fields }) => fields.object),
    ["a", "1023"],
  );
});

test("each error of a client or an endpoint has its own reason in the metrics", () => {
  const rejected = Object.values(ERROR).filter(
    ({ source, code }) => source === "client" && code !== "no_route" && code !== "client_gone",
  );
  for (const { code, cell } of rejected) assert.equal(REJECTIONS[cell], code);
  const failed = Object.values(ERROR).filter(({ source, code }) => source === "upstream" && code !== "no_endpoint");
  for (const { code, cell } of failed) assert.equal(UPSTREAM_FAILURES[cell], code);
});

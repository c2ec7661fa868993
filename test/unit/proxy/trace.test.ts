import assert from "node:assert/strict";
import { test } from "node:test";
import { makeExchange } from "../../../src/cli/testing/messages.ts";
import { HOOK } from "../../../src/plugin/abi.ts";
import { Mask } from "../../../src/proxy/mask.ts";
import { compare, takePicture } from "../../../src/proxy/picture.ts";
import { Trace } from "../../../src/proxy/trace.ts";

const mask = new Mask(["x-own"]);
const CALLED = { plugin: "late", index: 0 };
const start = (headers: Record<string, string>) => {
  const x = makeExchange({ url: "/a?token=abc&b=1", headers });
  const trace = new Trace(x, { id: "1", why: "token", mask });
  x.trace = trace;
  return { x, trace };
};

test("an edit of a secret is seen as one, and neither side of it is", () => {
  const { x, trace } = start({ cookie: "id=1", "x-own": "2", "x-user": "ann" });
  const { entry } = trace.enter(x, HOOK.request_head, CALLED);
  const before = takePicture(x);
  for (const name of ["cookie", "x-own", "x-user"]) {
    const bytes = Buffer.from(name);
    x.request.removeAt(x.request.find(bytes, 0, bytes.length));
    x.request.add(bytes, Buffer.from("new"), 0);
  }
  assert.deepEqual(trace.changed(entry, compare(before, takePicture(x))), [
    { of: "request", what: "header cookie", before: ["***"], after: ["***"] },
    { of: "request", what: "header x-own", before: ["***"], after: ["***"] },
    { of: "request", what: "header x-user", before: ["ann"], after: ["new"] },
  ]);
});

test("a call whose exchange has ended meanwhile compares nothing with what stands in its place", () => {
  const { x, trace } = start({ "x-user": "ann" });
  const call = trace.enter(x, HOOK.request_head, CALLED);
  x.reset();
  call.leave(x, 0, 10);
  assert.deepEqual([call.entry.result, call.entry.fuel, call.entry.edits], ["continue", 10, []]);
});

test("a trace has an end: long values are cut, and it says so", () => {
  const { trace } = start({});
  assert.equal(trace.text("short"), "short");
  assert.equal(trace.text("x".repeat(5000)).length, 2049);
  let size = 0;
  for (let i = 0; i < 1000; i++) size += trace.text("y".repeat(2000)).length;
  assert.ok(size < 140_000, `${size} characters`);
});

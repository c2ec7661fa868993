import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK, RESULT } from "../../../src/abi/abi.ts";
import { Head } from "../../../src/http/head.ts";
import { ExchangeValue } from "../../../src/plugin/abi/exchange-value.ts";
import { requestBody } from "../../../src/proxy/filtered-body.ts";
import { makeExchange } from "../../../src/testing/messages.ts";
import { Mask } from "../../../src/trace/mask.ts";
import type { Step } from "../../../src/trace/record.ts";
import { captureState, compare } from "../../../src/trace/snapshot-diff.ts";
import { Trace } from "../../../src/trace/trace.ts";

const mask = new Mask(["x-own"]);
const CALLED = { plugin: "late", index: 0 };
const start = (headers: Record<string, string>) => {
  const x = makeExchange({ url: "/a?token=abc&b=1", headers });
  const trace = new Trace(x, { id: "1", why: "token", mask });
  x.trace = trace;
  return { x, trace };
};

test("an edit of a secret is recorded with both values masked", () => {
  const { x, trace } = start({ cookie: "id=1", "x-own": "2", "x-user": "ann" });
  const { entry } = trace.enter(x, HOOK.request_head, CALLED);
  const before = captureState(x);
  for (const name of ["cookie", "x-own", "x-user"]) {
    const bytes = Buffer.from(name);
    x.request.removeAt(x.request.find(bytes, 0, bytes.length));
    x.request.add(bytes, Buffer.from("new"), 0);
  }
  assert.deepEqual(trace.changed(entry, compare(before, captureState(x))), [
    { of: "request", what: "header cookie", before: ["***"], after: ["***"] },
    { of: "request", what: "header x-own", before: ["***"], after: ["***"] },
    { of: "request", what: "header x-user", before: ["ann"], after: ["new"] },
  ]);
});

test("a call whose exchange has ended records no edits", () => {
  const { x, trace } = start({ "x-user": "ann" });
  const call = trace.enter(x, HOOK.request_head, CALLED);
  x.reset();
  call.leave(x, 0, 10);
  assert.deepEqual([call.entry.result, call.entry.fuel, call.entry.edits], ["continue", 10, []]);
});

test("a trace is bounded: long values are truncated and marked", () => {
  const { trace } = start({});
  assert.equal(trace.text("short"), "short");
  assert.equal(trace.text("x".repeat(5000)).length, 2049);
  let size = 0;
  for (let i = 0; i < 1000; i++) size += trace.text("y".repeat(2000)).length;
  assert.ok(size < 140_000, `${size} characters`);
});

const put = (head: Head, name: string, value: string) => head.add(Buffer.from(name), Buffer.from(value), 0);
const FAILED = { reason: "trap", message: "unreachable" };
const edits = (step: Step | undefined) =>
  step?.step === "hook" || step?.step === "received"
    ? step.edits.map(({ of, what, after }) => [of, what, ...after])
    : null;

test("changes that no plugin made are recorded between the hooks, once", () => {
  const { x, trace } = start({});
  const first = trace.enter(x, HOOK.request_head, CALLED);
  put(x.request, "x-mine", "1");
  first.leave(x, RESULT.continue, 1);
  x.response.status = 200;
  put(x.response, "set-cookie", "id=1");
  trace.enter(x, HOOK.outcome, CALLED).leave(x, RESULT.continue, 1);
  trace.enter(x, HOOK.response_head, CALLED).leave(x, RESULT.continue, 1);
  assert.deepEqual(
    trace.steps.map((step) => [step.step, edits(step)]),
    [
      ["hook", [["request", "header x-mine", "1"]]],
      [
        "received",
        [
          ["response", "status", "200"],
          ["response", "header set-cookie", "***"],
        ],
      ],
      ["hook", []],
      ["hook", []],
    ],
  );
});

test("the changes of a failed hook are not recorded", () => {
  const { x, trace } = start({});
  x.request.save();
  const call = trace.enter(x, HOOK.request_head, CALLED);
  put(x.request, "x-mine", "1");
  call.leave(x, RESULT.continue, 1);
  x.request.restore();
  trace.failed(HOOK.request_head, CALLED.plugin, FAILED);
  trace.enter(x, HOOK.request_head, { plugin: "next", index: 1 }).leave(x, RESULT.continue, 1);
  assert.deepEqual(trace.steps.map(edits), [[], []]);
});

test("a response received while a request hook is suspended is not an edit of the hook", () => {
  const { x, trace } = start({});
  const waits = trace.enter(x, HOOK.request_body, CALLED);
  x.response.status = 200;
  const meanwhile = trace.enter(x, HOOK.response_head, { plugin: "next", index: 1 });
  put(x.response, "x-next", "1");
  meanwhile.leave(x, RESULT.continue, 1);
  put((x.requestTrailers = new Head()), "x-sum", "7");
  waits.leave(x, RESULT.continue, 1);
  trace.enter(x, HOOK.log, CALLED).leave(x, RESULT.continue, 1);
  assert.deepEqual(trace.steps.map(edits), [
    [["request", "trailer x-sum", "7"]],
    [["response", "status", "200"]],
    [["response", "header x-next", "1"]],
    [],
  ]);
});

test("a plugin's second configuration is distinguished from its first", () => {
  const { x, trace } = start({});
  for (const index of [4, 7, 4, 7]) trace.enter(x, HOOK.request_head, { plugin: "twice", index });
  trace.enter(x, HOOK.request_head, { plugin: "once", index: 9 });
  assert.deepEqual(
    trace.steps.map((step) => step.step === "hook" && step.use),
    [undefined, 2, undefined, 2, undefined],
  );
});

test("shared values are recorded by name and masked", () => {
  const { x, trace } = start({});
  const keep = (key: string, value: string) =>
    (x.values ??= new Map<string, ExchangeValue>()).set(key, new ExchangeValue(key, Buffer.from(value), null));
  keep("\0old", "1");
  keep("plugin\0own", "2");
  const call = trace.enter(x, HOOK.request_head, CALLED);
  for (const [name, value] of [
    ["\0user", "ann"],
    ["\0session", "abc"],
    ["plugin\0own", "3"],
  ] as const)
    keep(name, value);
  call.leave(x, RESULT.continue, 1);
  assert.deepEqual(call.entry.shared, [
    ["user", "ann"],
    ["session", "***"],
  ]);
});

test("a body chunk is recorded only in a dry run, if it is a short text", () => {
  for (const [isDryRun, text, reported] of [
    [false, "text", undefined],
    [true, "tëxt", "tëxt"],
    [true, "x".repeat(5000), undefined],
    [true, Buffer.from([0xff]), undefined],
  ] as const) {
    const x = makeExchange();
    const trace = (x.trace = new Trace(x, { id: "", why: "explain", mask, isDryRun }));
    const bytes = Buffer.from(text as string);
    const { chunk } = requestBody(x);
    chunk.set(bytes, 0, bytes.length, true);
    const call = trace.enter(x, HOOK.request_body, CALLED);
    chunk.replace(Buffer.from("made"));
    call.leave(x, RESULT.continue, 1);
    const passed = isDryRun ? "made" : undefined;
    assert.deepEqual([call.entry.body?.seen, call.entry.body?.passed], [reported, passed]);
    assert.deepEqual([call.entry.body?.before, call.entry.body?.after], [bytes.length, 4]);
  }
});

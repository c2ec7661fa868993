import assert from "node:assert/strict";
import { test } from "node:test";
import { Traces } from "../../../src/control/traces.ts";
import { TRACE_VERSION, type TraceRecord } from "../../../src/trace/record.ts";

const record = (id: string, target = "/"): TraceRecord => ({
  version: TRACE_VERSION,
  id,
  time: "2026-01-01T00:00:00.000Z",
  why: "token",
  configVersion: 1,
  listener: "web",
  route: "0",
  cluster: "app",
  client: "192.0.2.1",
  request: { method: "GET", authority: "a", target, headers: [] },
  steps: [],
  response: { status: 200, by: "endpoint", headers: [], body: 0 },
  took: 1,
  cut: false,
});
const ids = (traces: Traces) => traces.list().traces.map(({ id }) => id);

test("the last traces are stored, the newest first, and untraced requests are counted", () => {
  const traces = new Traces(2);
  for (const id of ["a", "b", "c"]) traces.add(1, record(id), id === "c" ? 5 : 0);
  assert.deepEqual(ids(traces), ["c", "b"]);
  assert.equal(traces.list().dropped, 5);
  assert.deepEqual(traces.get("b"), { ...record("b"), worker: 1 });
  assert.equal(traces.get("a"), null);
  traces.keep(1);
  assert.deepEqual(ids(traces), ["c"]);
});

test("stored traces are limited in bytes as well", () => {
  const traces = new Traces(100, 4000);
  for (const id of ["a", "b", "c"]) traces.add(0, record(id, `/${"x".repeat(1500)}`), 0);
  assert.deepEqual(ids(traces), ["c", "b"]);
});

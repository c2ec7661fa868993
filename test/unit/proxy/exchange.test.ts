import assert from "node:assert/strict";
import { test } from "node:test";
import { Exchange } from "../../../src/proxy/exchange.ts";
import type { UpstreamStream } from "../../../src/proxy/upstream-stream.ts";

test("after reset an exchange is like a new one: nothing of a request reaches the next", () => {
  const fresh = new Exchange();
  const used = new Exchange();
  // The heads are reset by the scan that fills them, the number is given when it is taken.
  const kept = new Set(["id", "request", "response"]);
  for (const [name, value] of Object.entries(used)) {
    if (kept.has(name) || name === "attempt" || name === "tried" || name === "original" || name === "rivals") continue;
    const other =
      typeof value === "number" ? 7 : typeof value === "string" ? "left" : typeof value === "boolean" ? !value : {};
    Object.assign(used, { [name]: other });
  }
  Object.assign(used.attempt, { startedAt: 7, reused: true, sent: true, complete: true });
  used.tried.push(7);
  used.attempt.stream = {} as UpstreamStream;
  used.beginAttempt();
  used.original.fill(7);
  used.reset();
  assert.deepEqual({ ...used.attempt, exchange: null }, { ...fresh.attempt, exchange: null });
  for (const name of Object.keys(fresh).filter((key) => !kept.has(key) && key !== "attempt"))
    assert.deepEqual(used[name as keyof Exchange], fresh[name as keyof Exchange], name);
});

test("body bytes are kept in order, in the exchange's own memory", () => {
  const exchange = new Exchange();
  const source = Buffer.from("hello world");
  exchange.keep(source, 0, 5);
  exchange.keep(source, 5, 11);
  source.fill(0);
  assert.equal(exchange.replay!.toString("latin1", 0, exchange.replayLength), "hello world");
});

test("nothing of a plugin's response remains after reset", () => {
  const exchange = new Exchange();
  exchange.response.add(Buffer.from("location"), Buffer.from("/there"), 0);
  exchange.reset();
  assert.deepEqual([exchange.response.count, exchange.response.end], [0, 0]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import type { AcceptedConnection, Port } from "../../../src/proxy/port.ts";
import { ProtocolStart } from "../../../src/worker/protocol-start.ts";

test("an exception before the protocol is known ends the connection and is reported", () => {
  const done: unknown[] = [];
  const connection = { arm: () => {}, destroy: () => done.push("destroyed") } as unknown as AcceptedConnection;
  const port = { idleLimit: (limit: number) => limit, state: { plan: { timeouts: { head: 1 } } } } as unknown as Port;
  const make = () => {
    throw new Error("not made");
  };
  const makers = { makeHttp: make, makeTcp: make, internal: (error: unknown) => done.push(String(error)) };
  const start = new ProtocolStart({ connection, port, choice: null, passed: null }, makers, false);
  let thrown: unknown;
  try {
    start.receive(Buffer.from("GET"), 0, 3);
  } catch (error) {
    thrown = error;
  }
  start.broken(thrown);
  assert.deepEqual(done, ["Error: not made", "destroyed"]);
});

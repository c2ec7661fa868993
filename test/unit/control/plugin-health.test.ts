import assert from "node:assert/strict";
import { test } from "node:test";
import { PluginHealth } from "../../../src/control/plugin-health.ts";

const failure = (at: number) => ({ at, hook: "request_head", reason: "trap", message: "unreachable", stack: "" });

test("a plugin is quarantined on the workers that report it, and on none that has ended", () => {
  const health = new PluginHealth();
  for (const worker of [0, 1, 2])
    health.receive(worker, { plugin: "bad", quarantined: worker > 0, failure: failure(worker) });
  health.receive(1, { plugin: "good", quarantined: false, failure: null });
  assert.deepEqual(health.quarantined("bad"), [1, 2]);
  assert.deepEqual(health.quarantined("good"), []);
  assert.deepEqual(health.lastFailure("bad"), { ...failure(2), worker: 2 });
  assert.equal(health.lastFailure("good"), null);
  health.forget(2);
  health.forget(7);
  assert.deepEqual(health.quarantined("bad"), [1]);
  assert.deepEqual(health.lastFailure("bad"), { ...failure(2), worker: 2 }, "what failed is remembered");
  health.receive(1, { plugin: "bad", quarantined: false, failure: failure(1) });
  assert.deepEqual(health.quarantined("bad"), []);
});

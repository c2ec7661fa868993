import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../../src/abi/abi.ts";
import type { Cluster } from "../../../src/cluster/cluster.ts";
import type { CheckResult } from "../../../src/cluster/health.ts";
import { ExchangeValue } from "../../../src/plugin/abi/exchange-value.ts";
import { OUTCOME } from "../../../src/plugin/host/host.ts";
import type { Instance } from "../../../src/plugin/host/instance.ts";
import { ExchangePool } from "../../../src/proxy/exchange-pool.ts";
import { Snapshot } from "../../../src/proxy/snapshot.ts";
import type { Connector } from "../../../src/proxy/upstream-stream.ts";
import { type PluginCheck, PluginChecks } from "../../../src/worker/plugin-checks.ts";

/** A version with one cluster, whose plugin returns that result; its calls and reports. */
function setUp(outcome: number, act: (x: PluginCheck) => void = () => {}) {
  const called: PluginCheck[] = [];
  const reported: [number, CheckResult | null][] = [];
  const state = { cancelled: 0, disposed: false };
  const checker = {
    plugin: "doctor",
    call(hook: number, x: PluginCheck) {
      assert.equal(hook, HOOK.health_check);
      called.push(x);
      act(x);
      if (outcome === OUTCOME.suspended) x.suspension = { cancel: () => state.cancelled++ };
      return outcome;
    },
  } as unknown as Instance;
  const cluster = { plan: { name: "app" }, members: [{ endpoint: { slot: 3, address: "a:1" } }], checker };
  const snapshot = new Snapshot(1, [cluster as unknown as Cluster<Connector>], [], () => {
    state.disposed = true;
  });
  const checks = new PluginChecks(new ExchangePool(), (number, result) => reported.push([number, result]));
  const begin = (number: number, { slot = 3, name = "app" } = {}) =>
    checks.begin({ number, cluster: name, slot, timeout: 1000 }, snapshot);
  return { called, reported, state, snapshot, checks, begin };
}

test("the hook sees the endpoint and the deadline; its result is the result of the check", () => {
  const { called, reported, begin } = setUp(OUTCOME.continue);
  const began = performance.now();
  begin(1);
  begin(2);
  assert.deepEqual(reported, [
    [1, { result: "healthy", problem: "" }],
    [2, { result: "healthy", problem: "" }],
  ]);
  const [x, y] = called as [PluginCheck, PluginCheck];
  assert.deepEqual([x.clusterName, x.endpoint?.address, x.exchange, x.trace], ["app", "a:1", null, null]);
  assert.ok(x.deadline >= began + 1000 && x.deadline <= performance.now() + 1000);
  assert.ok(x.id !== y.id && x !== y);
});

test("the problem is the value that the plugin stored, else a default", () => {
  const plain = setUp(OUTCOME.reject);
  plain.begin(1);
  assert.deepEqual(plain.reported, [[1, { result: "unhealthy", problem: "rejected by plugin doctor" }]]);
  const why = setUp(OUTCOME.reject, (x) => {
    const key = "doctor\0problem";
    x.values = new Map([[key, new ExchangeValue(key, Buffer.from("überlastet"), null)]]);
  });
  why.begin(1);
  assert.deepEqual(why.reported, [[1, { result: "unhealthy", problem: "überlastet" }]]);
});

test("a failing plugin, also under skip, or a full queue leaves the endpoint's state unchanged", () => {
  const skip = (x: PluginCheck) => {
    x.skipped = new Set([0]);
  };
  for (const { reported, begin } of [setUp(OUTCOME.failed), setUp(OUTCOME.continue, skip)]) {
    begin(1);
    assert.deepEqual(reported, [[1, { result: "failed", problem: "plugin doctor failed" }]]);
  }
  const busy = setUp(OUTCOME.busy);
  busy.begin(1);
  assert.deepEqual(busy.reported, [[1, { result: "failed", problem: "too many calls of plugin doctor are queued" }]]);
});

test("a check that the active version does not have is returned", () => {
  const { called, reported, begin, checks } = setUp(OUTCOME.continue);
  begin(1, { slot: 4 });
  begin(2, { name: "other" });
  checks.begin({ number: 3, cluster: "app", slot: 3, timeout: 1 }, null);
  assert.deepEqual([reported, called.length], [[1, 2, 3].map((number) => [number, null]), 0]);
});

test("a suspended check keeps its version alive until it ends", () => {
  for (const end of ["resume", "cancel", "stop"] as const) {
    const { called, reported, state, snapshot, checks, begin } = setUp(OUTCOME.suspended);
    begin(7);
    snapshot.retire();
    assert.deepEqual([reported, state.disposed], [[], false]);
    if (end === "resume") checks.resume(HOOK.health_check, called[0]!, OUTCOME.reject);
    else if (end === "cancel") checks.cancel(7);
    else checks.stop();
    assert.equal(state.disposed, true, end);
    assert.equal(state.cancelled, end === "resume" ? 0 : 1);
    const result = { resume: { result: "unhealthy", problem: "rejected by plugin doctor" }, stop: null };
    assert.deepEqual(reported, end === "cancel" ? [] : [[7, result[end]]]);
    checks.resume(HOOK.health_check, called[0]!, OUTCOME.continue);
    checks.cancel(7);
    checks.stop();
    assert.equal(reported.length, end === "cancel" ? 0 : 1, "it is reported once");
  }
});

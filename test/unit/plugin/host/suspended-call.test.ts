import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../../../src/abi/abi.ts";
import { Fault } from "../../../../src/plugin/host/fault.ts";
import { Guest } from "../../../../src/plugin/host/guest.ts";
import { OUTCOME } from "../../../../src/plugin/host/host.ts";
import { buildModule, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import type { Exchange } from "../../../../src/proxy/exchange.ts";
import { until } from "../../../e2e/program.ts";
import { buildFixture, compileWat, fieldsOf, MEMORY, makeExchange, makeView, planOf, TestHost } from "../kit.ts";

/** Cancels the exchange's pending call, as the request pipeline does when it ends. */
function cancel(exchange: Exchange): void {
  exchange.suspension?.cancel();
  exchange.suspension = null;
}

test("an asynchronous host call through a table suspends where it is allowed, and otherwise ends the guest", async () => {
  const host = new TestHost();
  const instance = host.load("waits");
  const exchange = makeExchange();
  assert.equal(instance.call(HOOK.log, exchange), OUTCOME.failed);
  assert.equal(host.failures("log", "trap"), 1);
  assert.equal(instance.call(HOOK.response_head, exchange), OUTCOME.suspended);
  await until(() => host.resumed.length === 1, "it was resumed");
  assert.deepEqual(host.resumed, [{ hook: HOOK.response_head, exchange, outcome: OUTCOME.continue }]);
});

test("after a response to a streaming body no call suspends: the endpoint's response can arrive meanwhile", async () => {
  const host = new TestHost();
  const instance = host.load("waits");
  assert.equal(instance.call(HOOK.request_body, makeExchange()), OUTCOME.suspended);
  await until(() => host.resumed.length === 1, "it was resumed");
  assert.equal(host.resumed[0]!.outcome, OUTCOME.respond);
});

test("a timeout in the queue fails the call, and occupies no guest", async () => {
  const host = new TestHost();
  const plans = [planOf({ key: "a", guests: 1, time: 3_600_000 }), planOf({ key: "b", guests: 1, time: 20 })];
  const [long, short] = host.prepare([buildFixture("waits")], plans).instances;
  const first = makeExchange();
  assert.equal(long!.call(HOOK.request_head, first), OUTCOME.suspended);
  assert.equal(short!.call(HOOK.request_head, makeExchange()), OUTCOME.suspended);
  await until(() => host.resumed.length === 1, "its time is over");
  assert.equal(host.resumed[0]!.outcome, OUTCOME.failed);
  assert.equal(host.failures("request_head", "timeout"), 1);
  cancel(first);
  await until(() => host.host.guests() === 1, "the guest is gone");
  const next = makeExchange();
  assert.equal(short!.call(HOOK.request_head, next), OUTCOME.suspended);
  assert.equal(host.refused("request_head"), 0);
  cancel(next);
});

test("guests that fail in asynchronous calls are replaced within the restart budget", async () => {
  const host = new TestHost();
  const instance = host.load("waits");
  for (let at = 0; at < 40; at++) {
    if (instance.call(HOOK.response_body, makeExchange()) !== OUTCOME.suspended) break;
    await until(() => host.resumed.length === at + 1, "it failed");
  }
  assert.ok(host.refused("response_body") > 0);
});

/** Each of its other hooks traps in a guest that is suspended in `request_head`. */
function alone(more = ""): ModulePlan {
  const others = ["response_head", "request_trailers", "outcome", "log", "update", "pick", "tick", "save", "restore"];
  const text = `(module
    (import "sluice:sleep/1" "sleep" (func $sleep (param i32) (result i32)))
    (import "sluice:core/1" "state_put" (func $put (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $suspended (mut i32) (i32.const 0))
    (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "request_head") (param i32 i32) (result i32)
      (if (global.get $suspended) (then unreachable))
      (global.set $suspended (i32.const 1))
      (drop (call $sleep (i32.const 30000)))
      (global.set $suspended (i32.const 0))
      i32.const 0)
    (func $other (param i32 i32) (result i32)
      (drop (call $put (i32.const 0) (i32.const 4)))
      (if (global.get $suspended) (then unreachable))
      i32.const 0)
    ${others.map((hook) => `(export "${hook}" (func $other))`).join(" ")} ${more})`;
  return buildModule(compileWat(text), { memory: MEMORY });
}

test("a suspended guest is not called: by no other request, log, tick, pick, save or restore", async () => {
  const host = new TestHost();
  const plan = (key: string) => planOf({ key, guests: 8, time: 60_000 });
  const set = host.prepare([alone()], [plan("first")]);
  set.commit();
  const instance = set.instances[0]!;
  const suspended = [makeExchange(), makeExchange()];
  for (const exchange of suspended) assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.suspended);
  for (const hook of ["log", "outcome", "request_trailers"] as const)
    assert.equal(instance.call(HOOK[hook], suspended[0]!), OUTCOME.continue, hook);
  assert.equal(instance.update(makeView(1)), true);
  assert.equal(instance.pick(suspended[0]!, makeView(1)), 0);
  assert.equal(instance.call(HOOK.response_head, makeExchange()), OUTCOME.suspended);
  host.time += 2000;
  host.host.tick();
  await until(() => host.resumed.length === 1 && !instance.isTicking, "those that do not sleep have ended");
  assert.equal(host.resumed[0]!.outcome, OUTCOME.continue);
  // The next version's guest restores what the first one's has saved.
  host.prepare([alone('(export "other" (func $other))')], [plan("second")]).commit();
  for (const hook of ["log", "tick", "save", "restore"] as const) assert.equal(host.calls(hook), 1, hook);
  assert.deepEqual(host.lines, []);
  for (const exchange of suspended) cancel(exchange);
});

test("a guest that is suspended, or has failed, rejects calls", async () => {
  const module = alone();
  const { configuration } = new TestHost().prepare([module], [planOf()]).instances[0]!;
  const guest = new Guest(module, Date.now);
  guest.start(configuration);
  const run = () => guest.run(HOOK.log, 1, 1000, configuration, null, null);
  const wait = () => guest.runSuspendable(HOOK.request_head, 1, 1000, configuration, null);
  assert.equal(run(), 0);
  const suspended = wait();
  assert.throws(run, /the guest was entered while it runs/);
  await assert.rejects(wait(), /the guest was entered while it runs/);
  guest.context.abort(new Fault("timeout", "for the test"));
  await assert.rejects(suspended, /for the test/);
  assert.throws(run, /the guest was entered .*after it failed/);
});

/** Changes the request head and stores a value, then sleeps; `after` is what follows. */
function edits(after: string): ModulePlan {
  const text = `(module
    (import "sluice:sleep/1" "sleep" (func $sleep (param i32) (result i32)))
    (import "sluice:core/1" "header_set" (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "sluice:core/1" "exchange_set" (func $keep (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "x-a")
    (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "request_head") (param i32 i32) (result i32)
      (drop (call $set (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3)))
      (drop (call $keep (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3)))
      (drop (call $sleep (i32.const 1)))
      ${after}
      i32.const 0))`;
  return buildModule(compileWat(text), { memory: MEMORY });
}

test("changes before a suspension stay if the call succeeds, and are undone if it fails or is cancelled", async () => {
  for (const [after, onFailure, isCancelled, stays] of [
    ["", "reject", false, true],
    ["unreachable", "reject", false, false],
    ["unreachable", "skip", false, false],
    ["", "reject", true, false],
  ] as const) {
    const host = new TestHost();
    const instance = host.prepare([edits(after)], [planOf({ onFailure })]).instances[0]!;
    const exchange = makeExchange();
    const before = fieldsOf(exchange.request);
    assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.suspended);
    assert.notDeepEqual(fieldsOf(exchange.request), before);
    if (isCancelled) cancel(exchange);
    else await until(() => host.resumed.length === 1, "it has ended");
    const what = `${after} ${onFailure} ${isCancelled}`;
    assert.equal(JSON.stringify(fieldsOf(exchange.request)) === JSON.stringify(before), !stays, what);
    assert.equal(exchange.values?.size ?? 0, stays ? 1 : 0, what);
  }
});

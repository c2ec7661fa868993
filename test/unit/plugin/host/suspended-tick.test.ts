/** `tick` of a module that suspends: a separate call, one at a time, cancelled with its version. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";

import { HOOK } from "../../../../src/abi/abi.ts";
import { type InstanceSet, OUTCOME } from "../../../../src/plugin/host/host.ts";
import type { InstancePlan } from "../../../../src/plugin/host/plan.ts";
import { buildModule, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import { compileWat, MEMORY, makeExchange, planOf, TestHost } from "../kit.ts";

/** Sleeps `milliseconds` in each tick; its start-up code sets an interval of 100 ms, each tick one of `every`. */
function sleeper(milliseconds: number, { every = 100, after = "" } = {}): ModulePlan {
  const text = `(module
    (import "sluice:sleep/1" "sleep" (func $sleep (param i32) (result i32)))
    (import "sluice:core/1" "tick_every" (func $every (param i32) (result i32)))
    (memory (export "memory") 1)
    (global $i (mut i32) (i32.const 0))
    (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "_initialize") (drop (call $every (i32.const 100))))
    (func (export "tick") (param i32 i32) (result i32)
      (if (local.get 1) (then unreachable))
      (drop (call $every (i32.const ${every})))
      (if (call $sleep (i32.const ${milliseconds})) (then unreachable))
      ${after}
      i32.const 0)
    (func (export "request_head") (param i32 i32) (result i32) (call $sleep (i32.const 1))))`;
  return buildModule(compileWat(text), { memory: MEMORY });
}

function take(host: TestHost, module: ModulePlan, plan: Partial<InstancePlan> = {}): InstanceSet {
  const set = host.prepare([module], [planOf({ key: `${module.hash} ${JSON.stringify(plan)}`, ...plan })]);
  set.commit();
  return set;
}

/** Advances the host's time, and runs one tick of the clock. */
function pass(host: TestHost, milliseconds: number): void {
  host.time += milliseconds;
  host.host.tick();
}

async function until(is: () => boolean): Promise<void> {
  for (const end = performance.now() + 10_000; !is(); await setTimeout(1))
    assert.ok(performance.now() < end, "in time");
}

/** Longer than any test, and no longer: a call that is not cancelled keeps the process alive. */
const LONG = 30_000;

test("a tick suspends, and the next does not start before it has ended", async () => {
  const host = new TestHost();
  take(host, sleeper(20));
  pass(host, 100);
  assert.equal(host.calls("tick"), 1);
  assert.equal(host.host.guests(), 2, "one that is never suspended, and the one that is");
  for (let i = 0; i < 5; i++) pass(host, 1000);
  assert.equal(host.calls("tick"), 1);
  let begun = 1;
  await until(() => {
    pass(host, 100);
    begun = host.calls("tick");
    return begun > 1;
  });
  assert.equal(host.host.guests(), 2, "the guest serves the next tick");
  assert.equal(host.lines.length, 0);
});

test("a tick suspended for longer than `limits.time` fails, and others follow", async () => {
  const host = new TestHost();
  take(host, sleeper(LONG), { time: 10 });
  pass(host, 100);
  await until(() => host.failures("tick", "timeout") === 1);
  pass(host, 100);
  assert.equal(host.calls("tick"), 2);
});

test("a tick that fails after a suspension is counted, and its guest is discarded", async () => {
  const host = new TestHost();
  take(host, sleeper(1, { after: "unreachable" }));
  pass(host, 100);
  await until(() => host.failures("tick", "trap") === 1);
  await until(() => host.host.guests() === 1);
});

test("an interval set by a tick is not reset by the start of another guest", async () => {
  const host = new TestHost();
  const [instance] = take(host, sleeper(1, { every: 50_000 })).instances;
  pass(host, 100);
  for (let i = 0; i < 3; i++) assert.equal(instance!.call(HOOK.request_head, makeExchange()), OUTCOME.suspended);
  assert.equal(host.host.guests(), 5);
  await setTimeout(20);
  for (let i = 0; i < 5; i++) pass(host, 100);
  assert.equal(host.calls("tick"), 1);
});

test("a removed version cancels its tick; one that keeps the guest restarts it at once", async () => {
  const host = new TestHost();
  const module = sleeper(LONG, { after: "unreachable" });
  const first = take(host, module, { time: LONG, guests: 1 });
  pass(host, 100);
  assert.equal(host.calls("tick"), 1);
  take(host, module, { time: LONG, guests: 1 });
  first.dispose();
  host.host.tick();
  await until(() => host.calls("tick") === 2);
  assert.equal(host.host.guests(), 2, "the suspended guest has gone, and was not entered again");
  host.prepare([], []).commit();
  await until(() => host.host.guests() <= 1);
  assert.deepEqual(host.lines, []);
});

test("when the worker leaves service, suspended ticks are cancelled, and none follows", async () => {
  const host = new TestHost();
  take(host, sleeper(LONG), { time: LONG });
  pass(host, 100);
  host.host.stopTicks();
  await until(() => host.host.guests() === 1);
  pass(host, 1000);
  assert.equal(host.calls("tick"), 1);
  assert.deepEqual(host.lines, []);
});

test("the running time of a tick before and after a suspension delays the next", async () => {
  const after = `(loop $more
        (global.set $i (i32.add (global.get $i) (i32.const 1)))
        (br_if $more (i32.lt_u (global.get $i) (i32.const 100000000))))`;
  const host = new TestHost();
  const [instance] = take(host, sleeper(1, { after }), { fuel: 2_000_000_000 }).instances;
  pass(host, 100);
  const began = performance.now();
  await until(() => !instance!.isTicking);
  const took = performance.now() - began;
  // Other work here can take longer than the tick: hence the factor of six.
  assert.ok(3 * took > 100, "longer than the interval");
  pass(host, 3 * took);
  assert.equal(host.calls("tick"), 1);
  pass(host, 20 * took);
  assert.equal(host.calls("tick"), 2);
});

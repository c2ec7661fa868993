/** `tick`, and the migration of a plugin's state from one version to the next. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { HOOK, LIMIT } from "../../../../src/abi/abi.ts";
import type { InstanceSet } from "../../../../src/plugin/host/host.ts";
import type { Instance } from "../../../../src/plugin/host/instance.ts";
import type { InstancePlan } from "../../../../src/plugin/host/plan.ts";
import { RECOVERY } from "../../../../src/plugin/host/recovery.ts";
import { buildModule, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import { compileWat, MEMORY, makeExchange, planOf, TestHost } from "../kit.ts";

type Bodies = { start?: string; request?: string; tick?: string; save?: string; restore?: string; more?: string };

const SAVE = "(i32.store (i32.const 0) (global.get $count)) (call $put (i32.const 0) (i32.const 4))";
const RESTORE =
  "(drop (call $get (i32.const 0) (i32.const 0) (i32.const 4))) (global.set $count (i32.load (i32.const 0))) (i32.const 0)";
const TICK = "(global.set $count (i32.add (global.get $count) (i32.const 10))) (i32.const 0)";

/** A guest that counts its requests by one and its ticks by ten, and responds with the count as status. */
function counter({
  start = "",
  request = "",
  tick = TICK,
  save = SAVE,
  restore = RESTORE,
  more = "",
}: Bodies = {}): ModulePlan {
  const text = `(module
    (import "sluice:core/1" "respond" (func $respond (param i32 i32 i32) (result i32)))
    (import "sluice:core/1" "tick_every" (func $every (param i32) (result i32)))
    (import "sluice:core/1" "state_put" (func $put (param i32 i32) (result i32)))
    (import "sluice:core/1" "state_get" (func $get (param i32 i32 i32) (result i32)))
    (memory (export "memory") 20)
    (global $count (mut i32) (i32.const 0))
    (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "_initialize") ${start})
    (func (export "request_head") (param i32 i32) (result i32)
      ${request}
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (drop (call $respond (i32.add (i32.const 200) (global.get $count)) (i32.const 0) (i32.const 0)))
      i32.const 1)
    (func (export "tick") (param i32 i32) (result i32) ${tick})
    (func (export "save") (param i32 i32) (result i32) ${save})
    (func (export "restore") (param i32 i32) (result i32) ${restore})
    ${more})`;
  return buildModule(compileWat(text), { memory: MEMORY });
}

/** The count after a request. */
function ask(instance: Instance): number {
  const exchange = makeExchange();
  instance.call(HOOK.request_head, exchange);
  return exchange.localStatus - 200;
}

/** Commits a version of that module. */
function take(host: TestHost, module: ModulePlan, plans: readonly Partial<InstancePlan>[] = [{}]): InstanceSet {
  const instances = plans.map((plan, i) =>
    planOf({ key: `${module.hash} ${i} ${JSON.stringify(plan.config)}`, plugin: "counter", ...plan }),
  );
  const set = host.prepare([module], instances);
  set.commit();
  return set;
}

const another = (bodies: Bodies = {}) => counter({ more: '(func (export "other"))', ...bodies });

test("tick is called at the plugin's interval, by default once a second", () => {
  for (const [start, every] of [
    ["", 1000],
    ["(drop (call $every (i32.const 200)))", 200],
  ] as const) {
    const host = new TestHost();
    const [instance] = take(host, counter({ start })).instances;
    const ticks = () => host.calls("tick");
    host.host.tick();
    host.time += every;
    host.host.tick();
    host.host.tick();
    assert.equal(ticks(), 1, "somewhere in the first interval");
    host.time += every - 1;
    host.host.tick();
    assert.equal(ticks(), 1);
    host.time += 1;
    host.host.tick();
    assert.equal(ticks(), 2);
    host.time += 10 * every;
    for (let i = 0; i < 5; i++) host.host.tick();
    assert.equal(ticks(), 3, "what was missed is not made up for");
    assert.equal(ask(instance!), 31);
  }
});

test("an interval out of range is rejected, as is one set in a request's hook", () => {
  for (const [interval, status] of [
    [LIMIT.shortestTick - 1, -3],
    [LIMIT.longestTick + 1, -3],
    [-1, -3],
    [LIMIT.shortestTick, 0],
    [LIMIT.longestTick, 0],
  ] as const) {
    const start = `(if (i32.ne (call $every (i32.const ${interval})) (i32.const ${status})) (then unreachable))`;
    take(new TestHost(), counter({ start }));
  }
  const request = "(if (i32.ne (call $every (i32.const 100)) (i32.const -2)) (then unreachable))";
  assert.equal(ask(take(new TestHost(), counter({ request })).instances[0]!), 1);
});

test("only the version in service ticks, with the interval of the guest that it reuses", () => {
  const host = new TestHost();
  const module = counter({ start: "(drop (call $every (i32.const 100)))" });
  take(host, module);
  take(host, module);
  host.prepare([counter()], [planOf({ key: "prepared" })]);
  host.time += 100;
  host.host.tick();
  assert.equal(host.calls("tick"), 1);
});

test("a long tick delays the next, so that ticks take at most a twentieth of the worker's time", () => {
  const host = new TestHost();
  const module = counter({
    tick: `(local $i i32)
    (loop $more (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $more (i32.lt_u (local.get $i) (i32.const 100000000))))
    i32.const 0`,
    start: "(drop (call $every (i32.const 50)))",
  });
  take(host, module, [{ fuel: 2_000_000_000 }]);
  host.time += 50;
  const began = performance.now();
  host.host.tick();
  const took = performance.now() - began;
  assert.equal(host.calls("tick"), 1);
  // Other work here can take longer than the tick: hence the factor of six.
  host.time += 3 * took;
  assert.ok(3 * took > 50, "longer than the interval");
  host.host.tick();
  assert.equal(host.calls("tick"), 1);
  host.time += 20 * took;
  host.host.tick();
  assert.equal(host.calls("tick"), 2);
});

test("a tick that fails is counted, quarantined when it always does, and stops no other", () => {
  for (const [tick, reason] of [
    ["unreachable", "trap"],
    ["(loop $forever br $forever) i32.const 0", "fuel"],
    ["i32.const 1", "bad_result"],
  ] as const) {
    const host = new TestHost();
    const module = counter({ tick });
    const good = counter();
    const plans = [planOf({ key: "bad" }), planOf({ key: "good", plugin: "good", module: 1, cells: 1000 })];
    host.prepare([module, good], plans).commit();
    for (let i = 0; i <= RECOVERY.failures; i++) {
      // Far enough that no tick is delayed by the duration of the previous one.
      host.time += 60_000;
      host.host.tick();
    }
    assert.equal(host.failures("tick", reason), RECOVERY.failures + 1);
    assert.equal(host.calls("tick", 1000), RECOVERY.failures + 1);
    assert.equal(host.changes.at(-1)!.quarantined, true);
    assert.ok(host.lines.length < RECOVERY.failures + 3);
  }
});

test("a plugin whose ticks all fail is named, and serves every request", () => {
  const host = new TestHost();
  const [instance] = take(host, counter({ tick: "unreachable" })).instances;
  for (let i = 0; i < 50; i++) {
    host.time += 60_000;
    host.host.tick();
    assert.equal(ask(instance!), 1, "of a new guest");
  }
  assert.deepEqual(
    host.changes.filter(({ quarantined }) => quarantined).map(({ failure }) => failure?.hook),
    ["tick"],
  );
  assert.equal(host.refused("request_head"), 0);
});

test("a version restores what the previous one saved, before its first request", () => {
  const host = new TestHost();
  const old = take(host, counter());
  assert.deepEqual(
    [1, 2, 3].map(() => ask(old.instances[0]!)),
    [1, 2, 3],
  );
  const next = take(host, another());
  assert.equal(ask(next.instances[0]!), 4);
  assert.equal(ask(old.instances[0]!), 4, "the old guest keeps its own state");
  const last = take(host, counter(), [{ config: { changed: true } }]);
  assert.equal(ask(last.instances[0]!), 5, "another configuration is another version");
  assert.deepEqual([host.calls("save"), host.calls("restore")], [2, 2]);
});

test("restore is not called on a reused guest, without a predecessor, or if the predecessor was discarded", () => {
  const host = new TestHost();
  const old = take(host, counter());
  ask(old.instances[0]!);
  take(host, counter());
  assert.deepEqual([host.calls("save"), host.calls("restore")], [0, 0]);
  take(host, another(), [{ plugin: "new" }]);
  assert.deepEqual([host.calls("save"), host.calls("restore")], [0, 0]);

  const moody = take(host, counter({ request: "unreachable" }));
  ask(moody.instances[0]!);
  assert.equal(ask(take(host, another()).instances[0]!), 1);
  assert.deepEqual([host.calls("save"), host.calls("restore")], [0, 0]);
});

test("state migrates between equal configurations only", () => {
  const host = new TestHost();
  const [a, b, c] = [{ config: "a" }, { config: "b" }, { config: "c" }];
  const old = take(host, counter(), [a, b, { ...a, cluster: "app" }]);
  for (const [i, times] of [1, 2, 3].entries()) for (let n = 0; n < times; n++) ask(old.instances[i]!);
  const next = take(host, another(), [b, a, c, { ...b, cluster: "app" }]);
  // The last is the only strategy of its cluster before and after.
  assert.deepEqual(next.instances.map(ask), [3, 2, 1, 4]);
});

const failing: [
  what: string,
  old: Bodies,
  next: Bodies,
  hook: "save" | "restore",
  reason: "trap" | "fuel" | "bad_result",
][] = [
  ["a save that traps", { save: "unreachable" }, {}, "save", "trap"],
  ["a save that spins", { save: "(loop $forever br $forever) i32.const 0" }, {}, "save", "fuel"],
  ["a save with a result of its own", { save: "i32.const 7" }, {}, "save", "bad_result"],
  ["a restore that traps", {}, { restore: "unreachable" }, "restore", "trap"],
  ["a restore that spins", {}, { restore: "(loop $forever br $forever) i32.const 0" }, "restore", "fuel"],
];
for (const [what, old, next, hook, reason] of failing)
  test(`${what} is counted and logged, and the new version starts without state`, () => {
    const host = new TestHost();
    const before = take(host, counter(old));
    ask(before.instances[0]!);
    const after = take(host, another(next));
    assert.equal(host.failures(hook, reason), 1);
    assert.equal(host.lines.length, 1);
    assert.equal(ask(after.instances[0]!), 1);
    assert.ok(ask(before.instances[0]!) >= 1, "the old version continues to serve");
  });

test("saved state is limited, and read back chunk by chunk", () => {
  const host = new TestHost();
  // 256 KiB at a time, until the host rejects more; then the status is the count.
  const save = `(local $status i32)
    (loop $more (br_if $more (i32.eqz (local.tee $status (call $put (i32.const 0) (i32.const 262144))))))
    (if (i32.ne (local.get $status) (i32.const -4)) (then unreachable)) i32.const 0`;
  const restore = `(if (i32.ne (call $get (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const ${LIMIT.state})) (then unreachable))
    (if (i32.ne (call $get (i32.const ${LIMIT.state - 3}) (i32.const 0) (i32.const 8)) (i32.const 3)) (then unreachable))
    (if (i32.ne (call $get (i32.const -1) (i32.const 0) (i32.const 8)) (i32.const 0)) (then unreachable))
    (global.set $count (i32.const 42)) i32.const 0`;
  ask(take(host, counter({ save })).instances[0]!);
  assert.equal(ask(take(host, another({ restore })).instances[0]!), 43);
});

test("outside of save and restore there is no state", () => {
  const request = `(if (i32.ne (call $put (i32.const 0) (i32.const 4)) (i32.const -2)) (then unreachable))
    (if (i32.ne (call $get (i32.const 0) (i32.const 0) (i32.const 4)) (i32.const -2)) (then unreachable))`;
  assert.equal(ask(take(new TestHost(), counter({ request })).instances[0]!), 1);
});

const ROLLOUT = { plugin: "counter", share: 1, cells: 900, instances: [{ baseline: 0, canary: 1 }] };

/** A version with a canary rollout of the second module. */
function takeRollout(host: TestHost, modules: readonly ModulePlan[], number = 1): InstanceSet {
  const plans = modules.map(({ hash }, module) => planOf({ key: hash, plugin: "counter", module }));
  const set = host.prepare(modules, plans, { rollouts: [{ ...ROLLOUT, number }] });
  set.commit();
  return set;
}

const takeAlone = (host: TestHost, module: ModulePlan): InstanceSet => {
  const set = host.prepare([module], [planOf({ key: module.hash, plugin: "counter" })]);
  set.commit();
  return set;
};

test("a canary version starts with the state that the baseline saved; promoted, it keeps its own", () => {
  const host = new TestHost();
  const [old, next] = [counter(), another()];
  ask(takeAlone(host, old).instances[0]!);
  const [baseline, canary] = takeRollout(host, [old, next]).instances;
  assert.equal(ask(canary!), 2, "from what was saved");
  assert.equal(ask(canary!), 3);
  for (const count of [2, 3, 4, 5]) assert.equal(ask(baseline!), count, "the baseline continues to serve");
  const again = takeRollout(host, [old, next]).instances;
  assert.deepEqual([ask(again[0]!), ask(again[1]!)], [6, 4], "a reload meanwhile changes nothing");
  assert.equal(ask(takeAlone(host, next).instances[0]!), 5);
  assert.deepEqual([host.calls("save"), host.calls("restore")], [1, 1]);
});

test("a version that is rolled back leaves no state, and a newer one starts with the baseline's", () => {
  const host = new TestHost();
  const [old, bad, newer] = [counter(), another(), another({ more: '(func (export "newer"))' })];
  ask(takeAlone(host, old).instances[0]!);
  const [, canary] = takeRollout(host, [old, bad]).instances;
  for (let i = 0; i < 5; i++) ask(canary!);
  const [baseline, next] = takeRollout(host, [old, newer], 2).instances;
  assert.deepEqual([ask(baseline!), ask(next!)], [2, 2]);
  assert.equal(ask(takeAlone(host, old).instances[0]!), 3);
});

/** Two versions of a plugin beside each other: which of them an exchange gets, and what is counted of each. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK } from "../../../../src/abi/abi.ts";
import { PLUGIN_CELLS, ROLLOUT_CELLS } from "../../../../src/observe/series.ts";
import { type InstanceSet, OUTCOME } from "../../../../src/plugin/host/host.ts";
import type { Instance } from "../../../../src/plugin/host/instance.ts";
import type { RolloutPlan } from "../../../../src/plugin/host/plan.ts";
import { buildModule, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import type { Exchange } from "../../../../src/proxy/exchange.ts";
import { compileWat, MEMORY, makeExchange, makeView, planOf, TestHost } from "../kit.ts";

/** Cells of the rollout's figures; those of the old version come first in the host's, then those of the new one. */
const FIGURES = 2 * PLUGIN_CELLS.size;
const HEAD_HOOKS = ["request_head", "response_head", "log"];

/** Answers with a status of its own, and again and again with what is in `bodies`. */
function version(status: number, bodies: Record<string, string> = {}, hooks = HEAD_HOOKS): ModulePlan {
  const answer = `(drop (call $respond (i32.const ${status}) (i32.const 0) (i32.const 0))) (i32.const 1)`;
  const all: Record<string, string> = {
    ...Object.fromEntries(hooks.map((hook) => [hook, hook === "log" ? "(i32.const 0)" : answer])),
    ...bodies,
  };
  const text = `(module
    (import "sluice:core/1" "respond" (func $respond (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $count (mut i32) (i32.const 0))
    (func (export "sluice_abi") (result i32) i32.const 1)
    ${Object.entries(all)
      .map(([hook, body]) => `(func (export "${hook}") (param i32 i32) (result i32) ${body})`)
      .join("\n")})`;
  return buildModule(compileWat(text), { memory: MEMORY });
}

type Staged = { host: TestHost; set: InstanceSet; instances: readonly Instance[] };

/** The two in one plan, in each of those clusters' places. */
function stage(
  share: number,
  old: ModulePlan,
  candidate: ModulePlan,
  { clusters = [""], onFailure = "reject" }: { clusters?: string[]; onFailure?: "reject" | "skip" } = {},
): Staged {
  const host = new TestHost();
  const rollout: RolloutPlan = {
    number: 3,
    plugin: "test",
    share,
    cells: FIGURES,
    oldCells: 0,
    newCells: PLUGIN_CELLS.size,
  };
  const plans = clusters.flatMap((cluster, i) => [
    planOf({ key: `old ${i}`, cluster, onFailure, canary: { rollout: 0, instance: 2 * i + 1 } }),
    planOf({
      key: `new ${i}`,
      cluster,
      onFailure,
      module: 1,
      cells: PLUGIN_CELLS.size,
      canary: { rollout: 0, instance: -1 },
    }),
  ]);
  const set = host.prepare([old, candidate], plans, { rollouts: [rollout] });
  set.commit();
  return { host, set, instances: clusters.map((_, i) => set.served[2 * i]!) };
}

const figure = ({ host }: Staged, which: "old" | "new", what: "requests" | "failures" | "time"): number =>
  host.cells[FIGURES + (which === "old" ? 0 : ROLLOUT_CELLS.version) + ROLLOUT_CELLS[what]]!;

function statusOf(instance: Instance, hook: number, exchange: Exchange): number {
  instance.call(hook, exchange);
  return exchange.localStatus;
}

test("an exchange has one version in all hooks and configurations, drawn by the share", () => {
  const staged = stage(0.25, version(201), version(202), { clusters: ["", "other"] });
  const [first, second] = staged.instances as [Instance, Instance];
  let candidates = 0;
  for (let i = 0; i < 4000; i++) {
    const exchange = makeExchange();
    const status = statusOf(first, HOOK.request_head, exchange);
    if (status === 202) candidates++;
    assert.equal(statusOf(second, HOOK.request_head, exchange), status);
    assert.equal(statusOf(first, HOOK.response_head, exchange), status);
    assert.equal(first.call(HOOK.log, exchange), OUTCOME.continue);
  }
  // 1000 expected, with a deviation of 27: seven of them.
  assert.ok(Math.abs(candidates - 1000) < 190, `${candidates}`);
  assert.equal(figure(staged, "new", "requests"), candidates, "each exchange counts once");
  assert.equal(figure(staged, "old", "requests"), 4000 - candidates);
  assert.equal(staged.host.calls("log", PLUGIN_CELLS.size), candidates);
  assert.ok(figure(staged, "new", "time") > 0 && figure(staged, "old", "time") > 0);
});

test("an exchange that was used again draws again", () => {
  const [instance] = stage(0.5, version(201), version(202)).instances as [Instance];
  const exchange = makeExchange();
  const seen = new Set<number>();
  for (let i = 0; i < 200; i++) {
    exchange.reset();
    seen.add(statusOf(instance, HOOK.request_head, exchange));
  }
  assert.equal(seen.size, 2);
});

test("a hook that only one of them has is passed over by the other", () => {
  const staged = stage(1, version(201, {}, ["request_head"]), version(202, {}, ["response_head"]));
  const [instance] = staged.instances as [Instance];
  const exchange = makeExchange();
  assert.equal(instance.hooks, (1 << HOOK.request_head) | (1 << HOOK.response_head));
  assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.continue);
  assert.equal(instance.call(HOOK.response_head, exchange), OUTCOME.respond);
});

test("an exchange on which a version fails counts once, and one that goes on without the plugin too", () => {
  for (const onFailure of ["reject", "skip"] as const) {
    const bad = version(202, { request_head: "unreachable", response_head: "unreachable" });
    const staged = stage(1, version(201), bad, { onFailure });
    const [instance] = staged.instances as [Instance];
    const exchange = makeExchange();
    assert.equal(instance.call(HOOK.request_head, exchange), onFailure === "skip" ? OUTCOME.continue : OUTCOME.failed);
    instance.call(HOOK.response_head, exchange);
    assert.deepEqual([figure(staged, "new", "failures"), figure(staged, "old", "failures")], [1, 0]);
    assert.equal(staged.host.failures("request_head", "trap", PLUGIN_CELLS.size), 1);
    assert.equal(staged.host.failures("request_head", "trap"), 0, "the old version's failures are its own");
  }
});

test("failures of hooks that no request calls count, and of what is told the old version's health says nothing", () => {
  const staged = stage(0, version(201), version(202, { tick: "unreachable" }));
  const { host } = staged;
  for (let i = 1; i <= 30; i++) {
    host.time += 2000;
    host.host.tick();
  }
  assert.ok(figure(staged, "new", "failures") >= 20);
  assert.equal(figure(staged, "old", "failures"), 0);
  assert.deepEqual(new Set(host.news.map(({ rollout }) => rollout)), new Set([3]));
  assert.ok(host.news.some(({ quarantined }) => quarantined));
  assert.ok(host.lines.every(({ fields }) => typeof fields.canary === "string" && fields.canary.length === 12));
});

test("strategies: both are told the endpoints, and the exchange's picks", () => {
  const picker = (index: number, more: Record<string, string> = {}) =>
    version(200, { update: "(i32.const 0)", pick: `(i32.const ${index})`, ...more }, []);
  const staged = stage(0.5, picker(1), picker(2));
  const [strategy] = staged.instances as [Instance];
  const view = makeView(3);
  assert.equal(strategy.update(view), true);
  assert.deepEqual([staged.host.calls("update"), staged.host.calls("update", PLUGIN_CELLS.size)], [1, 1]);
  const seen = new Set<number>();
  for (let i = 0; i < 200; i++) {
    const exchange = makeExchange();
    const index = strategy.pick(exchange, view);
    seen.add(index);
    assert.equal(strategy.pick(exchange, view), index, "of a further attempt as well");
  }
  assert.deepEqual([...seen].sort(), [1, 2]);

  const failing = stage(1, picker(1), picker(2, { pick: "(i32.const 7)" }));
  assert.equal(failing.instances[0]!.pick(makeExchange(), view), -2);
  assert.equal(figure(failing, "new", "failures"), 1);
});

/** A canary rollout on one worker: the choice of a version, and the figures of both. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK, type Hook } from "../../../../src/abi/abi.ts";
import { PLUGIN_CELLS, ROLLOUT_CELLS } from "../../../../src/observe/series.ts";
import { type InstanceSet, OUTCOME } from "../../../../src/plugin/host/host.ts";
import type { Instance } from "../../../../src/plugin/host/instance.ts";
import type { RolloutPlan } from "../../../../src/plugin/host/plan.ts";
import { buildModule, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import type { Exchange } from "../../../../src/proxy/exchange.ts";
import { compileWat, MEMORY, makeExchange, makeView, planOf, TestHost } from "../kit.ts";

/** Cells of the rollout's figures; those of the old version come first in the host's, then those of the new one. */
const FIGURES = 2 * PLUGIN_CELLS.size;
const HEAD_HOOKS: Hook[] = ["request_head", "response_head", "log"];

/** Responds with its own status, and repeatedly with `bodies`. */
function version(status: number, bodies: Record<string, string> = {}, hooks = HEAD_HOOKS): ModulePlan {
  const respond = `(drop (call $respond (i32.const ${status}) (i32.const 0) (i32.const 0))) (i32.const 1)`;
  const all: Record<string, string> = {
    ...Object.fromEntries(hooks.map((hook) => [hook, hook === "log" ? "(i32.const 0)" : respond])),
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

type TestRollout = { host: TestHost; set: InstanceSet; instances: readonly Instance[] };

/** Both versions in one plan, for each of the clusters. */
function startRollout(
  share: number,
  baseline: ModulePlan,
  canary: ModulePlan,
  { clusters = [""], onFailure = "reject" }: { clusters?: string[]; onFailure?: "reject" | "skip" } = {},
): TestRollout {
  const host = new TestHost();
  const instances = clusters.map((_, i) => ({ baseline: 2 * i, canary: 2 * i + 1 }));
  const rollout: RolloutPlan = { number: 3, plugin: "test", share, cells: FIGURES, instances };
  const plans = clusters.flatMap((cluster, i) => [
    planOf({ key: `baseline ${i}`, cluster, onFailure }),
    planOf({ key: `canary ${i}`, cluster, onFailure, module: 1, cells: PLUGIN_CELLS.size }),
  ]);
  const set = host.prepare([baseline, canary], plans, { rollouts: [rollout] });
  set.commit();
  return { host, set, instances: clusters.map((_, i) => set.served[2 * i]!) };
}

const figure = (
  { host }: TestRollout,
  version: "baseline" | "canary",
  figure: "requests" | "failures" | "fuel" | "time",
): number => host.cells[FIGURES + (version === "baseline" ? 0 : ROLLOUT_CELLS.version) + ROLLOUT_CELLS[figure]]!;

function statusOf(instance: Instance, hook: number, exchange: Exchange): number {
  instance.call(hook, exchange);
  return exchange.localStatus;
}

test("an exchange has one version in all hooks and configurations, chosen by the share", () => {
  const rollout = startRollout(0.25, version(201), version(202), { clusters: ["", "other"] });
  const [first, second] = rollout.instances as [Instance, Instance];
  let canaries = 0;
  for (let i = 0; i < 4000; i++) {
    const exchange = makeExchange();
    const status = statusOf(first, HOOK.request_head, exchange);
    if (status === 202) canaries++;
    assert.equal(statusOf(second, HOOK.request_head, exchange), status);
    assert.equal(statusOf(first, HOOK.response_head, exchange), status);
    assert.equal(first.call(HOOK.log, exchange), OUTCOME.continue);
  }
  // 1000 expected, with a deviation of 27: seven of them.
  assert.ok(Math.abs(canaries - 1000) < 190, `${canaries}`);
  assert.equal(figure(rollout, "canary", "requests"), canaries, "each exchange counts once");
  assert.equal(figure(rollout, "baseline", "requests"), 4000 - canaries);
  assert.equal(rollout.host.calls("log", PLUGIN_CELLS.size), canaries);
  assert.ok(figure(rollout, "canary", "time") > 0 && figure(rollout, "baseline", "time") > 0);
  const fuel = HEAD_HOOKS.reduce((sum, hook) => sum + rollout.host.fuel(hook, PLUGIN_CELLS.size), 0);
  assert.equal(figure(rollout, "canary", "fuel"), fuel);
});

test("an exchange that is reused chooses again", () => {
  const [instance] = startRollout(0.5, version(201), version(202)).instances as [Instance];
  const exchange = makeExchange();
  const seen = new Set<number>();
  for (let i = 0; i < 200; i++) {
    exchange.reset();
    seen.add(statusOf(instance, HOOK.request_head, exchange));
  }
  assert.equal(seen.size, 2);
});

test("a hook that only one version has is skipped by the other", () => {
  const rollout = startRollout(1, version(201, {}, ["request_head"]), version(202, {}, ["response_head"]));
  const [instance] = rollout.instances as [Instance];
  const exchange = makeExchange();
  assert.equal(instance.hooks, (1 << HOOK.request_head) | (1 << HOOK.response_head));
  assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.continue);
  assert.equal(instance.call(HOOK.response_head, exchange), OUTCOME.respond);
});

test("an exchange on which a version fails counts once, also when it continues without the plugin", () => {
  for (const onFailure of ["reject", "skip"] as const) {
    const bad = version(202, { request_head: "unreachable", response_head: "unreachable" });
    const rollout = startRollout(1, version(201), bad, { onFailure });
    const [instance] = rollout.instances as [Instance];
    const exchange = makeExchange();
    assert.equal(instance.call(HOOK.request_head, exchange), onFailure === "skip" ? OUTCOME.continue : OUTCOME.failed);
    instance.call(HOOK.response_head, exchange);
    assert.deepEqual([figure(rollout, "canary", "failures"), figure(rollout, "baseline", "failures")], [1, 0]);
    assert.equal(rollout.host.failures("request_head", "trap", PLUGIN_CELLS.size), 1);
    assert.equal(rollout.host.failures("request_head", "trap"), 0, "failures are counted by version");
  }
});

test("failures of hooks that no request calls count, their fuel does not, and the baseline's health is unaffected", () => {
  const rollout = startRollout(0, version(201), version(202, { tick: "unreachable" }));
  const { host } = rollout;
  for (let i = 1; i <= 30; i++) {
    host.time += 2000;
    host.host.tick();
  }
  assert.ok(figure(rollout, "canary", "failures") >= 20);
  assert.equal(figure(rollout, "baseline", "failures"), 0);
  assert.equal(figure(rollout, "canary", "fuel"), 0);
  assert.deepEqual(new Set(host.changes.map(({ rollout }) => rollout)), new Set([3]));
  assert.ok(host.changes.some(({ quarantined }) => quarantined));
  assert.ok(host.lines.every(({ fields }) => fields.plugin_version === "canary"));
});

test("strategies: both versions get the endpoints, and one picks for all attempts of an exchange", () => {
  const picker = (index: number, more: Record<string, string> = {}) =>
    version(200, { update: "(i32.const 0)", pick: `(i32.const ${index})`, ...more }, []);
  const rollout = startRollout(0.5, picker(1), picker(2));
  const [strategy] = rollout.instances as [Instance];
  const view = makeView(3);
  assert.equal(strategy.update(view), true);
  assert.deepEqual([rollout.host.calls("update"), rollout.host.calls("update", PLUGIN_CELLS.size)], [1, 1]);
  const seen = new Set<number>();
  for (let i = 0; i < 200; i++) {
    const exchange = makeExchange();
    const index = strategy.pick(exchange, view);
    seen.add(index);
    assert.equal(strategy.pick(exchange, view), index, "also for a further attempt");
  }
  assert.deepEqual([...seen].sort(), [1, 2]);

  const failing = startRollout(1, picker(1), picker(2, { pick: "(i32.const 7)" }));
  assert.equal(failing.instances[0]!.pick(makeExchange(), view), -2);
  assert.equal(figure(failing, "canary", "failures"), 1);
});

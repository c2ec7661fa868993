import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK, LIMIT, STATUS } from "../../../../src/abi/abi.ts";
import { PRICE } from "../../../../src/abi/prices.ts";
import { PART } from "../../../../src/http/head.ts";
import { HeadPool } from "../../../../src/http/head-pool.ts";
import { PLUGIN_CELLS } from "../../../../src/observe/series.ts";
import { OUTCOME } from "../../../../src/plugin/host/host.ts";
import type { Instance } from "../../../../src/plugin/host/instance.ts";
import { RECOVERY } from "../../../../src/plugin/host/recovery.ts";
import { PluginError } from "../../../../src/plugin/wasm/error.ts";
import { Exchange } from "../../../../src/proxy/exchange.ts";
import { addField, buildFixture, fieldsOf, makeExchange, makeView, planOf, TestHost } from "../kit.ts";

const refuses = (problem: RegExp) => (error: unknown) => error instanceof PluginError && problem.test(error.message);

test("a hook is called, counted, and its fuel as well", () => {
  const host = new TestHost();
  const instance = host.load("no-op");
  const exchange = makeExchange();
  for (const hook of ["request_head", "route", "response_head", "outcome", "log"] as const) {
    assert.equal(instance.call(HOOK[hook], exchange), OUTCOME.continue);
    assert.equal(host.calls(hook), 1);
    assert.equal(host.fuel(hook), PRICE.entry);
  }
  assert.equal(instance.update(makeView(2)), true);
  assert.equal(instance.pick(exchange, makeView(2)), 0);
  assert.deepEqual(host.lines, []);
});

test("a hook that is not exported is not called", () => {
  const host = new TestHost();
  const instance = host.load("spins");
  assert.equal(instance.hooks, 1 << HOOK.request_head);
  assert.equal(instance.call(HOOK.log, makeExchange()), OUTCOME.continue);
  assert.equal(instance.update(makeView(1)), true);
  assert.equal(instance.pick(makeExchange(), makeView(1)), -2);
  assert.equal(host.calls("log"), 0);
});

test("a plugin that fails at start is rejected by name", () => {
  const host = new TestHost();
  const cases: [fixture: string, problem: RegExp][] = [
    ["traps-at-start", /^plugin test: start: unreachable\n {2}at boom function\[1\]\+0x[0-9a-f]+$/],
    ["spins-at-start", /^plugin test: start: the fuel for one call is used up/],
    [
      "refuses-configuration",
      /^plugin test: configure: no such cluster: app \(plugin\.ts:7:3\)\n {2}at plugin\.ts:7:3$/,
    ],
    ["hidden-version", /^plugin test: start: was built for version 2 of the plugin interface, this host supports 1/],
    [
      "finds-cluster",
      /^plugin test: start: the range of 4294967295 bytes at 64 is outside of the memory of 65536 bytes/,
    ],
  ];
  for (const [fixture, problem] of cases) assert.throws(() => host.load(fixture), refuses(problem), fixture);
  assert.equal(host.host.guests(), 0);
});

test("guests started before a rejection are released", () => {
  const host = new TestHost();
  const modules = [buildFixture("no-op"), buildFixture("traps-at-start")];
  const instances = [planOf({ key: "a" }), planOf({ key: "b", module: 1 })];
  assert.throws(() => host.prepare(modules, instances), refuses(/start: unreachable/));
  assert.equal(host.host.guests(), 0);
  const set = host.prepare(modules, instances.slice(0, 1));
  assert.throws(() => host.prepare(modules, instances), refuses(/start: unreachable/));
  assert.equal(host.host.guests(), 1);
  set.dispose();
  assert.equal(host.host.guests(), 0);
});

test("a version of many guests starts in slices, and is released if it is cancelled", async () => {
  const host = new TestHost();
  const modules = [buildFixture("slow-start")];
  const instances = Array.from({ length: 50 }, (_, i) => planOf({ key: String(i) }));
  const parts = { modules, instances, clusters: [], strategies: [] };
  let turns = 0;
  const count = setInterval(() => turns++);
  const set = await host.host.prepareInSlices(parts, () => true);
  clearInterval(count);
  assert.ok(turns > 1, `other work had ${turns} turns`);
  assert.equal(host.host.guests(), 50);
  let left = 0;
  const none = await host.host.prepareInSlices(
    { ...parts, instances: instances.map((plan) => ({ ...plan, key: `new ${plan.key}` })) },
    () => {
      left = host.host.guests();
      return false;
    },
  );
  assert.equal(none, null);
  assert.ok(left > 50 && left < 100, `it was cancelled at ${left} guests`);
  assert.equal(host.host.guests(), 50);
  await assert.rejects(
    host.host.prepareInSlices(
      {
        ...parts,
        modules: [...modules, buildFixture("traps-at-start")],
        instances: [planOf(), planOf({ module: 1, key: "b" })],
      },
      () => true,
    ),
    /plugin test: start: /,
  );
  assert.equal(host.host.guests(), 50);
  set!.dispose();
  assert.equal(host.host.guests(), 0);
});

test("a start function runs as start-up code does", () => {
  assert.equal(new TestHost().load("start-section").call(HOOK.request_head, makeExchange()), OUTCOME.reject);
});

test("a call without a response allocates no memory for one", () => {
  const heads = new HeadPool();
  let taken = 0;
  const take = heads.take.bind(heads);
  heads.take = () => {
    taken++;
    return take();
  };
  const exchange = new Exchange(heads);
  assert.equal(new TestHost().load("no-op").call(HOOK.request_head, exchange), OUTCOME.continue);
  assert.equal(new TestHost().load("traps").call(HOOK.request_head, exchange), OUTCOME.failed);
  assert.equal(taken, 0);
});

test("a failure under `reject` is reported, and the next call gets a new guest", () => {
  const host = new TestHost();
  const instance = host.load("traps", { plugin: "tenant" });
  const exchange = makeExchange();
  assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.failed);
  assert.equal(host.host.guests(), 0);
  assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.failed);
  assert.equal(exchange.skipped, null);
  assert.equal(host.calls("request_head"), 2);
  assert.equal(host.failures("request_head", "trap"), 2);
  assert.equal(host.lines.length, 1);
  const [line] = host.lines;
  assert.equal(line!.level, "error");
  assert.equal(line!.message, "plugin tenant failed in request_head: divide by zero");
  assert.equal(line!.fields.plugin, "tenant");
  assert.equal(line!.fields.hook, "request_head");
  assert.equal(line!.fields.reason, "trap");
  assert.match(String(line!.fields.stack), /^inner function\[1\]\+0x[0-9a-f]+\nouter function\[2\]\+0x[0-9a-f]+$/);
});

test("a failure under `skip` drops the plugin for the rest of the exchange", () => {
  const host = new TestHost();
  const instance = host.load("traps", { onFailure: "skip" });
  const exchange = makeExchange();
  assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.continue);
  assert.deepEqual([...exchange.skipped!], [0]);
  assert.equal(instance.call(HOOK.log, exchange), OUTCOME.continue);
  assert.equal(host.calls("log"), 0);
  assert.equal(instance.call(HOOK.log, makeExchange()), OUTCOME.continue);
  assert.equal(host.calls("log"), 1);
  assert.equal(host.failures("log", "memory"), 1);
});

test("reports: the first of each kind, then one a second with the number suppressed", () => {
  const host = new TestHost();
  const instance = host.load("traps");
  const fail = (times: number, hook: number = HOOK.request_head) => {
    for (let i = 0; i < times; i++) instance.call(hook, makeExchange());
  };
  fail(5);
  assert.equal(host.lines.length, 1);
  fail(2, HOOK.log);
  assert.equal(host.lines.length, 2);
  assert.equal(host.lines[1]!.fields.suppressed, 4);
  host.time += 1000;
  fail(3);
  assert.equal(host.lines.length, 3);
  assert.equal(host.lines[2]!.fields.suppressed, 1);
  assert.equal(host.failures("request_head", "trap"), 8);
});

test("a plugin that cannot be started again is quarantined, and tried again after a while", () => {
  const host = new TestHost();
  const config: { cluster?: string } = { cluster: "app" };
  const set = host.prepare([buildFixture("finds-cluster")], [planOf({ config, fuel: 5 })]);
  const instance = set.instances[0]!;
  // Its fuel suffices for the start, but not for a call; then its configuration is removed.
  assert.equal(instance.call(HOOK.route, makeExchange()), OUTCOME.failed);
  assert.equal(host.failures("route", "fuel"), 1);
  config.cluster = "gone";
  for (let i = 0; i < 5; i++) assert.equal(instance.call(HOOK.route, makeExchange()), OUTCOME.failed);
  assert.equal(host.failures("route", "start"), 1);
  assert.equal(host.refused("route"), 4);
  assert.match(host.lines[1]!.message, /could not be started again: the plugin rejects its configuration$/);
  assert.match(host.lines[2]!.message, /^plugin test is quarantined: could not be started again/);
  config.cluster = "app";
  assert.equal(instance.call(HOOK.route, makeExchange()), OUTCOME.failed);
  assert.equal(host.refused("route"), 5);
  host.time += 1000;
  assert.equal(instance.call(HOOK.route, makeExchange()), OUTCOME.failed);
  assert.equal(host.failures("route", "fuel"), 2);
  assert.equal(host.lines.length, 3, "in quarantine no failure is logged");
});

/** A request that `moody` traps for. */
function badExchange(): Exchange {
  const bad = makeExchange();
  addField(bad.request, "x-bad", "1");
  return bad;
}

/** Makes `moody` fail until it is quarantined and its budget is negative by one restart. */
function exhaust(instance: Instance): void {
  for (let i = 0; i <= RECOVERY.failures; i++) instance.call(HOOK.request_head, badExchange());
}

test("poisoned requests between good ones do not affect them", () => {
  const host = new TestHost();
  const instance = host.load("moody");
  for (let i = 0; i < 300; i++) {
    assert.equal(instance.call(HOOK.request_head, badExchange()), OUTCOME.failed);
    assert.equal(instance.call(HOOK.request_head, makeExchange()), OUTCOME.continue);
  }
  assert.equal(
    host.changes.some(({ quarantined }) => quarantined),
    false,
  );
});

test("failures beyond the restart budget quarantine a plugin; it recovers when calls succeed again", () => {
  const host = new TestHost();
  const instance = host.load("moody", { plugin: "auth" });
  exhaust(instance);
  assert.deepEqual(
    host.changes.map(({ quarantined }) => quarantined),
    [false, true],
  );
  assert.match(String(host.changes[1]!.failure?.stack), /^hook function\[2\]/);
  assert.match(host.lines.at(-1)!.message, /^plugin auth is quarantined: unreachable$/);
  const [calls, lines] = [host.calls("request_head"), host.lines.length];
  for (let i = 0; i < 7; i++) assert.equal(instance.call(HOOK.request_head, makeExchange()), OUTCOME.failed);
  assert.equal(host.calls("request_head"), calls);
  assert.equal(host.refused("request_head"), 7);
  host.time += RECOVERY.quiet / 2;
  for (let i = 0; i < RECOVERY.passes; i++) {
    assert.equal(host.changes.length, 2);
    assert.equal(instance.call(HOOK.request_head, makeExchange()), OUTCOME.continue);
  }
  assert.equal(host.changes.at(-1)!.quarantined, false);
  assert.equal(host.lines.length, lines + 1);
  assert.match(host.lines.at(-1)!.message, /^plugin auth is no longer quarantined: its calls succeed$/);
  assert.equal(host.lines.at(-1)!.fields.refused, 7);
});

test("a plugin whose configurations are all quarantined is reported once, and recovered with the last of them", () => {
  const host = new TestHost();
  const plans = [planOf({ key: "a", plugin: "auth" }), planOf({ key: "b", plugin: "auth" })];
  const [one, other] = host.prepare([buildFixture("moody")], plans).instances;
  exhaust(one!);
  exhaust(other!);
  const reported = () => host.lines.map(({ message }) => message).filter((message) => message.includes("quarantined"));
  assert.deepEqual(reported(), ["plugin auth is quarantined: unreachable"]);
  host.time += RECOVERY.quiet / 2;
  const recover = (instance: Instance) => {
    for (let i = 0; i < RECOVERY.passes; i++) instance.call(HOOK.request_head, makeExchange());
  };
  recover(one!);
  assert.equal(host.changes.at(-1)!.quarantined, true);
  recover(other!);
  assert.deepEqual(reported().slice(1), ["plugin auth is no longer quarantined: its calls succeed"]);
  assert.equal(host.changes.at(-1)!.quarantined, false);
});

test("under `skip` a quarantined plugin is skipped, and a strategy's picks are native", () => {
  const host = new TestHost();
  const instance = host.load("moody", { onFailure: "skip" });
  exhaust(instance);
  const exchange = makeExchange();
  assert.equal(instance.call(HOOK.request_head, exchange), OUTCOME.continue);
  assert.deepEqual([...exchange.skipped!], [0]);
  assert.equal(instance.pick(makeExchange(), makeView(2)), -2);
  assert.equal(host.refused("pick"), 1);
});

test("a bad plugin does not affect others, and another version of it starts with a new budget", () => {
  const host = new TestHost();
  const module = buildFixture("moody");
  const plans = [planOf(), planOf({ key: "other", plugin: "other", cells: PLUGIN_CELLS.size })];
  const first = host.prepare([module], plans);
  first.commit();
  exhaust(first.instances[0]!);
  assert.equal(first.instances[0]!.call(HOOK.request_head, makeExchange()), OUTCOME.failed);
  assert.equal(first.instances[1]!.call(HOOK.request_head, makeExchange()), OUTCOME.continue);
  const same = host.prepare([module], plans);
  same.commit();
  assert.equal(same.instances[0]!.call(HOOK.request_head, makeExchange()), OUTCOME.failed, "its quarantine is kept");
  const next = host.prepare([module], [planOf({ key: "next" }), plans[1]!]);
  assert.equal(host.changes.at(-1)!.quarantined, true);
  next.commit();
  assert.equal(host.changes.at(-1)!.quarantined, false);
  assert.equal(next.instances[0]!.call(HOOK.request_head, makeExchange()), OUTCOME.continue);
});

test("pick: an index, none, or a failure", () => {
  const host = new TestHost();
  const instance = host.load("picks-out-of-range");
  assert.equal(instance.pick(makeExchange(), makeView(3)), -2);
  assert.equal(host.failures("pick", "bad_result"), 1);
  assert.match(host.lines[0]!.message, /pick returned 3, expected -1 or an index below 3$/);
});

test("results that a hook does not define are failures", () => {
  const host = new TestHost();
  const instance = host.load("undefined-results");
  for (const hook of ["request_head", "route", "response_head", "outcome", "log"] as const) {
    assert.equal(instance.call(HOOK[hook], makeExchange()), OUTCOME.failed, hook);
    assert.equal(host.failures(hook, "bad_result"), 1, hook);
  }
  assert.equal(instance.update(makeView(1)), false);
  host.time += 1000;
  assert.equal(instance.pick(makeExchange(), makeView(1)), -2);
});

test("a strategy whose guest was replaced gets its endpoints before it picks", () => {
  const host = new TestHost();
  const instance = host.load("strategy");
  const view = makeView(4);
  assert.equal(instance.update(view), true);
  view.clear();
  assert.equal(instance.pick(makeExchange(), makeView(4)), 3);
  assert.equal(host.calls("update"), 1);
  assert.equal(instance.call(HOOK.outcome, makeExchange()), OUTCOME.failed);
  assert.equal(host.host.guests(), 0);
  assert.equal(instance.pick(makeExchange(), makeView(4)), 3);
  assert.equal(host.calls("update"), 2);
});

test("two versions that share a strategy's guest pass it their own endpoints", () => {
  const host = new TestHost();
  const modules = [buildFixture("strategy")];
  const first = host.prepare(modules, [planOf()]);
  first.instances[0]!.update(makeView(2));
  const second = host.prepare(modules, [planOf()]);
  assert.equal(host.host.guests(), 1);
  second.instances[0]!.update(makeView(5));
  assert.equal(second.instances[0]!.pick(makeExchange(), makeView(5)), 4);
  assert.equal(first.instances[0]!.pick(makeExchange(), makeView(2)), 1);
  assert.equal(second.instances[0]!.pick(makeExchange(), makeView(5)), 4);
});

test("a failed update leaves picks native until the next, or for a second", () => {
  const host = new TestHost();
  const instance = host.load("undefined-results");
  assert.equal(instance.update(makeView(2)), false);
  for (let i = 0; i < 5; i++) assert.equal(instance.pick(makeExchange(), makeView(2)), -2);
  assert.equal(host.failures("update", "bad_result"), 1);
  host.time += 1000;
  assert.equal(instance.pick(makeExchange(), makeView(2)), -2);
  assert.equal(host.failures("update", "bad_result"), 2);
});

test("guests whose key is unchanged are reused, others are started", () => {
  const host = new TestHost();
  const modules = [buildFixture("strategy"), buildFixture("no-op")];
  const first = host.prepare(modules, [planOf({ key: "a" }), planOf({ key: "b", module: 1 })]);
  assert.equal(host.host.guests(), 2);
  const second = host.prepare(modules, [planOf({ key: "a" }), planOf({ key: "c", module: 1 })]);
  assert.equal(host.host.guests(), 3);
  first.dispose();
  assert.equal(host.host.guests(), 2);
  second.instances[0]!.update(makeView(3));
  second.dispose();
  second.dispose();
  assert.equal(host.host.guests(), 0);
});

test("a separate limit makes a separate guest", () => {
  const host = new TestHost();
  host.prepare([buildFixture("no-op")], [planOf()]);
  host.prepare([buildFixture("no-op", 131_072)], [planOf({ memory: 131_072 })]);
  assert.equal(host.host.guests(), 2);
  host.prepare([buildFixture("no-op")], [planOf({ clusters: ["app"] })]);
  assert.equal(host.host.guests(), 3);
});

test("equal configurations of one version have separate guests", () => {
  const host = new TestHost();
  const modules = [buildFixture("strategy")];
  const set = host.prepare(modules, [planOf(), planOf()]);
  assert.equal(host.host.guests(), 2);
  set.instances[0]!.update(makeView(2));
  set.instances[1]!.update(makeView(6));
  assert.equal(set.instances[0]!.pick(makeExchange(), makeView(6)), 1);
  assert.equal(set.instances[1]!.pick(makeExchange(), makeView(6)), 5);
  assert.equal(host.calls("update"), 2);
  host.prepare(modules, [planOf(), planOf()]);
  assert.equal(host.host.guests(), 2);
});

test("a guest reused by a reload selects the cluster that it looked up, at its new index", () => {
  const host = new TestHost();
  const modules = [buildFixture("finds-cluster")];
  const plan = planOf({ config: { cluster: "canary" } });
  const first = host.prepare(modules, [plan], { clusters: ["app", "canary"] });
  const second = host.prepare(modules, [plan], { clusters: ["new", "canary", "app"] });
  const third = host.prepare(modules, [plan], { clusters: ["canary"] });
  assert.equal(host.host.guests(), 1);
  for (const [set, index] of [
    [first, 1],
    [second, 1],
    [third, 0],
  ] as const) {
    const exchange = makeExchange();
    assert.equal(set.instances[0]!.call(HOOK.route, exchange), OUTCOME.continue);
    assert.equal(exchange.chosenCluster, index);
  }
});

test("a guest whose cluster was removed causes the new version's rejection, and serves the old one", () => {
  const host = new TestHost();
  const modules = [buildFixture("finds-cluster")];
  const plan = planOf({ config: { cluster: "canary" } });
  const first = host.prepare(modules, [plan]);
  assert.throws(() => host.prepare(modules, [plan], { clusters: ["app"] }), refuses(/rejects its configuration/));
  assert.equal(host.host.guests(), 1);
  assert.equal(first.instances[0]!.call(HOOK.route, makeExchange()), OUTCOME.continue);
  // It exists again under another index: a new look-up finds it.
  const back = host.prepare(modules, [plan], { clusters: ["canary", "app"] });
  const exchange = makeExchange();
  back.instances[0]!.call(HOOK.route, exchange);
  assert.equal(exchange.chosenCluster, 0);
});

test("clusters that are not allowed cannot be found or chosen", () => {
  const host = new TestHost();
  const modules = [buildFixture("finds-cluster")];
  const plan = planOf({ config: { cluster: "canary" }, clusters: ["app"] });
  assert.throws(() => host.prepare(modules, [plan]), refuses(/rejects its configuration/));
  host.prepare(modules, [{ ...plan, clusters: ["app", "canary"] }]);
});

test("a guessed number cannot choose a cluster that is not allowed", () => {
  const host = new TestHost();
  const modules = [buildFixture("finds-cluster")];
  const clusters = ["secret", "app", "canary"];
  const free = host.prepare(modules, [planOf({ key: "free", config: { cluster: "app" } })], { clusters }).instances[0]!
    .configuration;
  const ids = clusters.map((name) => free.findCluster(name));
  assert.deepEqual(
    ids.map((id) => free.clusterIndex(id)),
    [0, 1, 2],
  );
  const plan = planOf({ key: "bound", config: { cluster: "app" }, clusters: ["app"] });
  const bound = host.prepare(modules, [plan], { clusters }).instances[0]!.configuration;
  assert.deepEqual(
    ids.map((id) => bound.clusterIndex(id)),
    [STATUS.denied, 1, STATUS.denied],
  );
  for (const id of [-1, 99, 2 ** 31 - 1, -(2 ** 31)]) assert.equal(bound.clusterIndex(id), STATUS.invalid);
});

test("one guest serves all configurations of a module that declares it", () => {
  const host = new TestHost();
  const modules = [buildFixture("serves-many")];
  const plans = ["x", "y", "z"].map((name, i) =>
    planOf({ key: name, plugin: `p${i}`, config: { name }, cells: i * PLUGIN_CELLS.size }),
  );
  const first = host.prepare(modules, plans);
  assert.equal(host.host.guests(), 1);
  const nameOf = (set: typeof first, index: number) => {
    const exchange = makeExchange();
    assert.equal(set.instances[index]!.call(HOOK.request_head, exchange), OUTCOME.continue);
    return Buffer.from([...exchange.values!.values()][0]!.bytes).toString();
  };
  assert.deepEqual([nameOf(first, 0), nameOf(first, 1), nameOf(first, 2)], ["x", "y", "z"]);
  assert.equal(host.calls("request_head", PLUGIN_CELLS.size), 1);
  // The same ones in another order share it; others get another, and nothing is left of the first.
  const second = host.prepare(modules, [plans[2]!, plans[0]!, plans[1]!]);
  assert.equal(host.host.guests(), 1);
  assert.deepEqual([nameOf(second, 0), nameOf(second, 1), nameOf(second, 2)], ["z", "x", "y"]);
  const third = host.prepare(modules, plans.slice(0, 2));
  assert.equal(host.host.guests(), 2);
  first.dispose();
  second.dispose();
  assert.equal(host.host.guests(), 1);
  assert.deepEqual([nameOf(third, 0), nameOf(third, 1)], ["x", "y"]);
});

test("edits of a hook that fails are dropped together", () => {
  for (const onFailure of ["reject", "skip"] as const) {
    const host = new TestHost();
    const instance = host.load("edits-then-traps", { onFailure });
    for (const hook of ["request_head", "response_head"] as const) {
      const exchange = makeExchange();
      const before = [fieldsOf(exchange.request), fieldsOf(exchange.response), exchange.request.partText(PART.path)];
      instance.call(HOOK[hook], exchange);
      assert.equal(host.failures(hook, "trap"), 1);
      assert.deepEqual(
        [fieldsOf(exchange.request), fieldsOf(exchange.response), exchange.request.partText(PART.path)],
        before,
      );
      assert.equal(exchange.request.partText(PART.authority), "example.com");
      assert.equal(exchange.localStatus, 0);
      assert.equal(exchange.localBody, null);
      assert.equal(exchange.chosenCluster, -1);
      assert.equal(exchange.values?.size ?? 0, 0);
    }
  }
});

test("a plugin's log lines are bounded in a call and in a second", () => {
  const host = new TestHost();
  const instance = host.load("floods-log");
  instance.call(HOOK.log, makeExchange());
  assert.equal(host.lines.length, LIMIT.logLinesPerCall);
  assert.deepEqual(host.lines[0], { level: "warn", message: "again", fields: { plugin: "test", hook: "log" } });
  for (let i = 0; i < 50; i++) instance.call(HOOK.log, makeExchange());
  assert.equal(host.lines.length, LIMIT.logLinesPerSecond);
  host.time += 1000;
  instance.call(HOOK.log, makeExchange());
  assert.equal(host.lines.length, LIMIT.logLinesPerSecond + LIMIT.logLinesPerCall);
  assert.ok(Number(host.lines[LIMIT.logLinesPerSecond]!.fields.dropped) > 0);
});

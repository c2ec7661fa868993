/** Selection of plugin versions while the file changes, and the end of a rollout. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { loadConfig } from "../../../src/config/load.ts";
import { CanaryRollouts, type Selection } from "../../../src/control/canary-rollouts.ts";
import { ROLLOUT_CELLS } from "../../../src/observe/series.ts";
import type { Plan } from "../../../src/plan/plan.ts";
import type { RolloutPlan } from "../../../src/plugin/host/plan.ts";

const ROLLOUT = "rollout: { percent: 20, watch: 10s, minRequests: 100, maxFailures: 1% }";

/** The rollouts of one plugin, with the test's own file, counters and clock. */
class TestRollouts {
  readonly rollouts: CanaryRollouts;
  readonly cells = new Float64Array(2000);
  readonly log: string[] = [];
  time = 0;
  rebuilds = 0;
  file = "one";
  baseline = "";
  canary: string | null = null;
  number = 0;
  rollout = ROLLOUT;
  declared = true;
  #settled: Selection | null = null;

  constructor(t: TestContext | null) {
    const write = (_fields: object, message: string) => void this.log.push(message);
    this.rollouts = new CanaryRollouts({
      counters: { sum: (cell) => this.cells[cell]! },
      log: { info: write, warn: write } as never,
      rebuild: async () => void this.rebuilds++,
      now: () => this.time,
      every: 1e9,
    });
    t?.after(() => this.rollouts.close());
  }

  select(): Selection {
    const plugin = this.declared ? `plugins: { p: { wasm: /p.wasm${this.rollout && `, ${this.rollout}`} } }` : "";
    const text = `listeners: { web: { address: ":80", cluster: app, chain: [${this.declared ? "p" : ""}] } }
clusters: { app: ["127.0.0.1:1"] }
${plugin}`;
    const { config, problems } = loadConfig(text, { file: "/sluice.yaml", env: {} });
    assert.deepEqual(problems, []);
    return this.rollouts.select(config!, new Map([["/p.wasm", Buffer.from(this.file)]]));
  }

  /** Takes a version of the present file into service. */
  reload(): this {
    const selection = this.select();
    const { baseline, canary = null } = selection.versions.get("p") ?? {};
    this.baseline = Buffer.from(baseline?.bytes ?? "").toString();
    this.canary = canary && Buffer.from(canary.bytes).toString();
    const { number = 0, share = 0 } = canary ?? {};
    if (number !== this.number) this.cells.fill(0);
    this.number = number;
    const rollouts: RolloutPlan[] = canary ? [{ number, plugin: "p", share, cells: 0, instances: [] }] : [];
    this.rollouts.commit(selection, { rollouts } as unknown as Plan);
    this.#settled = selection;
    return this;
  }

  write(file: string): this {
    this.file = file;
    return this.reload();
  }

  count(version: "baseline" | "canary", requests: number, failures = 0, fuel = 0): this {
    const base = version === "baseline" ? 0 : ROLLOUT_CELLS.version;
    this.cells[base + ROLLOUT_CELLS.requests]! += requests;
    this.cells[base + ROLLOUT_CELLS.failures]! += failures;
    this.cells[base + ROLLOUT_CELLS.fuel]! += fuel;
    return this;
  }

  /** Checks after `after` milliseconds, and rebuilds if requested. */
  look(after = 0): this {
    this.time += after;
    const before = this.rebuilds;
    this.rollouts.check();
    if (this.rebuilds > before) this.reload();
    return this;
  }

  get settled(): boolean {
    return this.select().identity === this.#settled!.identity;
  }

  get state(): string | undefined {
    return this.rollouts.list()[0]?.state;
  }
}

test("the first version serves at once, a new one receives its share, and is promoted", (t) => {
  const site = new TestRollouts(t).reload();
  assert.deepEqual([site.baseline, site.canary, site.state], ["one", null, undefined]);
  site.write("two");
  assert.deepEqual([site.baseline, site.canary, site.state], ["one", "two", "watching"]);
  assert.ok(site.settled, "nothing has changed: the same rollout continues");
  site.count("baseline", 400, 0, 40_000).count("canary", 100, 0, 10_000).look(9_999);
  assert.equal(site.canary, "two");
  site.look(1);
  assert.deepEqual([site.baseline, site.canary, site.state], ["two", null, "promoted"]);
  const [{ baseline, canary, percent }] = site.rollouts.list() as [ReturnType<CanaryRollouts["list"]>[number]];
  assert.deepEqual([percent, baseline.requests, baseline.fuel, canary.requests, canary.fuel], [20, 400, 100, 100, 100]);
  assert.match(
    site.log.join("\n"),
    /canary rollout started with 20% of the requests\n.*canary version promoted: it failed on 0 of 100/,
  );
  assert.ok(site.settled);
});

test("below minRequests no version is promoted, without a time limit", (t) => {
  const site = new TestRollouts(t).reload().write("two").count("canary", 99).look(1e9);
  assert.deepEqual([site.canary, site.state], ["two", "watching"]);
  assert.equal(site.count("canary", 1).look().baseline, "two");
});

test("a version that was rolled back is not tried again until its file changes", (t) => {
  const site = new TestRollouts(t).reload().write("bad").count("canary", 10, 2).look(1);
  assert.deepEqual([site.baseline, site.canary, site.state], ["one", null, "rolled back"]);
  assert.ok(site.settled);
  site.reload();
  assert.deepEqual([site.baseline, site.canary], ["one", null]);
  site.write("better");
  assert.deepEqual([site.baseline, site.canary], ["one", "better"]);
  site.write("bad");
  assert.deepEqual([site.baseline, site.canary], ["one", "bad"], "it has changed, and changed back");
});

test("a newer file ends a rollout in favour of the baseline, and starts another", (t) => {
  const site = new TestRollouts(t).reload().write("two").count("canary", 99).look(60_000);
  const { number } = site;
  site.write("three");
  assert.deepEqual([site.baseline, site.canary], ["one", "three"]);
  assert.notEqual(site.number, number);
  assert.match(site.log.join("\n"), /canary rollout ended: the file has a newer version\n/);
  assert.equal(site.look(9_999).canary, "three", "its rollout started with it");
  site.write("one");
  assert.deepEqual([site.baseline, site.canary, site.state], ["one", null, "ended"]);
  assert.deepEqual([...site.rollouts.results()], [{ plugin: "p", state: "ended", count: 2 }]);
});

test("another reload keeps the rollout, with its new settings", (t) => {
  const site = new TestRollouts(t).reload().write("two").look(9_000);
  const { number } = site;
  site.rollout = "rollout: { percent: 50, watch: 10s, minRequests: 10 }";
  site.reload();
  assert.equal(site.number, number);
  assert.equal(site.count("canary", 10).look(1000).baseline, "two");
});

test("without rollout the file serves at once, even after a rollback", (t) => {
  const site = new TestRollouts(t).reload().write("bad").count("canary", 10, 2).look();
  assert.equal(site.baseline, "one");
  site.rollout = "";
  assert.equal(site.reload().baseline, "bad");
  site.rollout = ROLLOUT;
  assert.deepEqual([site.reload().baseline, site.canary], ["bad", null]);
  site.write("two");
  site.declared = false;
  site.reload();
  assert.equal(site.state, "ended");
});

test("a version in quarantine in any worker is rolled back; events of other versions are ignored", (t) => {
  const site = new TestRollouts(t).reload().write("two");
  const event = { plugin: "p", quarantined: true, failure: null };
  site.rollouts.receive(0, { ...event, rollout: site.number + 1 });
  assert.equal(site.rebuilds, 0);
  site.rollouts.receive(0, { ...event, rollout: site.number });
  assert.equal(site.rebuilds, 1);
  assert.deepEqual([site.reload().baseline, site.state], ["one", "rolled back"]);
});

test("a failed rebuild is repeated", async (t) => {
  const site = new TestRollouts(t).reload().write("bad").count("canary", 10, 5);
  site.rollouts.check();
  assert.deepEqual([site.rebuilds, site.state], [1, "watching"]);
  await Promise.resolve();
  await Promise.resolve();
  site.cells.fill(0);
  site.rollouts.check();
  assert.equal(site.rebuilds, 2);
  assert.equal(site.reload().baseline, "one");
});

test("any sequence of events: one rollout at a time, never of the baseline, and only a promotion changes the baseline", () => {
  const event = fc.oneof(
    fc.record({ what: fc.constant("write" as const), file: fc.constantFrom("one", "two", "three") }),
    fc.record({ what: fc.constant("count" as const), requests: fc.nat(120), failures: fc.constantFrom(0, 0, 0, 1, 3) }),
    fc.record({ what: fc.constant("look" as const), after: fc.nat(12_000) }),
    fc.record({ what: fc.constant("reload" as const) }),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), (events) => {
      const site = new TestRollouts(null).reload();
      try {
        for (const event of events) {
          const { baseline, canary } = site;
          if (event.what === "write") site.write(event.file);
          else if (event.what === "count")
            site.count("canary", event.requests, Math.min(event.requests, event.failures));
          else if (event.what === "look") site.look(event.after);
          else site.reload();
          assert.notEqual(site.baseline, site.canary);
          if (site.baseline !== baseline) {
            assert.equal(site.baseline, canary, "it was the canary version");
            assert.equal(event.what, "look");
          }
          assert.ok(site.settled);
        }
      } finally {
        site.rollouts.close();
      }
    }),
  );
});

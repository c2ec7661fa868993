/** Which version of a plugin serves, and which is watched, as its file changes: with counters and a clock of our own. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { HOOK } from "../../../src/abi/abi.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { type Arrangement, Rollouts } from "../../../src/control/rollouts.ts";
import { PLUGIN_CELLS, ROLLOUT_CELLS } from "../../../src/observe/series.ts";
import type { Plan } from "../../../src/plan/plan.ts";
import type { RolloutPlan } from "../../../src/plugin/host/plan.ts";

const ROLLOUT = "rollout: { percent: 20, watch: 10s, minRequests: 100, maxFailures: 1% }";
const OLD_CELLS = 100;
const NEW_CELLS = OLD_CELLS + PLUGIN_CELLS.size;

/** A control plane with one plugin, whose file holds what it is told. */
class Desk {
  readonly rollouts: Rollouts;
  readonly cells = new Float64Array(2000);
  readonly log: string[] = [];
  time = 0;
  restages = 0;
  file = "one";
  serves = "";
  candidate: string | null = null;
  number = 0;
  rollout = ROLLOUT;
  declared = true;
  #settled: Arrangement | null = null;

  constructor(t: TestContext | null) {
    const write = (_fields: object, message: string) => void this.log.push(message);
    this.rollouts = new Rollouts({
      counters: { sum: (cell) => this.cells[cell]! },
      log: { info: write, warn: write } as never,
      restage: async () => void this.restages++,
      now: () => this.time,
      every: 1e9,
    });
    t?.after(() => this.rollouts.close());
  }

  arrange(): Arrangement {
    const plugin = this.declared ? `plugins: { p: { wasm: /p.wasm${this.rollout && `, ${this.rollout}`} } }` : "";
    const text = `listeners: { web: { address: ":80", cluster: app, chain: [${this.declared ? "p" : ""}] } }
clusters: { app: ["127.0.0.1:1"] }
${plugin}`;
    const { config, problems } = loadConfig(text, { file: "/sluice.yaml", env: {} });
    assert.deepEqual(problems, []);
    return this.rollouts.arrange(config!, new Map([["/p.wasm", Buffer.from(this.file)]]));
  }

  /** A version of what the file holds now is taken. */
  reload(): this {
    const arrangement = this.arrange();
    const stage = arrangement.stages.get("p");
    this.serves = Buffer.from(stage?.serves ?? "").toString();
    this.candidate = stage?.candidate ? Buffer.from(stage.candidate.bytes).toString() : null;
    const { number = 0, share = 0 } = stage?.candidate ?? {};
    if (number !== this.number) this.cells.fill(0, 0, OLD_CELLS);
    this.number = number;
    const cells = { cells: 0, oldCells: OLD_CELLS, newCells: NEW_CELLS };
    const rollouts: RolloutPlan[] = stage?.candidate ? [{ number, plugin: "p", share, ...cells }] : [];
    this.rollouts.commit(arrangement, { rollouts } as unknown as Plan);
    this.#settled = arrangement;
    return this;
  }

  write(file: string): this {
    this.file = file;
    return this.reload();
  }

  count(version: "old" | "new", requests: number, failures = 0, fuel = 0): this {
    const base = version === "old" ? 0 : ROLLOUT_CELLS.version;
    this.cells[base + ROLLOUT_CELLS.requests]! += requests;
    this.cells[base + ROLLOUT_CELLS.failures]! += failures;
    this.cells[(version === "old" ? OLD_CELLS : NEW_CELLS) + PLUGIN_CELLS.fuel + HOOK.request_head]! += fuel;
    return this;
  }

  /** A look, after so many milliseconds; what it calls for is done. */
  look(after = 0): this {
    this.time += after;
    const before = this.restages;
    this.rollouts.check();
    if (this.restages > before) this.reload();
    return this;
  }

  get settled(): boolean {
    return this.arrange().identity === this.#settled!.identity;
  }

  get state(): string | undefined {
    return this.rollouts.list()[0]?.state;
  }
}

test("the first version serves at once, a new one takes its share, and is promoted when all is well", (t) => {
  const desk = new Desk(t).reload();
  assert.deepEqual([desk.serves, desk.candidate, desk.state], ["one", null, undefined]);
  desk.write("two");
  assert.deepEqual([desk.serves, desk.candidate, desk.state], ["one", "two", "watching"]);
  assert.ok(desk.settled, "nothing has changed: the same rollout goes on");
  desk.count("old", 400, 0, 40_000).count("new", 100, 0, 10_000).look(9_999);
  assert.equal(desk.candidate, "two");
  desk.look(1);
  assert.deepEqual([desk.serves, desk.candidate, desk.state], ["two", null, "promoted"]);
  const [{ old, new: next, percent }] = desk.rollouts.list() as [ReturnType<Rollouts["list"]>[number]];
  assert.deepEqual([percent, old.requests, old.fuel, next.requests, next.fuel], [20, 400, 100, 100, 100]);
  assert.match(desk.log.join("\n"), /a new version takes 20% of its requests\n.*is promoted: it failed on 0 of 100/);
  assert.ok(desk.settled);
});

test("below minRequests nothing is promoted, however long it takes", (t) => {
  const desk = new Desk(t).reload().write("two").count("new", 99).look(1e9);
  assert.deepEqual([desk.candidate, desk.state], ["two", "watching"]);
  assert.equal(desk.count("new", 1).look().serves, "two");
});

test("a version that was rolled back is not tried again until its file changes", (t) => {
  const desk = new Desk(t).reload().write("bad").count("new", 10, 2).look(1);
  assert.deepEqual([desk.serves, desk.candidate, desk.state], ["one", null, "rolled back"]);
  assert.ok(desk.settled);
  desk.reload();
  assert.deepEqual([desk.serves, desk.candidate], ["one", null]);
  desk.write("better");
  assert.deepEqual([desk.serves, desk.candidate], ["one", "better"]);
  desk.write("bad");
  assert.deepEqual([desk.serves, desk.candidate], ["one", "bad"], "it has changed, and changed back");
});

test("a newer file ends a rollout in favour of the old version, and begins one of its own", (t) => {
  const desk = new Desk(t).reload().write("two").count("new", 99).look(60_000);
  const { number } = desk;
  desk.write("three");
  assert.deepEqual([desk.serves, desk.candidate], ["one", "three"]);
  assert.notEqual(desk.number, number);
  assert.match(desk.log.join("\n"), /watched no more: the file holds a newer version\n/);
  assert.equal(desk.look(9_999).candidate, "three", "its watch began with it");
  desk.write("one");
  assert.deepEqual([desk.serves, desk.candidate, desk.state], ["one", null, "ended"]);
  assert.deepEqual([...desk.rollouts.results()], [{ plugin: "p", state: "ended", count: 2 }]);
});

test("a reload for another reason keeps the watch, with its new rules", (t) => {
  const desk = new Desk(t).reload().write("two").look(9_000);
  const { number } = desk;
  desk.rollout = "rollout: { percent: 50, watch: 10s, minRequests: 10 }";
  desk.reload();
  assert.equal(desk.number, number);
  assert.equal(desk.count("new", 10).look(1000).serves, "two");
});

test("without rollout the file serves at once, whatever was decided of it", (t) => {
  const desk = new Desk(t).reload().write("bad").count("new", 10, 2).look();
  assert.equal(desk.serves, "one");
  desk.rollout = "";
  assert.equal(desk.reload().serves, "bad");
  desk.rollout = ROLLOUT;
  assert.deepEqual([desk.reload().serves, desk.candidate], ["bad", null]);
  desk.write("two");
  desk.declared = false;
  desk.reload();
  assert.equal(desk.state, "ended");
});

test("what is in quarantine on any thread is rolled back; news of another version is nobody's concern", (t) => {
  const desk = new Desk(t).reload().write("two");
  const news = { plugin: "p", quarantined: true, failure: null };
  desk.rollouts.receive(0, { ...news, rollout: desk.number + 1 });
  assert.equal(desk.restages, 0);
  desk.rollouts.receive(0, { ...news, rollout: desk.number });
  assert.equal(desk.restages, 1);
  assert.deepEqual([desk.reload().serves, desk.state], ["one", "rolled back"]);
});

test("what was decided is done again until it succeeds", async (t) => {
  const desk = new Desk(t).reload().write("bad").count("new", 10, 5);
  desk.rollouts.check();
  assert.deepEqual([desk.restages, desk.state], [1, "watching"]);
  await Promise.resolve();
  await Promise.resolve();
  desk.cells.fill(0);
  desk.rollouts.check();
  assert.equal(desk.restages, 2);
  assert.equal(desk.reload().serves, "one");
});

test("whatever happens: one rollout at a time, never of what serves, and only its promotion changes what serves", () => {
  const event = fc.oneof(
    fc.record({ what: fc.constant("write" as const), file: fc.constantFrom("one", "two", "three") }),
    fc.record({ what: fc.constant("count" as const), requests: fc.nat(120), failures: fc.constantFrom(0, 0, 0, 1, 3) }),
    fc.record({ what: fc.constant("look" as const), after: fc.nat(12_000) }),
    fc.record({ what: fc.constant("reload" as const) }),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), (events) => {
      const desk = new Desk(null).reload();
      try {
        for (const event of events) {
          const { serves, candidate } = desk;
          if (event.what === "write") desk.write(event.file);
          else if (event.what === "count") desk.count("new", event.requests, Math.min(event.requests, event.failures));
          else if (event.what === "look") desk.look(event.after);
          else desk.reload();
          assert.notEqual(desk.serves, desk.candidate);
          if (desk.serves !== serves) {
            assert.equal(desk.serves, candidate, "it was watched");
            assert.equal(event.what, "look");
          }
          assert.ok(desk.settled);
        }
      } finally {
        desk.rollouts.close();
      }
    }),
  );
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { RECOVERY, Recovery } from "../../../src/plugin/recovery.ts";

/** A plugin with the recovery, as a holder drives it, over a clock of its own. */
class Plugin {
  time = 0;
  /** Every restart: when, and what it took. */
  readonly restarts: { at: number; cost: number }[] = [];
  /** Each change of the quarantine as it was told. */
  readonly told: boolean[] = [];
  readonly recovery: Recovery;
  refused = 0;
  served = 0;
  #runs = true;

  constructor(random: () => number = () => 0.5) {
    this.recovery = new Recovery(() => this.time, random);
  }

  call(does: "succeeds" | "other succeeds" | "fails" | "cannot start", cost = 0): void {
    if (!this.#runs) {
      if (!this.recovery.mayStart()) return void this.refused++;
      this.recovery.spend(cost);
      this.restarts.push({ at: this.time, cost: Math.max(cost, RECOVERY.leastCost) });
      if (does === "cannot start") return this.#tell(this.recovery.failStart(), true);
      this.#runs = true;
    }
    if (does === "succeeds" || does === "other succeeds") {
      if (does === "succeeds") this.served++;
      this.#tell(this.recovery.pass(does === "succeeds"), false);
    } else {
      this.#runs = false;
      this.#tell(this.recovery.failCall(), true);
    }
  }

  #tell(changed: boolean, to: boolean): void {
    if (changed) this.told.push(to);
  }
}

const step = fc.record({
  wait: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 70_000 })),
  does: fc.constantFrom("succeeds", "other succeeds", "fails", "fails", "fails", "cannot start"),
  cost: fc.oneof(fc.constant(0.4), fc.double({ min: 0, max: 400, noNaN: true })),
  times: fc.integer({ min: 1, max: 60 }),
});

function run(steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[]): Plugin {
  const plugin = new Plugin();
  for (const { wait, does, cost, times } of steps) {
    plugin.time += wait;
    for (let i = 0; i < times; i++) plugin.call(does as "succeeds", cost);
  }
  return plugin;
}

test("in no span of time do restarts take more than their share, the saved burst, and the one under way", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { restarts } = run(steps);
      for (let from = 0; from < restarts.length; from++) {
        let spent = 0;
        for (let to = from; to < restarts.length; to++) {
          const { at, cost } = restarts[to]!;
          const may = RECOVERY.burst + (at - restarts[from]!.at) * RECOVERY.share;
          // The restarts of one pause's end and of the failure that follows may both be under way.
          assert.ok(spent <= may + 400 + 1e-6, `${spent} ms were spent before ${at}, ${may} may be`);
          spent += cost;
        }
      }
    }),
  );
});

test("every quarantine is told once when it begins and once when it ends", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { told, recovery } = run(steps);
      for (const [i, to] of told.entries()) assert.equal(to, i % 2 === 0);
      assert.equal(told.at(-1) ?? false, recovery.quarantined);
    }),
  );
});

test("whatever has happened, a plugin that works again is tried within a minute or the time owed, and heals", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const plugin = run(steps);
      plugin.time += Math.max(RECOVERY.longestPause, 400 / RECOVERY.fruitlessShare);
      const { refused } = plugin;
      for (let i = 0; i < RECOVERY.passes; i++) plugin.call("succeeds");
      assert.equal(plugin.refused, refused);
      assert.equal(plugin.recovery.quarantined, false);
    }),
  );
});

/** So many requests a second for a minute, in an order that looks like chance; what became of those that are good. */
function flood(poisoned: number, good: number, cost: number): { share: number; plugin: Plugin } {
  const plugin = new Plugin();
  let sent = 0;
  let seed = 1;
  for (let i = 0; i < 60 * (poisoned + good); i++) {
    plugin.time += 1000 / (poisoned + good);
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    const isGood = seed / 2 ** 32 < good / (poisoned + good);
    plugin.call(isGood ? "succeeds" : "fails", cost);
    if (isGood) sent++;
  }
  return { share: plugin.served / sent, plugin };
}

test("one who sends a poisoned request now and then takes nothing from the others", () => {
  // A plugin that is cheap to make again, and one that is dear: Go takes some 14 ms.
  assert.equal(flood(100, 100, 0.5).share, 1);
  assert.equal(flood(100, 100, 0.5).plugin.told.length, 0);
  assert.equal(flood(20, 1, 0.5).share, 1);
  assert.equal(flood(5, 50, 14).share, 1);
});

test("a flood of poisoned requests takes from the others no more than the restarts that are not made", () => {
  const { share, plugin } = flood(1000, 1000, 0.5);
  assert.ok(share > 0.15, `${share} of the good ones were served`);
  const spent = plugin.restarts.reduce((sum, { cost }) => sum + cost, 0);
  assert.ok(spent <= 0.1 * 60_000 + RECOVERY.burst + 1, `${spent} ms of restarts in a minute`);
  assert.ok(flood(100, 1, 0.5).share > 0.3);
});

test("a plugin that always fails is quarantined soon, and takes a fiftieth of the time from then on", () => {
  const { plugin } = flood(1000, 0, 0.5);
  assert.deepEqual(plugin.told, [true]);
  assert.ok(plugin.restarts.length <= RECOVERY.failures + (0.02 * 60_000) / 0.5 + 1, `${plugin.restarts.length}`);
  assert.ok(plugin.refused > 55_000);
});

test("pauses after failed starts grow from a tenth of a second to a minute, and threads try apart", () => {
  const pausesOf = (random: number) => {
    const plugin = new Plugin(() => random);
    const pauses: number[] = [];
    plugin.call("fails");
    for (let i = 0; i < 12; i++) {
      plugin.call("cannot start");
      const from = plugin.time;
      while (!plugin.recovery.mayStart()) plugin.time += 10;
      pauses.push(plugin.time - from);
    }
    return pauses;
  };
  assert.deepEqual(pausesOf(0).slice(0, 4), [100, 200, 400, 800]);
  assert.equal(pausesOf(0).at(-1), RECOVERY.longestPause);
  assert.deepEqual(pausesOf(1).slice(0, 4), [80, 160, 320, 640]);
});

test("a hook that always fails is told of, and costs the hooks that succeed nothing", () => {
  const plugin = new Plugin();
  for (let i = 0; i < 100; i++) {
    plugin.time += 100;
    plugin.call("fails", 14);
    plugin.call("other succeeds", 14);
  }
  assert.deepEqual([plugin.told, plugin.refused], [[true], 0]);
  plugin.time += RECOVERY.quiet;
  plugin.call("other succeeds");
  assert.deepEqual(plugin.told, [true, false], "it does not fail any more");
});

test("a guest that had grown is dearer to replace: its memory is held until the collector comes by", () => {
  const restartsIn = (memory: number) => {
    let now = 0;
    const recovery = new Recovery(
      () => now,
      () => 0,
    );
    let restarts = 0;
    for (; now < 10_000; now += 10) {
      if (!recovery.mayStart()) continue;
      recovery.spend(1);
      restarts++;
      recovery.pass(true);
      recovery.lose(memory);
      recovery.failCall();
    }
    return restarts;
  };
  const small = restartsIn(128 * 1024);
  const large = restartsIn(16 * 1024 * 1024);
  assert.equal(small, restartsIn(1024 * 1024));
  // A second's worth saved up, and a tenth of ten seconds: 2,000 ms at 121 ms each.
  assert.ok(large >= 14 && large <= 18, `${large}`);
  assert.ok(small > 900, `${small}`);
});

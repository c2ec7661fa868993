import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CLIENT } from "../../../../src/plugin/host/client-failures.ts";
import { RECOVERY, Recovery } from "../../../../src/plugin/host/recovery.ts";

/** A plugin with its recovery, driven as by `ManagedGuest`, with a separate clock. */
class Plugin {
  time = 0;
  /** Every restart: when, and what it took. */
  readonly restarts: { at: number; cost: number }[] = [];
  /** Each reported change of the quarantine. */
  readonly reported: boolean[] = [];
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
      this.recovery.chargeRestart(cost);
      this.restarts.push({ at: this.time, cost: Math.max(cost, RECOVERY.leastCost) });
      if (does === "cannot start") return this.#report(this.recovery.failStart(), true);
      this.#runs = true;
    }
    if (does === "succeeds" || does === "other succeeds") {
      if (does === "succeeds") this.served++;
      this.#report(this.recovery.pass(does === "succeeds"), false);
    } else {
      this.#runs = false;
      this.#report(this.recovery.failCall(), true);
    }
  }

  #report(changed: boolean, to: boolean): void {
    if (changed) this.reported.push(to);
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

test("in no interval do restarts take more than their share, the burst, and the current one", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { restarts } = run(steps);
      for (let from = 0; from < restarts.length; from++) {
        let spent = 0;
        for (let to = from; to < restarts.length; to++) {
          const { at, cost } = restarts[to]!;
          const may = RECOVERY.burst + (at - restarts[from]!.at) * RECOVERY.share;
          // The restart at the end of a pause and the one after the next failure may both be in progress.
          assert.ok(spent <= may + 400 + 1e-6, `${spent} ms were spent before ${at}, ${may} may be`);
          spent += cost;
        }
      }
    }),
  );
});

test("every quarantine is reported once at its start and once at its end", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { reported, recovery } = run(steps);
      for (const [i, to] of reported.entries()) assert.equal(to, i % 2 === 0);
      assert.equal(reported.at(-1) ?? false, recovery.quarantined);
    }),
  );
});

test("after any history, a plugin that works again is tried within a minute or the time owed, and recovers", () => {
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

/** These rates of requests per second for a minute, in pseudo-random order; the results of the good ones. */
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

test("occasional poisoned requests do not affect others", () => {
  // A plugin with cheap restarts, and one with expensive restarts: Go takes some 14 ms.
  assert.equal(flood(100, 100, 0.5).share, 1);
  assert.equal(flood(100, 100, 0.5).plugin.reported.length, 0);
  assert.equal(flood(20, 1, 0.5).share, 1);
  assert.equal(flood(5, 50, 14).share, 1);
});

test("a flood of poisoned requests affects others only by the restarts that the budget denies", () => {
  const { share, plugin } = flood(1000, 1000, 0.5);
  assert.ok(share > 0.15, `${share} of the good ones were served`);
  const spent = plugin.restarts.reduce((sum, { cost }) => sum + cost, 0);
  assert.ok(spent <= 0.1 * 60_000 + RECOVERY.burst + 1, `${spent} ms of restarts in a minute`);
  assert.ok(flood(100, 1, 0.5).share > 0.3);
});

test("a plugin that always fails is quarantined soon, and then takes a fiftieth of the time", () => {
  const { plugin } = flood(1000, 0, 0.5);
  assert.deepEqual(plugin.reported, [true]);
  assert.ok(plugin.restarts.length <= RECOVERY.failures + (0.02 * 60_000) / 0.5 + 1, `${plugin.restarts.length}`);
  assert.ok(plugin.refused > 55_000);
});

test("pauses after failed starts grow from a tenth of a second to a minute, with jitter between workers", () => {
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

test("a hook that always fails is reported, and does not affect hooks that succeed", () => {
  const plugin = new Plugin();
  for (let i = 0; i < 100; i++) {
    plugin.time += 100;
    plugin.call("fails", 14);
    plugin.call("other succeeds", 14);
  }
  assert.deepEqual([plugin.reported, plugin.refused], [[true], 0]);
  plugin.time += RECOVERY.quiet;
  plugin.call("other succeeds");
  assert.deepEqual(plugin.reported, [true, false], "it does not fail any more");
});

test("a guest with more memory costs more to replace: its memory stays allocated until it is collected", () => {
  const restartsIn = (memory: number) => {
    let now = 0;
    const recovery = new Recovery(
      () => now,
      () => 0,
    );
    let restarts = 0;
    for (; now < 10_000; now += 10) {
      if (!recovery.mayStart()) continue;
      recovery.chargeRestart(1);
      restarts++;
      recovery.pass(true);
      recovery.chargeMemory(memory);
      recovery.failCall();
    }
    return restarts;
  };
  const small = restartsIn(128 * 1024);
  const large = restartsIn(16 * 1024 * 1024);
  assert.equal(small, restartsIn(1024 * 1024));
  // The burst of a second, and a tenth of ten seconds: 2,000 ms at 121 ms each.
  assert.ok(large >= 14 && large <= 18, `${large}`);
  assert.ok(small > 900, `${small}`);
});

// ── Clients ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** A guest and its clients: a call for each in turn, of which those of `hostile` fail. */
class Site {
  time = 0;
  readonly recovery = new Recovery(
    () => this.time,
    () => 0.5,
  );
  readonly served = new Map<string, number>();
  readonly refused = new Map<string, number>();
  restarts = 0;
  quarantines = 0;
  proven = true;
  #runs = true;

  call(client: string, fails: boolean, { cost = 0.5, memory = 0, fuel = 0 } = {}): void {
    const { recovery } = this;
    const isBarred = recovery.clients.any && recovery.clients.isBlocked(client);
    if (isBarred || (!this.#runs && !recovery.mayStart())) {
      this.refused.set(client, (this.refused.get(client) ?? 0) + 1);
      return;
    }
    if (!this.#runs) {
      this.restarts++;
      recovery.chargeRestart(cost);
    }
    this.#runs = !fails;
    if (!fails) {
      this.proven = true;
      this.served.set(client, (this.served.get(client) ?? 0) + 1);
      recovery.pass(true, client);
      return;
    }
    recovery.chargeMemory(memory, client);
    if (recovery.failCall(client, fuel, this.proven)) this.quarantines++;
  }
}

test("for any requests of one client, at any rate, no call of another is refused, and nothing is quarantined", () => {
  const MIB = 1024 * 1024;
  for (const expense of [{}, { cost: 14 }, { memory: 16 * MIB }, { memory: 1024 * MIB }, { fuel: 1e9 }])
    for (const rate of [4, 79, 1000, 10_000]) {
      const site = new Site();
      for (let i = 0; i < 20 * rate; i++) {
        site.time += 1000 / rate;
        site.call("192.0.2.1", true, expense);
        if (i % 3 === 0) site.call("192.0.2.2", false, expense);
      }
      const what = `${JSON.stringify(expense)} at ${rate}`;
      assert.equal(site.refused.get("192.0.2.2"), undefined, what);
      assert.equal(site.quarantines, 0, what);
      assert.ok(rate < 1000 || site.refused.get("192.0.2.1")! > 10 * rate, what);
    }
});

test("only one client is rejected, also without other traffic, and later clients are not", () => {
  const site = new Site();
  for (let i = 0; i < 100_000; i++) {
    site.time += 10;
    site.call("192.0.2.1", true);
  }
  assert.equal(site.quarantines, 0);
  assert.ok(site.restarts < 1_000_000 * CLIENT.share, `${site.restarts} restarts`);
  for (let i = 0; i < 100; i++) site.call("192.0.2.2", false);
  assert.equal(site.served.get("192.0.2.2"), 100);
});

test("failures of several clients' requests are the plugin's: it is quarantined, and its restarts are limited for all", () => {
  const site = new Site();
  for (let i = 0; i < 10_000; i++) {
    site.time += 1;
    site.call(`192.0.2.${i % 5}`, true);
  }
  assert.equal(site.quarantines, 1);
  assert.ok(site.restarts <= RECOVERY.failures + (10_000 * RECOVERY.fruitlessShare) / RECOVERY.leastCost + 1);
  site.call("192.0.2.9", false);
  assert.equal(site.refused.get("192.0.2.9"), 1);
});

test("a hook that has never succeeded is quarantined by the failures of one client", () => {
  const site = new Site();
  site.proven = false;
  for (let i = 0; i < RECOVERY.failures; i++) site.call("192.0.2.1", true);
  assert.equal(site.quarantines, 1);
  for (let i = 0; i < RECOVERY.passes; i++) site.call("192.0.2.2", false);
  assert.equal(site.served.get("192.0.2.2"), RECOVERY.passes, "it costs the others nothing");
  assert.equal(site.recovery.quarantined, false);
});

test("any number of clients uses bounded memory, and their restarts stay within the global budget", () => {
  const site = new Site();
  for (let i = 0; i < 100_000; i++) {
    site.time += 0.1;
    site.call(`198.51.${i >> 8}.${i & 255}`, true);
  }
  assert.ok(site.restarts <= RECOVERY.burst / 0.5 + (10_000 * RECOVERY.share) / 0.5 + 1);
  site.time += 3_600_000;
  assert.equal(site.recovery.clients.any, false, "what owes nothing is forgotten");
});

test("costly failures of a client do not follow each other, cheap ones may; other clients are not refused meanwhile", () => {
  const failedAt = (expense: { memory?: number; cost?: number }): number[] => {
    const site = new Site();
    const at: number[] = [];
    for (; site.time < 4000; site.time += 10) {
      const refused = site.refused.get("192.0.2.1") ?? 0;
      site.call("192.0.2.1", true, expense);
      if ((site.refused.get("192.0.2.1") ?? 0) === refused) at.push(site.time);
      site.call("192.0.2.2", false);
    }
    assert.equal(site.refused.get("192.0.2.2"), undefined);
    return at;
  };
  const costly = failedAt({ memory: 16 * 1024 * 1024 });
  assert.ok(costly.length >= 4, `${costly.length} calls`);
  for (let i = 1; i < costly.length; i++)
    assert.ok(costly[i]! - costly[i - 1]! >= 15 * RECOVERY.memoryCost, `${costly}`);
  assert.deepEqual(failedAt({ cost: 14 }).slice(0, 10), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ALLOWANCE,
  type Figures,
  judge,
  type RolloutRules,
  type VersionFigures,
} from "../../../src/control/rollout.ts";

const RULES: RolloutRules = { percent: 5, watch: 30_000, minRequests: 500, maxFailures: 0.1 };
const old: VersionFigures = { requests: 10_000, failures: 0, fuel: 1_000_000, time: 100 };
const next: VersionFigures = { requests: 500, failures: 0, fuel: 50_000, time: 5 };
const FIGURES: Figures = { elapsed: 30_000, quarantined: false, old, new: next };

const of = (figures: Partial<Figures>, rules: Partial<RolloutRules> = {}) =>
  judge({ ...RULES, ...rules }, { ...FIGURES, ...figures });
const verdict = (...args: Parameters<typeof of>) => of(...args).verdict;

test("a version is promoted when it was watched long enough, with enough requests, and not before", () => {
  assert.equal(verdict({}), "promote");
  assert.equal(verdict({ elapsed: 29_999 }), "watch");
  assert.equal(verdict({ new: { ...next, requests: 499 } }), "watch");
  assert.equal(verdict({ elapsed: 1e9, new: { ...next, requests: 499 } }), "watch", "however long it takes");
});

test("a version that fails more than it may is rolled back at once", () => {
  const early = { elapsed: 1 };
  assert.equal(verdict({ ...early, new: { ...next, requests: 1, failures: 1 } }), "roll back");
  const lenient = { maxFailures: 1 };
  for (const [requests, failures, expected] of [
    [1, 1, "watch"],
    [10, 5, "watch"],
    [10, 6, "roll back"],
    [600, 6, "watch"],
    [600, 7, "roll back"],
  ] as const)
    assert.equal(verdict({ ...early, new: { ...next, requests, failures } }, lenient), expected, `${failures}`);
  assert.equal(verdict({ ...early, quarantined: true }), "roll back");
  assert.equal(verdict({ quarantined: true }), "roll back", "what is in quarantine is never promoted");
});

test("where the old version fails, the new one may as often", () => {
  const failing = { ...old, failures: 200 }; // 10 of 500
  assert.equal(verdict({ old: failing, new: { ...next, failures: 19 } }), "promote");
  assert.equal(verdict({ old: failing, new: { ...next, failures: 20 } }), "roll back");
  const seldom = { ...old, failures: 1 }; // a twentieth of one
  assert.equal(verdict({ old: seldom, new: { ...next, failures: 1 } }), "roll back");
});

test("a version that is much dearer than the old one is rolled back when its time comes", () => {
  const requests = next.requests;
  const fuel = (each: number) => ({ ...next, fuel: each * requests });
  const time = (each: number) => ({ ...next, time: each * requests });
  const most = {
    fuel: 100 * ALLOWANCE.factor + ALLOWANCE.fuel,
    time: 0.01 * ALLOWANCE.factor + ALLOWANCE.milliseconds + ALLOWANCE.pauses / requests,
  };
  assert.equal(verdict({ new: fuel(most.fuel) }), "promote");
  assert.match(
    of({ new: fuel(most.fuel + 1) }).why,
    /^a request takes 1\.20e\+3 fuel with it, 100 fuel with the old version$/,
  );
  assert.equal(verdict({ new: fuel(most.fuel + 1) }), "roll back");
  assert.equal(verdict({ new: time(most.time * 0.999) }), "promote");
  assert.equal(verdict({ new: time(most.time * 1.001) }), "roll back");
  assert.equal(verdict({ elapsed: 1, new: fuel(1e6) }), "watch", "one slow request says nothing");
  const idle = { requests: 0, failures: 0, fuel: 0, time: 0 };
  assert.equal(verdict({ old: idle, new: fuel(1e6) }, { percent: 100 }), "promote", "there is nothing to compare with");
});

const figures = fc.record({
  requests: fc.nat(5000),
  failures: fc.nat(50),
  fuel: fc.nat(1e7),
  time: fc.nat(1000),
});

test("whatever the figures are: never promoted too early, nor when it fails more than both bounds allow", () => {
  const rules = fc.record({
    percent: fc.integer({ min: 1, max: 100 }),
    watch: fc.integer({ min: 1000, max: 100_000 }),
    minRequests: fc.integer({ min: 1, max: 5000 }),
    maxFailures: fc.constantFrom(0, 0.1, 1, 50),
  });
  const all = fc.record({ elapsed: fc.nat(200_000), quarantined: fc.boolean(), old: figures, new: figures });
  fc.assert(
    fc.property(rules, all, (rules, figures) => {
      const { verdict } = judge(rules, figures);
      const { old, new: next } = figures;
      if (verdict === "promote") {
        assert.ok(figures.elapsed >= rules.watch && next.requests >= rules.minRequests && !figures.quarantined);
        const isWithin = next.failures <= (rules.maxFailures / 100) * next.requests;
        assert.ok(isWithin || old.failures > 0, "more than its share, and the old one has none");
      }
      if (figures.quarantined) assert.equal(verdict, "roll back");
      // More failures never help.
      if (verdict === "roll back")
        assert.equal(judge(rules, { ...figures, new: { ...next, failures: next.failures + 1 } }).verdict, "roll back");
    }),
  );
});

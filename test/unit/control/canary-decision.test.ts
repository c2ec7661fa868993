import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ALLOWANCE,
  decide,
  type Figures,
  type RolloutPolicy,
  type VersionFigures,
} from "../../../src/control/canary-decision.ts";

const RULES: RolloutPolicy = { percent: 5, watch: 30_000, minRequests: 500, maxFailures: 0.1 };
const baseline: VersionFigures = { requests: 10_000, failures: 0, fuel: 1_000_000, time: 100 };
const canary: VersionFigures = { requests: 500, failures: 0, fuel: 50_000, time: 5 };
const FIGURES: Figures = { elapsed: 30_000, quarantined: false, baseline, canary };

const of = (figures: Partial<Figures>, rules: Partial<RolloutPolicy> = {}) =>
  decide({ ...RULES, ...rules }, { ...FIGURES, ...figures });
const action = (...args: Parameters<typeof of>) => of(...args).action;

test("a version is promoted when it was watched long enough, with enough requests, and not before", () => {
  assert.equal(action({}), "promote");
  assert.equal(action({ elapsed: 29_999 }), "continue");
  assert.equal(action({ canary: { ...canary, requests: 499 } }), "continue");
  assert.equal(action({ elapsed: 1e9, canary: { ...canary, requests: 499 } }), "continue", "however long it takes");
});

test("a version that fails more than it may is rolled back at once", () => {
  const early = { elapsed: 1 };
  assert.equal(action({ ...early, canary: { ...canary, requests: 1, failures: 1 } }), "roll back");
  const lenient = { maxFailures: 1 };
  for (const [requests, failures, expected] of [
    [1, 1, "continue"],
    [10, 5, "continue"],
    [10, 6, "roll back"],
    [600, 6, "continue"],
    [600, 7, "roll back"],
  ] as const)
    assert.equal(action({ ...early, canary: { ...canary, requests, failures } }, lenient), expected, `${failures}`);
  assert.equal(action({ ...early, quarantined: true }), "roll back");
  assert.equal(action({ quarantined: true }), "roll back", "what is in quarantine is never promoted");
});

test("if the baseline fails, the canary version may fail as often", () => {
  const failing = { ...baseline, failures: 200 }; // 10 of 500
  assert.equal(action({ baseline: failing, canary: { ...canary, failures: 19 } }), "promote");
  assert.equal(action({ baseline: failing, canary: { ...canary, failures: 20 } }), "roll back");
  const seldom = { ...baseline, failures: 1 }; // a twentieth of one
  assert.equal(action({ baseline: seldom, canary: { ...canary, failures: 1 } }), "roll back");
});

test("a version that costs much more than the baseline is rolled back after the minimum duration", () => {
  const requests = canary.requests;
  const fuel = (each: number) => ({ ...canary, fuel: each * requests });
  const time = (each: number) => ({ ...canary, time: each * requests });
  const most = {
    fuel: 100 * ALLOWANCE.factor + ALLOWANCE.fuel,
    time: 0.01 * ALLOWANCE.factor + ALLOWANCE.milliseconds + ALLOWANCE.pauses / requests,
  };
  assert.equal(action({ canary: fuel(most.fuel) }), "promote");
  assert.match(
    of({ canary: fuel(most.fuel + 1) }).reason,
    /^a request takes 1\.20e\+3 fuel with it, 100 fuel with the baseline$/,
  );
  assert.equal(action({ canary: fuel(most.fuel + 1) }), "roll back");
  assert.equal(action({ canary: time(most.time * 0.999) }), "promote");
  assert.equal(action({ canary: time(most.time * 1.001) }), "roll back");
  assert.equal(action({ elapsed: 1, canary: fuel(1e6) }), "continue", "one slow request decides nothing");
  const idle = { requests: 0, failures: 0, fuel: 0, time: 0 };
  assert.equal(
    action({ baseline: idle, canary: fuel(1e6) }, { percent: 100 }),
    "promote",
    "there is nothing to compare with",
  );
});

const figures = fc.record({
  requests: fc.nat(5000),
  failures: fc.nat(50),
  fuel: fc.nat(1e7),
  time: fc.nat(1000),
});

test("for any figures: never promoted too early, nor when it fails more than both bounds allow", () => {
  const rules = fc.record({
    percent: fc.integer({ min: 1, max: 100 }),
    watch: fc.integer({ min: 1000, max: 100_000 }),
    minRequests: fc.integer({ min: 1, max: 5000 }),
    maxFailures: fc.constantFrom(0, 0.1, 1, 50),
  });
  const all = fc.record({ elapsed: fc.nat(200_000), quarantined: fc.boolean(), baseline: figures, canary: figures });
  fc.assert(
    fc.property(rules, all, (rules, figures) => {
      const { action } = decide(rules, figures);
      const { baseline, canary } = figures;
      if (action === "promote") {
        assert.ok(figures.elapsed >= rules.watch && canary.requests >= rules.minRequests && !figures.quarantined);
        const isWithin = canary.failures <= (rules.maxFailures / 100) * canary.requests;
        assert.ok(isWithin || baseline.failures > 0, "more than its limit, and the baseline has none");
      }
      if (figures.quarantined) assert.equal(action, "roll back");
      // More failures never help.
      if (action === "roll back")
        assert.equal(
          decide(rules, { ...figures, canary: { ...canary, failures: canary.failures + 1 } }).action,
          "roll back",
        );
    }),
  );
});

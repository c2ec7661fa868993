import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { COST, costOfCancel, FrameBudget } from "../../../../src/protocol/http2/frame-budget.ts";

const LIMITS = { burst: 1000, perSecond: 100 };

/** How many frames of this cost, `rate` per second, a budget allows in ten minutes. */
function framesAllowed(cost: number, rate: number, gain = 0): number {
  const budget = new FrameBudget(LIMITS, 0);
  for (let i = 0; i < 600 * rate; i++) {
    budget.earn(gain);
    if (!budget.spend(cost, (1000 * i) / rate)) return i;
  }
  return Number.POSITIVE_INFINITY;
}

test("a client that cancels 200 requests per second, of which each did work, is served", () => {
  assert.equal(framesAllowed(costOfCancel(true, 0), 200), Number.POSITIVE_INFINITY);
  assert.equal(framesAllowed(costOfCancel(false, 60), 200), Number.POSITIVE_INFINITY);
});

test("rapid resets are limited to the burst and the rate, unless as many requests complete", () => {
  const rapid = costOfCancel(false, 1);
  assert.ok(framesAllowed(rapid, 10_000) <= 510);
  assert.ok(framesAllowed(rapid, 100) < 2000);
  assert.equal(framesAllowed(rapid, 40), Number.POSITIVE_INFINITY);
  assert.equal(framesAllowed(rapid, 1000, COST.response), Number.POSITIVE_INFINITY);
  assert.ok(framesAllowed(2 * rapid, 1000, COST.response) < 1200);
});

test("gains and time never allow more than the burst at once", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(10_000)), fc.nat(1e9), (gains, time) => {
      const budget = new FrameBudget(LIMITS, 0);
      for (const gain of gains) budget.earn(gain);
      for (let i = 0; i < 1000; i++) assert.ok(budget.spend(1, time));
      assert.ok(!budget.spend(1, time));
    }),
  );
});

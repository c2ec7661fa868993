import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type HealthState, renew, type Thresholds, UNCHECKED, update } from "../../../src/cluster/health.ts";

const thresholds = fc.record({
  healthyAfter: fc.integer({ min: 1, max: 5 }),
  unhealthyAfter: fc.integer({ min: 1, max: 5 }),
});
/** Realistic sequences of checks: long runs of the same result, and flapping. */
const checks = fc
  .array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 7 })), { maxLength: 20 })
  .map((runs) => runs.flatMap(([passed, times]) => Array<boolean>(times).fill(passed)));

const after = (results: readonly boolean[], given: Thresholds): HealthState =>
  results.reduce((state, passed) => update(state, passed, given), UNCHECKED);

test("an endpoint's state changes after the configured number of contrary checks in a row, not before", () => {
  fc.assert(
    fc.property(checks, thresholds, (results, given) => {
      let state = UNCHECKED;
      let changedAt = 0;
      for (const [index, passed] of results.entries()) {
        const before = state;
        state = update(state, passed, given);
        if (index === 0) {
          assert.equal(state.healthy, passed, "the first check alone decides");
          changedAt = 1;
          continue;
        }
        const needed = before.healthy ? given.unhealthyAfter : given.healthyAfter;
        // Computed from the whole history, not from the state of the last step.
        const since = results.slice(changedAt, index + 1);
        const isTime = since.length >= needed && since.slice(-needed).every((one) => one !== before.healthy);
        assert.equal(state.healthy !== before.healthy, isTime, `after ${results.slice(0, index + 1)}`);
        if (isTime) changedAt = index + 1;
      }
    }),
  );
});

test("an unchecked endpoint is healthy; a state without a contrary result is the same object", () => {
  assert.equal(UNCHECKED.healthy, true);
  const given = { healthyAfter: 2, unhealthyAfter: 3 };
  const healthy = after([true], given);
  assert.equal(update(healthy, true, given), healthy);
});

test("another check keeps the state, and counts anew", () => {
  fc.assert(
    fc.property(checks, thresholds, thresholds, (results, first, second) => {
      fc.pre(results.length > 0);
      const before = after(results, first);
      const state = renew(before);
      assert.deepEqual([state.healthy, state.checked], [before.healthy, true]);
      const needed = state.healthy ? second.unhealthyAfter : second.healthyAfter;
      let next = state;
      for (let i = 1; i < needed; i++) next = update(next, !state.healthy, second);
      assert.equal(next.healthy, state.healthy, "what was counted before is forgotten");
      assert.equal(update(next, !state.healthy, second).healthy, !state.healthy);
    }),
  );
});

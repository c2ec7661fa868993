import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { plausibleTry, renewalTime, retryTime, selectTime } from "../../../../src/control/acme/schedule.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;

test("a certificate is renewed with a third of its lifetime remaining, or a little earlier", () => {
  assert.equal(renewalTime(0, 90 * DAY, 0), 60 * DAY);
  assert.equal(renewalTime(0, 90 * DAY, 1), 57.3 * DAY);
  assert.equal(renewalTime(DAY, 7 * DAY, 0), 5 * DAY);
});

test("delays grow, and never end before the time that the server names", () => {
  const delays = Array.from({ length: 10 }, (_, i) => retryTime(i + 1, null, { now: 0, random: 0 }) / MINUTE);
  assert.deepEqual(delays, [1 / 6, 2, 10, 30, 60, 120, 240, 480, 480, 480]);
  assert.equal(retryTime(1, null, { now: 5, random: 1 }), 12_005);
  assert.equal(retryTime(1, 7_200_000, { now: 0, random: 1 }), 7_200_000);
  assert.equal(retryTime(8, 1000, { now: 0, random: 0 }), 480 * MINUTE);
  // Let's Encrypt allows five failed validations of a name an hour.
  let at = 0;
  let attempts = 0;
  for (; at < 60 * MINUTE; attempts++) at = retryTime(attempts + 1, null, { now: at, random: 0 });
  assert.equal(attempts, 5);
});

test("the selected time is in the suggested window, kept while the window is, and never late", () => {
  const life = { validFrom: 0, validTo: 90 * DAY };
  fc.assert(
    fc.property(
      fc.nat(120 * DAY),
      fc.integer({ min: 1, max: 30 * DAY }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (start, length, random) => {
        const window = { start, end: start + length, retryAt: null };
        const selected = selectTime(window, null, { now: 0, random, ...life });
        assert.ok(selected.at <= 75 * DAY);
        assert.ok(selected.at === 75 * DAY || (selected.at >= start && selected.at <= start + length));
        const again = selectTime(window, selected, { now: DAY, random: 1 - random, ...life });
        assert.equal(again.at, selected.at);
        assert.equal(again.checkAt, DAY + DAY / 4);
      },
    ),
  );
  const window = { start: 10 * DAY, end: 12 * DAY };
  const first = selectTime({ ...window, retryAt: 2 * DAY }, null, { now: 0, random: 0.5, ...life });
  assert.deepEqual([first.at, first.checkAt], [11 * DAY, DAY]);
  const moved = selectTime({ start: 1, end: 2, retryAt: 0 }, first, { now: 5 * DAY, random: 0, ...life });
  assert.deepEqual([moved.at, moved.checkAt], [1, 5 * DAY + MINUTE]);
});

test("a saved time of the next attempt is kept, unless the clock was ahead when it was saved", () => {
  for (const [failures, retryAt] of [
    [1, null],
    [100, null],
    [1, 7 * DAY],
  ] as const) {
    const next = retryTime(failures, retryAt, { now: 0, random: 1 });
    assert.equal(plausibleTry(next, 0), next);
  }
  assert.equal(plausibleTry(400 * DAY, 0), 0);
});

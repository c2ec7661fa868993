import assert from "node:assert/strict";
import { test } from "node:test";
import type { Guest } from "../../../../src/plugin/host/guest.ts";
import { type GuestConsumer, GuestPool } from "../../../../src/plugin/host/guest-pool.ts";

class TestGuestConsumer implements GuestConsumer {
  isAboutToExpire = false;
  got: Guest | null | Error | undefined;
  guestReady(guest: Guest | null): void {
    this.got = guest;
  }
  guestFailed(error: unknown): void {
    this.got = error as Error;
  }
}

const guest = { memory: 1 } as Guest;

test("no call stays queued when guests cannot be started", () => {
  let make: () => Guest | null = () => guest;
  const pool = new GuestPool(1, () => make());
  const takers = Array.from({ length: 5 }, () => new TestGuestConsumer());
  for (const taker of takers) assert.equal(pool.request(taker), true);
  assert.deepEqual([pool.size, pool.queued], [1, 4]);
  const problem = new Error("for the test");
  make = () => {
    make = () => null; // in quarantine from now on
    throw problem;
  };
  pool.discard();
  assert.deepEqual(
    takers.map(({ got }) => got),
    [guest, problem, null, null, null],
  );
  assert.deepEqual([pool.size, pool.queued], [0, 0]);
});

test("a lost guest is not replaced for queued calls that are about to expire; a free one serves them", () => {
  let started = 0;
  const pool = new GuestPool(2, () => ({ memory: ++started }) as Guest);
  const consumers = Array.from({ length: 6 }, () => new TestGuestConsumer());
  for (const consumer of consumers) pool.request(consumer);
  const [first, , late, next, last, other] = consumers as [TestGuestConsumer, ...TestGuestConsumer[]];
  late!.isAboutToExpire = true;
  pool.discard();
  assert.deepEqual([late!.got, next!.got?.toString(), started, pool.queued], [undefined, "[object Object]", 3, 3]);
  for (const consumer of [last!, other!]) consumer.isAboutToExpire = true;
  pool.discard();
  assert.deepEqual([started, pool.size, pool.queued], [3, 1, 3]);
  // Calls of which no guest is left are served by none, until they expire or another call has ended.
  pool.release(first.got as Guest);
  assert.deepEqual([late!.got, started, pool.queued], [first.got, 3, 2]);
});

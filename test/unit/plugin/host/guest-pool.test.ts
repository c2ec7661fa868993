import assert from "node:assert/strict";
import { test } from "node:test";
import type { Guest } from "../../../../src/plugin/host/guest.ts";
import { type GuestConsumer, GuestPool } from "../../../../src/plugin/host/guest-pool.ts";

class TestGuestConsumer implements GuestConsumer {
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

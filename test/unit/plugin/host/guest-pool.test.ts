import assert from "node:assert/strict";
import { test } from "node:test";
import type { Guest } from "../../../../src/plugin/host/guest.ts";
import { GuestPool, type Taker } from "../../../../src/plugin/host/guest-pool.ts";

class TestTaker implements Taker {
  got: Guest | null | Error | undefined;
  take(guest: Guest | null): void {
    this.got = guest;
  }
  fail(error: unknown): void {
    this.got = error as Error;
  }
}

const guest = { memory: 1 } as Guest;

test("nobody is left in line when guests cannot be made", () => {
  let make: () => Guest | null = () => guest;
  const pool = new GuestPool(1, () => make());
  const takers = Array.from({ length: 5 }, () => new TestTaker());
  for (const taker of takers) assert.equal(pool.ask(taker), true);
  assert.deepEqual([pool.size, pool.waiting], [1, 4]);
  const problem = new Error("for the test");
  make = () => {
    make = () => null; // in quarantine from now on
    throw problem;
  };
  pool.drop();
  assert.deepEqual(
    takers.map(({ got }) => got),
    [guest, problem, null, null, null],
  );
  assert.deepEqual([pool.size, pool.waiting], [0, 0]);
});

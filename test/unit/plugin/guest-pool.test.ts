import assert from "node:assert/strict";
import { test } from "node:test";
import type { Guest } from "../../../src/plugin/guest.ts";
import { GuestPool, type Taker } from "../../../src/plugin/guest-pool.ts";

/** A pool of things that stand for guests, and what became of each call. */
function startPool(most: number) {
  let made = 0;
  const state = { quarantined: false, broken: false };
  const told: string[] = [];
  const pool = new GuestPool(most, () => {
    if (state.broken) throw new Error("no");
    return state.quarantined ? null : ({ number: ++made } as unknown as Guest);
  });
  const taker = (name: string): Taker & { guest: Guest | null } => ({
    guest: null,
    take(guest) {
      this.guest = guest;
      told.push(`${name}:${(guest as unknown as { number: number } | null)?.number ?? "none"}`);
    },
    fail(error) {
      told.push(`${name}:${(error as Error).message}`);
    },
  });
  return { pool, state, told, taker };
}

test("guests are made as they are needed, serve again, and no more than there may be", () => {
  const { pool, told, taker } = startPool(2);
  const [a, b, c] = [taker("a"), taker("b"), taker("c")];
  assert.ok(pool.ask(a) && pool.ask(b) && pool.ask(c));
  assert.deepEqual(told, ["a:1", "b:2"]);
  assert.deepEqual([pool.size, pool.waiting], [2, 1]);
  pool.giveBack(a.guest!);
  assert.deepEqual(told.at(-1), "c:1");
  pool.giveBack(b.guest!);
  pool.giveBack(c.guest!);
  assert.deepEqual([pool.size, pool.waiting], [2, 0]);
  pool.ask(taker("d"));
  assert.equal(told.length, 4);
});

test("who waits longest is served first, when a guest is free or another may be made in a lost one's place", () => {
  const { pool, told, taker } = startPool(1);
  const first = taker("first");
  pool.ask(first);
  const [second, third, fourth] = [taker("second"), taker("third"), taker("fourth")];
  for (const one of [second, third, fourth]) pool.ask(one);
  pool.leave(third);
  pool.drop();
  assert.deepEqual(told, ["first:1", "second:2"]);
  pool.giveBack(second.guest!);
  assert.deepEqual(told, ["first:1", "second:2", "fourth:2"]);
  assert.equal(pool.waiting, 0);
});

test("the line is bounded", () => {
  const { pool, taker } = startPool(2);
  for (let i = 0; i < 2 + 16; i++) assert.ok(pool.ask(taker(`${i}`)));
  assert.equal(pool.ask(taker("late")), false);
});

test("a guest that cannot be made is told to who asked, and takes nobody's place", () => {
  const { pool, state, told, taker } = startPool(1);
  state.broken = true;
  pool.ask(taker("a"));
  state.broken = false;
  state.quarantined = true;
  pool.ask(taker("b"));
  state.quarantined = false;
  pool.ask(taker("c"));
  assert.deepEqual(told, ["a:no", "b:none", "c:1"]);
  assert.equal(pool.size, 1);
});

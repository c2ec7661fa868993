import assert from "node:assert/strict";
import { test } from "node:test";
import { atTurnEnd } from "../../../src/net/turn-end.ts";

test("tasks run once at the end of the turn, in order; one added meanwhile runs in the next", async () => {
  const ran: string[] = [];
  const again = (): void => {
    ran.push("b");
    if (ran.length < 4) atTurnEnd(again);
  };
  atTurnEnd(() => ran.push("a"));
  atTurnEnd(again);
  assert.equal(ran.length, 0);
  await new Promise(setImmediate);
  assert.deepEqual(ran, ["a", "b"]);
  atTurnEnd(() => ran.push("c"));
  await new Promise(setImmediate);
  assert.deepEqual(ran, ["a", "b", "b", "c"]);
});

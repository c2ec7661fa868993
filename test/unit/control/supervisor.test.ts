import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Supervisor } from "../../../src/control/supervisor.ts";

const STUCK_AFTER = 200;

/** Processor time as that share of the time that has passed. */
const using = (share: number) => ({ cpuTime: async () => performance.now() * share });

test("only a worker that makes no progress and uses processor time is stuck", async (t) => {
  const heartbeat = new SharedArrayBuffer(16);
  const beats = new Int32Array(heartbeat);
  const stuck = new Map<number, number>();
  const supervisor = new Supervisor(
    heartbeat,
    (worker) => stuck.set(worker, (stuck.get(worker) ?? 0) + 1),
    STUCK_AFTER,
  );
  t.after(() => supervisor.close());
  supervisor.watch(0, using(1));
  supervisor.watch(1, using(0));
  supervisor.watch(2, using(1));
  supervisor.watch(3, { cpuTime: async () => null });
  // The third beats, and does so before each look.
  while ((stuck.get(0) ?? 0) < 2) {
    Atomics.add(beats, 2, 1);
    await sleep(1);
  }
  assert.deepEqual([...stuck.keys()], [0]);
});

test("a spinning worker that gets little of a processor is found when it has used enough", async (t) => {
  const { promise, resolve } = Promise.withResolvers<number>();
  const supervisor = new Supervisor(new SharedArrayBuffer(4), resolve, STUCK_AFTER);
  t.after(() => supervisor.close());
  let asked = 0;
  // Each query returns a twentieth of the limit more: less than half of the time of any window.
  supervisor.watch(0, { cpuTime: async () => (asked++ * STUCK_AFTER) / 20 });
  const found = await Promise.race([promise, sleep(20_000, -1, { ref: false })]);
  assert.equal(found, 0);
});

test("a stuck worker is reported once, not at every check until it has ended", async (t) => {
  let asked = 0;
  let reported = 0;
  const supervisor = new Supervisor(new SharedArrayBuffer(4), () => reported++, STUCK_AFTER);
  t.after(() => supervisor.close());
  supervisor.watch(0, {
    cpuTime: async () => {
      asked++;
      return performance.now();
    },
  });
  while (reported < 3) await sleep(5);
  assert.ok(
    asked >= 2 * reported,
    `reported ${reported} times, its time was measured ${asked} times: each needs a start and an end`,
  );
});

test("time in which the supervisor itself did not run is not counted against a worker", async (t) => {
  const began = performance.now();
  let found = false;
  const supervisor = new Supervisor(
    new SharedArrayBuffer(4),
    () => {
      found = true;
    },
    STUCK_AFTER,
  );
  t.after(() => supervisor.close());
  supervisor.watch(0, using(1));
  await sleep(STUCK_AFTER / 5);
  // This process blocks for much longer than a worker may.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5 * STUCK_AFTER);
  await sleep(STUCK_AFTER / 10);
  if (performance.now() - began < 7 * STUCK_AFTER) assert.equal(found, false);
});

test("a removed worker is not checked any more", async (t) => {
  const found: number[] = [];
  const supervisor = new Supervisor(new SharedArrayBuffer(8), (worker) => found.push(worker), STUCK_AFTER);
  t.after(() => supervisor.close());
  supervisor.watch(0, using(1));
  supervisor.watch(1, using(1));
  supervisor.forget(0);
  while (found.length < 2) await sleep(10);
  assert.deepEqual(new Set(found), new Set([1]));
});

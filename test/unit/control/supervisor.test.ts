import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Supervisor } from "../../../src/control/supervisor.ts";

/** Three threads, real ones: one turns in circles, one waits, one beats. */
const BEHAVIOUR = `
const { workerData } = require("node:worker_threads");
const beats = new Int32Array(workerData.heartbeat);
const cell = new Int32Array(new SharedArrayBuffer(4));
if (workerData.thread === 0) for (;;) {}
if (workerData.thread === 1) for (;;) Atomics.wait(cell, 0, 0, 1000);
for (;;) { Atomics.add(beats, 2, 1); Atomics.wait(cell, 0, 0, 20); }
`;

test("only a thread that stands still and burns its processor is stuck", async (t) => {
  const heartbeat = new SharedArrayBuffer(12);
  const stuck = Promise.withResolvers<number>();
  const found: number[] = [];
  const onStuck = (thread: number) => {
    found.push(thread);
    stuck.resolve(thread);
  };
  const supervisor = new Supervisor(heartbeat, onStuck, 1000);
  t.after(() => supervisor.close());
  for (const thread of [0, 1, 2]) {
    const worker = new Worker(BEHAVIOUR, { eval: true, workerData: { thread, heartbeat } });
    t.after(() => worker.terminate());
    const cpuTime = async () => {
      const { user, system } = await worker.cpuUsage();
      return (user + system) / 1000;
    };
    supervisor.watch(thread, { cpuTime });
  }
  assert.equal(await stuck.promise, 0);
  await sleep(2000);
  assert.deepEqual([...new Set(found)], [0]);
});

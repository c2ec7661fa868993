import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { ConnectionCounts } from "../../../src/net/connection-counts.ts";

test("a limit counts over all workers, and each listener has its own", () => {
  const buffer = ConnectionCounts.allocate(3, 2);
  const [first, second] = [new ConnectionCounts(buffer, 0), new ConnectionCounts(buffer, 2)];
  assert.deepEqual(
    [first.enter(0, 2), second.enter(0, 2), first.enter(0, 2), second.enter(0, 2)],
    [true, true, false, false],
  );
  assert.equal(first.enter(1, 2), true);
  second.leave(0);
  assert.equal(first.enter(0, 2), true);
  assert.deepEqual([first.open(0), first.open(1)], [2, 1]);
  assert.equal(first.enter(1, 0), true, "0 is no limit");
});

test("connections of an ended worker are no longer counted", () => {
  const buffer = ConnectionCounts.allocate(2, 2);
  const [first, second, main] = [0, 1, -1].map((worker) => new ConnectionCounts(buffer, worker));
  for (let i = 0; i < 3; i++) first!.enter(0, 0);
  second!.enter(0, 0);
  first!.enter(1, 0);
  main!.forgetWorker(0);
  assert.deepEqual([main!.open(0), main!.open(1)], [1, 0]);
  main!.clear(0);
  assert.equal(main!.open(0), 0);
});

test("concurrent changes by workers never exceed the limit, and lose no count", async () => {
  const buffer = ConnectionCounts.allocate(3, 1);
  const counts = new ConnectionCounts(buffer, 2);
  const run = `
    const { workerData, parentPort } = require("node:worker_threads");
    import(workerData.module).then(({ ConnectionCounts }) => {
      const counts = new ConnectionCounts(workerData.buffer, workerData.worker);
      let most = 0;
      for (let turn = 0; turn < 20_000; turn++) {
        let open = 0;
        while (open < 3 && counts.enter(0, 4)) open++;
        most = Math.max(most, open);
        while (open-- > 0) counts.leave(0);
      }
      parentPort.postMessage(most);
    });`;
  const module = new URL("../../../src/net/connection-counts.ts", import.meta.url).href;
  assert.equal(counts.enter(0, 4), true);
  await Promise.all(
    [0, 1].map(
      (worker) =>
        new Promise((resolve, reject) => {
          new Worker(run, { eval: true, workerData: { module, buffer, worker } })
            .on("message", resolve)
            .on("error", reject);
        }),
    ),
  );
  assert.equal(counts.open(0), 1);
});

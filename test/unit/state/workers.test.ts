/** Real workers on one store. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { STATUS } from "../../../src/abi/abi.ts";
import { KeyValueStore } from "../../../src/state/store.ts";
import { Keys } from "./kit.ts";
import type { Work } from "./worker.ts";

const MIB = 1024 * 1024;
const WORKERS = 4;

type Pool = {
  readonly workers: readonly Worker[];
  readonly signals: Int32Array<SharedArrayBuffer>;
  begin(): Promise<void>;
};

/** Workers that wait for `begin`, then perform one task each. */
function startPool(t: TestContext, buffer: SharedArrayBuffer, tasks: readonly Work["task"][], times: number): Pool {
  const signals = new Int32Array(new SharedArrayBuffer(12));
  const workers = tasks.map((task, worker) => {
    const workerData: Work = { buffer, signals: signals.buffer, worker, task, times };
    return new Worker(new URL("./worker.ts", import.meta.url), { workerData });
  });
  t.after(() => Promise.all(workers.map((worker) => worker.terminate())));
  const begin = async () => {
    while (Atomics.load(signals, 0) < workers.length) await setTimeout(2);
    Atomics.store(signals, 1, 1);
    Atomics.notify(signals, 1);
  };
  return { workers, signals, begin };
}

async function finish({ workers, begin }: Pool): Promise<void> {
  // An error of a worker rejects the wait for its message.
  const done = workers.map((worker) => once(worker, "message"));
  await begin();
  await Promise.all(done);
}

const tasksOf = (task: Work["task"]): Work["task"][] => Array(WORKERS).fill(task);

test("increments of four workers add up exactly", async (t) => {
  const buffer = KeyValueStore.allocate(MIB);
  await finish(startPool(t, buffer, tasksOf("increment"), 6000));
  const keys = new Keys(new KeyValueStore(buffer, -1));
  assert.deepEqual(
    ["n0", "n1", "n2"].map((key) => keys.get(key)),
    Array(3).fill(String((WORKERS * 6000) / 3)),
  );
});

test("compare-and-set of four workers loses nothing", async (t) => {
  const buffer = KeyValueStore.allocate(MIB);
  await finish(startPool(t, buffer, tasksOf("append"), 300));
  const text = new Keys(new KeyValueStore(buffer, -1)).get("text")!;
  for (let worker = 0; worker < WORKERS; worker++) assert.equal(text.split(String(worker)).length - 1, 300);
  assert.equal(text.length, WORKERS * 300);
});

test("readers see whole values only, while others write", async (t) => {
  const buffer = KeyValueStore.allocate(MIB);
  const keys = new Keys(new KeyValueStore(buffer, -1));
  for (let i = 0; i < 5; i++) keys.set(`p${i}`, Buffer.alloc(1));
  await finish(startPool(t, buffer, ["write", "read", "write", "read"], 20_000));
});

test("a store works after a worker was ended anywhere in a loop of writes", async (t) => {
  const buffer = KeyValueStore.allocate(MIB);
  const store = new KeyValueStore(buffer, -1);
  const keys = new Keys(store, 0);
  let held = 0;
  for (let round = 0; round < 12; round++) {
    const pool = startPool(t, buffer, ["endless"], 0);
    await pool.begin();
    while (Atomics.load(pool.signals, 2) < 2000 * (round + 1)) await setTimeout(1);
    await pool.workers[0]!.terminate();
    held += store.forgetWorker(0);
    for (let i = 0; i < 50; i++) {
      const value = keys.bytes(`p${i}`);
      assert.ok(value === null || value.every((byte) => byte === value[0]));
      assert.equal(keys.set(`p${i}`, `again${round}`), STATUS.ok);
      assert.equal(keys.get(`p${i}`), `again${round}`);
    }
    const listed = keys.list();
    assert.equal(listed.length, new Set(listed).size);
    assert.equal(store.use(0).entries, listed.length);
  }
  t.diagnostic(`ended inside a shard ${held} times`);
});

for (const [what, length] of [
  ["in the place of another", 500],
  ["longer than the one before", 5000],
] as const) {
  test(`a worker ended while it writes a value ${what} blocks no other, and leaves no partial value`, async (t) => {
    const buffer = KeyValueStore.allocate(MIB);
    const store = new KeyValueStore(buffer, -1);
    const keys = new Keys(store);
    keys.set("victim", "v".repeat(500));
    for (let i = 0; i < 100; i++) keys.set(`other${i}`, String(i));
    const pool = startPool(t, buffer, ["stay"], length);
    await pool.begin();
    while (Atomics.load(pool.signals, 2) === 0) await setTimeout(1);
    assert.equal(keys.set("victim", "new"), STATUS.busy);
    await pool.workers[0]!.terminate();
    assert.equal(store.forgetWorker(0), 1);
    assert.equal(keys.get("victim"), null);
    assert.equal(keys.set("victim", "new"), STATUS.ok);
    assert.equal(keys.get("victim"), "new");
    for (let i = 0; i < 100; i++) assert.equal(keys.get(`other${i}`), String(i));
    assert.equal(store.use(0).entries, 101);
  });
}

test("a worker whose stack overflowed inside a shard repairs it itself", () => {
  const buffer = KeyValueStore.allocate(MIB);
  const store = new KeyValueStore(buffer, 0);
  const keys = new Keys(store);
  keys.set("victim", "v".repeat(500));
  keys.set("other", "1");
  const { operation } = keys;
  const value = {
    copy() {
      throw new RangeError("Maximum call stack size exceeded");
    },
  };
  Object.assign(operation, { key: Buffer.from("victim"), keyStart: 0, keyEnd: 6, value, valueStart: 0, valueEnd: 500 });
  assert.throws(() => store.set(operation), RangeError);
  const other = new Keys(new KeyValueStore(buffer, 1));
  assert.throws(() => other.get("victim"), /-6/);
  store.repair();
  assert.equal(other.get("victim"), null);
  assert.equal(other.get("other"), "1");
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { Versions } from "../../../src/control/versions.ts";
import type { Plan } from "../../../src/plan/plan.ts";
import type { FromWorker, ToWorker } from "../../../src/worker/messages.ts";

const planOf = (version: number): Plan => ({
  version,
  modules: [],
  instances: [],
  rollouts: [],
  clusters: [],
  listeners: [],
  accessLog: null,
  trace: { header: "x-sluice-debug", token: "", sample: 0, mask: [] },
  grace: 0,
});

/** Two workers that reply to a message with the result of `behave`. */
function start(behave: (worker: number, message: ToWorker) => FromWorker | null, silence?: number) {
  const reported: string[] = [];
  const released: number[] = [];
  const workers = {
    up: () => [0, 1],
    end(worker: number) {
      reported.push(`end ${worker}`);
    },
    post(worker: number, message: ToWorker) {
      const version = message.type === "prepare" ? message.plan.version : "version" in message ? message.version : "";
      reported.push(`${message.type} ${version} to ${worker}`);
      const reply = behave(worker, message);
      if (reply !== null) queueMicrotask(() => versions.receive(worker, reply));
    },
  };
  const versions: Versions = new Versions({
    workers,
    release: (version) => released.push(version),
    onServing: (worker) => reported.push(`${worker} serves`),
    ...(silence !== undefined && { silence }),
  });
  return { versions, reported, released };
}

const obedient = (_thread: number, message: ToWorker): FromWorker | null =>
  message.type === "prepare"
    ? { type: "ready", version: message.plan.version }
    : message.type === "commit"
      ? { type: "committed", version: message.version }
      : null;

test("a version is committed when every worker is ready, and released when the last has disposed it", async () => {
  const { versions, reported, released } = start(obedient);
  await versions.take(planOf(1), []);
  assert.deepEqual(reported, [
    "prepare 1 to 0",
    "prepare 1 to 1",
    "commit 1 to 0",
    "commit 1 to 1",
    "0 serves",
    "1 serves",
  ]);
  await versions.take(planOf(2), []);
  versions.receive(0, { type: "disposed", version: 1 });
  assert.deepEqual(released, []);
  versions.receive(1, { type: "disposed", version: 1 });
  assert.deepEqual(released, [1]);
  assert.equal(versions.committed?.version, 2);
});

test("one failure aborts the version on every worker, and the one in service stays", async () => {
  const { versions, reported, released } = start((worker, message) => {
    if (message.type === "prepare" && message.plan.version === 2 && worker === 1)
      return { type: "failed", version: 2, problem: "no" };
    if (message.type === "abort" && worker === 0) return { type: "disposed", version: 2 };
    return obedient(worker, message);
  });
  await versions.take(planOf(1), []);
  reported.length = 0;
  await assert.rejects(versions.take(planOf(2), []), /^Error: no$/);
  assert.deepEqual(reported, ["prepare 2 to 0", "prepare 2 to 1", "abort 2 to 0", "abort 2 to 1"]);
  assert.equal(versions.committed?.version, 1);
  await Promise.resolve();
  assert.deepEqual(released, [2]);
});

test("silence aborts", async () => {
  const { versions } = start((worker, message) => (worker === 1 ? null : obedient(worker, message)), 20);
  await assert.rejects(versions.take(planOf(1), []), /worker 1 did not reply in time/);
  assert.equal(versions.committed, null);
});

test("a worker that ends aborts its builds, and uses no version any more", async () => {
  const { versions, released } = start((worker, message) =>
    message.type === "prepare" && message.plan.version === 2 && worker === 1 ? null : obedient(worker, message),
  );
  await versions.take(planOf(1), []);
  const second = versions.take(planOf(2), []);
  versions.forget(1, "crash");
  await assert.rejects(second, /worker 1 ended: crash/);
  assert.deepEqual(versions.serving(), [0]);
  versions.receive(0, { type: "disposed", version: 2 });
  assert.deepEqual(released, [2]);
});

test("a replacement activates the version in service before it gets others", async () => {
  const { versions, reported } = start(obedient);
  await versions.take(planOf(1), []);
  versions.forget(1, "crash");
  reported.length = 0;
  await versions.take(planOf(2), []);
  assert.deepEqual(reported, ["prepare 2 to 0", "commit 2 to 0"]);
  reported.length = 0;
  await versions.bringUp(1, []);
  assert.deepEqual(reported, ["prepare 2 to 1", "commit 2 to 1", "1 serves"]);
  assert.deepEqual(versions.serving().sort(), [0, 1]);
});

test("a worker that does not activate a committed version is ended; the others serve it", async () => {
  const { versions, reported } = start(
    (worker, message) => (message.type === "commit" && worker === 1 ? null : obedient(worker, message)),
    20,
  );
  await versions.take(planOf(1), []);
  assert.equal(reported.at(-1), "end 1");
  assert.equal(versions.committed?.version, 1);
  assert.deepEqual(versions.serving(), [0]);
});

test("a removed worker gets no further requests, and its versions are released when it has ended", async () => {
  const { versions, reported, released } = start(obedient);
  await versions.take(planOf(1), []);
  assert.equal(versions.leave(1), true);
  assert.equal(versions.leave(1), false);
  reported.length = 0;
  await versions.take(planOf(2), []);
  assert.deepEqual(reported, ["prepare 2 to 0", "commit 2 to 0"]);
  versions.receive(0, { type: "disposed", version: 1 });
  assert.deepEqual(released, []);
  versions.forget(1, "left");
  assert.deepEqual(released, [1]);
});

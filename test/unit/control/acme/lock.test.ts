import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { LockedError, lock } from "../../../../src/control/acme/lock.ts";

const directory = mkdtempSync(join(tmpdir(), "sluice-lock-"));
const path = join(directory, "below", "a.lock");
const { signal } = new AbortController();
test.after(() => rmSync(directory, { recursive: true, force: true }));

const own = await lock(path, signal);
const { space } = JSON.parse(readFileSync(path, "utf8"));
await own();

const holder = (pid: number, host = hostname(), of = space) => JSON.stringify({ id: "other", pid, host, space: of });

test("one at a time has the lock", async () => {
  let inside = 0;
  let most = 0;
  await Promise.all(
    [1, 2, 3].map(async () => {
      const release = await lock(path, signal);
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
      await release();
    }),
  );
  assert.deepEqual([most, existsSync(path)], [1, false]);
});

test("the lock of a running process is respected, that of a dead one is not", async () => {
  const child = spawn("sleep", ["60"]);
  writeFileSync(path, holder(child.pid!));
  await assert.rejects(lock(path, signal, 0), (error: Error) => {
    assert.ok(error instanceof LockedError);
    assert.match(error.message, new RegExp(`is held by process ${child.pid} on `));
    return true;
  });
  const waits = lock(path, signal);
  child.kill();
  await once(child, "exit");
  await (await waits)();
  // A container has the number of its predecessor.
  writeFileSync(path, holder(process.pid));
  await (await lock(path, signal, 0))();
  assert.ok(!existsSync(path));
});

test("the lock of another host is taken over when it is not refreshed", async () => {
  // A container may have the host name of another one, and each has a process 1.
  const twin = holder(process.pid, hostname(), "another namespace");
  for (const text of [holder(1, "elsewhere"), twin, "", "{ damaged"]) {
    writeFileSync(path, text);
    await assert.rejects(lock(path, signal, 0), LockedError);
    const old = new Date(Date.now() - 61_000);
    utimesSync(path, old, old);
    await (await lock(path, signal, 0))();
    assert.ok(!existsSync(path));
  }
});

test("waiting ends with the signal, and a directory that cannot be written does not stop anything", async () => {
  writeFileSync(path, holder(1, "elsewhere"));
  const closing = new AbortController();
  const waits = lock(path, closing.signal);
  closing.abort();
  await assert.rejects(waits, /abort/);
  rmSync(path);
  writeFileSync(join(directory, "file"), "");
  await (await lock(join(directory, "file", "a.lock"), signal, 0))();
});

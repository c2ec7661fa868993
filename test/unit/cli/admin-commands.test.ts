/** `sluice status` and `sluice reload` against a proxy that runs. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { configOf, startProxy } from "../control/parts.ts";

const MAIN = join(import.meta.dirname, "../../../src/main.ts");

function sluice(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number; out: string; err: string }>();
  const child = execFile(process.execPath, [MAIN, ...args], (_error, out, err) =>
    resolve({ code: child.exitCode ?? -1, out, err }),
  );
  return promise;
}

test("status tells the state; reload tells what came of it", async (t) => {
  const { app, file, write } = await startProxy(t, configOf(["127.0.0.1:1"]));
  const admin = ["--admin", new URL(app.admin!).host];
  const status = await sluice("status", ...admin);
  assert.equal(status.code, 0, status.err);
  assert.match(status.out, /^ready, version 1, since .*\n2 of 2 threads serve, 0 requests in flight\n/);
  assert.match(status.out, /\n {2}127\.0\.0\.1:1: healthy, weight 1, 0 in flight/);

  assert.deepEqual(await sluice("reload", ...admin), {
    code: 0,
    out: "nothing has changed: version 1 serves on\n",
    err: "",
  });
  write(configOf(["127.0.0.1:2"]));
  assert.equal((await sluice("reload", ...admin)).out, "version 2 serves\n");
  write("listeners: 1");
  const refused = await sluice("reload", ...admin);
  assert.equal(refused.code, 1);
  assert.match(refused.err, new RegExp(`^${file}:1:12: listeners: .*\\nrefused: version 2 serves on\\n$`));
  assert.match((await sluice("status", ...admin)).out, /the last reload was refused:\n {2}.*:1:12: listeners: /);
});

test("when no proxy answers, or the configuration cannot be read, that is one line", async () => {
  const nobody = await sluice("status", "--admin", "127.0.0.1:1");
  assert.deepEqual([nobody.code, nobody.out], [1, ""]);
  assert.match(nobody.err, /^sluice: no proxy answers at 127\.0\.0\.1:1: ECONNREFUSED\n$/);
  const missing = await sluice("reload", "-c", "/nowhere/sluice.yaml");
  assert.equal(missing.code, 1);
  assert.match(missing.err, /^sluice: \/nowhere\/sluice\.yaml cannot be read \(ENOENT\).*\n$/);
});

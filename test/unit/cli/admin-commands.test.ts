/** `sluice status` and `sluice reload` against a proxy that runs. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { fit } from "../../../src/cli/top.ts";
import { configOf, startProxy } from "../control/parts.ts";

const MAIN = join(import.meta.dirname, "../../../src/main.ts");

function sluice(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return sluiceWith({}, ...args);
}

function sluiceWith(env: NodeJS.ProcessEnv, ...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { promise, resolve } = Promise.withResolvers<{ code: number; out: string; err: string }>();
  const child = execFile(process.execPath, [MAIN, ...args], { env: { ...process.env, ...env } }, (_error, out, err) =>
    resolve({ code: child.exitCode ?? -1, out, err }),
  );
  return promise;
}

test("top cuts the state to the terminal", () => {
  assert.equal(fit("12345678901234567\n2\n3\n4\n", { columns: 14, rows: 4 }), "12345678901234\n2\n… 2 more lines\n");
  assert.equal(fit("1\n2\n3\n", { columns: 4, rows: 4 }), "1\n2\n3\n");
});

test("status reports the state; reload reports its result; top ends with its reader", async (t) => {
  const { app, file, write } = await startProxy(t, configOf(["127.0.0.1:1"]));
  const admin = ["--admin", new URL(app.admin!).host];
  const status = await sluice("status", ...admin);
  assert.equal(status.code, 0, status.err);
  assert.match(status.out, /^ready, version 1, since .*\n2 of 2 workers serve, 0 requests in flight\n/);
  assert.match(status.out, /\n {2}127\.0\.0\.1:1: unchecked, weight 1, 0 in flight/);

  const top = spawn(process.execPath, [MAIN, "top", ...admin], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => top.kill("SIGKILL"));
  const [shown] = await once(top.stdout, "data");
  assert.match(String(shown), /^ready, version 1, since /);
  top.stdout.destroy();
  assert.deepEqual(await once(top, "exit"), [0, null]);

  assert.deepEqual(await sluice("reload", ...admin), {
    code: 0,
    out: "unchanged: keeping version 1\n",
    err: "",
  });
  write(configOf(["127.0.0.1:2"]).replace("clusters:", "clusters:\n  spare: []"));
  assert.match(
    (await sluice("reload", ...admin)).out,
    /^version 2 serves\nwarning: .*: clusters\.spare: no route leads to .*\nwarning: .*the cluster has no endpoints/,
  );
  write("listeners: 1");
  const refused = await sluice("reload", ...admin);
  assert.equal(refused.code, 1);
  assert.match(refused.err, new RegExp(`^${file}:1:12: listeners: .*\\nreload rejected, keeping version 2\\n$`));
  assert.match((await sluice("status", ...admin)).out, /the last reload was rejected:\n {2}.*:1:12: listeners: /);
});

test("an unreachable proxy or an unreadable configuration is reported in one line", async () => {
  const noProxy = await sluice("status", "--admin", "127.0.0.1:1");
  assert.deepEqual([noProxy.code, noProxy.out], [1, ""]);
  assert.match(noProxy.err, /^sluice: no proxy at 127\.0\.0\.1:1: ECONNREFUSED\n$/);
  const missing = await sluice("reload", "-c", "/nowhere/sluice.yaml");
  assert.equal(missing.code, 1);
  assert.match(missing.err, /^sluice: \/nowhere\/sluice\.yaml cannot be read \(ENOENT\).*\n$/);
});

test("commands send the token of the configuration or the environment; a reload changes it", async (t) => {
  const config = (token: string, more = "") =>
    configOf(["127.0.0.1:1"], more).replace("admin: 127.0.0.1:0", `admin: { address: "127.0.0.1:0", token: ${token} }`);
  const { app, file, write } = await startProxy(t, config(`\${TOKEN}`), { env: { TOKEN: "0123456789abcdef" } });
  const { host } = new URL(app.admin!);
  const admin = ["--admin", host];
  const without = await sluice("status", ...admin);
  assert.deepEqual([without.code, without.out], [1, ""]);
  assert.match(without.err, /requires a token: set admin\.token of its configuration by -c or SLUICE_ADMIN_TOKEN\n$/);
  const wrong = await sluiceWith({ SLUICE_ADMIN_TOKEN: "0123456789abcdeg" }, "reload", ...admin);
  assert.match(wrong.err, /rejected the token/);
  assert.equal((await sluiceWith({ SLUICE_ADMIN_TOKEN: "0123456789abcdef" }, "status", ...admin)).code, 0);

  // The admin address is read from a file with problems elsewhere.
  const named = join(file, "../named.yaml");
  writeFileSync(named, `admin: { address: "${host}", token: 0123456789abcdef }\nlisteners: 1\nx: \${NOT_SET_HERE}\n`);
  const status = await sluice("status", "-c", named);
  assert.deepEqual([status.code, status.err], [0, ""]);

  write(config("fedcba9876543210"));
  assert.equal((await app.reload()).result, "accepted");
  assert.match((await sluice("status", "-c", named)).err, /rejected the token/);
  assert.equal((await sluiceWith({ SLUICE_ADMIN_TOKEN: "fedcba9876543210" }, "status", ...admin)).code, 0);

  // The address does not change with a reload, and neither does its token.
  write(configOf(["127.0.0.1:2"]).replace("127.0.0.1:0\nlist", "127.0.0.1:1\nlist"));
  assert.equal((await app.reload()).result, "accepted");
  assert.match((await sluice("status", ...admin)).err, /requires a token/);
});

test("drain prints how many open tunnels of the endpoint end, its undo those that are being drained", async (t) => {
  const tunnel = (endpoint: string, cluster = "app") => ({ endpoint, cluster });
  const list = { open: 4, tunnels: [tunnel("a:1"), tunnel("a:1"), tunnel("b:1"), tunnel("a:1", "other")] };
  const endpoints = [
    { address: "a:1", state: "draining" },
    { address: "b:1", state: "unchecked" },
  ];
  const lists: Record<string, object> = { "/api/v1/tunnels": list, "/api/v1/clusters": [{ name: "app", endpoints }] };
  const server = createServer(({ method, url }, response) => {
    const shown = method === "GET" ? lists[url!] : { state: "unchecked", inFlight: 0 };
    response.end(JSON.stringify(shown));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const drain = (...args: string[]) =>
    sluice("drain", "app", ...args, "--admin", `127.0.0.1:${(server.address() as AddressInfo).port}`);
  const end = "open tunnels and connections, which end within `shutdown.grace`:";
  assert.equal((await drain("a:1", "--undo")).out, `a:1 of cluster app: unchecked, 0 in flight; ${end} 2\n`);
  assert.equal((await drain("b:1", "--undo")).out, "b:1 of cluster app: unchecked, 0 in flight\n", "was not drained");
  assert.equal((await drain("c:1")).out, "c:1 of cluster app: unchecked, 0 in flight\n");
  list.open = 500;
  assert.equal((await drain("b:1")).out, `b:1 of cluster app: unchecked, 0 in flight; ${end} at least 1\n`);
});

/** plugins-check-endpoints: health checks by plugins; failures of the plugin change no endpoint's state. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { askSteadily, type HealthEndpoint, shown, startHealthEndpoint, whoServes } from "./health-endpoints.ts";
import { startRawUpstream, startUpstream } from "./peers.ts";
import {
  type LiveTest,
  type Program,
  runSluice,
  simpleConfig,
  startSluice,
  testInUsualMode,
  until,
} from "./program.ts";

/** Behaves according to the endpoint's status; a real plugin would only evaluate it. */
const SOURCE = `import { Endpoint, sleep } from "sluice/sdk";

export function onHealthCheck(endpoint: Endpoint): bool {
  const response = endpoint.fetch("/healthz").send();
  if (response.timedOut) return endpoint.unhealthy("is silent");
  if (response.status == 418) unreachable();
  if (response.status == 419) for (;;) {}
  if (response.status == 420) sleep(3600000);
  if (response.ok && response.text() == "draining") return endpoint.unhealthy("is draining");
  return response.ok;
}`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(SOURCE);
});

type Setup = { plugin?: string; active?: string; workers?: number };

async function start(t: LiveTest, { plugin = "", active = "", workers = 1 }: Setup = {}) {
  const [a, b] = [await startHealthEndpoint(t, "a"), await startHealthEndpoint(t, "b")];
  const rest = `plugins: { doctor: { wasm: ./d.wasm, allow: { fetch: [endpoint] }${plugin} } }`;
  const cluster = `health: { active: { plugin: doctor, interval: 100ms, unhealthyAfter: 2${active} } }`;
  const config = simpleConfig([a.port, b.port], { rest, cluster });
  const sluice = await startSluice(t, config, { files: { "d.wasm": wasm }, workers });
  return { sluice, a, b };
}

const checks = (sluice: Program, { port }: HealthEndpoint, result: string) =>
  sluice.metric("sluice_health_checks_total", { endpoint: `127.0.0.1:${port}`, result });
const failures = (sluice: Program, reason: string) =>
  sluice.metric("sluice_plugin_failures_total", { plugin: "doctor", hook: "health_check", reason });

testInUsualMode("the plugin's result is applied, with its reason", async (t) => {
  const { sluice, a } = await start(t);
  const steady = askSteadily(t, sluice);
  await until(async () => (await checks(sluice, a, "healthy")) > 0, "it is checked");
  a.body = "draining";
  await until(async () => !(await shown(sluice, a)).healthy, "it is out");
  assert.equal((await shown(sluice, a)).health?.problem, "is draining");
  await until(async () => (await whoServes(sluice)) === "b", "the other alone serves");
  a.status = 500;
  await until(async () => (await shown(sluice, a)).health?.problem === "rejected by plugin doctor", "another cause");
  a.status = 200;
  a.body = "";
  await until(async () => (await whoServes(sluice)) === "a b", "both serve");
  assert.deepEqual(steady.failed, []);
  assert.equal(await checks(sluice, a, "failed"), 0);
});

testInUsualMode("a check is not counted as traffic, and has its own connection", async (t) => {
  const { sluice, a } = await start(t);
  await until(async () => (await checks(sluice, a, "healthy")) >= 5, "it is checked");
  const endpoint = { endpoint: `127.0.0.1:${a.port}` };
  await sluice.metricIs(0, "sluice_upstream_duration_seconds_count", endpoint);
  const { latency, errorRate } = (await shown(sluice, a)) as unknown as { latency: number; errorRate: number };
  assert.deepEqual([latency, errorRate], [0, 0]);
  await sluice.metricIs(0, "sluice_requests_total");
  assert.ok(a.connections >= 5, `${a.connections} connections`);
});

testInUsualMode("the plugin reports a silent endpoint as unhealthy within the check's timeout", async (t) => {
  const { sluice, a } = await start(t, { active: ", timeout: 80ms" });
  a.status = 0;
  await until(async () => !(await shown(sluice, a)).healthy, "it is out");
  assert.equal((await shown(sluice, a)).health?.problem, "is silent");
  assert.equal(await checks(sluice, a, "failed"), 0);
});

for (const policy of ["", ", onFailure: skip"])
  testInUsualMode(
    `a plugin that traps, loops or suspends endlessly changes no state and fails no request${policy}`,
    async (t) => {
      const { sluice, a, b } = await start(t, {
        plugin: `, limits: { time: 1h, fuel: 100000 }${policy}`,
        active: ", timeout: 250ms",
      });
      b.status = 500;
      await until(async () => !(await shown(sluice, b)).healthy, "one is out");
      const steady = askSteadily(t, sluice);
      for (const [status, reason] of [
        [418, "trap"],
        [419, "fuel"],
        [420, "timeout"],
      ] as const) {
        a.status = b.status = status;
        await until(async () => (await failures(sluice, reason)) >= 4, `it fails by ${reason}`);
      }
      assert.ok((await checks(sluice, a, "failed")) >= 3);
      assert.equal(await checks(sluice, a, "unhealthy"), 0);
      assert.deepEqual([(await shown(sluice, a)).healthy, (await shown(sluice, b)).healthy], [true, false]);
      const { lastCheck } = (await shown(sluice, a)).health as unknown as { lastCheck: { ok: null; problem: string } };
      assert.deepEqual([lastCheck.ok, lastCheck.problem], [null, "plugin doctor failed"]);
      await until(() => steady.asked > 20, "requests were sent");
      assert.deepEqual(steady.failed, []);
      a.status = b.status = 200;
      await until(async () => (await shown(sluice, b)).healthy, "the plugin serves again");
    },
  );

testInUsualMode("a plugin checks an endpoint by a protocol other than HTTP", async (t) => {
  const source = `import { Endpoint } from "sluice/sdk";
export function onHealthCheck(endpoint: Endpoint): bool {
  const response = endpoint.probe("PING\\r\\n", "\\r\\n");
  if (!response.ok) return endpoint.unhealthy(response.timedOut ? "is silent" : "is away");
  return response.text().startsWith("+PONG") ? true : endpoint.unhealthy("says " + response.text());
}`;
  let response = "+PONG\r\n";
  const redis = await startRawUpstream(t, async (peer) => {
    await peer.waits(() => peer.text.includes("PING\r\n"), "a ping");
    peer.send(response);
  });
  const rest = "plugins: { doctor: { wasm: ./d.wasm } }";
  const cluster = "health: { active: { plugin: doctor, interval: 100ms, timeout: 200ms, unhealthyAfter: 1 } }";
  const config = simpleConfig(redis.port, { rest, cluster });
  const sluice = await startSluice(t, config, { files: { "d.wasm": await compileSource(source) } });
  const endpoint = { port: redis.port } as HealthEndpoint;
  await until(async () => (await checks(sluice, endpoint, "healthy")) > 1, "it is checked");
  response = "-LOADING\r\n";
  await until(async () => (await shown(sluice, endpoint)).health?.problem === "says -LOADING", "it loads");
  response = "";
  await until(async () => (await shown(sluice, endpoint)).health?.problem === "is silent", "it is silent");
  await sluice.metricIs(0, "sluice_plugin_failures_total");
});

testInUsualMode("a reload restarts a suspended check, and keeps no guest of the old version", async (t) => {
  const silent = await startRawUpstream(t);
  const rest = "plugins: { doctor: { wasm: ./d.wasm, allow: { fetch: [endpoint] } } }";
  const cluster = "health: { active: { plugin: doctor, timeout: 1m, interval: 100ms } }";
  const config = simpleConfig(silent.port, { rest, cluster });
  const sluice = await startSluice(t, config, { files: { "d.wasm": wasm } });
  const first = await silent.connection(0);
  await first.head();
  sluice.config(sluice.configText.replace("routes: [{ cluster: app", "routes: [{ cluster: app, name: other"));
  assert.equal((await sluice.reload()).status, 200);
  await first.closed;
  const second = await silent.connection(1);
  assert.match(await second.head(), /^GET \/healthz HTTP\/1\.1\r\n/);
  second.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  await sluice.metricIs(1, "sluice_health_checks_total");
  await sluice.metricIs(0, "sluice_plugin_failures_total");
  sluice.config(sluice.configText.replace(/health: .*/, ""));
  assert.equal((await sluice.reload()).status, 200);
  // The strategy's.
  await sluice.metricIs(1, "sluice_plugin_guests");
});

testInUsualMode("checks are distributed over workers", async (t) => {
  const { sluice, a } = await start(t, { workers: 2 });
  await until(async () => (await checks(sluice, a, "healthy")) >= 6, "it is checked");
  const { workers } = (await sluice.status()) as unknown as { workers: { guests: number }[] };
  // Each has the plugin's for calls that cannot wait, one for those that can, and the strategy's.
  assert.deepEqual(
    workers.map(({ guests }) => guests),
    [3, 3],
  );
});

testInUsualMode("in other hooks the endpoint is not available", async (t) => {
  const upstream = await startUpstream(t);
  const source = `import { Fetch, Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  new Fetch("endpoint/healthz").send();
}`;
  const rest = "plugins: { ask: { wasm: ./ask.wasm, allow: { fetch: [endpoint] } } }";
  const config = simpleConfig(upstream.port, { rest, listener: "chain: [ask]" });
  const sluice = await startSluice(t, config, { files: { "ask.wasm": await compileSource(source) } });
  assert.equal((await fetch(sluice.url)).status, 500);
  await sluice.logged(
    ({ msg }) => /cannot fetch "endpoint\/healthz": the plugin's configuration does not allow it/.test(msg ?? ""),
    "why",
  );
});

testInUsualMode("a plugin without the hook or the permission is reported with its place", async (t) => {
  const { sluice } = await start(t);
  const file = join(sluice.directory, "other.yaml");
  const filter = await compileSource(`import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {}`);
  sluice.write("filter.wasm", filter);
  const check = async (plugins: string, use: string): Promise<string> => {
    writeFileSync(
      file,
      `plugins: { ${plugins} }
listeners: { web: { address: ":8080", cluster: app } }
clusters: { app: { endpoints: [127.0.0.1:1], health: { active: { plugin: ${use} } } } }
`,
    );
    const { code, stderr, stdout } = await runSluice("check", "-c", file);
    assert.equal(code, 1);
    return stdout + stderr;
  };
  assert.match(
    await check("f: { wasm: ./filter.wasm }", "f"),
    /other\.yaml:3:74: clusters\.app\.health\.active\.plugin: f is not a health check: its hooks are request_head, expected health_check/,
  );
  assert.match(
    await check("d: { wasm: ./d.wasm }", "d"),
    /other\.yaml:1:\d+: plugins\.d.*: imports sluice:fetch\/1, which is not allowed: add `allow: \{ fetch: \[endpoint\] \}`/,
  );
  assert.match(await check("d: { wasm: ./d.wasm }", "dr"), /unknown health check "dr"/);
  assert.match(
    await check("d: { wasm: ./d.wasm }", "round-robin"),
    /"round-robin" is a strategy, expected a health check/,
  );
});

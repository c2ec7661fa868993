/** unhealthy-endpoints-get-no-traffic: an endpoint that fails its checks gets no requests until it passes them again. */
import assert from "node:assert/strict";
import { askSteadily, type HealthEndpoint, shown, startHealthEndpoint, whoServes } from "./health-endpoints.ts";
import {
  type LiveTest,
  type Program,
  runSluice,
  simpleConfig,
  startSluice,
  testInUsualMode,
  until,
} from "./program.ts";

const active = (how: string, more = "") =>
  `health: { active: { ${how}, interval: 100ms, unhealthyAfter: 2, healthyAfter: 2${more} } }`;

async function start(t: LiveTest, check: string): Promise<{ sluice: Program; a: HealthEndpoint; b: HealthEndpoint }> {
  const [a, b] = [await startHealthEndpoint(t, "a"), await startHealthEndpoint(t, "b")];
  const sluice = await startSluice(t, simpleConfig([a.port, b.port], { cluster: check }));
  return { sluice, a, b };
}

testInUsualMode("http: an endpoint that responds 503 to its check gets no requests until it is healthy", async (t) => {
  const { sluice, a, b } = await start(t, active("http: /healthz"));
  await until(async () => (await shown(sluice, a)).health!.history.length > 0, "it is checked");
  assert.equal(await whoServes(sluice), "a b");
  const steady = askSteadily(t, sluice);
  a.status = 503;
  const down = await sluice.logged(({ msg }) => /is unhealthy/.test(msg ?? ""), "that it is out");
  assert.deepEqual(
    [down.level, down.cluster, down.endpoint, down.problem],
    ["warn", "app", `127.0.0.1:${a.port}`, "status 503"],
  );
  await until(async () => (await whoServes(sluice)) === "b", "the other alone serves");
  const { healthy, health } = await shown(sluice, a);
  assert.deepEqual([healthy, health?.state, health?.problem], [false, "unhealthy", "status 503"]);
  const labels = { cluster: "app", endpoint: `127.0.0.1:${a.port}` };
  await sluice.metricIs(0, "sluice_endpoint_healthy", labels);
  assert.ok((await sluice.metric("sluice_health_checks_total", { ...labels, result: "unhealthy" })) >= 2);
  const status = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
  assert.match(status.stdout, new RegExp(`127\\.0\\.0\\.1:${a.port}: unhealthy since \\S+ \\(status 503\\)`));
  assert.match((await sluice.ask("/")).text, /unhealthy since \S+ \(status 503\)/);

  a.status = 200;
  await sluice.logged(({ msg, level }) => level === "info" && /healthy again/.test(msg ?? ""), "that it is back");
  await until(async () => (await whoServes(sluice)) === "a b", "both serve");
  assert.equal((await shown(sluice, a)).healthy, true);
  assert.equal(sluice.lines.filter(({ msg }) => /healthy/.test(msg ?? "")).length, 2, "each change is logged once");
  assert.ok((await shown(sluice, b)).health!.history.every(({ ok }) => ok));
  assert.ok(steady.asked > 40);
  assert.deepEqual(steady.failed, []);
});

testInUsualMode("tcp: an endpoint that refuses connections gets no requests until it listens again", async (t) => {
  const { sluice, a } = await start(t, active("tcp: true"));
  const steady = askSteadily(t, sluice);
  await a.die();
  await until(async () => (await shown(sluice, a)).health?.state === "unhealthy", "it is out");
  assert.equal((await shown(sluice, a)).health?.problem, "connection refused");
  const before = await sluice.metric("sluice_retries_total");
  assert.equal(await whoServes(sluice), "b");
  await sluice.metricIs(before, "sluice_retries_total");
  await a.listen();
  await until(async () => (await whoServes(sluice)) === "a b", "both serve");
  assert.deepEqual(steady.failed, []);
});

testInUsualMode(
  "without a healthy endpoint the response is 503 with the reason; the first healthy one serves",
  async (t) => {
    const { sluice, a, b } = await start(t, active("http: { path: /healthz, status: [204] }"));
    await until(async () => !(await shown(sluice, a)).healthy && !(await shown(sluice, b)).healthy, "both are out");
    const response = await fetch(sluice.url);
    assert.equal(response.status, 503);
    assert.match(response.headers.get("proxy-status") ?? "", /^sluice; error=destination_unavailable/);
    b.status = 204;
    await until(async () => (await shown(sluice, b)).healthy, "one is back");
    assert.equal(await whoServes(sluice), "b");
  },
);

testInUsualMode(
  "a reload keeps results, also with another check; a removed check makes endpoints available",
  async (t) => {
    const { sluice, a } = await start(t, active("http: /healthz"));
    a.status = 500;
    await until(async () => (await shown(sluice, a)).healthy === false, "it is out");
    const found = (await shown(sluice, a)).health!;
    const seen: string[] = [];
    const change = async (from: string | RegExp, to: string): Promise<void> => {
      sluice.config(sluice.configText.replace(from, to));
      const { status, text } = await sluice.reload();
      assert.equal(status, 200, text);
      seen.push(await whoServes(sluice));
    };
    await change("routes: [{ cluster: app", "routes: [{ cluster: app, name: other");
    await change("interval: 100ms", "interval: 10s");
    assert.deepEqual(seen, ["b", "b"]);
    const kept = (await shown(sluice, a)).health!;
    assert.deepEqual([kept.state, kept.since], ["unhealthy", found.since]);
    await change(/health: .*/, "");
    assert.equal(seen.at(-1), "a b");
    assert.deepEqual(await shown(sluice, a).then(({ healthy, health }) => [healthy, health]), [true, null]);
  },
);

testInUsualMode("explain reports which endpoints are unavailable", async (t) => {
  const { sluice, a } = await start(t, active("http: /healthz"));
  a.status = 500;
  await until(async () => (await shown(sluice, a)).healthy === false, "it is out");
  const { text } = await sluice.ask("/api/v1/explain", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ url: "/" }),
  });
  assert.match(text, new RegExp(`"endpoint": "127\\.0\\.0\\.1:${a.port}"[^}]*"out": "unhealthy"`));
});

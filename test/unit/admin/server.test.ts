import assert from "node:assert/strict";
import { request } from "node:http";
import { type TestContext, test } from "node:test";
import { type AdminOptions, startAdmin } from "../../../src/admin/server.ts";
import type { Status } from "../../../src/control/status.ts";
import { Traces } from "../../../src/control/traces.ts";
import { createLog } from "../../../src/observe/log.ts";

type Answer = { status: number; body: string; headers: NodeJS.Dict<string | string[]> };

const STATE: Status = {
  ready: true,
  draining: false,
  version: 1,
  startedAt: new Date(0).toISOString(),
  pid: 1,
  requestsInFlight: 0,
  quarantined: [],
  rollouts: [],
  listeners: [{ name: "web", address: "127.0.0.1:8080", connections: 3 }],
  threads: [{ thread: 0, serving: true, guests: 1, loopDelay: 0, restarts: 0 }],
  lastReload: null,
};

async function start(t: TestContext, parts: Partial<AdminOptions> = {}) {
  let reloads = 0;
  const admin = await startAdmin({
    address: { text: "127.0.0.1:0", host: "127.0.0.1", port: 0, path: "" },
    log: createLog("silent"),
    metrics: { contentType: "text/plain", render: async () => "sluice_config_version 1\n" },
    status: () => STATE,
    config: () => ({ text: "listeners: {}" }),
    traces: new Traces(1),
    explain: async () => ({ problem: "not here" }),
    clusters: () => [],
    plugins: () => [],
    reload: async () => {
      reloads++;
      return { result: "accepted" };
    },
    ...parts,
  });
  t.after(() => admin.close());
  const call = (method: string, path: string, headers: Record<string, string> = {}) => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    request(new URL(path, admin.url), { method, headers, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode!, body, headers: response.headers }));
    })
      .on("error", reject)
      .end();
    return promise;
  };
  return { call, url: admin.url, reloads: () => reloads };
}

test("health, readiness and metrics answer as probes expect", async (t) => {
  const state = { ready: false, draining: true, version: 1, quarantined: ["auth"] };
  const { call } = await start(t, { status: () => ({ ...STATE, ...state }) });
  assert.equal((await call("GET", "/health")).status, 200);
  const waiting = await call("GET", "/ready");
  assert.equal(waiting.status, 503);
  assert.deepEqual(JSON.parse(waiting.body), state);
  state.ready = true;
  assert.equal((await call("GET", "/ready")).status, 200);
  const metrics = await call("GET", "/metrics?name=x");
  assert.equal(metrics.body, "sluice_config_version 1\n");
});

test("what is not there, or not with that method, is said", async (t) => {
  const { call } = await start(t);
  assert.equal((await call("GET", "/nowhere")).status, 404);
  assert.equal((await call("GET", "/constructor")).status, 404);
  const wrong = await call("POST", "/api/v1/status");
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers.allow, "GET");
  assert.equal((await call("GET", "/api/v1/reload")).status, 405);
});

test("the page shows the state, and what comes from outside only as text", async (t) => {
  const evil = "<script>alert('x')</script>&\"";
  const figures = { weight: 1, zone: "", inFlight: 0, latency: 0, errorRate: 0 };
  const health = { state: "unhealthy", since: "noon", problem: evil, lastCheck: null, history: [] } as const;
  const endpoints = [
    { address: evil, healthy: true, health: null, ...figures },
    { address: "a:1", healthy: false, health, ...figures },
    { address: "b:1", healthy: false, health: null, ...figures },
  ];
  const { call } = await start(t, {
    status: () => ({ ...STATE, lastReload: { at: "now", result: "rejected", problems: [evil] } }),
    clusters: () => [{ name: "app", strategies: ["round-robin"], endpoints }],
  });
  const { status, body, headers } = await call("GET", "/");
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "text/html; charset=utf-8");
  assert.match(body, /127\.0\.0\.1:8080/);
  assert.doesNotMatch(body, /<script/);
  assert.equal(body.split("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;").length, 4);
  assert.match(body, /<td>a:1<\/td><td>unhealthy since noon: &lt;script/);
  assert.match(body, /<td>b:1<\/td><td>out of service<\/td>/);
});

test("a page whose name was turned to this machine is refused", async (t) => {
  const { call, url } = await start(t);
  const { host, port } = new URL(url);
  for (const good of [host, `localhost:${port}`, `[::1]:${port}`])
    assert.equal((await call("GET", "/api/v1/status", { host: good })).status, 200, good);
  for (const bad of [`evil.example:${port}`, "127.0.0.1.evil.example", "[::1].evil.example", "localhost.evil.example"])
    assert.equal((await call("GET", "/api/v1/status", { host: bad })).status, 403, bad);
});

test("another page's request changes nothing; the interface's own and a program's do", async (t) => {
  const { call, url, reloads } = await start(t);
  for (const origin of ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1"])
    assert.equal((await call("POST", "/api/v1/reload", { origin })).status, 403, origin);
  assert.equal((await call("POST", "/api/v1/reload", { "content-type": "text/plain" })).status, 403);
  assert.equal(reloads(), 0);
  assert.equal((await call("POST", "/api/v1/reload", { origin: new URL(url).origin })).status, 200);
  assert.equal((await call("POST", "/api/v1/reload")).status, 200);
  assert.equal(reloads(), 2);
});

test("a refused reload is an answer with its problems, a failing handler one without a cause", async (t) => {
  const refused = { result: "rejected", version: 1, problems: ["sluice.yaml:1:1: no"] };
  const { call } = await start(t, {
    reload: async () => refused,
    clusters: () => {
      throw new Error("inner");
    },
  });
  const answer = await call("POST", "/api/v1/reload");
  assert.equal(answer.status, 422);
  assert.deepEqual(JSON.parse(answer.body), refused);
  const failed = await call("GET", "/api/v1/clusters");
  assert.equal(failed.status, 500);
  assert.doesNotMatch(failed.body, /inner/);
});

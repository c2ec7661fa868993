import assert from "node:assert/strict";
import { test } from "node:test";
import { type FetchRequest, type FetchResponse, plugin } from "sluice/test";

function load(respond: (request: FetchRequest) => FetchResponse | null) {
  const config = { path: "/status", queue: 10 };
  return plugin("./plugins/doctor.ts", { config, allow: { fetch: ["endpoint"] }, fetch: respond });
}

test("queries the endpoint under check at the configured path", async () => {
  const asked: string[] = [];
  const doctor = await load(({ method, url, headers }) => {
    asked.push(`${method} ${url} ${headers.host}`);
    return { body: '{"draining":false,"queue":10}' };
  });
  assert.equal((await doctor.healthCheckAsync({ address: "10.0.0.1:80" })).healthy, true);
  assert.deepEqual(asked, ["GET endpoint/status 10.0.0.1:80"]);
});

test("reports why an instance is unhealthy", async () => {
  const cases: [response: FetchResponse | null, problem: string][] = [
    [{ body: '{"draining":true}' }, "is draining"],
    [{ body: '{"queue":11}' }, "11 queued jobs"],
    [{ body: "fine" }, "response is not JSON"],
    [{ status: 503 }, "status 503"],
    [null, "no response"],
    [{ delay: 5000 }, "timeout"],
  ];
  for (const [response, problem] of cases) {
    const doctor = await load(() => response);
    const result = await doctor.healthCheckAsync();
    assert.deepEqual([result.healthy, result.problem], [false, problem]);
  }
});

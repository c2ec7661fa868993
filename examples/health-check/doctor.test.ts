import assert from "node:assert/strict";
import { test } from "node:test";
import { type FetchRequest, type FetchResponse, plugin } from "sluice/test";

function load(answer: (request: FetchRequest) => FetchResponse | null) {
  const config = { path: "/status", queue: 10 };
  return plugin("./plugins/doctor.ts", { config, allow: { fetch: ["endpoint"] }, fetch: answer });
}

test("asks the endpoint under check, by the path that is configured", async () => {
  const asked: string[] = [];
  const doctor = await load(({ method, url, headers }) => {
    asked.push(`${method} ${url} ${headers.host}`);
    return { body: '{"draining":false,"queue":10}' };
  });
  assert.equal((await doctor.healthCheckAsync({ address: "10.0.0.1:80" })).healthy, true);
  assert.deepEqual(asked, ["GET endpoint/status 10.0.0.1:80"]);
});

test("says why an instance is unhealthy", async () => {
  const cases: [answer: FetchResponse | null, problem: string][] = [
    [{ body: '{"draining":true}' }, "is draining"],
    [{ body: '{"queue":11}' }, "11 jobs wait"],
    [{ body: "fine" }, "answered no JSON"],
    [{ status: 503 }, "answered 503"],
    [null, "no answer"],
    [{ delay: 5000 }, "no answer in time"],
  ];
  for (const [answer, problem] of cases) {
    const doctor = await load(() => answer);
    const result = await doctor.healthCheckAsync();
    assert.deepEqual([result.healthy, result.problem], [false, problem]);
  }
});

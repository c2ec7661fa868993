// Run by "sluice plugin test". The plugin runs as in the proxy, without a network; "fetch" responds for the endpoint.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const load = (fetch) => plugin("./plugin.ts", { allow: { fetch: ["endpoint"] }, fetch });

test("an endpoint that responds is healthy", async () => {
  const requests = [];
  const check = await load(({ method, url }) => {
    requests.push(method + " " + url);
    return { body: '{"draining":false}' };
  });
  assert.equal((await check.healthCheckAsync({ address: "10.0.0.1:80" })).healthy, true);
  assert.deepEqual(requests, ["GET endpoint/healthz"]);
});

test("an endpoint that drains, fails or times out is unhealthy", async () => {
  for (const [response, problem] of [
    [{ body: '{"draining":true}' }, "is draining"],
    [{ status: 503 }, "status 503"],
    [{ delay: 60_000 }, "timeout"],
    [null, "no response"],
  ]) {
    const check = await load(() => response);
    const result = await check.healthCheckAsync();
    assert.deepEqual([result.healthy, result.problem], [false, problem]);
  }
});

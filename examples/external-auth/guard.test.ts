import assert from "node:assert/strict";
import { test } from "node:test";
import { type FetchRequest, type FetchResponse, plugin } from "sluice/test";

const ann: FetchResponse = { headers: { "x-user": "ann" } };

function load(fetch: (request: FetchRequest) => FetchResponse | null, clock = { now: 0 }) {
  const allow = { fetch: ["cluster:auth"], kv: ["sessions"] };
  return plugin("./plugins/guard.ts", { clusters: ["app", "auth"], allow, fetch, now: () => clock.now });
}

test("sets x-user from the service, not from the client", async () => {
  const guard = await load(({ url, headers }) =>
    url === "cluster:auth/session" && headers["x-session"] === "73312d616e6e" ? ann : { status: 401 },
  );
  const { outcome, headers } = await guard.requestAsync({ headers: { cookie: "session=s1-ann", "x-user": "root" } });
  assert.deepEqual([outcome, headers["x-user"]], ["continue", "ann"]);
});

test("caches the result for the configured time", async () => {
  const clock = { now: Date.now() };
  const guard = await load(() => ann, clock);
  const send = () => guard.requestAsync({ headers: { cookie: "session=s1-ann" } });
  for (let i = 0; i < 3; i++) assert.equal((await send()).headers["x-user"], "ann");
  assert.equal(guard.metric("guard_queries_total"), 1);
  clock.now += 10_001;
  await send();
  assert.equal(guard.metric("guard_queries_total"), 2);
  assert.ok(!guard.kv("sessions").keys().includes("s1-ann"));
});

test("redirects to the login without a valid session, and does not cache that", async () => {
  const guard = await load(() => ({ status: 401 }));
  for (const headers of [{}, { cookie: "session=wrong" }]) {
    const { response } = await guard.requestAsync({ headers });
    assert.deepEqual([response?.status, response?.headers.location], [302, "/login"]);
  }
  assert.deepEqual(guard.kv("sessions").keys(), []);
});

test("responds 503 if the service is unavailable, too slow, or sends no user", async () => {
  for (const result of [null, { ...ann, delay: 1001 }, { status: 500 }, { status: 200 }]) {
    const guard = await load(() => result);
    const { response, log } = await guard.requestAsync({ headers: { cookie: "session=s1-ann" } });
    assert.equal(response?.status, 503);
    assert.equal(log.length, 1);
  }
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { type FetchRequest, type FetchResponse, plugin } from "sluice/test";

const ann: FetchResponse = { headers: { "x-user": "ann" } };

function load(answer: (request: FetchRequest) => FetchResponse | null, clock = { now: 0 }) {
  const allow = { fetch: ["cluster:auth"], kv: ["sessions"] };
  return plugin("./plugins/guard.ts", { clusters: ["app", "auth"], allow, fetch: answer, now: () => clock.now });
}

test("tells the upstream who it is, whatever the client says", async () => {
  const guard = await load(({ url, headers }) =>
    url === "cluster:auth/session" && headers["x-session"] === "73312d616e6e" ? ann : { status: 401 },
  );
  const { outcome, headers } = await guard.requestAsync({ headers: { cookie: "session=s1-ann", "x-user": "root" } });
  assert.deepEqual([outcome, headers["x-user"]], ["continue", "ann"]);
});

test("asks once, for as long as an answer is good", async () => {
  const clock = { now: Date.now() };
  const guard = await load(() => ann, clock);
  const ask = () => guard.requestAsync({ headers: { cookie: "session=s1-ann" } });
  for (let i = 0; i < 3; i++) assert.equal((await ask()).headers["x-user"], "ann");
  assert.equal(guard.metric("guard_asked_total"), 1);
  clock.now += 10_001;
  await ask();
  assert.equal(guard.metric("guard_asked_total"), 2);
  assert.ok(!guard.kv("sessions").keys().includes("s1-ann"));
});

test("sends those without a session to the login, and keeps no refusal", async () => {
  const guard = await load(() => ({ status: 401 }));
  for (const headers of [{}, { cookie: "session=wrong" }]) {
    const { response } = await guard.requestAsync({ headers });
    assert.deepEqual([response?.status, response?.headers.location], [302, "/login"]);
  }
  assert.deepEqual(guard.kv("sessions").keys(), []);
});

test("lets nobody in while the service is away, late, or says nothing", async () => {
  for (const answer of [null, { ...ann, delay: 1001 }, { status: 500 }, { status: 200 }]) {
    const guard = await load(() => answer);
    const { response, log } = await guard.requestAsync({ headers: { cookie: "session=s1-ann" } });
    assert.equal(response?.status, 503);
    assert.equal(log.length, 1);
  }
});

/** survives-a-trap, survives-a-spin: a failing plugin fails the request that it ran for, and nothing else. */
import assert from "node:assert/strict";
import { makePlugin, SPIN, TRAP, trapsWhenAsked } from "./bad-plugins.ts";
import { startUpstream } from "./peers.ts";
import { simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

const bad: { name: string; reason: string; wasm: Uint8Array }[] = [
  { name: "a trap", reason: "trap", wasm: makePlugin("request_head", TRAP) },
  { name: "an endless loop", reason: "fuel", wasm: makePlugin("request_head", SPIN) },
  {
    name: "an endless recursion",
    reason: "stack",
    wasm: makePlugin("request_head", "(call 1 (local.get 0) (local.get 1))"),
  },
  {
    name: "a result that the hook does not define",
    reason: "bad_result",
    wasm: makePlugin("request_head", "i32.const 77"),
  },
  { name: "memory past its end", reason: "memory", wasm: makePlugin("request_head", "(i32.load (i32.const -8))") },
];

for (const { name, reason, wasm } of bad) {
  testInUsualMode(`survives ${name}: reject responds with 500, skip continues`, async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startSluice(
      t,
      (ports) => `plugins:
  bad: { wasm: ./bad.wasm }
  skipped: { wasm: ./bad.wasm, onFailure: skip }
${simpleConfig(upstream.port)(ports).replace(
  "routes: [",
  "routes: [{ match: { path: /bad }, chain: [bad], cluster: app }, { match: { path: /skipped }, chain: [skipped], cluster: app }, ",
)}`,
      { files: { "bad.wasm": wasm } },
    );
    for (let turn = 0; turn < 3; turn++) {
      const rejected = await fetch(`${sluice.url}/bad`);
      assert.equal(rejected.status, 500);
      assert.equal(rejected.headers.get("proxy-status"), "sluice; error=proxy_internal_error");
      assert.doesNotMatch(await rejected.text(), /wasm|trap|fuel|bad/);
      assert.equal((await fetch(`${sluice.url}/skipped`)).status, 200);
      assert.equal((await fetch(`${sluice.url}/good`)).status, 200);
    }
    assert.equal(upstream.requests.filter(({ url }) => url === "/bad").length, 0);
    await sluice.logged(
      (line) => JSON.stringify(line).includes('"bad"') && /request_head/.test(JSON.stringify(line)),
      "what failed and where",
    );
    await sluice.metricIs(3, "sluice_plugin_failures_total", { plugin: "bad", hook: "request_head" });
    const reasons = (await sluice.ask("/metrics")).text.match(/(?<=sluice_plugin_failures_total.*reason=")\w+/g) ?? [];
    assert.deepEqual([...new Set(reasons)], [reason]);
    // A stack of 1 MiB, which is filled and unwound in about a millisecond, takes 32,000 units a call.
    const fuel = await sluice.metric("sluice_plugin_fuel_total", { plugin: "bad", hook: "request_head" });
    if (reason === "stack") assert.ok(fuel > 0 && fuel < 3 * 64_000, `${fuel} units of recursion in three calls`);
  });
}

testInUsualMode("a plugin that fails for one request serves the next on the same connection", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) =>
      `plugins: { moody: { wasm: ./moody.wasm } }\n${simpleConfig(upstream.port, { listener: "chain: [moody]" })(ports)}`,
    { files: { "moody.wasm": trapsWhenAsked() } },
  );
  for (let turn = 0; turn < 20; turn++) {
    assert.equal((await fetch(sluice.url, { headers: { "x-bad": "1" } })).status, 500);
    assert.equal((await fetch(sluice.url)).status, 200);
  }
});

testInUsualMode("a failing strategy is replaced by the host's own pick", async (t) => {
  const upstream = await startUpstream(t);
  const pick = '(func (export "pick") (param i32 i32) (result i32) i32.const 0)';
  for (const body of [TRAP, SPIN])
    for (const wasm of [makePlugin("pick", body), makePlugin("update", body, pick)]) {
      const sluice = await startSluice(
        t,
        (ports) =>
          `plugins: { bad: { wasm: ./bad.wasm } }\n${simpleConfig(upstream.port, { cluster: "strategy: bad" })(ports)}`,
        { files: { "bad.wasm": wasm } },
      );
      for (let turn = 0; turn < 3; turn++) assert.equal((await fetch(sluice.url)).status, 200);
      assert.ok((await sluice.metric("sluice_plugin_failures_total", { plugin: "bad" })) > 0);
      await sluice.stop();
    }
});

testInUsualMode("a failing response hook causes 500, and a failing log hook is only counted", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) => `plugins: { response: { wasm: ./response.wasm }, log: { wasm: ./log.wasm } }
${simpleConfig(upstream.port)(ports).replace(
  "routes: [",
  "routes: [{ match: { path: /response }, chain: [response], cluster: app }, { match: { path: /log }, chain: [log], cluster: app }, ",
)}`,
    { files: { "response.wasm": makePlugin("response_head", TRAP), "log.wasm": makePlugin("log", TRAP) } },
  );
  assert.equal((await fetch(`${sluice.url}/response`)).status, 500);
  assert.equal((await fetch(`${sluice.url}/log`)).status, 200);
  assert.equal((await fetch(`${sluice.url}/log`)).status, 200);
  const counted = () => sluice.metric("sluice_plugin_failures_total", { plugin: "log", hook: "log" });
  await until(async () => (await counted()) === 2, "both failures are counted");
});

testInUsualMode(
  "a plugin that always fails is quarantined, logged once, and replaced by a new file; others are not affected",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startSluice(
      t,
      (ports) => `plugins: { bad: { wasm: ./bad.wasm }, good: { wasm: ./good.wasm } }
${simpleConfig(upstream.port)(ports).replace(
  "routes: [",
  "routes: [{ match: { path: /bad }, chain: [bad], cluster: app }, { match: { path: /good }, chain: [good], cluster: app }, ",
)}`,
      { files: { "bad.wasm": makePlugin("request_head", TRAP), "good.wasm": trapsWhenAsked() } },
    );
    const plugin = async () =>
      JSON.parse((await sluice.ask("/api/v1/plugins")).text).find(({ name }: { name: string }) => name === "bad");
    const ready = async () => JSON.parse((await sluice.ask("/ready")).text);
    const ask = async (path: string) => {
      const response = await fetch(`${sluice.url}${path}`);
      await response.text();
      return response.status;
    };
    assert.deepEqual((await ready()).quarantined, []);
    // Requests that arrive faster than restarts are allowed are rejected: so send many at a time.
    await until(async () => {
      const responses = await Promise.all(Array.from({ length: 60 }, () => ask("/bad")));
      assert.deepEqual([...new Set(responses)], [500]);
      return (await plugin()).refused > 0;
    }, "a call is refused");
    const { state, failuresByReason, lastFailure, failures } = await plugin();
    assert.deepEqual([state, failuresByReason], ["quarantined", { trap: failures }]);
    assert.deepEqual(
      [lastFailure.hook, lastFailure.reason, lastFailure.message],
      ["request_head", "trap", "unreachable"],
    );
    assert.match(lastFailure.stack, /function\[\d+\]\+0x/);
    assert.deepEqual((await ready()).quarantined, ["bad"]);
    assert.equal((await sluice.ask("/ready")).status, 200);
    await sluice.metricIs(1, "sluice_plugin_quarantined", { plugin: "bad" });
    await sluice.metricIs(0, "sluice_plugin_quarantined", { plugin: "good" });
    assert.ok((await sluice.metric("sluice_plugin_refused_total", { plugin: "bad", hook: "request_head" })) > 0);
    assert.equal(await ask("/good"), 200);

    sluice.write("bad.wasm", makePlugin("request_head", "i32.const 0"));
    await until(async () => (await ask("/bad")) === 200, "the new file serves");
    await until(async () => (await ready()).quarantined.length === 0, "no plugin is quarantined");
    await sluice.logged(({ msg }) => /no longer quarantined/.test(msg ?? ""), "the end of the quarantine");
    const logged = sluice.lines.filter(({ msg }) => /quarantined/.test(msg ?? ""));
    assert.deepEqual(
      logged.map(({ level, msg }) => [level, msg]),
      [
        ["error", "plugin bad is quarantined: unreachable"],
        ["warn", "plugin bad is no longer quarantined: it was replaced"],
      ],
    );
    assert.match(String(logged[0]!.stack), /function\[\d+\]/);
  },
);

testInUsualMode(
  "a client that sends poisoned requests does not put the plugin out of service for others",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startSluice(
      t,
      (ports) =>
        `plugins: { auth: { wasm: ./auth.wasm } }\n${simpleConfig(upstream.port, { listener: "chain: [auth]" })(ports)}`,
      { files: { "auth.wasm": trapsWhenAsked() } },
    );
    for (let turn = 0; turn < 300; turn++) {
      const [bad, good] = await Promise.all([fetch(sluice.url, { headers: { "x-bad": "1" } }), fetch(sluice.url)]);
      assert.deepEqual([bad.status, good.status], [500, 200]);
      await Promise.all([bad.text(), good.text()]);
    }
    await sluice.metricIs(0, "sluice_plugin_refused_total", { plugin: "auth" });
  },
);

testInUsualMode(
  "only the client whose requests make a plugin fail is rejected: no quarantine, no failure of others",
  async (t) => {
    const upstream = await startUpstream(t);
    const sluice = await startSluice(
      t,
      (ports) =>
        `plugins: { auth: { wasm: ./auth.wasm } }\n${simpleConfig(upstream.port, { listener: "trustedProxies: [127.0.0.0/8]\n    chain: [auth]" })(ports)}`,
      { files: { "auth.wasm": trapsWhenAsked() } },
    );
    const ask = async (client: string, bad: boolean) => {
      const headers = { "x-forwarded-for": client, ...(bad ? { "x-bad": "1" } : {}) };
      const response = await fetch(sluice.url, { headers });
      await response.text();
      return response.status;
    };
    const refused = () => sluice.metric("sluice_plugin_refused_total", { plugin: "auth" });
    assert.equal(await ask("192.0.2.2", false), 200);
    let turns = 0;
    await until(async () => {
      const attack = Array.from({ length: 50 }, (_, i) => ask(`2001:db8::${i + 1}`, true));
      const others = Array.from({ length: 5 }, (_, i) => ask(`192.0.2.${i + 2}`, false));
      assert.deepEqual([...new Set(await Promise.all(attack))], [500]);
      assert.deepEqual(await Promise.all(others), [200, 200, 200, 200, 200]);
      return ++turns >= 10 && (await refused()) > 0;
    }, "the client is refused");
    assert.deepEqual(JSON.parse((await sluice.ask("/ready")).text).quarantined, []);
    await sluice.metricIs(0, "sluice_plugin_quarantined", { plugin: "auth" });
    const { client } = await sluice.logged(({ msg }) => /not called for a client/.test(msg ?? ""), "it is logged");
    assert.match(String(client), /^2001:db8::/);
    assert.equal(await ask("192.0.2.2", false), 200);
  },
);

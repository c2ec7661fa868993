/** Calls that take longer than their fuel accounts for are limited (`limits.slow`); other traffic is not affected. */
import assert from "node:assert/strict";
import { HOSTILE_MODULES } from "../bench/hostile-modules.ts";
import { assemble, makePlugin } from "./bad-plugins.ts";
import { startUpstream } from "./peers.ts";
import { startSluice, testInUsualMode, until } from "./program.ts";

/** Reads the lines of 16 MiB in an order that no processor can predict: tens of milliseconds a call. */
const slow = assemble(HOSTILE_MODULES["hostile-pointers"]!);

testInUsualMode("slow calls of a plugin are limited, counted and logged; other plugins are called", async (t) => {
  const upstream = await startUpstream(t);
  const route = (plugin: string): string => `{ match: { path: /${plugin} }, chain: [${plugin}], cluster: app }`;
  const plugins = ["slow", "skipped", "unlimited", "quick"];
  const sluice = await startSluice(
    t,
    (ports) => `plugins:
  slow: { wasm: ./slow.wasm, limits: { slow: 0% } }
  skipped: { wasm: ./slow.wasm, limits: { slow: 0% }, onFailure: skip }
  unlimited: { wasm: ./slow.wasm, limits: { slow: 100% } }
  quick: { wasm: ./quick.wasm }
listeners: { web: { address: "127.0.0.1:${ports.web}", routes: [${plugins.map(route).join(", ")}] } }
clusters: { app: { endpoints: ["127.0.0.1:${upstream.port}"] } }`,
    { files: { "slow.wasm": slow, "quick.wasm": makePlugin("request_head", "i32.const 0") } },
  );
  const ask = async (path: string): Promise<number> => {
    const response = await fetch(`${sluice.url}/${path}`);
    await response.text();
    return response.status;
  };
  const refused = (plugin: string): Promise<number> => sluice.metric("sluice_plugin_refused_total", { plugin });

  // Without a share of the time, calls are made until those so far have used up what every plugin may use once.
  let calls = 0;
  await until(async () => {
    const [status, other] = await Promise.all([ask("slow"), ask("quick")]);
    assert.equal(other, 200);
    if (status === 200) calls++;
    return status === 500;
  }, "a call is refused");
  assert.ok(calls > 0, "the first call is made");
  for (let turn = 0; turn < 3; turn++) assert.deepEqual([await ask("slow"), await ask("quick")], [500, 200]);
  await sluice.metricIs(calls, "sluice_plugin_calls_total", { plugin: "slow", hook: "request_head" });
  await sluice.metricIs(4, "sluice_plugin_refused_total", { plugin: "slow", hook: "request_head" });
  await sluice.metricIs(0, "sluice_plugin_failures_total", { plugin: "slow" });
  assert.equal(upstream.requests.filter(({ url }) => url === "/slow").length, calls);
  const line = await sluice.logged(({ plugin, msg }) => plugin === "slow" && /limits\.slow/.test(msg ?? ""), "why");
  assert.deepEqual([line.level, line.hook], ["warn", "request_head"]);
  assert.ok(Number(line.milliseconds) >= 5 && Number(line.fuel) > 400_000, JSON.stringify(line));

  // By `onFailure: skip` the request goes on without the call; with 100% every call is made.
  await until(async () => {
    assert.equal(await ask("skipped"), 200);
    return (await refused("skipped")) > 0;
  }, "a call is skipped");
  const own = await sluice.metric("sluice_plugin_calls_total", { plugin: "skipped", hook: "request_head" });
  assert.ok(own > 0, "each plugin has a budget of its own");
  for (let turn = 0; turn < calls + 5; turn++) assert.equal(await ask("unlimited"), 200);
  await sluice.metricIs(calls + 5, "sluice_plugin_calls_total", { plugin: "unlimited", hook: "request_head" });
  assert.deepEqual([await refused("unlimited"), await refused("quick")], [0, 0]);
});

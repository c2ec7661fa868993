import assert from "node:assert/strict";
import { test } from "node:test";
import { HOOK, METRIC } from "../../../src/abi/abi.ts";
import { Counters, seriesKey } from "../../../src/observe/counters.ts";
import { createMetrics } from "../../../src/observe/metrics.ts";
import { renderPluginMetrics } from "../../../src/observe/plugin-metrics.ts";
import {
  BLOCK_CELLS,
  countStatus,
  LISTENER_CELLS,
  observeDuration,
  PLUGIN_CELLS,
  WORKER_CELLS,
} from "../../../src/observe/series.ts";

const metricsOf = (counters: Counters) =>
  createMetrics({
    counters,
    certificates: () => [],
    acme: { counts: {}, requests: {}, onDemandCount: 0, schedule: () => [] },
    ocspFetches: () => ({}),
    ocspResponses: () => [],
    workers: () => [...counters.buffers.keys()],
    pluginMetrics: () => [],
    keyValue: () => [{ name: "sessions", entries: 2, bytes: 160, evicted: 1, expired: 3 }],
    restarts: () => [{ worker: 1, reason: "stuck", count: 3 }],
    reloads: () => ({ accepted: 2, rejected: 1 }),
    adminDenials: () => 0,
    descriptorsExhausted: () => 0,
    resolutions: () => ({ resolved: 2, empty: 0, failed: 0 }),
    version: () => 2,
    ready: () => true,
    quarantined: (plugin) => (plugin === "bad" ? 2 : 0),
    rollouts: () => [
      {
        plugin: "good",
        state: "watching",
        percent: 5,
        baseline: { requests: 95, failures: 1 },
        canary: { requests: 5, failures: 0 },
      },
    ],
    logDropped: () => 3,
    rolloutResults: () => [{ plugin: "good", state: "rolled back", count: 2 }],
    checks: () => [{ cluster: "app", endpoint: "127.0.0.1:1", counts: { healthy: 4, unhealthy: 2, failed: 0 } }],
    ejections: () => [{ cluster: "app", endpoint: "127.0.0.1:1", count: 2, ejected: true }],
    endpoints: () => [
      { name: "app", endpoints: [{ address: "127.0.0.1:1", healthy: false }], unresolved: [1], set: { version: 4 } },
    ],
  });

/** The lines of one metric, without its comments. */
async function linesOf(counters: Counters, name: string): Promise<string[]> {
  const text = await metricsOf(counters).render();
  return text.split("\n").filter((line) => line.startsWith(name));
}

test("counts of workers are exported summed, with their labels", async () => {
  const counters = new Counters(2);
  const blocks = counters.buffers.map((buffer) => new Float64Array(buffer));
  const base = counters.allocate(seriesKey("requests", { listener: "web", route: "0", cluster: "app" }));
  countStatus(blocks[0]!, base, 200);
  countStatus(blocks[1]!, base, 200);
  countStatus(blocks[1]!, base, 299);
  assert.deepEqual(await linesOf(counters, "sluice_requests_total"), [
    'sluice_requests_total{listener="web",route="0",cluster="app",status="200"} 2',
    'sluice_requests_total{listener="web",route="0",cluster="app",status="2xx"} 1',
  ]);
});

test("a histogram's buckets are cumulative, and sum and count agree with them", async () => {
  const counters = new Counters(2);
  const blocks = counters.buffers.map((buffer) => new Float64Array(buffer));
  const base = counters.allocate(seriesKey("duration", { listener: "web", route: "0" }));
  observeDuration(blocks[0]!, base, 0.001);
  observeDuration(blocks[1]!, base, 0.25);
  observeDuration(blocks[1]!, base, 60);
  const lines = await linesOf(counters, "sluice_request_duration_seconds");
  const at = (le: string) =>
    lines
      .find((line) => line.includes(`le="${le}"`))
      ?.split(" ")
      .at(-1);
  assert.deepEqual(["0.001", "0.1", "0.25", "10", "+Inf"].map(at), ["1", "1", "2", "2", "3"]);
  assert.ok(lines.includes('sluice_request_duration_seconds_sum{listener="web",route="0"} 60.251'));
  assert.ok(lines.includes('sluice_request_duration_seconds_count{listener="web",route="0"} 3'));
});

test("a plugin's quarantine and the calls rejected in it are exported", async () => {
  const counters = new Counters(2);
  const blocks = counters.buffers.map((buffer) => new Float64Array(buffer));
  for (const plugin of ["good", "bad"]) {
    const base = counters.allocate(seriesKey("plugin", { plugin }));
    if (plugin === "bad") for (const block of blocks) block[base + PLUGIN_CELLS.refused + HOOK.request_head]! += 3;
  }
  assert.deepEqual(await linesOf(counters, "sluice_plugin_quarantined"), [
    'sluice_plugin_quarantined{plugin="good"} 0',
    'sluice_plugin_quarantined{plugin="bad"} 2',
  ]);
  assert.deepEqual(await linesOf(counters, "sluice_plugin_rollout"), [
    'sluice_plugin_rollout_percent{plugin="good"} 5',
    'sluice_plugin_rollout_requests{plugin="good",version="baseline"} 95',
    'sluice_plugin_rollout_requests{plugin="good",version="canary"} 5',
    'sluice_plugin_rollout_failures{plugin="good",version="baseline"} 1',
    'sluice_plugin_rollout_failures{plugin="good",version="canary"} 0',
    'sluice_plugin_rollouts_total{plugin="good",result="rolled-back"} 2',
  ]);
  assert.deepEqual(await linesOf(counters, "sluice_plugin_refused_total"), [
    'sluice_plugin_refused_total{plugin="bad",hook="request_head"} 6',
  ]);
});

test("a released series is not exported, and its cells are zero for the next", async () => {
  const counters = new Counters(1);
  const block = new Float64Array(counters.buffers[0]!);
  const key = seriesKey("retries", { cluster: "a" });
  const base = counters.allocate(key);
  block[base] = 7;
  counters.free(key, base);
  assert.deepEqual(await linesOf(counters, "sluice_retries_total"), []);
  assert.equal(counters.allocate(seriesKey("retries", { cluster: "b" })), base);
  assert.deepEqual(await linesOf(counters, "sluice_retries_total"), ['sluice_retries_total{cluster="b"} 0']);
});

test("an ended worker's gauges are cleared, its counters stay", () => {
  const counters = new Counters(2);
  const blocks = counters.buffers.map((buffer) => new Float64Array(buffer));
  const base = counters.allocate(seriesKey("listener", { listener: "web" }));
  for (const block of blocks) {
    block[base + LISTENER_CELLS.connections] = 5;
    block[base + LISTENER_CELLS.bytesSent] = 100;
    block[WORKER_CELLS.requestsInFlight] = 2;
  }
  counters.clearGauges(0);
  assert.equal(counters.sum(base + LISTENER_CELLS.connections), 5);
  assert.equal(counters.sum(base + LISTENER_CELLS.bytesSent), 200);
  assert.equal(counters.sum(WORKER_CELLS.requestsInFlight), 2);
});

test("exhausted cells are reported with the figure", () => {
  const counters = new Counters(1);
  assert.throws(
    () => {
      for (let i = 0; ; i++) counters.allocate(seriesKey("plugin", { plugin: String(i) }));
    },
    new RegExp(`${BLOCK_CELLS} counters`),
  );
});

test("the main thread's own metrics are exported too", async () => {
  const text = await metricsOf(new Counters(2)).render();
  for (const line of [
    "sluice_config_version 2",
    'sluice_config_reloads_total{result="rejected"} 1',
    'sluice_worker_restarts_total{worker="1",reason="stuck"} 3',
    'sluice_worker_event_loop_delay_seconds{worker="1"} 0',
    'sluice_endpoint_healthy{cluster="app",endpoint="127.0.0.1:1"} 0',
    'sluice_circuit_open{cluster="app",endpoint="127.0.0.1:1"} 1',
    'sluice_health_checks_total{cluster="app",endpoint="127.0.0.1:1",result="unhealthy"} 2',
    'sluice_health_checks_total{cluster="app",endpoint="127.0.0.1:1",result="failed"} 0',
  ])
    assert.ok(text.split("\n").includes(line), line);
  assert.match(text, /^process_cpu_seconds_total/m);
});

test("a plugin's gauges are dropped with the worker, its counters are not", () => {
  const counters = new Counters(2);
  const series = { series: "x" };
  const bases = (["pluginGauge", "pluginCounter", "pluginLatest"] as const).map((kind) =>
    counters.allocate(seriesKey(kind, series)),
  );
  for (const buffer of counters.buffers) for (const base of bases) new Float64Array(buffer)[base] = 2;
  counters.clearGauges(0);
  assert.deepEqual(
    bases.map((base) => counters.sum(base)),
    [2, 4, 4],
  );
});

test("`latest` is the value of the worker that set it last; escapes keep one line per series", () => {
  const counters = new Counters(2);
  const cells = counters.allocate(seriesKey("pluginLatest", { series: "x" }));
  for (const [worker, [value, at]] of [
    [7, 1000],
    [3, 2000],
  ].entries())
    new Float64Array(counters.buffers[worker]!).set([value!, at!], cells);
  const labels = [["x", '"\n\\']] as const;
  const metric = { kind: METRIC.latest, name: "l", help: "a\\b\nc", labels, buckets: [], cells };
  assert.equal(
    renderPluginMetrics(counters, [{ plugin: "p", metric }]),
    '# HELP l a\\\\b\\nc\n# TYPE l gauge\nl{plugin="p",x="\\"\\n\\\\"} 3\n',
  );
});

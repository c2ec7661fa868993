/** Failures are logged with their cause, at a limited rate, and counted: attempts, rejected requests, shed load, log lines. */
import assert from "node:assert/strict";
import { before } from "node:test";
import type { ClusterStatus } from "../../src/admin/api.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { findFreePort } from "./free-port.ts";
import { connectTo, exchange, startRawUpstream } from "./peers.ts";
import { type Ports, startSluice, testInUsualMode, until } from "./program.ts";

const BUSY = `import { Request, log, sleep } from "sluice/sdk";
export function onRequest(req: Request): void {
  if (req.pathIs("/plugin/busy")) sleep(300);
  if (req.pathIs("/plugin/talks")) for (let i = 0; i < 20; i++) log.info("line " + i.toString());
  req.respond(200, "ok");
}`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(BUSY);
});

const clusters = ["refuses", "resets", "malformed", "silent", "breaks", "overloaded"] as const;

testInUsualMode(
  "failures-are-reported: upstream failures, rejections and shed load, with cause and count",
  async (t) => {
    const upstreams = {
      refuses: await findFreePort(),
      resets: (
        await startRawUpstream(t, async (peer) => {
          await peer.head();
          peer.reset();
        })
      ).port,
      malformed: (
        await startRawUpstream(t, async (peer) => {
          await peer.head();
          peer.send("HTTP/1.1 abc\r\n\r\n");
        })
      ).port,
      silent: (await startRawUpstream(t)).port,
      overloaded: (
        await startRawUpstream(t, async (peer) => {
          await peer.head();
          peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        })
      ).port,
      breaks: (
        await startRawUpstream(t, async (peer) => {
          await peer.head();
          peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
          peer.end();
        })
      ).port,
    };
    const config = (ports: Ports) => `
plugins: { busy: { wasm: ./busy.wasm, limits: { guests: 1 } } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
      - { match: { prefix: /plugin }, chain: [busy], cluster: silent }
      - { match: { path: /empty }, cluster: empty }
${clusters.map((name) => `      - { match: { path: /${name} }, cluster: ${name}, retry: { attempts: 0 } }`).join("\n")}
clusters:
  empty: []
${clusters.map((name) => `  ${name}: { endpoints: ["127.0.0.1:${upstreams[name]}"], timeouts: { response: 300ms } }`).join("\n")}
`;
    const sluice = await startSluice(t, config, { files: { "busy.wasm": wasm } });
    const get = (path: string) =>
      exchange(t, sluice.port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const failure = (cluster: string) =>
      sluice.logged((line) => line.event === "upstream_failure" && line.cluster === cluster, `a failure of ${cluster}`);
    const failures = {
      refuses: ["connect_refused", /ECONNREFUSED/, 502],
      resets: ["upstream_reset", /ECONNRESET|before the response head/, 502],
      malformed: ["upstream_malformed", /status/, 502],
      silent: ["response_timeout", /in time/, 504],
    } as const;
    for (const [cluster, [error, cause, status]] of Object.entries(failures)) {
      assert.equal((await get(`/${cluster}`)).status, status);
      const line = await failure(cluster);
      const endpoint = `127.0.0.1:${upstreams[cluster as keyof typeof upstreams]}`;
      assert.deepEqual([line.level, line.error, line.endpoint, line.route], ["warn", error, endpoint, line.route]);
      assert.match(String(line.cause), cause);
      await sluice.metricIs(1, "sluice_upstream_failures_total", { cluster, endpoint, reason: error });
    }
    const broken = await connectTo(t, sluice.port);
    broken.send("GET /breaks HTTP/1.1\r\nHost: a\r\n\r\n");
    assert.equal((await failure("breaks")).error, "upstream_broken");

    assert.equal((await get("/overloaded")).status, 503);
    const { text } = await sluice.ask("/api/v1/clusters");
    const overloaded = (JSON.parse(text) as ClusterStatus[]).find(({ name }) => name === "overloaded")!;
    assert.ok(overloaded.endpoints[0]!.errorRate > 0, "gateway errors count in the error column");

    assert.equal((await get("/empty")).status, 503);
    const empty = await sluice.logged((line) => line.event === "no_endpoint", "a cluster without an endpoint");
    assert.deepEqual([empty.level, empty.cluster, empty.listener], ["warn", "empty", "web"]);
    await sluice.metricIs(1, "sluice_no_endpoint_total", { cluster: "empty" });

    for (let i = 0; i < 30; i++) await get("/refuses");
    const more = await sluice.logged(
      (line) => line.event === "upstream_failure" && line.cluster === "refuses" && Number(line.suppressed) > 0,
      "the number of lines left out",
    );
    assert.ok(Number(more.suppressed) <= 31);
    await sluice.metricIs(31, "sluice_upstream_failures_total", { cluster: "refuses" });

    for (const head of ["GET / HTTP/1.1\r\nHost : a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"])
      assert.equal((await exchange(t, sluice.port, head)).status, 400);
    const rejected = await sluice.logged((line) => line.event === "request_rejected", "a rejected request");
    assert.deepEqual(
      [rejected.level, rejected.listener, rejected.client, rejected.error, rejected.response_status],
      ["warn", "web", "127.0.0.1", "malformed", 400],
    );
    assert.match(String(rejected.rule), /\w+ \w+/);
    await sluice.metricIs(2, "sluice_requests_rejected_total", { listener: "web", reason: "malformed" });

    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await get("/plugin/busy")).status));
    const shed = statuses.filter((status) => status === 503).length;
    assert.ok(shed > 0);
    const line = await sluice.logged(({ event }) => event === "plugin_rejected", "a rejected call");
    assert.deepEqual([line.plugin, line.hook, line.guests], ["busy", "request_head", 1]);
    await sluice.metricIs(shed, "sluice_plugin_rejected_total", { plugin: "busy", hook: "request_head" });

    for (let i = 0; i < 10; i++) await get("/plugin/talks");
    await sluice.logged(({ event }) => event === "plugin_log_dropped", "dropped lines of a plugin");
    const written = () => sluice.lines.filter(({ msg }) => /^line \d/.test(String(msg))).length;
    const dropped = () => sluice.metric("sluice_plugin_log_dropped_total", { plugin: "busy" });
    await until(async () => written() + (await dropped()) === 200, "each line of the plugin is written or counted");
    await sluice.metricIs(await dropped(), "sluice_log_dropped_total");
  },
);

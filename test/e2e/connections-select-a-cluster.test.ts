/** connections-select-a-cluster: a plugin selects a cluster for a connection; routes and other plugins can still select another. */
import assert from "node:assert/strict";
import { before } from "node:test";
import type { TraceRecord } from "../../src/trace/record.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { makePlugin } from "./bad-plugins.ts";
import { connectTo, type Peer, startUpstream } from "./peers.ts";
import {
  type LiveTest,
  type Ports,
  runSluice,
  startSluice,
  testInAllModes,
  testInUsualMode,
  until,
} from "./program.ts";

const SOURCES = {
  "chooses.wasm": `import { cluster, Config, Connection, Request } from "sluice/sdk";
const to = cluster(Config.string("to"));
const who = Config.string("who");
export function onConnection(connection: Connection): void {
  if (connection.clientAddress != who) return;
  connection.choose(to);
  if (Config.bool("trap", false)) unreachable();
}`,
  "picks.wasm": `import { cluster, Request } from "sluice/sdk";
const app = cluster("app");
export function onRequest(req: Request): void {
  if (req.headers.is("x-app", "1")) req.choose(app);
}`,
  "routes.wasm": `import { cluster, Cluster, Request } from "sluice/sdk";
const app = cluster("app");
export function route(req: Request): Cluster | null { return req.pathStartsWith("/routed/app") ? app : null; }`,
  "asks.wasm": `import { Connection, Fetch } from "sluice/sdk";
export function onConnection(connection: Connection): void {
  if (new Fetch("cluster:app/may").send().status == 403) connection.deny();
}`,
};
const files: Record<string, Uint8Array> = { "traps.wasm": makePlugin("connection", "unreachable") };

before(async () => {
  for (const [name, source] of Object.entries(SOURCES)) files[name] = await compileSource(source);
});

type Setup = {
  names: readonly string[];
  /** Ports of the upstreams, by cluster. */
  clusters: Record<string, number>;
  plugins: string;
  chain: string;
};

function configOf({ names, clusters, plugins, chain }: Setup): (ports: Ports) => string {
  const list = Object.entries(clusters).map(([name, port]) => `  ${name}: [127.0.0.1:${port}]\n`);
  return (ports) => `trace: { token: a-token-that-nobody-guesses }
plugins:
${plugins}
  picks: { wasm: ./picks.wasm }
  routes: { wasm: ./routes.wasm }
  asks: { wasm: ./asks.wasm, allow: { fetch: ["cluster:app"] } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [${chain}]
    routes:
      - { name: routed, match: { prefix: /routed/ }, router: routes, clusters: [app] }
      - { name: api, match: { prefix: /api/ }, chain: [picks], cluster: ${names[0]} }
      - { name: rest, cluster: ${names[0]} }
clusters:
${list.join("")}`;
}

/** The name of the cluster that served the request. */
async function get(peer: Peer, path = "/", fields = ""): Promise<string> {
  peer.send(`GET ${path} HTTP/1.1\r\nhost: a\r\n${fields}\r\n`);
  const response = await peer.readResponse();
  return response.status === 200 ? response.body.toString() : String(response.status);
}

const CHOOSES =
  "  chooses: { wasm: ./chooses.wasm, config: { who: 127.0.0.2, to: canary }, allow: { clusters: [canary] } }";

/** An upstream for each cluster, which responds with its name. */
async function startClusters(t: LiveTest): Promise<Record<string, number>> {
  const clusters: Record<string, number> = {};
  for (const name of ["app", "canary", "beta"])
    clusters[name] = (await startUpstream(t, (_, response) => response.end(name))).port;
  return clusters;
}

testInAllModes(
  "requests of a connection start with its cluster; the route's router and chain can select another",
  async (t) => {
    const clusters = await startClusters(t);
    const config = configOf({ names: ["app"], clusters, plugins: CHOOSES, chain: "chooses" });
    const sluice = await startSluice(t, config, { files });
    const chosen = await connectTo(t, sluice.port, { localAddress: "127.0.0.2" });
    const other = await connectTo(t, sluice.port, { localAddress: "127.0.0.3" });
    for (let turn = 0; turn < 2; turn++) {
      assert.deepEqual([await get(chosen), await get(other)], ["canary", "app"]);
      assert.deepEqual([await get(chosen, "/api/"), await get(chosen, "/api/", "x-app: 1\r\n")], ["canary", "app"]);
      assert.deepEqual([await get(chosen, "/routed/app"), await get(chosen, "/routed/none")], ["app", "canary"]);
    }
    const requests = (labels: Record<string, string>) => sluice.metric("sluice_requests_total", labels);
    await until(async () => (await requests({})) === 12, "all are counted");
    assert.equal(await requests({ route: "rest", cluster: "canary" }), 4);
    assert.equal(await requests({ route: "api", cluster: "canary" }), 2);
    assert.equal(await requests({ cluster: "" }), 0);
    // Neither selection bypasses the route that another interpretation of the path selects.
    assert.equal(await get(chosen, "/routed/none//x"), "canary");
    assert.equal(await get(chosen, "//api/"), "400");
    assert.equal(await get(await connectTo(t, sluice.port, { localAddress: "127.0.0.2" }), "/routed%2Fapp"), "400");
    assert.equal(await get(await connectTo(t, sluice.port, { localAddress: "127.0.0.2" }), "/routed/..%2Fapi/"), "400");
  },
);

testInUsualMode(
  "a selection is by name: it survives reloads while the cluster exists and the plugin may select it",
  async (t) => {
    const clusters = await startClusters(t);
    const setup = { names: ["app"], clusters, plugins: CHOOSES, chain: "chooses" };
    const sluice = await startSluice(t, configOf(setup), { files });
    const client = await connectTo(t, sluice.port, { localAddress: "127.0.0.2" });
    const { app, beta, canary } = clusters as { app: number; beta: number; canary: number };
    const serve = async (more: Partial<Setup>): Promise<string> => {
      sluice.config(configOf({ ...setup, ...more })(sluice.ports));
      const { status, text } = await sluice.reload();
      assert.equal(status, 200, text);
      return get(client);
    };
    assert.equal(await get(client), "canary");
    assert.equal(await serve({ clusters: { canary, beta, app } }), "canary", "its index has changed");
    const toBeta = CHOOSES.replaceAll("canary", "beta");
    assert.equal(await serve({ clusters: { app, beta }, plugins: toBeta }), "app", "there is none any more");
    assert.equal(await serve({}), "canary", "and there is again");
    assert.equal(await serve({ plugins: toBeta }), "app", "the plugin may not choose it any more");
    assert.equal(await serve({ chain: "" }), "app", "the plugin has no say any more");
    assert.equal(
      await serve({ clusters: { app: beta, canary: app } }),
      "app",
      "what it is called counts, not where it was",
    );
    await sluice.metricIs(0, "sluice_requests_total", { cluster: "" });
  },
);

testInUsualMode("the last plugin that selects wins, and the selection of a failing plugin is dropped", async (t) => {
  const clusters = await startClusters(t);
  const plugin = (name: string, to: string, more = "") =>
    `  ${name}: { wasm: ./chooses.wasm, config: { who: 127.0.0.2, to: ${to}${more} }, onFailure: skip }\n`;
  const plugins = plugin("one", "canary") + plugin("two", "beta") + plugin("bad", "canary", ", trap: true");
  const setup = { names: ["app"], clusters, plugins, chain: "one, two, bad" };
  const sluice = await startSluice(t, configOf(setup), { files });
  assert.equal(await get(await connectTo(t, sluice.port, { localAddress: "127.0.0.2" })), "beta");
  await sluice.metricIs(1, "sluice_plugin_failures_total", { plugin: "bad", hook: "connection" });
});

testInUsualMode("an unknown or forbidden cluster is rejected when the configuration is loaded", async (t) => {
  const clusters = await startClusters(t);
  const sluice = await startSluice(t, configOf({ names: ["app"], clusters, plugins: CHOOSES, chain: "chooses" }), {
    files,
  });
  for (const [from, to, problem] of [
    ["to: canary", "to: nowhere", /nowhere/],
    ["to: canary", "to: beta", /beta/],
  ] as const) {
    sluice.write("bad.yaml", `admin: false\n${sluice.configText.replace(from, to)}`);
    const { code, stdout, stderr } = await runSluice("check", "-c", `${sluice.directory}/bad.yaml`);
    assert.equal(code, 1);
    assert.match(stdout + stderr, problem);
  }
});

testInUsualMode("a trace names the plugin that selected the connection's cluster", async (t) => {
  const clusters = await startClusters(t);
  const setup = { names: ["app"], clusters, plugins: CHOOSES, chain: "chooses" };
  const sluice = await startSluice(t, configOf(setup), { files });
  const client = await connectTo(t, sluice.port, { localAddress: "127.0.0.2" });
  const trace = async (path: string, fields = ""): Promise<TraceRecord> => {
    client.send(`GET ${path} HTTP/1.1\r\nhost: a\r\nx-sluice-debug: a-token-that-nobody-guesses\r\n${fields}\r\n`);
    const id = (await client.readResponse()).headers["x-sluice-trace"];
    const read = () => sluice.ask(`/api/v1/traces/${id}`);
    await until(async () => (await read()).status === 200, "the trace is there");
    return JSON.parse((await read()).text);
  };
  const stepOf = ({ steps }: TraceRecord) => steps.find((step) => step.step === "cluster");
  const { at: _, ...chosen } = stepOf(await trace("/"))!;
  assert.deepEqual(chosen, { step: "cluster", cluster: "canary", by: "plugin", plugin: "chooses", connection: true });
  const { at: __, ...overruled } = stepOf(await trace("/api/", "x-app: 1\r\n"))!;
  assert.deepEqual(overruled, { step: "cluster", cluster: "app", by: "plugin", plugin: "picks" });
});

testInUsualMode("a dry run starts with the connection filters, and ends if they deny", async (t) => {
  let status = 200;
  const app = await startUpstream(t, (_, response) => response.writeHead(status).end("app"));
  const clusters = { ...(await startClusters(t)), app: app.port };
  const traps = "\n  traps: { wasm: ./traps.wasm }";
  const setup = { names: ["app"], clusters, plugins: CHOOSES + traps, chain: "chooses, asks" };
  const sluice = await startSluice(t, configOf(setup), { files });
  const explain = async (request: object): Promise<TraceRecord> => {
    const response = await sluice.ask("/api/v1/explain", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ url: "/", ...request }),
    });
    assert.equal(response.status, 200, response.text);
    return JSON.parse(response.text);
  };
  const chosen = await explain({ client: "127.0.0.2" });
  const summary = chosen.steps.map((step) =>
    step.step === "hook" ? `${step.hook} ${step.plugin} ${step.result}` : step.step,
  );
  assert.deepEqual(summary.slice(0, 4), [
    "connection chooses continue",
    "connection asks continue",
    "route",
    "cluster",
  ]);
  const [first] = chosen.steps;
  assert.ok(first?.step === "hook" && first.cluster === "canary" && first.calls.cluster_choose === 1);
  assert.equal(chosen.cluster, "canary");
  assert.equal((await explain({ client: "127.0.0.3" })).cluster, "app");

  const before = await sluice.metric("sluice_plugin_calls_total");
  const denied = await explain({ fetchStatus: 403 });
  assert.deepEqual([denied.response.status, denied.response.by, denied.steps.length], [0, "none", 2]);
  status = 403;
  assert.equal((await explain({ allowFetch: true })).response.by, "none");
  assert.equal((await explain({})).response.by, "endpoint");
  assert.deepEqual(
    app.requests.map(({ url }) => url),
    ["/may"],
  );
  const admin = `127.0.0.1:${sluice.ports.admin}`;
  const table = await runSluice("explain", "GET", "/", "--fetch-status", "403", "--admin", admin);
  assert.match(table.stdout, /^no response: a plugin denied the connection; the connection is closed$/m);
  const asked = await runSluice("explain", "GET", "/", "--client", "127.0.0.2", "--admin", admin);
  assert.match(asked.stdout, /cluster +canary +by chooses, for the connection$/m);
  await sluice.metricIs(before, "sluice_plugin_calls_total");
  await sluice.metricIs(0, "sluice_connections_denied_total");

  sluice.config(configOf({ ...setup, chain: "traps" })(sluice.ports));
  assert.equal((await sluice.reload()).status, 200);
  const failed = await explain({});
  assert.deepEqual([failed.response.by, failed.response.problem], ["none", "a plugin failed on the connection"]);
});

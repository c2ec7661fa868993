/** status-shows-where-requests-go: routes with their chains, rates, failures and unusable clusters, in API, page and CLI. */
import assert from "node:assert/strict";
import { before } from "node:test";
import type { ClusterStatus, ListenerStatus, PluginStatus, Status } from "../../src/admin/api.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { findFreePort } from "./free-port.ts";
import { startUpstream } from "./peers.ts";
import { type LiveTest, type Ports, type Program, runSluice, startSluice, testInUsualMode, until } from "./program.ts";

const FRAGILE = `import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  if (req.pathIs("/api/bad")) throw new Error("no such \\u001b[31mtenant");
}`;

let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(FRAGILE);
});

async function read<T>(sluice: Program, what: string): Promise<T> {
  return JSON.parse((await sluice.ask(`/api/v1/${what}`)).text);
}

testInUsualMode("status, page and API show where requests go and what fails", async (t) => {
  const { port } = await startUpstream(t, (_request, response) => response.end("ok"));
  const [refusing, down] = [await findFreePort(), await findFreePort()];
  const config = (ports: Ports) => `
plugins: { fragile: { wasm: ./fragile.wasm } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [request-id]
    routes:
      - { name: api, match: { prefix: /api/ }, chain: [fragile, { headers: { response: { set: { x-a: "1" } } } }], cluster: app }
      - { match: { path: /down }, cluster: down }
      - { name: parts, match: { path: /split, method: GET }, split: { app: 9, down: 1 } }
      - { name: pong, match: { path: /ping }, respond: { body: pong } }
clusters:
  app: { endpoints: ["127.0.0.1:${port}", "127.0.0.1:${refusing}"], health: { passive: false } }
  down: { endpoints: ["127.0.0.1:${down}"], health: { active: { tcp: true, interval: 100ms } } }
`;
  const sluice = await startSluice(t, config, { files: { "fragile.wasm": wasm } });
  await until(async () => (await read<Status>(sluice, "status")).unavailableClusters.length > 0, "down is checked");
  const get = async (path: string) => (await fetch(`${sluice.url}${path}`)).status;
  for (let i = 0; i < 4; i++) assert.equal(await get("/api/x"), 200);
  assert.equal(await get("/api/bad"), 500);
  assert.equal(await get("/down"), 503);
  assert.equal(await get("/nowhere"), 404);
  // Counters of a request are written when it ends, which its client may see earlier.
  await until(
    async () => (await read<ListenerStatus[]>(sluice, "listeners"))[0]!.traffic.requests === 7,
    "all are counted",
  );

  const [web] = await read<ListenerStatus[]>(sluice, "listeners");
  assert.deepEqual([web!.name, web!.chain, web!.unrouted.requests], ["web", ["request-id"], 1]);
  assert.deepEqual(
    web!.routes.map(({ name, match, chain, clusters, traffic }) => ({
      name,
      match,
      chain,
      clusters,
      requests: traffic.requests,
    })),
    [
      {
        name: "api",
        match: { prefix: "/api/" },
        chain: ["fragile", "headers"],
        clusters: [{ name: "app", weight: null }],
        requests: 5,
      },
      { name: "1", match: { path: "/down" }, chain: [], clusters: [{ name: "down", weight: null }], requests: 1 },
      {
        name: "parts",
        match: { path: "/split", method: ["GET"] },
        chain: [],
        clusters: [
          { name: "app", weight: 9 },
          { name: "down", weight: 1 },
        ],
        requests: 0,
      },
      { name: "pong", match: { path: "/ping" }, chain: ["respond"], clusters: [], requests: 0 },
    ],
  );
  const { traffic } = web!.routes[0]!;
  assert.deepEqual([traffic.statuses["2xx"]!.requests, traffic.statuses["5xx"]!.requests], [4, 1]);
  assert.ok(traffic.rate > 0 && traffic.statuses["2xx"]!.rate > traffic.statuses["5xx"]!.rate);

  const [app, gone] = await read<ClusterStatus[]>(sluice, "clusters");
  assert.deepEqual([app!.usable, app!.traffic.requests, gone!.usable], [2, 4, 0]);
  assert.deepEqual(
    app!.endpoints.map(({ state, failedAttempts }) => [state, Object.keys(failedAttempts)]),
    [
      ["unchecked", []],
      ["unchecked", ["connect_refused"]],
    ],
  );
  assert.equal(gone!.endpoints[0]!.state, "unhealthy");
  const fragile = (await read<PluginStatus[]>(sluice, "plugins")).find(({ name }) => name === "fragile")!;
  assert.deepEqual([fragile.failures, fragile.lastFailure!.hook], [1, "request_head"]);

  assert.equal((await sluice.ask("/ready")).status, 200, "the other clusters serve");
  const page = (await sluice.ask("/")).text;
  assert.match(page, /<h1 class="bad">degraded<\/h1>\s*<p class="bad">cluster down has no usable endpoint<\/p>/);
  assert.match(page, /<td>api<\/td><td>prefix \/api\/<\/td><td>fragile → headers<\/td><td>cluster app<\/td>/);
  assert.match(
    page,
    new RegExp(`<td>127\\.0\\.0\\.1:${refusing}</td><td>unchecked</td>.*<td>connect_refused \\d</td>`),
  );

  const { code, stdout } = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
  assert.equal(code, 0);
  assert.match(stdout, /^degraded, version 1, .*\n.*\nproblem: cluster down has no usable endpoint\n/);
  assert.match(
    stdout,
    /\nlistener web: .* connections, [\d.]+\/s \(.*2xx [\d.]+.*\), 7 requests in all; chain request-id\n/,
  );
  assert.match(
    stdout,
    /\n {2}route api: prefix \/api\/; chain fragile -> headers; to cluster app; .*, 5 requests in all\n/,
  );
  assert.match(stdout, /\n {2}route parts: path \/split, method GET; to app 9, down 1; 0\/s, 0 requests in all\n/);
  assert.match(stdout, /\n {2}route pong: path \/ping; chain respond; to no cluster; 0\/s, /);
  assert.match(stdout, /\n {2}without a route: .*4xx.*, 1 requests in all\n/);
  assert.match(stdout, /\ncluster down: round-robin, 0 of 1 endpoints usable, /);
  assert.match(
    stdout,
    new RegExp(
      `\\n {2}127\\.0\\.0\\.1:${refusing}: unchecked, .*, 0 responses, .*, failed attempts: connect_refused \\d\\n`,
    ),
  );
  assert.match(stdout, new RegExp(`\\n {2}127\\.0\\.0\\.1:${port}: unchecked, weight 1, 0 in flight, 4 responses, `));
  assert.match(stdout, new RegExp(`\\n {2}127\\.0\\.0\\.1:${down}: unhealthy since \\S+ \\(connection refused\\), `));
  assert.match(
    stdout,
    /\nplugin fragile: running, 5 calls, 1 failures, the last logged at 20\d\d-\S+Z in request_head: abort: .*tenant/,
  );
  assert.doesNotMatch(stdout, /[\x00-\x09\x0b-\x1f]/);
  await changesEndpoints(t, sluice, { first: `127.0.0.1:${port}`, refusing: `127.0.0.1:${refusing}` });
});

/** The admin interface and `sluice drain` change the endpoints of the cluster `app`, for reloads too. */
async function changesEndpoints(
  t: LiveTest,
  sluice: Program,
  { first, refusing }: Record<"first" | "refusing", string>,
) {
  const second = await startUpstream(t, (_request, response) => response.end("second"));
  const address = `127.0.0.1:${second.port}`;
  const call = async (method: string, path: string, content?: object) => {
    const headers = { "content-type": "application/json" };
    const body = content === undefined ? null : JSON.stringify(content);
    const { status, text } = await sluice.ask(`/api/v1/clusters/${path}`, { method, headers, body });
    return { status, ...(JSON.parse(text) as { state?: string; weight?: number; error?: string }) };
  };
  const text = async () => (await fetch(`${sluice.url}/api/x`)).text();
  const admin = ["--admin", `127.0.0.1:${sluice.ports.admin}`];

  assert.deepEqual((await call("PATCH", `app/endpoints/${first}`, { weight: 3 })).weight, 3);
  assert.deepEqual((await call("POST", "app/endpoints", { address, weight: 2 })).status, 201);
  assert.deepEqual(await call("DELETE", `app/endpoints/${refusing}`), { status: 200 });
  const drained = await runSluice("drain", "app", first, "--wait", ...admin);
  assert.match(drained.stdout, new RegExp(`^${first} of cluster app: draining, \\d in flight\n`), drained.stderr);
  for (let i = 0; i < 3; i++) assert.equal(await text(), "second");
  sluice.config(`${sluice.configText}\n# changed\n`);
  assert.equal((await sluice.reload()).status, 200);
  for (let i = 0; i < 3; i++) assert.equal(await text(), "second");
  const cluster = (await read<ClusterStatus[]>(sluice, "clusters"))[0]!;
  assert.deepEqual(
    cluster.endpoints.map(({ address, weight, state }) => [address, weight, state]),
    [
      [first, 3, "draining"],
      [address, 2, "unchecked"],
    ],
  );
  assert.equal((await call("PATCH", `app/endpoints/${address}`, { state: "disabled" })).state, "disabled");
  assert.equal((await fetch(`${sluice.url}/api/x`)).status, 503);
  assert.match((await runSluice("drain", "app", first, "--undo", ...admin)).stdout, /: unchecked, 0 in flight\n$/);
  assert.equal(await text(), "ok");

  const errors: [method: string, path: string, body: object | undefined, status: number, error: RegExp][] = [
    ["PATCH", "ap/endpoints/a:1", { weight: 1 }, 404, /^there is no cluster ap$/],
    ["PATCH", "app/endpoints/a:1", { weight: 1 }, 404, /^the cluster app has no endpoint a:1, expected one of 127/],
    [
      "PATCH",
      `app/endpoints/${first}`,
      { weight: 0 },
      400,
      /^invalid weight 0: expected a whole number from 1 to 1000/,
    ],
    ["PATCH", `app/endpoints/${first}`, { state: "down" }, 400, /"down": expected one of active, draining, disabled$/],
    ["PATCH", `app/endpoints/${first}`, {}, 400, /^nothing to change, expected weight or state$/],
    ["PATCH", `app/endpoints/${first}`, { wieght: 1 }, 400, /^unknown key wieght, expected one of weight, state$/],
    ["POST", "app/endpoints", { address: first }, 409, /^the cluster app has the endpoint 127.* already$/],
    ["POST", "app/endpoints", { address: "a.example:80" }, 400, /^invalid address "a.example:80": expected a numeric/],
    ["POST", "app/endpoints", undefined, 400, /^invalid JSON body/],
    ["GET", "app/endpoints", undefined, 405, /takes POST/],
    ["DELETE", "app/endpoints/%zz", undefined, 404, /^there is no /],
  ];
  for (const [method, path, body, status, error] of errors) {
    const got = await call(method, path, body);
    assert.equal(got.status, status, `${method} ${path}`);
    assert.match(got.error ?? "", error);
  }
  assert.match((await runSluice("drain", "app", "a:1", ...admin)).stderr, /the cluster app has no endpoint a:1/);
}

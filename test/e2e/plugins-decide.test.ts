/** plugins-decide: decisions of plugins are applied, and counted. */
import assert from "node:assert/strict";
import { before } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { connectTo, startUpstream } from "./peers.ts";
import { startSluice, testInUsualMode, until } from "./program.ts";

const SOURCES = {
  "chooser.wasm": `import { Request, cluster } from "sluice/sdk";
const canary = cluster("canary");
export function onRequest(req: Request): void {
  if (req.pathStartsWith("/teapot")) req.respond(451, "no");
  else if (req.headers.has("x-canary")) req.choose(canary);
}`,
  "router.wasm": `import { Cluster, Request, cluster } from "sluice/sdk";
const app = cluster("app"), canary = cluster("canary");
export function route(req: Request): Cluster | null {
  if (req.headers.is("x-router", "canary")) return canary;
  return req.headers.is("x-router", "app") ? app : null;
}`,
  "teller.wasm": `import { Request, Response, log } from "sluice/sdk";
export function onRequest(req: Request): void { req.set("seen", req.path); }
export function onLog(req: Request, res: Response): void {
  const what = [req.get("seen")!, res.status.toString(), req.bytesReceived.toString(), req.bytesSent.toString()];
  log.info("ended " + what.join(" ") + " after " + (<i32>(req.duration / 1000)).toString());
}`,
};
const files: Record<string, Uint8Array> = {};

before(async () => {
  for (const [name, source] of Object.entries(SOURCES)) files[name] = await compileSource(source);
});

testInUsualMode("a router's cluster, a filter's cluster, a pass to the next route, a plugin's response", async (t) => {
  const [app, canary, other] = [await startUpstream(t), await startUpstream(t), await startUpstream(t)];
  const sluice = await startSluice(
    t,
    (ports) => `plugins: { chooser: { wasm: ./chooser.wasm }, router: { wasm: ./router.wasm } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
      - { match: { prefix: /filtered/ }, chain: [chooser], cluster: app, name: filtered }
      - { match: { prefix: /both/ }, chain: [chooser], router: router, clusters: [app, canary], name: both }
      - { match: { prefix: /teapot }, chain: [chooser], cluster: app, name: teapot }
      - { cluster: other, name: rest }
clusters:
  app: [127.0.0.1:${app.port}]
  canary: [127.0.0.1:${canary.port}]
  other: [127.0.0.1:${other.port}]
`,
    { files },
  );
  const cases: [path: string, headers: Record<string, string>, upstream: typeof app][] = [
    ["/filtered/", {}, app],
    ["/filtered/", { "x-canary": "1" }, canary],
    ["/both/", {}, other],
    ["/both/", { "x-router": "app" }, app],
    ["/both/", { "x-router": "canary" }, canary],
    ["/both/", { "x-router": "app", "x-canary": "1" }, canary],
    ["/both/", { "x-canary": "1" }, other],
  ];
  for (const [path, headers, upstream] of cases) {
    const seen = upstream.requests.length;
    assert.equal((await fetch(sluice.url + path, { headers })).status, 200);
    assert.equal(upstream.requests.length, seen + 1, `${path} with ${JSON.stringify(headers)}`);
  }
  assert.equal((await fetch(`${sluice.url}/teapot`)).status, 451);
  // A response is counted after it was sent: a client can read the metric earlier.
  const counted = (name: string, labels: Record<string, string>, count: number) =>
    until(async () => (await sluice.metric(name, labels)) === count, `${count} of ${name} ${JSON.stringify(labels)}`);
  const requests = "sluice_requests_total";
  await counted(requests, { listener: "web", route: "filtered", cluster: "canary", status: "200" }, 1);
  await counted(requests, { listener: "web", route: "teapot", cluster: "", status: "451" }, 1);
  await counted("sluice_plugin_calls_total", { plugin: "router", hook: "route" }, 5);
});

testInUsualMode("a plugin gets each exchange's outcome, duration and sizes", async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    if (request.url === "/never") return;
    if (request.url === "/broken") return void response.writeHead(200, { "content-length": 9 }).write("some");
    setTimeout(() => response.end("a response"), 50);
  });
  const sluice = await startSluice(
    t,
    (ports) => `plugins: { teller: { wasm: ./teller.wasm } }
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    chain: [teller]
    routes: [{ match: { path: /none }, cluster: none }, { cluster: app }]
clusters:
  app: [127.0.0.1:${upstream.port}]
  none: [127.0.0.1:1]
`,
    { files },
  );
  const logged = async (what: string): Promise<number> => {
    const { msg = "" } = await sluice.logged(({ msg = "" }) => msg.startsWith(`ended ${what} `), what);
    return Number(msg.split(" ").at(-1));
  };
  await (await fetch(`${sluice.url}/sum`, { method: "POST", body: "12345" })).text();
  const took = await logged("/sum 200 5.0 10.0");
  assert.ok(took >= 49 && took < 10_000, `${took} ms`);
  assert.equal((await fetch(`${sluice.url}/none`)).status, 502);
  await logged("/none 502");
  for (const path of ["/never", "/broken"]) {
    const client = await connectTo(t, sluice.port);
    client.send(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`);
    if (path === "/broken") await client.waits(() => client.bytes.includes("some"), "a part of the response");
    else await until(() => upstream.requests.some(({ url }) => url === path), "it is asked");
    client.reset();
  }
  await logged("/never 499 0.0 0.0");
  await logged("/broken 200 0.0 4.0");
});

/** plugins-decide: what a plugin chooses is done, and counted where it was decided. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before } from "node:test";
import { compile } from "../../src/cli/compile.ts";
import { startUpstream } from "./peers.ts";
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
};
const files: Record<string, Uint8Array> = {};

before(async () => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-plugins-"));
  for (const [name, source] of Object.entries(SOURCES)) {
    const path = join(directory, name.replace(".wasm", ".ts"));
    writeFileSync(path, source);
    const compiled = await compile(path);
    assert.equal(compiled.problems, null);
    files[name] = (compiled as { wasm: Uint8Array }).wasm;
  }
  rmSync(directory, { recursive: true });
});

testInUsualMode(
  "a router's cluster, a filter's cluster, a pass to the next rule, an answer of one's own",
  async (t) => {
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
    // An answer is counted once it has gone out: a client may ask before.
    const counted = (name: string, labels: Record<string, string>, count: number) =>
      until(async () => (await sluice.metric(name, labels)) === count, `${count} of ${name} ${JSON.stringify(labels)}`);
    const requests = "sluice_requests_total";
    await counted(requests, { listener: "web", route: "filtered", cluster: "canary", status: "200" }, 1);
    await counted(requests, { listener: "web", route: "teapot", cluster: "", status: "451" }, 1);
    await counted("sluice_plugin_calls_total", { plugin: "router", hook: "route" }, 5);
  },
);

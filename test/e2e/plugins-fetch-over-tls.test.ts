/** Requests of plugins over TLS, to clusters, origins and endpoints under check: verified, failures with their cause. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { before, test } from "node:test";
import { compileSource } from "../contract/plugin-harness.ts";
import { Authority } from "../support/certificates.ts";
import { startRawUpstream } from "./peers.ts";
import { atEnd, type LiveTest, startSluice, testInUsualMode, until } from "./program.ts";

const SOURCE = `import { Endpoint, Fetch, Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  const response = new Fetch(req.headers.get("x-target")!).header("x-from", "plugin").send();
  req.respond(200, response.ok ? response.text() : "failed");
}
export function onHealthCheck(endpoint: Endpoint): bool {
  if (endpoint.fetch("/check").send().text() != "/check plugin-less") return endpoint.unhealthy("fetch failed");
  const probed = endpoint.probe("GET /probe HTTP/1.0\\r\\n\\r\\n", "plugin-less");
  return probed.ok ? true : endpoint.unhealthy("probe failed");
}`;

const authority = new Authority();
authority.issue("api");
new Authority(authority.directory, "other-ca").issue("stranger");
test.after(() => authority.remove());
let wasm: Uint8Array;
before(async () => {
  wasm = await compileSource(SOURCE);
});
// Trusted for origins, by the program that the test starts.
process.env.NODE_EXTRA_CA_CERTS = authority.path("ca.pem");

async function startEndpoint(t: LiveTest, name: string): Promise<number> {
  const options = { cert: authority.read(`${name}.pem`), key: authority.read(`${name}.key`) };
  const server = createServer(options, ({ url, headers }, response) => {
    response.end(`${url} ${headers["x-from"] ?? "plugin-less"}`);
  });
  atEnd(t, () => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

testInUsualMode("requests of plugins are verified, and failures are logged with their cause", async (t) => {
  const [api, stranger] = [await startEndpoint(t, "api"), await startEndpoint(t, "stranger")];
  const gone = await startRawUpstream(t, (peer) => peer.reset());
  const origins = [api, stranger].map((port) => `"https://127.0.0.1:${port}"`).join(", ");
  const cluster = (name: string, port: number) =>
    `  ${name}: { endpoints: ["127.0.0.1:${port}"], tls: { ca: ca.pem }, health: { active: { plugin: doctor, interval: 100ms, unhealthyAfter: 1 } } }`;
  const fetch = `[cluster:api, cluster:unchecked, ${origins}, "http://127.0.0.1:${gone.port}", endpoint]`;
  const sluice = await startSluice(
    t,
    ({ web }) => `
plugins: { doctor: { wasm: d.wasm, allow: { fetch: ${fetch} } } }
listeners: { web: { address: "127.0.0.1:${web}", chain: [doctor], cluster: api } }
clusters:
${cluster("api", api)}
${cluster("stranger", stranger)}
  unchecked: { endpoints: ["127.0.0.1:${stranger}"], tls: { ca: ca.pem } }
`,
    { files: { "d.wasm": wasm, "ca.pem": authority.read("ca.pem") } },
  );
  const ask = async (target: string) =>
    (await globalThis.fetch(sluice.url, { headers: { "x-target": target } })).text();
  assert.equal(await ask("cluster:api/a"), "/a plugin");
  assert.equal(await ask(`https://127.0.0.1:${api}/a`), "/a plugin");
  assert.equal(await ask(`https://127.0.0.1:${stranger}/a`), "failed");
  assert.equal(await ask(`http://127.0.0.1:${gone.port}/a`), "failed");
  const logged = (target: string, cause: RegExp) =>
    sluice.logged(
      (line) => line.event === "fetch_failed" && line.target === target && cause.test(String(line.cause)),
      `${target} ${cause}`,
    );
  await logged(`https://127.0.0.1:${stranger}`, /(unable to|issuer).*; expected a public authority, or a cluster/);
  await logged(`http://127.0.0.1:${gone.port}`, /ECONNRESET|hang up/);

  const checked = async (port: number, result: string) =>
    (await sluice.metric("sluice_health_checks_total", { endpoint: `127.0.0.1:${port}`, result })) > 0;
  await until(() => checked(stranger, "unhealthy"), "the stranger is unhealthy");
  await logged(`127.0.0.1:${stranger}`, /(unable to|issuer).*; expected its authority in `tls\.ca` of the cluster/);
  await until(() => checked(api, "healthy"), "the api is healthy");
  assert.equal(await ask("cluster:unchecked/a"), "failed");
  await sluice.logged(
    (line) => line.event === "upstream_failure" && line.cluster === "unchecked" && /tls\.ca/.test(String(line.cause)),
    "why the subrequest failed",
  );
  assert.ok((await sluice.metric("sluice_plugin_fetch_failures_total")) >= 3);
  // The end of a probe is no failure.
  assert.ok(sluice.lines.every(({ target }) => target !== `127.0.0.1:${api}`));
});

/** TLS to endpoints: what is verified, shown, resumed and reported. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TLSSocket } from "node:tls";
import type { Status } from "../../src/admin/api.ts";
import { Authority } from "../support/certificates.ts";
import { startUpstream } from "./peers.ts";
import { atEnd, type LiveTest, startSluice, testInUsualMode, until } from "./program.ts";

const authority = new Authority();
authority.issue("api", { names: "DNS:api.internal,IP:127.0.0.1" });
authority.issue("named", { names: "DNS:other.internal" });
authority.issue("old", { names: "DNS:api.internal", days: -1 });
authority.issue("future", { names: "DNS:api.internal", isFuture: true });
authority.issue("withdrawn", { names: "DNS:api.internal" });
authority.revoke("withdrawn", "lists.crl");
new Authority(authority.directory, "self-signed");
new Authority(authority.directory, "other-ca").issue("stranger", { names: "DNS:api.internal" });
test.after(() => authority.remove());

/** An https server that responds with the server name and whether the session was resumed. */
async function startEndpoint(t: LiveTest, name: string, keepAlive = true): Promise<number> {
  const options = { cert: authority.read(`${name}.pem`), key: authority.read(`${name}.key`) };
  const server = createServer(options, (request, response) => {
    const socket = request.socket as TLSSocket & { servername?: string | false };
    if (!keepAlive) response.setHeader("connection", "close");
    if (request.url === "/big") response.end(Buffer.alloc(3 << 20, "x"));
    else {
      let size = 0;
      request.on("data", (data: Buffer) => (size += data.length));
      request.on("end", () => response.end(`${socket.servername || "none"} ${socket.isSessionReused()} ${size}`));
    }
  });
  atEnd(t, () => {
    server.close();
    server.closeAllConnections();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return (server.address() as AddressInfo).port;
}

testInUsualMode("verified endpoints serve, others are 502 with their cause", async (t) => {
  const plain = await startUpstream(t);
  const ports: Record<string, number> = { plain: plain.port };
  for (const name of ["api", "named", "old", "future", "self-signed", "stranger", "withdrawn"])
    ports[name] = await startEndpoint(t, name, name !== "api");
  ports.closing = await startEndpoint(t, "api", false);
  const cluster = (name: string, port: number, tls: string, more = "") =>
    `  ${name}: { endpoints: ["127.0.0.1:${port}"], tls: { ${tls} }, health: { passive: false${more} } }`;
  const sni = "ca: ca.pem, sni: api.internal";
  const clusters = [
    cluster("api", ports.api!, sni, ", active: { http: /, interval: 100ms }"),
    cluster("address", ports.api!, "ca: ca.pem"),
    cluster("closing", ports.closing!, sni),
    cluster("named", ports.named!, sni),
    cluster("old", ports.old!, sni),
    cluster("future", ports.future!, sni),
    cluster("self-signed", ports["self-signed"]!, sni),
    cluster("withdrawn", ports.withdrawn!, `${sni}, crl: lists.crl`),
    cluster("unlisted", ports.withdrawn!, sni),
    cluster("listed", ports.closing!, `${sni}, crl: lists.crl`),
    cluster("stranger", ports.stranger!, sni),
    cluster("public", ports.api!, "sni: api.internal"),
    cluster("trusting", ports.stranger!, "verify: false"),
    cluster("plain", ports.plain!, sni),
    cluster("checked-public", ports.api!, "sni: api.internal", ", active: { http: / }"),
    cluster("checked-named", ports.named!, sni, ", active: { http: / }"),
    cluster("checked-plain", ports.plain!, sni, ", active: { http: / }"),
  ];
  const names = clusters.map((text) => text.trim().split(":", 1)[0]!);
  const sluice = await startSluice(
    t,
    ({ web }) => `
log: { access: true }
listeners:
  web:
    address: 127.0.0.1:${web}
    routes: [${names.map((name) => `{ match: { host: ${name} }, cluster: ${name} }`).join(", ")}]
clusters:
${clusters.join("\n")}
`,
    { files: { "ca.pem": authority.read("ca.pem"), "lists.crl": authority.read("lists.crl") } },
  );
  const ask = async (host: string, path = "/", body?: string) => {
    const { request } = await import("node:http");
    const sent = request({
      host: "127.0.0.1",
      port: sluice.port,
      path,
      method: body ? "POST" : "GET",
      headers: { host },
    });
    sent.end(body);
    const [response] = await once(sent, "response");
    const text = (await response.toArray()).join("");
    return { status: response.statusCode, text, proxy: String(response.headers["proxy-status"]) };
  };
  assert.equal((await ask("api", "/", "x".repeat(1_000_000))).text, "api.internal false 1000000");
  assert.equal((await ask("api", "/big")).text.length, 3 << 20);
  assert.equal((await ask("address")).text, "none false 0");
  assert.match((await ask("trusting")).text, /^none/);
  await ask("closing");
  await until(async () => (await ask("closing")).text === "api.internal true 0", "a session is resumed");
  await until(
    async () => (await sluice.metric("sluice_health_checks_total", { cluster: "api", result: "healthy" })) > 1,
    "checks use TLS",
  );
  for (const name of ["named", "old", "future", "self-signed", "stranger", "public", "withdrawn"]) {
    const { status, proxy } = await ask(name);
    assert.deepEqual([status, proxy], [502, "sluice; error=tls_certificate_error"], name);
  }
  assert.deepEqual([(await ask("plain")).proxy], ["sluice; error=tls_protocol_error"]);
  for (const [cluster, cause] of [
    ["named", /other\.internal/],
    ["old", /expired/],
    ["future", /not yet valid/],
    ["self-signed", /self-signed/],
    ["withdrawn", /revoked/],
    ["plain", /^wrong version number$/],
    ["stranger", /(unable to verify|issuer)[^;]*; expected its authority in `tls\.ca` of the cluster$/],
  ] as const)
    await sluice.logged((line) => line.cluster === cluster && cause.test(String(line.cause)), `${cause}`);
  for (const [cluster, problem] of [
    ["checked-public", /^(unable to verify|unable to get).*; expected its authority in `tls\.ca` of the cluster$/],
    ["checked-named", /other\.internal/],
    ["checked-plain", /^wrong version number$/],
  ] as const)
    await sluice.logged((line) => line.cluster === cluster && problem.test(String(line.problem)), `${problem}`);
  for (const name of ["unlisted", "listed"]) assert.equal((await ask(name)).status, 200, name);
  authority.revoke("api", "lists.crl");
  sluice.write("lists.crl", authority.read("lists.crl"));
  await until(
    async () => (await ask("listed")).proxy === "sluice; error=tls_certificate_error",
    "the new list is taken",
  );
  authority.revoke("api", "lists.crl", true);
  sluice.write("lists.crl", authority.read("lists.crl"));
  const expires = "2020-02-01T00:00:00.000Z";
  for (const cluster of ["withdrawn", "listed"])
    await sluice.logged(
      ({ usedBy, expires: at }) => usedBy === `cluster ${cluster}` && at === expires,
      `the expired list of ${cluster}`,
    );
  const { expiredRevocationLists } = (await sluice.status()) as Status;
  assert.deepEqual(
    expiredRevocationLists.map(({ usedBy, expires: at }) => [usedBy, at]),
    [
      ["cluster withdrawn", expires],
      ["cluster listed", expires],
    ],
  );
});

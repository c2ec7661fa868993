/** proxy-protocol-to-endpoints: a connection with a header about one client never serves another. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { test } from "node:test";
import { createSecureContext, TLSSocket } from "node:tls";
import { type ProxyFacts, readProxyHeader } from "../../src/net/proxy-protocol.ts";
import { Authority } from "../support/certificates.ts";
import { findFreePort } from "./free-port.ts";
import { openSession, request } from "./http2.ts";
import { missingPeers, startHaproxy, startNginx } from "./load-balancers.ts";
import { connectTo, startUpstream } from "./peers.ts";
import { atEnd, type LiveTest, startSluice, testInUsualMode } from "./program.ts";
import { run } from "./tls.ts";

const authority = new Authority();
authority.issue("site");
authority.issue("client");
authority.issue("api", { names: "DNS:api.internal" });
test.after(() => authority.remove());

/** A connection with a header that an endpoint has accepted; `requests`: the values of x-client in its requests. */
type Seen = { readonly facts: ProxyFacts; readonly requests: string[] };

/** An endpoint that requires a header before each connection, and TLS behind it if `isSecure`. */
async function startEndpoint(t: LiveTest, isSecure = false): Promise<{ port: number; seen: Seen[] }> {
  const seen: Seen[] = [];
  const sockets = new Set<Socket>();
  const secureContext = createSecureContext({ cert: authority.read("api.pem"), key: authority.read("api.key") });
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("readable", () => {
      const bytes: Buffer = socket.read();
      const header = readProxyHeader(bytes, 0, bytes.length);
      if (header.state !== "done") return socket.resetAndDestroy();
      const entry: Seen = { facts: header.facts, requests: [] };
      seen.push(entry);
      socket.unshift(bytes.subarray(header.end));
      serve(isSecure ? new TLSSocket(socket, { isServer: true, secureContext }) : socket, entry);
    });
  });
  atEnd(t, () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return { port: (server.address() as { port: number }).port, seen };
}

/** Responds to each request with the source address of the connection's header. */
function serve(socket: Socket, { facts, requests }: Seen): void {
  let text = "";
  socket.on("error", () => undefined);
  socket.on("data", (data: Buffer) => {
    text += data.toString("latin1");
    for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
      const head = text.slice(0, end);
      text = text.slice(end + 4);
      // The end of a chunked body.
      if (head === "0") continue;
      const [, client = ""] = /^x-client: (.*)$/im.exec(head) ?? [];
      requests.push(client.trim());
      const body = facts.isLocal ? "local" : `${facts.source}:${facts.sourcePort}`;
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    }
  });
}

testInUsualMode("connections to endpoints are used for one client connection only, and closed with it", async (t) => {
  const plain = await startEndpoint(t);
  const secured = await startEndpoint(t, true);
  const sluice = await startSluice(
    t,
    (ports) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    proxyProtocol: { from: 127.0.0.2 }
    routes: [{ match: { prefix: /tls }, cluster: tls }, { cluster: app }]
  relay: { address: "127.0.0.1:${ports.relay}", protocol: tcp, cluster: tls }
clusters:
  app: { endpoints: [127.0.0.1:${plain.port}], proxyProtocol: v1, health: { active: { http: /, interval: 100ms } } }
  tls:
    endpoints: [127.0.0.1:${secured.port}]
    proxyProtocol: { version: v2, tlvs: [crc32c, unique-id] }
    tls: { ca: ./ca.pem, sni: api.internal }
`,
    { files: { "ca.pem": authority.read("ca.pem") }, ports: ["relay"] },
  );
  const clients = await Promise.all(Array.from({ length: 8 }, () => connectTo(t, sluice.port)));
  for (let turn = 0; turn < 6; turn++)
    for (const [i, client] of clients.entries())
      for (const path of ["/", "/tls"]) {
        client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\nX-Client: ${i}\r\n\r\n`);
        const { body } = await client.readResponse();
        assert.equal(String(body), `127.0.0.1:${client.socket.localPort}`);
      }
  for (const { seen } of [plain, secured]) {
    const ofClients = seen.filter(({ facts }) => !facts.isLocal && facts.source !== "");
    assert.equal(ofClients.length, 8, "one connection for each client, reused by its requests");
    for (const { requests } of ofClients) assert.deepEqual([requests.length, new Set(requests).size], [6, 1]);
  }
  assert.ok(
    plain.seen.some(({ facts }) => facts.source === ""),
    "health checks report no client",
  );
  assert.ok(
    secured.seen.every(({ facts }) => facts.isLocal || facts.tlvs.length === 1),
    "a unique id",
  );

  // Streams of one HTTP/2 connection are of one client.
  const sessions = [await openSession(t, sluice.url), await openSession(t, sluice.url)];
  const asked = sessions.flatMap((session, i) =>
    Array.from({ length: 10 }, async () => {
      const { body } = await request(session, { ":path": "/", "x-client": `session ${i}` });
      assert.equal(String(body), `127.0.0.1:${session.socket.localPort}`);
    }),
  );
  await Promise.all(asked);
  for (const { requests } of plain.seen) assert.ok(new Set(requests).size < 2, requests.join());

  // A client behind a load balancer: what it reports is passed on.
  const behind = await connectTo(t, sluice.port, { localAddress: "127.0.0.2" });
  behind.send("PROXY TCP4 198.51.100.7 203.0.113.1 7777 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal(String((await behind.readResponse()).body), "198.51.100.7:7777");
  const relayed = await connectTo(t, sluice.ports.relay!);
  relayed.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal(String((await relayed.readResponse()).body), `127.0.0.1:${relayed.socket.localPort}`);
  const before = plain.seen.length;
  const next = await connectTo(t, sluice.port);
  for (const client of clients) client.socket.destroy();
  next.send("GET / HTTP/1.1\r\nHost: a\r\nX-Client: next\r\n\r\n");
  assert.equal(String((await next.readResponse()).body), `127.0.0.1:${next.socket.localPort}`);
  assert.ok(
    plain.seen.slice(before).some(({ requests }) => requests.includes("next")),
    "a new connection",
  );
});

const skip = missingPeers("haproxy", "nginx");

testInUsualMode("HAProxy and nginx as endpoints, with the facts of the client's TLS", async (t) => {
  if (skip !== null) return t.skip(skip);
  const upstream = await startUpstream(t, ({ headers }, response) => response.end(headers["x-seen"]));
  const [haproxy, nginx] = [await findFreePort(), await findFreePort()];
  const log = "%[src] %[fc_pp_authority] %[fc_pp_unique_id]";
  await startHaproxy(
    t,
    haproxy,
    `listen web
  mode http
  bind 127.0.0.1:${haproxy} accept-proxy
  http-request set-header x-seen "${log}"
  server s 127.0.0.1:${upstream.port}
`,
  );
  await startNginx(
    t,
    nginx,
    `http { server {
  listen 127.0.0.1:${nginx} proxy_protocol;
  location / { proxy_pass http://127.0.0.1:${upstream.port}; proxy_set_header x-seen "$proxy_protocol_addr $proxy_protocol_server_port"; }
} }`,
  );
  const names = ["site.pem", "site.key", "ca.pem"];
  const sluice = await startSluice(
    t,
    (ports) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    tls: { certificates: [{ cert: ./site.pem, key: ./site.key }], clientCertificates: { mode: optional, ca: ./ca.pem } }
    routes: [{ match: { prefix: /v1 }, cluster: v1 }, { match: { prefix: /v2 }, cluster: v2 }, { cluster: nginx }]
clusters:
  v1: { endpoints: [127.0.0.1:${haproxy}], proxyProtocol: v1 }
  v2: { endpoints: [127.0.0.1:${haproxy}], proxyProtocol: { version: v2, tlvs: [authority, alpn, ssl, crc32c] } }
  nginx: { endpoints: [127.0.0.1:${nginx}], proxyProtocol: v2 }
`,
    { files: Object.fromEntries(names.map((name) => [name, authority.read(name)])) },
  );
  const ask = async (path: string): Promise<string> => {
    const url = `https://site.example:${sluice.port}${path}`;
    const identity = ["--cert", authority.path("client.pem"), "--key", authority.path("client.key")];
    const to = ["--connect-to", `::127.0.0.1:${sluice.port}`, "--interface", "127.0.0.7"];
    return (await run("curl", ["-sS", "-k", "-m", "10", ...to, ...identity, url])).out;
  };
  assert.equal((await ask("/v1")).trim(), "127.0.0.7");
  assert.equal((await ask("/v2")).trim(), "127.0.0.7 site.example");
  assert.equal(await ask("/nginx"), `127.0.0.7 ${sluice.port}`);
});

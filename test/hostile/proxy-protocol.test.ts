/** Hostile senders of PROXY protocol headers, and hostile clients of limited connections: bounded in memory and time. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { SIGNATURE_V2 } from "../../src/net/proxy-protocol.ts";
import { connectTo, startUpstream } from "../e2e/peers.ts";
import { startSluice, testInUsualMode, until } from "../e2e/program.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/** A header of version 2 with the largest length that is accepted, without its end. */
const UNFINISHED = Buffer.concat([SIGNATURE_V2, Buffer.from([0x21, 0x11, 0x3f, 0xf0]), Buffer.alloc(16_000)]);

testInUsualMode("unfinished headers end in time, and others are served meanwhile", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    (ports) => `
listeners:
  web: { address: "127.0.0.1:${ports.web}", cluster: app, proxyProtocol: 127.0.0.2, timeouts: { handshake: 1s } }
clusters: { app: [127.0.0.1:${upstream.port}] }
`,
  );
  const descriptors = () => readdirSync(`/proc/${sluice.pid}/fd`).length;
  const client = await connectTo(t, sluice.port);
  assert.equal((await client.send(GET).readResponse()).status, 200);
  const before = descriptors();
  const peers = await Promise.all(
    Array.from({ length: 100 }, () => connectTo(t, sluice.port, { localAddress: "127.0.0.2" })),
  );
  for (const [i, peer] of peers.entries()) peer.send(i % 2 === 0 ? UNFINISHED : "PROXY TCP4 1");
  assert.equal((await client.send(GET).readResponse()).status, 200);
  const endings = await Promise.all(peers.map(({ closed }) => closed));
  assert.equal(endings.length, 100);
  await sluice.metricIs(100, "sluice_proxy_protocol_headers_total", { result: "timeout" });
  await until(() => descriptors() <= before, "their descriptors are closed");
  assert.ok(sluice.lines.filter(({ event }) => event === "proxy_protocol").length < 10, "the log is rate-limited");
});

testInUsualMode("clients that leave or stop reading while their connections pause leave nothing behind", async (t) => {
  const upstream = await startUpstream(t, (_, response) => response.end(Buffer.alloc(1024 * 1024)));
  const sluice = await startSluice(
    t,
    (ports) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    limits: { bandwidth: { connection: 64KiB/s, client: 1MiB/s } }
    timeouts: { write: 1s }
    routes: [{ cluster: app, bandwidth: 2MiB/s }]
clusters: { app: [127.0.0.1:${upstream.port}] }
`,
  );
  const clients = await Promise.all(Array.from({ length: 60 }, () => connectTo(t, sluice.port)));
  for (const [i, client] of clients.entries()) {
    if (i % 3 === 0) client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n${"x".repeat(100_000)}`);
    else client.send(GET);
    if (i % 3 === 1) client.socket.pause();
  }
  await until(async () => (await sluice.metric("sluice_bandwidth_pauses_total")) >= 20, "connections pause");
  for (const client of clients) client.reset();
  // What the kernel has received of a client is still read, at the limited rate, before its reset is.
  const closed = async () => (await sluice.metric("sluice_connections_active")) === 0;
  await until(closed, "all are closed", 30_000);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

/** SIGTERM: running requests complete, new connections are refused, and the exit code is 0. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";
import { Authority } from "../support/certificates.ts";
import { openSession, request } from "./http2.ts";
import { connectTo, type Peer, startRawUpstream, startUpstream } from "./peers.ts";
import {
  bounded,
  type Ports,
  type Program,
  simpleConfig,
  startSluice,
  testInAllModes,
  testInUsualMode,
  until,
} from "./program.ts";

const authority = new Authority();
authority.issue("server");
test.after(() => authority.remove());

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const isRefused = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("error", () => resolve(true)).on("connect", () => socket.destroy() && resolve(false));
  });

const isReady = (sluice: Program): Promise<number> => sluice.ask("/ready").then(({ status }) => status);

testInAllModes("drains-in-order: a running request completes, and its connection closes after it", async (t) => {
  const [busyAsked, begunAsked] = [Promise.withResolvers<Peer>(), Promise.withResolvers<Peer>()];
  const upstream = await startRawUpstream(t, async (peer) => {
    for (;;) {
      const head = await peer.head();
      if (head.startsWith("GET /busy ")) busyAsked.resolve(peer);
      else if (head.startsWith("GET /begun ")) begunAsked.resolve(peer);
      else peer.send(ok);
    }
  });
  const tls = `tls: { certificates: [{ cert: ${authority.path("server.pem")}, key: ${authority.path("server.key")} }] }`;
  const config = ({ web, secure }: Ports) => `listeners:
  web: { address: "127.0.0.1:${web}", cluster: app }
  secure: { address: "127.0.0.1:${secure}", cluster: app, ${tls} }
clusters: { app: ["127.0.0.1:${upstream.port}"] }
`;
  const sluice = await startSluice(t, config, { workers: 2, ports: ["secure"] });
  assert.deepEqual([await isReady(sluice), await sluice.metric("sluice_ready")], [200, 1]);
  const connect = (): Promise<Peer> => connectTo(t, sluice.port);
  const [idle, late, busy, begun] = [await connect(), await connect(), await connect(), await connect()];
  const unused = await connect();
  const unsecured = (await connectTo(t, sluice.ports.secure!)).socket.removeAllListeners("data");
  busy.send(get.replace("/", "/busy"));
  begun.send(get.replace("/", "/begun"));
  const [busyPeer, begunPeer] = [await busyAsked.promise, await begunAsked.promise];
  begunPeer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha");
  assert.doesNotMatch(await begun.take("ha"), /connection: close/i);

  const endsWith = async (client: Peer): Promise<void> => {
    const response = await client.readResponse();
    assert.deepEqual([response.status, response.body.toString(), response.headers.connection], [200, "ok", "close"]);
    await client.waits(() => client.ended, "the end");
    client.socket.destroy();
  };
  sluice.kill("SIGTERM");
  await until(async () => (await isReady(sluice)) === 503, "/ready says 503");
  assert.equal(await sluice.metric("sluice_ready"), 0);
  // A request received now is served, also after a response whose head did not have `Connection: close`.
  begunPeer.send("lf");
  await begun.take("lf");
  for (const client of [late, begun]) await endsWith(client.send(get));
  // One that has sent nothing yet may still be of HTTP/2.
  const session = await openSession(t, sluice.url, { createConnection: () => unused.socket });
  assert.deepEqual((await request(session, { ":path": "/" })).body.toString(), "ok");
  // One whose handshake has not begun.
  const secured = connectTls({ socket: unsecured, rejectUnauthorized: false });
  secured.write(get);
  assert.match((await bounded(secured.toArray(), "a response")).join(""), /^HTTP\/1\.1 200 .*ok$/s);
  assert.equal((await sluice.ask("/health")).status, 200);
  await until(() => isRefused(sluice.port), "new connections are refused");
  await idle.waits(() => idle.ended, "the idle connection's end");
  idle.socket.destroy();

  busyPeer.send(ok);
  await endsWith(busy);
  assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
});

testInUsualMode("requests that outlast the grace are aborted, and the exit code is still 0", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "shutdown: { grace: 300ms }" }));
  const client = await connectTo(t, sluice.port);
  client.send(get);
  await (await upstream.connection(0)).head();
  sluice.kill("SIGINT");
  assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
  await bounded(client.closed, "the end");
});

testInUsualMode("a second signal ends the program at once", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const client = await connectTo(t, sluice.port);
  client.send(get);
  await (await upstream.connection(0)).head();
  sluice.kill("SIGTERM");
  await until(async () => (await isReady(sluice)) === 503, "/ready says 503");
  sluice.kill("SIGTERM");
  await bounded(sluice.exited, "the program's end", 5000);
});

testInUsualMode(
  "announce: the program is not ready, but serves as before; a second signal ends the program at once",
  async (t) => {
    const upstream = await startUpstream(t);
    const config = simpleConfig(upstream.port, { rest: "shutdown: { announce: 1h }" });
    const sluice = await startSluice(t, config, { workers: 2 });
    const kept = await connectTo(t, sluice.port);
    assert.equal((await kept.send(get).readResponse()).status, 200);
    sluice.kill("SIGTERM");
    await until(async () => (await isReady(sluice)) === 503, "/ready says 503");
    for (const client of [kept, await connectTo(t, sluice.port), await connectTo(t, sluice.port)])
      for (let turn = 0; turn < 2; turn++) {
        const response = await client.send(get).readResponse();
        assert.deepEqual([response.status, response.headers.connection], [200, undefined]);
      }
    sluice.kill("SIGTERM");
    await bounded(sluice.exited, "the program's end", 5000);
  },
);

testInUsualMode("announce: the drain follows", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { rest: "shutdown: { announce: 300ms }" }));
  const client = await connectTo(t, sluice.port);
  client.send(get);
  const peer = await upstream.connection(0);
  await peer.head();
  sluice.kill("SIGINT");
  await until(() => isRefused(sluice.port), "new connections are refused");
  peer.send(ok);
  const response = await client.readResponse();
  assert.deepEqual([response.status, response.headers.connection], [200, "close"]);
  assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
});

testInUsualMode("without running requests the program exits at once", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port), { workers: 2 });
  assert.equal((await fetch(sluice.url, { headers: { connection: "close" } })).status, 200);
  await sluice.stop();
});

/** WebSockets over TLS (wss): the same tunnels behind a TLS listener. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after } from "node:test";
import { connect as connectTls } from "node:tls";
import { Agent, WebSocket as UndiciWebSocket } from "undici";
import { WebSocket } from "ws";
import type { TunnelList } from "../../src/admin/api.ts";
import { Authority } from "../support/certificates.ts";
import { startRawUpstream } from "./peers.ts";
import { atEnd, bounded, type LiveTest, runSluice, startSluice, testInEachMode, until } from "./program.ts";
import { ask, closed, startEcho } from "./websockets.ts";

const authority = new Authority();
authority.issue("site");
after(() => authority.remove());
const ca = authority.read("ca.pem");

const start = (t: LiveTest, echo: number, raw: number) =>
  startSluice(
    t,
    ({ web }) => `
log: { access: true }
listeners:
  web:
    address: 127.0.0.1:${web}
    tls: { certificates: [{ cert: ./site.pem, key: ./site.key }] }
    routes: [{ match: { path: /raw }, upgrade: [raw], cluster: raw }, { cluster: app }]
clusters: { app: ["127.0.0.1:${echo}"], raw: ["127.0.0.1:${raw}"] }
`,
    { files: { "site.pem": authority.read("site.pem"), "site.key": authority.read("site.key") } },
  );

testInEachMode(
  "websockets-over-tls: messages of any size, a slow reader, half-close, and 1001 at the end",
  async (t) => {
    const size = 8 * 1024 * 1024;
    const all = Buffer.alloc(size, "0123456789abcdefg");
    const echo = await startEcho(t);
    const upstream = await startRawUpstream(t, async (peer) => {
      peer.socket.allowHalfOpen = true;
      const head = await peer.head();
      assert.match(head, /^x-forwarded-proto: https\r$/im);
      peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n").send(all);
    });
    const sluice = await start(t, echo.port, upstream.port);
    const url = `wss://localhost:${sluice.port}`;

    const socket = new WebSocket(url, { ca });
    atEnd(t, () => socket.terminate());
    await bounded(once(socket, "open"), "the connection");
    for (const length of [1, 10_000, 1_000_000]) assert.equal((await ask(socket, "x".repeat(length))).length, length);
    const undici = new UndiciWebSocket(url, { dispatcher: new Agent({ connect: { ca } }) });
    await bounded(once(undici as never, "open"), "the connection of undici");
    const message = once(undici as never, "message");
    undici.send("hello");
    assert.equal(((await bounded(message, "an echo")) as [MessageEvent])[0].data, "hello");

    const raw = connectTls({ port: sluice.port, host: "127.0.0.1", servername: "localhost", ca });
    raw.allowHalfOpen = true;
    atEnd(t, () => raw.destroy());
    await bounded(once(raw, "secureConnect"), "the handshake");
    raw.write("GET /raw HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nearly ");
    const peer = await upstream.connection(0);
    await peer.take("early ");
    // Nothing is read until the endpoint waits.
    await until(() => peer.socket.writableLength > 0, "the endpoint waits");
    const chunks: Buffer[] = [];
    raw.on("data", (data: Buffer) => chunks.push(data));
    await until(() => chunks.reduce((sum, { length }) => sum + length, 0) > size, "all bytes");
    const got = Buffer.concat(chunks);
    assert.ok(got.subarray(got.indexOf("\r\n\r\n") + 4).equals(all));
    raw.end("last question");
    await peer.waits(() => peer.ended, "the end");
    assert.equal(peer.text, "last question");
    const end = once(raw, "end");
    peer.end("last message");
    await bounded(end, "the other end");
    assert.match(Buffer.concat(chunks).toString("latin1"), /last message$/);

    await sluice.metricIs(2, "sluice_tunnels_active");
    const { open, tunnels } = JSON.parse((await sluice.ask("/api/v1/tunnels")).text) as TunnelList;
    assert.equal(open, 2);
    assert.deepEqual(
      tunnels.map(({ listener, cluster, client, protocol }) => [listener, cluster, client, protocol]),
      Array(2).fill(["web", "app", "127.0.0.1", "websocket"]),
    );
    assert.ok(tunnels[0]!.bytesReceived > 1000 && tunnels[0]!.bytesSent > 1000);
    assert.ok(tunnels[0]!.age >= tunnels[1]!.age && tunnels[1]!.bytesReceived < 100);
    const shown = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
    assert.match(
      shown.stdout,
      /\nlistener web: \S+ \(https\), .*\n {2}certificate .*site\.pem \(localhost\): expires in 89 days/,
    );
    assert.match(
      shown.stdout,
      /\ntunnels: 2 open\n {2}127\.0\.0\.1 at listener web to \S+ of cluster app: websocket, open for/,
    );
    const ready = await sluice.logged((line) => line.msg === "ready", "the start");
    assert.deepEqual(ready.https, { web: [{ names: ["localhost"], days: 89, warning: null }] });
    const ends = [closed(socket), once(undici as never, "close")] as const;
    sluice.kill("SIGTERM");
    assert.deepEqual(await bounded(ends[0], "the end of ws"), [1001, ""]);
    assert.equal(((await bounded(ends[1], "the end of undici")) as [{ code: number }])[0].code, 1001);
    assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
  },
);

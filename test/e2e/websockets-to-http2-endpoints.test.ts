/** WebSockets and other upgrades reach HTTP/2 endpoints by extended CONNECT (RFC 8441), from clients of both versions. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type ClientHttp2Session, constants, type ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { openSession, read } from "./http2.ts";
import { connectTo, exchange, type Peer } from "./peers.ts";
import {
  bounded,
  type LiveTest,
  type Program,
  simpleConfig,
  startSluice,
  testInEachMode,
  testInUsualMode,
  until,
} from "./program.ts";
import { ask, closed, open, overStream, startEcho, startHttp2Echo } from "./websockets.ts";

const CONNECT = { ":method": "CONNECT", ":protocol": "websocket", "sec-websocket-version": "13" };
const HTTP2 = "protocol: http2";
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const upgrade = (path: string, protocol = "websocket", more = `Sec-WebSocket-Key: ${KEY}\r\n`) =>
  `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ${protocol}\r\n${more}\r\n`;

/** A client of HTTP/2: a stream with its response. */
async function connectStream(session: ClientHttp2Session, path = "/", headers: object = {}) {
  const stream = session.request({ ...CONNECT, ":path": path, ...headers }, { endStream: false });
  stream.on("error", () => {});
  const [fields] = await bounded(once(stream, "response"), "the response");
  return { stream, fields: fields as Record<string, string | number | undefined> };
}

async function readySession(t: LiveTest, sluice: Program): Promise<ClientHttp2Session> {
  const session = await openSession(t, sluice.url);
  if (!session.remoteSettings.enableConnectProtocol) await bounded(once(session, "remoteSettings"), "the settings");
  return session;
}

const sizeOf = (chunks: readonly Buffer[]): number => chunks.reduce((sum, { length }) => sum + length, 0);
function collect(stream: Duplex): Buffer[] {
  const chunks: Buffer[] = [];
  stream.on("data", (data: Buffer) => chunks.push(data)).resume();
  return chunks;
}

/** The stream of the endpoint that was opened last. */
async function lastOf(streams: readonly ServerHttp2Stream[], count: number): Promise<ServerHttp2Stream> {
  await until(() => streams.length === count, `${count} tunnels at the endpoint`);
  return streams[count - 1]!;
}

testInEachMode("messages, both ends, resets and 1001 at the end, from clients of both versions", async (t) => {
  const [echo1, echo2] = [await startEcho(t), await startHttp2Echo(t)];
  const sluice = await startSluice(
    t,
    ({ web }) => `
log: { access: true }
listeners:
  web: { address: 127.0.0.1:${web}, routes: [{ match: { path: /one }, cluster: one }, { cluster: two }] }
clusters: { one: ["127.0.0.1:${echo1.port}"], two: { ${HTTP2}, endpoints: ["127.0.0.1:${echo2.port}"] } }
`,
    { workers: 1 },
  );
  const session = await readySession(t, sluice);
  const clients: [string, (path: string) => Promise<WebSocket>][] = [
    ["HTTP/1", (path) => open(t, sluice.port, path, { protocol: "chat" })],
    ["HTTP/2", async (path) => overStream((await connectStream(session, path)).stream)],
  ];
  const left: Promise<[number, string]>[] = [];
  for (const [name, connect] of clients)
    for (const [path, echo] of [
      ["/one", echo1],
      ["/two", echo2],
    ] as const) {
      const socket = await connect(path);
      for (const length of [1, 10_000, 1_000_000])
        assert.equal((await ask(socket, "x".repeat(length))).length, length, `${name} ${path}`);
      const pong = once(socket, "pong");
      socket.ping("there");
      assert.equal(String((await bounded(pong, "a pong"))[0]), "there");
      const before = echo.closes.length;
      socket.close(4001, "by the client");
      await until(() => echo.closes.length > before, `the endpoint's end of ${name} ${path}`);
      assert.deepEqual(echo.closes.at(-1), [4001, "by the client"]);

      const second = await connect(path);
      await ask(second, "a");
      const end = closed(second);
      echo.sockets.at(-1)!.close(4002, "by the server");
      assert.deepEqual(await end, [4002, "by the server"]);

      const third = await connect(path);
      await ask(third, "a");
      const seen = echo.closes.length;
      third.terminate();
      await until(() => echo.closes.length > seen, `the endpoint sees the reset of ${name} ${path}`);
      assert.equal(echo.closes.at(-1)![0], 1006);

      const last = await connect(path);
      await ask(last, "a");
      left.push(closed(last));
    }
  // The fields of the request as the endpoint gets them.
  const [{ ":method": method, ":protocol": protocol, ":scheme": scheme, ...headers }] = echo2.requests as [
    Record<string, string>,
  ];
  assert.deepEqual([method, protocol, scheme, headers[":path"]], ["CONNECT", "websocket", "http", "/two"]);
  assert.deepEqual([headers["sec-websocket-key"], headers["sec-websocket-version"]], [undefined, "13"]);
  assert.deepEqual([headers.via, headers["x-forwarded-for"]], ["1.1 sluice", "127.0.0.1"]);
  assert.equal(echo2.sessions.length, 1);
  await sluice.metricIs(4, "sluice_tunnels_active");
  sluice.kill("SIGTERM");
  for (const end of left) assert.deepEqual(await end, [1001, ""]);
  assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
  assert.match(sluice.output, /"path":"\/two","status":101/);
});

/** A tunnel of the protocol `raw` from a client of either version, and its stream at the endpoint. */
type Raw = { readonly name: string; readonly client: Duplex; readonly endpoint: ServerHttp2Stream; reset(): void };

testInEachMode("half-close, back-pressure, bytes before the tunnel, and resets of either side", async (t) => {
  const echo = await startHttp2Echo(t);
  const route = "upgrade: [raw, websocket]";
  const sluice = await startSluice(t, simpleConfig(echo.port, { cluster: HTTP2, route }), { workers: 1 });
  const session = await readySession(t, sluice);
  let count = 0;
  const opens: (() => Promise<Raw>)[] = [
    async () => {
      const peer: Peer = await connectTo(t, sluice.port);
      peer.socket.allowHalfOpen = true;
      peer.send(`${upgrade("/raw", "raw", "")}early `);
      assert.match(await peer.head(), /^upgrade: raw\r$/m);
      assert.equal(peer.text, "");
      return {
        name: "HTTP/1",
        client: peer.socket,
        endpoint: await lastOf(echo.streams, ++count),
        reset: () => peer.reset(),
      };
    },
    async () => {
      const { stream, fields } = await connectStream(session, "/raw", { ":protocol": "raw" });
      assert.deepEqual([fields[":status"], fields["sec-websocket-accept"]], [200, undefined]);
      stream.write("early ");
      const endpoint = await lastOf(echo.streams, ++count);
      return { name: "HTTP/2", client: stream, endpoint, reset: () => stream.close(constants.NGHTTP2_CANCEL) };
    },
  ];
  const beside = await open(t, sluice.port, "/ws");
  count++;
  const all = Buffer.alloc(8 << 20, "0123456789abcdefg");
  for (const connect of opens) {
    const { name, client, endpoint } = await connect();
    assert.equal(echo.requests.at(-1)![":protocol"], "raw");
    // Neither side reads: the other one waits, and other tunnels of the session do not.
    client.pause();
    endpoint.write(all);
    client.write(all);
    await until(() => endpoint.writableLength > 0 && client.writableLength > 0, "both wait");
    assert.equal((await ask(beside, "x".repeat(500_000))).length, 500_000, name);
    assert.ok(endpoint.writableLength > 0 && client.writableLength > 0, name);
    const [toClient, toEndpoint] = [collect(client), collect(endpoint)];
    const expected = all.length + "early ".length;
    await until(() => sizeOf(toClient) === all.length && sizeOf(toEndpoint) === expected, `all bytes of ${name}`);
    assert.ok(Buffer.concat(toClient).equals(all));
    assert.ok(Buffer.concat(toEndpoint).equals(Buffer.concat([Buffer.from("early "), all])));
    // The client ends first, then the endpoint.
    client.end("last question");
    await bounded(once(endpoint, "end"), "the end of the client's direction");
    assert.match(Buffer.concat(toEndpoint.slice(-2)).toString(), /last question$/);
    const end = once(client, "end");
    endpoint.end("last message");
    await bounded(end, "the end of the endpoint's direction");
    assert.match(Buffer.concat(toClient.slice(-2)).toString(), /last message$/);
    await until(() => endpoint.closed, "the stream's end");
    assert.equal(endpoint.rstCode, constants.NGHTTP2_NO_ERROR, name);

    // The endpoint ends first.
    const second = await connect();
    const ended = once(second.client, "end");
    second.client.resume();
    const received = collect(second.endpoint);
    second.endpoint.end();
    await bounded(ended, "the end of the endpoint's direction");
    second.client.end("still");
    await bounded(once(second.endpoint, "end"), "the end of the client's direction");
    assert.equal(Buffer.concat(received).toString(), "early still");

    const third = await connect();
    const closes = once(third.endpoint, "close");
    third.reset();
    await bounded(closes, "the reset at the endpoint");
    assert.equal(third.endpoint.rstCode, constants.NGHTTP2_CANCEL, name);

    const fourth = await connect();
    fourth.client.on("error", () => {}).resume();
    // Node sends the end of its direction before the reset.
    fourth.endpoint.close(constants.NGHTTP2_CANCEL);
    await until(() => fourth.client.readableEnded || fourth.client.destroyed, `the reset at the client of ${name}`);
  }
  await sluice.metricIs(2, "sluice_tunnels_ended_total", { reason: "client_closed" });
  await sluice.metricIs(2, "sluice_tunnels_ended_total", { reason: "endpoint_closed" });
  await sluice.metricIs(2, "sluice_tunnels_ended_total", { reason: "client_reset" });
  await sluice.metricIs(2, "sluice_tunnels_ended_total", { reason: "endpoint_reset" });
  await sluice.metricIs(1, "sluice_tunnels_active");
  await sluice.metricIs(0, "sluice_requests_in_flight");
  assert.equal(echo.sessions.length, 1);

  // Many on one session; beyond 100 streams another one is opened.
  const many = await Promise.all(Array.from({ length: 130 }, (_, i) => open(t, sluice.port, `/ws?${i}`)));
  const answers = await Promise.all(many.map((socket, i) => ask(socket, `message ${i}`)));
  for (const [i, answer] of answers.entries()) assert.equal(answer, `message ${i}`);
  assert.equal(echo.sessions.length, 2);
  // GOAWAY: open tunnels continue, the next one is on another connection.
  for (const one of echo.sessions) one.goaway(constants.NGHTTP2_NO_ERROR);
  await sluice.metricIs(2, "sluice_upstream_http2_goaways_total");
  const next = await open(t, sluice.port, "/ws");
  assert.equal(await ask(next, "new"), "new");
  assert.equal(echo.sessions.length, 3);
  assert.equal(await ask(beside, "old"), "old");
  const lost = Promise.all(many.map((socket) => closed(socket)));
  for (const one of echo.sessions.slice(0, 2)) one.destroy();
  for (const [code] of await lost) assert.equal(code, 1006);
  assert.equal(await ask(next, "new"), "new");
});

testInUsualMode("refusals: no extended CONNECT, other statuses, keys and plain requests", async (t) => {
  const [echo, without] = [await startHttp2Echo(t), await startHttp2Echo(t, false)];
  const sluice = await startSluice(
    t,
    ({ web }) => `
log: { access: true }
listeners:
  web:
    address: 127.0.0.1:${web}
    routes:
      - { match: { path: /none }, upgrade: [], cluster: app }
      - { match: { path: /without }, cluster: without }
      - { match: { path: /mixed }, cluster: mixed }
      - { cluster: app }
clusters:
  app: { ${HTTP2}, endpoints: ["127.0.0.1:${echo.port}"] }
  without: { ${HTTP2}, endpoints: ["127.0.0.1:${without.port}"] }
  mixed: { ${HTTP2}, strategy: round-robin, endpoints: ["127.0.0.1:${without.port}", "127.0.0.1:${echo.port}"] }
`,
    { workers: 1 },
  );
  const session = await readySession(t, sluice);
  // The handshake of RFC 6455, section 1.3.
  const peer = await connectTo(t, sluice.port);
  peer.send(upgrade("/"));
  const head = await peer.head();
  assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
  assert.equal(head.match(/^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$/gim)!.length, 1);
  assert.match(head, /^connection: upgrade\r\nupgrade: websocket\r$/im);

  // Without SETTINGS_ENABLE_CONNECT_PROTOCOL, on a new session and on a known one. It is not sent as a plain request.
  for (let i = 0; i < 2; i++) {
    assert.equal((await exchange(t, sluice.port, upgrade("/without"))).status, 502);
    const refused = session.request({ ...CONNECT, ":path": "/without" }, { endStream: false });
    assert.equal((await read(refused)).status, 502);
  }
  assert.equal(without.requests.length, 0);
  await sluice.metricIs(4, "sluice_upstream_failures_total", { reason: "upgrade_unsupported" });
  assert.match(sluice.output, /without SETTINGS_ENABLE_CONNECT_PROTOCOL/);
  // Other requests are not affected, and another endpoint is asked where there is one. None is ejected for it.
  assert.equal((await exchange(t, sluice.port, "GET /without HTTP/1.1\r\nHost: a\r\n\r\n")).status, 200);
  for (let i = 0; i < 20; i++) (await open(t, sluice.port, "/mixed")).close();
  assert.equal(without.requests.length, 1);
  await sluice.metricIs(0, "sluice_endpoint_ejections_total", { cluster: "mixed" });

  // Statuses other than 2xx are responses.
  for (const status of [403, 302, 503]) {
    const response = await exchange(t, sluice.port, upgrade(`/status/${status}`));
    assert.deepEqual([response.status, String(response.body)], [status, "no tunnel"]);
    const other = session.request({ ...CONNECT, ":path": `/status/${status}` }, { endStream: false });
    const { status: code, body } = await read(other);
    assert.deepEqual([code, String(body)], [status, "no tunnel"]);
  }
  // Any of class 2xx accepts it.
  const accepted = await connectTo(t, sluice.port);
  accepted.send(upgrade("/status/204"));
  assert.match(await accepted.head(), /^HTTP\/1\.1 101 /);

  // The endpoint does not see the key, so that the proxy checks it.
  const before = echo.requests.length;
  const keys = ["", "Sec-WebSocket-Key: short\r\n", `Sec-WebSocket-Key: ${KEY}\r\n`.repeat(2)];
  for (const key of keys) assert.equal((await exchange(t, sluice.port, upgrade("/", "websocket", key))).status, 400);
  assert.equal(echo.requests.length, before);
  // An upgrade that the route does not allow is a plain request, as with endpoints of HTTP/1.
  const plain = await exchange(t, sluice.port, upgrade("/none"));
  assert.deepEqual([plain.status, String(plain.body)], [200, "plain"]);
  assert.equal(echo.requests.at(-1)![":method"], "GET");
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

/** WebSockets over HTTP/2 (RFC 8441): a stream of a client's connection becomes a tunnel to an HTTP/1 endpoint. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { type ClientHttp2Session, constants } from "node:http2";
import type { TunnelList } from "../../src/admin/api.ts";
import { compileSource } from "../contract/plugin-harness.ts";
import { openSession, read } from "./http2.ts";
import { startRawUpstream } from "./peers.ts";
import { bounded, type LiveTest, startSluice, testInEachMode, testInUsualMode, until } from "./program.ts";
import { ask, closed, overStream, startEcho } from "./websockets.ts";

const CONNECT = { ":method": "CONNECT", ":protocol": "websocket", ":path": "/", "sec-websocket-version": "13" };

/** Sends an extended CONNECT; the stream with its response. */
async function connectStream(session: ClientHttp2Session, headers: object = {}) {
  const stream = session.request({ ...CONNECT, ...headers }, { endStream: false });
  stream.on("error", () => {});
  const [fields] = await bounded(once(stream, "response"), "the response");
  return { stream, fields: fields as Record<string, string | number | undefined> };
}

const config = (echo: number, raw: number) => `
  web:
    address: 127.0.0.1:WEB
    timeouts: { write: 1h }
    routes:
      - { match: { path: /raw }, upgrade: [raw], cluster: raw }
      - { match: { path: /none }, upgrade: [], cluster: app }
      - { match: { path: /ws }, cluster: raw }
      - { cluster: app }
clusters: { app: ["127.0.0.1:${echo}"], raw: ["127.0.0.1:${raw}"] }
`;

async function start(t: LiveTest) {
  const echo = await startEcho(t);
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(
    t,
    ({ web }) => `log: { access: true }\nlisteners:${config(echo.port, upstream.port).replace("WEB", String(web))}`,
  );
  const session = await openSession(t, sluice.url);
  const settings = once(session, "remoteSettings");
  if (!session.remoteSettings.enableConnectProtocol) await bounded(settings, "the settings");
  return { echo, upstream, sluice, session };
}

testInEachMode("messages, back-pressure, half-close and 1001 at the end, beside requests", async (t) => {
  const { echo, upstream, sluice, session } = await start(t);
  assert.equal(session.remoteSettings.enableConnectProtocol, true);

  const { stream, fields } = await connectStream(session, { "sec-websocket-protocol": "chat" });
  assert.equal(fields[":status"], 200);
  assert.equal(fields["sec-websocket-accept"], undefined);
  assert.equal(fields.upgrade, undefined);
  const { headers, method } = echo.requests[0]!;
  assert.deepEqual([method, headers.upgrade, headers["sec-websocket-version"]], ["GET", "websocket", "13"]);
  assert.equal(Buffer.from(headers["sec-websocket-key"]!, "base64").length, 16);
  assert.deepEqual([headers.via, headers["x-forwarded-for"]], ["2 sluice", "127.0.0.1"]);
  const socket = overStream(stream);
  for (const length of [1, 10_000, 1_000_000]) assert.equal((await ask(socket, "x".repeat(length))).length, length);

  // A slow reader: the endpoint pauses, other streams do not.
  const size = 8 << 20;
  const all = Buffer.alloc(size, "0123456789abcdefg");
  const raw = session.request({ ...CONNECT, ":protocol": "raw", ":path": "/raw" }, { endStream: false });
  raw.on("error", () => {});
  raw.write("early ");
  const peer = await upstream.connection(0);
  peer.socket.allowHalfOpen = true;
  const head = await peer.head();
  assert.match(head, /^upgrade: raw\r$/im);
  assert.doesNotMatch(head, /sec-websocket-key/i);
  peer.send("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n").send(all);
  await bounded(once(raw, "response"), "the response");
  await peer.take("early ");
  await until(() => peer.socket.writableLength > 0, "the endpoint waits");
  assert.equal((await ask(socket, "beside")).length, 6);
  const chunks: Buffer[] = [];
  raw.on("data", (data: Buffer) => chunks.push(data));
  await until(() => chunks.reduce((sum, { length }) => sum + length, 0) === size, "all bytes");
  assert.ok(Buffer.concat(chunks).equals(all));
  raw.end("last question");
  await peer.waits(() => peer.ended, "the end");
  assert.equal(peer.text, "last question");
  const end = once(raw, "end");
  peer.end("last message");
  await bounded(end, "the other end");
  assert.match(Buffer.concat(chunks.slice(-3)).toString("latin1"), /last message$/);

  await sluice.metricIs(1, "sluice_tunnels_active");
  const { open, tunnels } = JSON.parse((await sluice.ask("/api/v1/tunnels")).text) as TunnelList;
  assert.deepEqual([open, tunnels[0]!.protocol, tunnels[0]!.client], [1, "websocket", "127.0.0.1"]);
  const ends = closed(socket);
  sluice.kill("SIGTERM");
  assert.deepEqual(await ends, [1001, ""]);
  assert.deepEqual(await bounded(sluice.exited, "the program's end"), { code: 0, signal: null });
  assert.match(sluice.output, /"path":"\/raw","status":101/);
});

testInUsualMode("resets of both sides, refusals, and responses that are no tunnel", async (t) => {
  const { echo, upstream, sluice, session } = await start(t);
  const socket = overStream((await connectStream(session)).stream);
  await ask(socket, "a");
  const codes = closed(socket);
  echo.sockets[0]!.close(4002, "by the server");
  assert.deepEqual(await codes, [4002, "by the server"]);
  await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "client_closed" });

  const canceled = await connectStream(session);
  canceled.stream.close(constants.NGHTTP2_CANCEL);
  await until(() => echo.closes.length === 2, "the endpoint's connection is closed");
  await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "client_reset" });

  const reset = await connectStream(session);
  reset.stream.resume();
  echo.sockets[2]!.terminate();
  await bounded(once(reset.stream, "end"), "the end");
  reset.stream.end();
  await bounded(once(reset.stream, "close"), "the close");
  await sluice.metricIs(1, "sluice_tunnels_ended_total", { reason: "endpoint_closed" });

  // The route does not allow it.
  for (const [path, protocol] of [
    ["/none", "websocket"],
    ["/", "connect-udp"],
  ]) {
    const refused = session.request({ ...CONNECT, ":path": path, ":protocol": protocol }, { endStream: false });
    assert.equal((await read(refused)).status, 501);
  }
  await sluice.metricIs(2, "sluice_requests_rejected_total", { reason: "protocol_unknown" });
  assert.equal(echo.requests.length, 3);

  // What the endpoint responds to the upgrade, and the client gets.
  const key = (head: string) => /^sec-websocket-key: (.*)\r$/im.exec(head)![1];
  const accept = (head: string) =>
    createHash("sha1")
      .update(`${key(head)}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
  const responses: [status: number, respond: (head: string) => string][] = [
    [502, () => "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"],
    [404, () => "HTTP/1.1 404 X\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"],
    [502, () => "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"],
    [
      502,
      () =>
        "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    ],
    [
      200,
      (head) =>
        `HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept(head)}\r\n\r\n`,
    ],
  ];
  for (const [i, [status, respond]] of responses.entries()) {
    // A key of the client would not be checked by it.
    const stream = session.request(
      { ...CONNECT, ":path": "/ws", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" },
      { endStream: false },
    );
    stream.on("error", () => {});
    const response = once(stream, "response");
    const peer = await upstream.connection(i);
    const head = await peer.head();
    assert.equal(head.match(/^sec-websocket-key:/gim)!.length, 1);
    assert.notEqual(key(head), "dGhlIHNhbXBsZSBub25jZQ==");
    peer.send(respond(head));
    const [fields] = await bounded(response, `response ${i}`);
    assert.equal(fields[":status"], status, `response ${i}`);
    stream.close(constants.NGHTTP2_CANCEL);
  }
  await sluice.metricIs(0, "sluice_tunnels_active");
  await sluice.metricIs(0, "sluice_requests_in_flight");
  // Other streams of the connection are not affected.
  const alive = await connectStream(session);
  assert.equal(await ask(overStream(alive.stream), "still"), "still");
});

const FILTER = `import { Request, Response } from "sluice/sdk";
export function onRequest(req: Request): void {
  req.headers.set("x-seen", req.method + " " + (req.upgrade || ""));
  if (req.path == "/respond") req.respond(200, "no tunnel");
}
export function onResponse(req: Request, res: Response): void { res.headers.set("x-status", res.status.toString()); }`;

testInUsualMode("plugins see an extended CONNECT as an upgrade", async (t) => {
  const echo = await startEcho(t);
  const wasm = await compileSource(FILTER);
  const sluice = await startSluice(
    t,
    ({ web }) => `
plugins: { filter: { wasm: filter.wasm } }
listeners: { web: { address: 127.0.0.1:${web}, chain: [filter], cluster: app } }
clusters: { app: ["127.0.0.1:${echo.port}"] }
`,
    { files: { "filter.wasm": wasm } },
  );
  const session = await openSession(t, sluice.url);
  const { stream, fields } = await connectStream(session);
  assert.equal(fields["x-status"], "101");
  assert.equal(echo.requests[0]!.headers["x-seen"], "GET websocket");
  assert.equal(await ask(overStream(stream), "hello"), "hello");
  // A 200 would open a tunnel.
  const refused = session.request({ ...CONNECT, ":path": "/respond" }, { endStream: false });
  assert.equal((await read(refused)).status, 502);
});

/** Requests to an HTTP/2 endpoint share connections, and are sent again where the endpoint has not processed them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createSecureServer, createServer } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { CODE, FRAME, FRAME_FLAG, PREFACE, SETTING } from "../../src/http2/frames.ts";
import { Authority } from "../support/certificates.ts";
import { type Frame, frame, goAway, headers, reset, settings, uint32 } from "../support/http2-frames.ts";
import { type EndpointConnection, startHttp2Endpoint } from "./http2-endpoint.ts";
import { connectTo } from "./peers.ts";
import { atEnd, bounded, type LiveTest, simpleConfig, startSluice, testInUsualMode, until } from "./program.ts";

const authority = new Authority();
authority.issue("server", { names: "DNS:localhost,IP:127.0.0.1" });
process.on("exit", () => authority.remove());

const OK = [[":status", "200"]] as const;
const HTTP2 = "protocol: http2";

async function get(url: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
  const response = await bounded(fetch(url, init), `a response of ${url}`);
  return { status: response.status, text: await response.text() };
}

const CLIENT_GET = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "a"],
] as const;
const resets = (frames: readonly Frame[]): number => frames.filter(({ type }) => type === FRAME.resetStream).length;

/** Waits until `count` streams were opened on all connections together. */
const opened = (connections: readonly EndpointConnection[], count: number): Promise<void> =>
  until(() => connections.reduce((sum, { streams }) => sum + streams.length, 0) >= count, `${count} streams`);

testInUsualMode(
  "streams are limited by SETTINGS_MAX_CONCURRENT_STREAMS, and several connections are opened",
  async (t) => {
    const held: [EndpointConnection, number][] = [];
    const onFrame = (connection: EndpointConnection, { type, stream }: Frame): void => {
      if (type === FRAME.headers) held.push([connection, stream]);
    };
    const endpoint = await startHttp2Endpoint(t, onFrame, () => settings([SETTING.maxConcurrentStreams, 3]));
    const sluice = await startSluice(t, simpleConfig(endpoint.port, { cluster: `${HTTP2}\n    pool: { idle: 1 }` }));
    const all = Array.from({ length: 10 }, () => get(sluice.url));
    await opened(endpoint.connections, 10);
    assert.equal(endpoint.connections.length, 4);
    for (const { streams } of endpoint.connections) assert.ok(streams.length <= 3);
    await sluice.metricIs(4, "sluice_upstream_http2_connections");
    for (const [{ socket }, stream] of held) socket.write(headers(stream, OK));
    for (const { status } of await Promise.all(all)) assert.equal(status, 200);
    // One idle connection is kept.
    await sluice.metricIs(1, "sluice_upstream_http2_connections");

    held.length = 0;
    const again = get(sluice.url);
    await until(() => held.length === 1, "a stream");
    const [{ socket }, stream] = held[0]!;
    // The endpoint allows no further stream for now, and then one.
    socket.write(settings([SETTING.maxConcurrentStreams, 0]));
    socket.write(headers(stream, OK));
    assert.equal((await again).status, 200);
  },
);

testInUsualMode("unprocessed requests are sent again, with any method, and processed ones finish", async (t) => {
  let answer: (connection: EndpointConnection, stream: number) => void = () => {};
  const endpoint = await startHttp2Endpoint(t, (connection, { type, stream }) => {
    if (type === FRAME.headers) answer(connection, stream);
  });
  const sluice = await startSluice(t, simpleConfig(endpoint.port, { cluster: HTTP2 }));
  const { connections } = endpoint;
  const ok: typeof answer = ({ socket }, stream) => void socket.write(headers(stream, OK));

  // The first of three is processed; an orderly GOAWAY leaves the others.
  answer = () => {};
  const posts = [0, 1, 2].map((i) => get(sluice.url, { method: "POST", body: `body ${i}` }));
  await opened(connections, 3);
  const first = connections[0]!;
  answer = ok;
  first.socket.write(goAway(1, CODE.noError));
  await opened(connections, 5);
  first.socket.write(headers(1, OK));
  assert.deepEqual(
    (await Promise.all(posts)).map(({ status }) => status),
    [200, 200, 200],
  );
  assert.equal(connections.length, 2);
  await bounded(once(first.socket, "close"), "the end of the connection");
  assert.equal(await sluice.metric("sluice_upstream_failures_total", { reason: "upstream_reset" }), 0);
  assert.equal(await sluice.metric("sluice_upstream_failures_total", { reason: "stale_connection" }), 2);
  await sluice.metricIs(1, "sluice_upstream_http2_goaways_total");

  let refusals = 0;
  answer = (connection, stream) => {
    if (refusals++ === 0) connection.socket.write(reset(stream, CODE.refusedStream));
    else ok(connection, stream);
  };
  assert.equal((await get(sluice.url, { method: "POST", body: "x" })).status, 200);
  assert.equal(refusals, 2);

  // Another reset may have processed the request.
  answer = ({ socket }, stream) => void socket.write(reset(stream, CODE.internalError));
  assert.equal((await get(sluice.url, { method: "POST", body: "x" })).status, 502);

  // A connection that is lost before a response: an idempotent request is sent again.
  answer = ok;
  assert.equal((await get(sluice.url)).status, 200);
  const count = connections.length;
  answer = (connection, stream) => {
    if (connections.length > count) ok(connection, stream);
    else connection.socket.destroy();
  };
  assert.equal((await get(sluice.url)).status, 200);
  assert.equal(connections.length, count + 1);
  // A POST is not.
  answer = ({ socket }) => socket.destroy();
  assert.equal((await get(sluice.url, { method: "POST", body: "x" })).status, 502);
  await sluice.metricIs(0, "sluice_requests_in_flight");

  // A client that cancels its requests, for which endpoints close a connection: those of others leave it before.
  const asked: [EndpointConnection, number][] = [];
  answer = (...request) => void asked.push(request);
  const kept = get(sluice.url, { method: "POST", body: "x" });
  await until(() => asked.length === 1, "a request");
  const [{ socket, frames }, stream] = asked[0]!;
  const before = connections.length;
  const client = await connectTo(t, sluice.port);
  const pair = (i: number): Buffer[] => [headers(2 * i + 1, CLIENT_GET), reset(2 * i + 1, CODE.cancel)];
  client.send(Buffer.concat([PREFACE, settings(), ...Array.from({ length: 40 }, (_, i) => pair(i)).flat()]));
  await sluice.metricIs(1, "sluice_requests_in_flight");
  await until(() => resets(frames) === 40, "the resets");
  // Not behind its HEADERS at once: hyper ends a connection for 21 such requests in a read.
  const order = frames.filter(({ type }) => type === FRAME.headers || type === FRAME.resetStream);
  for (const [i, one] of order.entries())
    assert.ok(one.type === FRAME.headers || order[i - 1]!.stream !== one.stream, "HEADERS and RST_STREAM at once");
  assert.equal(connections.length, before);
  client.send(Buffer.concat(Array.from({ length: 200 }, (_, i) => pair(40 + i)).flat()));
  await sluice.metricIs(1, "sluice_requests_in_flight");
  answer = ok;
  assert.equal((await get(sluice.url)).status, 200);
  assert.ok(connections.length > before);
  for (const one of connections) assert.ok(resets(one.frames) <= 50, `${resets(one.frames)} resets`);
  await until(() => resets(frames) === 50, "its last resets");
  const replaced = connections.filter((one) => resets(one.frames) === 50).length;
  await sluice.metricIs(replaced, "sluice_upstream_http2_replaced_total");
  await until(() => /"http2_replaced","cluster":".+","endpoint":".+","resets":50/.test(sluice.output), "the log");
  // It ends after its last response.
  socket.write(headers(stream, OK));
  assert.equal((await kept).status, 200);
  await until(() => socket.destroyed, "its end");
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("a connection takes no more requests than pool.requests, and its streams finish", async (t) => {
  const held: [EndpointConnection, number][] = [];
  const endpoint = await startHttp2Endpoint(t, (connection, { type, stream }) => {
    if (type === FRAME.headers) held.push([connection, stream]);
  });
  const cluster = `${HTTP2}\n    pool: { requests: 2 }\n    timeouts: { connect: 500ms, idle: 500ms, ping: 200ms }`;
  const sluice = await startSluice(t, simpleConfig(endpoint.port, { cluster, route: "retry: { attempts: 0 }" }));
  const all = [0, 1, 2].map(() => get(sluice.url));
  await until(() => held.length === 3, "three streams");
  assert.deepEqual(
    endpoint.connections.map(({ streams }) => streams.length),
    [2, 1],
  );
  for (const [{ socket }, stream] of held) socket.write(headers(stream, OK));
  for (const { status } of await Promise.all(all)) assert.equal(status, 200);
  await until(() => endpoint.connections[0]!.socket.destroyed, "the end of the first connection");

  // Silence is ended by a PING without a response; with responses the request goes on.
  const connection = endpoint.connections[1]!;
  const silent = get(sluice.url);
  await until(() => connection.frames.some(({ type }) => type === FRAME.ping), "a PING");
  connection.socket.write(frame(FRAME.ping, FRAME_FLAG.acknowledge, 0, Buffer.alloc(8)));
  await until(() => connection.frames.filter(({ type }) => type === FRAME.ping).length > 1, "another PING");
  assert.equal((await silent).status, 502);
  await until(() => sluice.output.includes("no response to a PING within 500 ms"), "the log");
  await until(() => connection.socket.destroyed, "its end");

  // A window that never opens is limited by timeouts.idle.
  const body = Buffer.alloc(200_000);
  const stalled = get(sluice.url, { method: "POST", body });
  const answerPings = setInterval(() => {
    for (const { socket } of endpoint.connections)
      if (!socket.destroyed) socket.write(frame(FRAME.ping, FRAME_FLAG.acknowledge, 0, Buffer.alloc(8)));
  }, 100);
  atEnd(t, () => clearInterval(answerPings));
  assert.equal((await stalled).status, 504);
  const last = endpoint.connections.at(-1)!;
  await until(() => last.frames.some(({ type }) => type === FRAME.resetStream), "a reset");
  const sent = last.frames.reduce((sum, { type, payload }) => sum + (type === FRAME.data ? payload.length : 0), 0);
  assert.equal(sent, 65_535);

  // The end of a response makes the rest of the request needless; a reset without error behind it is none.
  const before = held.length;
  const early = get(sluice.url, { method: "POST", body });
  await until(() => held.length > before, "another stream");
  const [{ socket }, stream] = held.at(-1)!;
  socket.write(Buffer.concat([headers(stream, [[":status", "413"]]), reset(stream, CODE.noError)]));
  assert.equal((await early).status, 413);
  // SETTINGS change windows and the table of streams in service.
  const resized = get(sluice.url, { method: "POST", body: body.subarray(0, 70_000) });
  await until(() => held.length > before + 1, "a stream");
  const [next, id] = held.at(-1)!;
  next.socket.write(settings([SETTING.initialWindowSize, 100_000], [SETTING.headerTableSize, 0]));
  next.socket.write(frame(FRAME.windowUpdate, 0, 0, uint32(100_000)));
  await until(
    () => next.frames.some((one) => one.stream === id && one.type === FRAME.data && one.flags === 1),
    "the end",
  );
  next.socket.write(headers(id, OK));
  assert.equal((await resized).status, 200);
});

testInUsualMode("connections that fail while others are in use are not opened over and over", async (t) => {
  const held: [EndpointConnection, number][] = [];
  const onFrame = (connection: EndpointConnection, { type, stream }: Frame): void => {
    if (type === FRAME.headers) held.push([connection, stream]);
    else if (type === FRAME.windowUpdate && connection !== endpoint.connections[0]) connection.socket.destroy();
  };
  // One request at a time on the first connection; further ones are closed: at first before, then after their SETTINGS.
  let isEarly = true;
  const hello = (n: number): Buffer | null => {
    if (n === 0) return settings([SETTING.maxConcurrentStreams, 1]);
    return isEarly ? null : settings([SETTING.maxConcurrentStreams, 0]);
  };
  const endpoint = await startHttp2Endpoint(t, onFrame, hello);
  // Requests wait longer than this test takes on a loaded machine.
  const cluster = `${HTTP2}\n    timeouts: { connect: 60s }`;
  const config = simpleConfig(endpoint.port, { cluster, route: "retry: { attempts: 0 }" });
  const sluice = await startSluice(t, config);
  for (const early of [true, false]) {
    isEarly = early;
    held.length = 0;
    const before = endpoint.connections.length;
    const all = [get(sluice.url)];
    await until(() => held.length === 1, "a stream");
    all.push(get(sluice.url), get(sluice.url));
    await until(() => endpoint.connections.length > Math.max(1, before), "further connections");
    await until(() => endpoint.connections.slice(1).every(({ socket }) => socket.destroyed), "their ends");
    // Turns of the event loop, in which thousands of connections were opened before.
    for (let i = 0; i < 100; i++) await get(`http://127.0.0.1:${sluice.ports.admin}/ready`);
    // Those that wait get the stream when it is free.
    for (let i = 0; i < 3; i++) {
      await until(() => held.length > i, "the next stream");
      const [{ socket }, stream] = held[i]!;
      socket.write(headers(stream, OK));
    }
    for (const { status } of await Promise.all(all)) assert.equal(status, 200);
    assert.ok(endpoint.connections.length - before < 8, `${endpoint.connections.length} connections`);
  }
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

/** A server over TLS, of HTTP/1 or of both versions. */
async function startTls(t: LiveTest, isHttp1: boolean): Promise<number> {
  const options = { cert: authority.read("server.pem"), key: authority.read("server.key") };
  const handle = (incoming: { httpVersion: string }, outgoing: { end(text: string): void }): void =>
    outgoing.end(`${incoming.httpVersion} `);
  const server = isHttp1
    ? createHttpsServer(options, handle as never)
    : createSecureServer({ ...options, allowHTTP1: true }, handle as never);
  server.on("sessionError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  atEnd(t, () => void server.close());
  return (server.address() as AddressInfo).port;
}

testInUsualMode("ALPN selects the protocol over TLS, for requests and health checks", async (t) => {
  const both = await startTls(t, false);
  const old = await startTls(t, true);
  const plain = createServer((_incoming, outgoing) => outgoing.end("plain"));
  plain.listen(0, "127.0.0.1");
  await once(plain, "listening");
  const sessions = new Set<{ destroy(): void }>();
  plain.on("session", (session) => sessions.add(session));
  atEnd(t, () => {
    for (const session of sessions) session.destroy();
    plain.close();
  });
  const { port } = plain.address() as AddressInfo;
  const rest = `tls: { ca: ${authority.path("ca.pem")}, sni: localhost }, health: { active: { http: /healthz, interval: 1s } }`;
  const config = (ports: { web: number }) => `
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    routes:
      - { match: { prefix: /auto }, cluster: auto }
      - { match: { prefix: /old }, cluster: old }
      - { match: { prefix: /none }, cluster: none }
      - { match: { prefix: /plain }, cluster: plain }
      - { cluster: both }
clusters:
  both: { protocol: http2, endpoints: ["127.0.0.1:${both}"], ${rest} }
  auto: { protocol: auto, endpoints: ["127.0.0.1:${both}"], ${rest} }
  old: { protocol: auto, endpoints: ["127.0.0.1:${old}"], ${rest} }
  none: { protocol: http2, endpoints: ["127.0.0.1:${old}"], tls: { ca: ${authority.path("ca.pem")}, sni: localhost } }
  plain: { protocol: http2, endpoints: ["127.0.0.1:${port}"], health: { active: { http: /healthz, interval: 1s } } }
`;
  const sluice = await startSluice(t, config);
  const ask = async (path: string, times: number) => {
    const all = await Promise.all(Array.from({ length: times }, () => get(`${sluice.url}${path}`)));
    return [...new Set(all.map(({ text, status }) => (status === 200 ? text.split(" ")[0] : status)))];
  };
  assert.deepEqual(await ask("/", 20), ["2.0"]);
  assert.deepEqual(await ask("/auto", 20), ["2.0"]);
  assert.deepEqual(await ask("/old", 20), ["1.1"]);
  assert.deepEqual(await ask("/old", 20), ["1.1"]);
  assert.deepEqual(await ask("/none", 2), [502]);
  await until(() => /"cluster":"none".*"error":"tls_failed"/.test(sluice.output), "the log");
  assert.deepEqual(await ask("/plain", 2), ["plain"]);
  for (const cluster of ["both", "auto"]) await sluice.metricIs(1, "sluice_upstream_http2_connections", { cluster });
  await sluice.metricIs(0, "sluice_upstream_http2_connections", { cluster: "old" });
  // A reload keeps connections.
  await sluice.reload();
  assert.deepEqual(await ask("/auto", 3), ["2.0"]);
  await sluice.metricIs(1, "sluice_upstream_http2_connections", { cluster: "auto" });
  for (const cluster of ["both", "auto", "old", "plain"]) {
    const healthy = { cluster, result: "healthy" };
    await until(async () => (await sluice.metric("sluice_health_checks_total", healthy)) > 0, `a check of ${cluster}`);
  }
});

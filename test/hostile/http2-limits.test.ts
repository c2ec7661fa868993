/** Limits of HTTP/2 connections are configurable, and leave room for busy clients. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { constants } from "node:http2";
import { CODE, FRAME, FRAME_FLAG, readUint32, SETTING } from "../../src/http2/frames.ts";
import { openSession, request } from "../e2e/http2.ts";
import { startHttp2Endpoint } from "../e2e/http2-endpoint.ts";
import { type Peer, startRawUpstream, startUpstream } from "../e2e/peers.ts";
import { bounded, simpleConfig, startSluice, testInUsualMode } from "../e2e/program.ts";
import { type Field, frame, framesOf, headers, nameOf, repeat, settings, uint32 } from "../support/http2-frames.ts";
import { GET, HELLO, open, POST, waits } from "./http2-client.ts";

/** Responses and resets that the client has received. */
function eventsOf(client: Peer): string {
  const events = framesOf(client.bytes).map(({ type, payload }) => {
    if (type === FRAME.headers) return `response ${payload.toString("latin1", 2, 5)}`;
    return type === FRAME.resetStream ? `reset ${nameOf(readUint32(payload, 0))}` : "";
  });
  return events.filter((event) => event !== "").join(", ");
}

testInUsualMode("the limits of a listener are announced and enforced", async (t) => {
  const upstream = await startUpstream(t, ({ url }, response) => void (url === "/" && response.end("ok")));
  const http2 = `http2:
      maxConcurrentStreams: 2
      streamWindow: 128KiB
      connectionWindow: 2MiB
      headerTableSize: 0
      controlFrames: { burst: 100, perSecond: 10 }
    timeouts: { body: 300ms }
    halfClose: true`;
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: http2 }));
  const session = await openSession(t, sluice.url);
  for (let i = 0; i < 3; i++) assert.equal((await request(session, { ":path": "/", "x-n": `${i}` })).status, 200);
  const { headerTableSize, maxConcurrentStreams, initialWindowSize } = session.remoteSettings;
  assert.deepEqual([headerTableSize, maxConcurrentStreams, initialWindowSize], [0, 2, 131_072]);
  assert.equal(session.state.remoteWindowSize, 2 << 20);

  const client = await open(t, sluice, HELLO);
  const hold = GET.map(([name, value]) => [name, name === ":path" ? "/hold" : value] as const);
  client.send(Buffer.concat([headers(1, hold), headers(3, hold), headers(5, hold)]));
  const reset = () => framesOf(client.bytes).find(({ type }) => type === FRAME.resetStream);
  await waits(client, () => reset() !== undefined, "a reset");
  assert.deepEqual([reset()!.stream, readUint32(reset()!.payload, 0)], [5, CODE.refusedStream]);
  client.send(repeat(frame(FRAME.ping, 0, 0, Buffer.alloc(8)), 120));
  const last = framesOf(await client.rest()).at(-1)!;
  assert.deepEqual([last.type, readUint32(last.payload, 4)], [FRAME.goAway, CODE.enhanceYourCalm]);

  // The end of a request may be its trailers, although Content-Length bytes were received.
  const unended = await open(t, sluice, HELLO);
  const whole: Field[] = [[":method", "POST"], ...hold.slice(1), ["content-length", "1"]];
  unended.send(Buffer.concat([headers(1, whole, 4), frame(FRAME.data, 0, 1, Buffer.from("x"))]));
  await waits(unended, () => /reset/.test(eventsOf(unended)), "a reset");
  assert.equal(eventsOf(unended), "response 408, reset noError");

  // Of a client that has closed its sending side, complete requests are served.
  const halfClosed = await open(t, sluice, Buffer.concat([HELLO, headers(1, GET), headers(3, whole, 4)]));
  halfClosed.end();
  assert.equal(await bounded(halfClosed.closed, "the end"), "end");
  const got = framesOf(halfClosed.bytes).filter(({ type }) => type === FRAME.data || type === FRAME.headers);
  assert.deepEqual(got.map(({ stream, payload }) => [stream, payload.toString("latin1")]).at(-1), [1, "ok"]);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("a response that no client reads exists once, in all their streams", async (t) => {
  const size = 64 * 1024;
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners: { web: { address: "127.0.0.1:${web}", respond: { status: 200, body: ${"x".repeat(size)} } } }
`,
  );
  const memory = (): number =>
    1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${sluice.pid}/status`, "latin1"))![1]);
  const before = memory();
  const closed = settings([SETTING.initialWindowSize, 0]);
  const ids = Array.from({ length: 100 }, (_, i) => 2 * i + 1);
  const flood = Buffer.concat([HELLO, closed, ...ids.map((id) => headers(id, GET))]);
  const clients = await Promise.all(Array.from({ length: 20 }, () => open(t, sluice, flood)));
  const heads = (client: Peer): number => framesOf(client.bytes).filter(({ type }) => type === FRAME.headers).length;
  for (const client of clients) await waits(client, () => heads(client) === ids.length, "all heads");
  // 125 MiB if each stream had its own.
  const grown = memory() - before;
  assert.ok(grown < 64 * 1024 * 1024, `${Math.round(grown / 2 ** 20)} MiB`);

  // The windows open: each stream gets the whole body.
  const [first] = clients as [Peer];
  const window = frame(FRAME.windowUpdate, 0, 0, uint32(1 << 30));
  first.send(Buffer.concat([window, ...[1, 199].map((id) => frame(FRAME.windowUpdate, 0, id, uint32(size)))]));
  const data = (id: number) => framesOf(first.bytes).filter(({ type, stream }) => type === FRAME.data && stream === id);
  await waits(first, () => [1, 199].every((id) => (data(id).at(-1)?.flags ?? 0) & FRAME_FLAG.endStream), "two bodies");
  for (const id of [1, 199])
    assert.equal(Buffer.concat(data(id).map(({ payload }) => payload)).toString(), "x".repeat(size));
});

testInUsualMode("a client that cancels hundreds of requests with a response is served", async (t) => {
  const upstream = await startUpstream(t, ({ url }, response) => {
    response.write("message");
    if (url === "/") response.end();
  });
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const session = await openSession(t, sluice.url);
  let goneAway = false;
  session.on("goaway", () => {
    goneAway = true;
  });
  // Four times the burst, in control frames of the former cost.
  for (let round = 0; round < 10; round++)
    await Promise.all(
      Array.from({ length: 80 }, async () => {
        const stream = session.request({ ":path": "/stream" });
        stream.on("error", () => {});
        await bounded(once(stream, "data"), "a message");
        stream.close(constants.NGHTTP2_CANCEL);
        await bounded(once(stream, "close"), "the end");
      }),
    );
  assert.equal((await request(session, { ":path": "/" })).body.toString(), "message");
  assert.equal(goneAway, false);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("what a client sends before its tunnel is open is limited to the window", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const connect: Field[] = [[":method", "CONNECT"], [":protocol", "websocket"], ...GET.slice(1)];
  const client = await open(t, sluice, Buffer.concat([HELLO, headers(1, connect, 4)]));
  const endpoint = await upstream.connection(0);
  const head = await endpoint.head();
  const data = repeat(frame(FRAME.data, 0, 1, Buffer.alloc(16_000)), 4);
  client.send(data).send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
  await waits(client, () => framesOf(client.bytes).some(({ type }) => type === FRAME.ping), "a PING");
  const credit = () => framesOf(client.bytes).some(({ type, stream }) => type === FRAME.windowUpdate && stream === 1);
  assert.ok(!credit());
  const key = /^sec-websocket-key: (.*)\r$/im.exec(head)![1];
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const response = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept:";
  endpoint.send(`${response} ${accept}\r\n\r\n`);
  await waits(client, credit, "credit");
  await endpoint.waits(() => endpoint.bytes.length === 64_000, "all that was sent before");
  client.send(data).send(frame(FRAME.data, 0, 1, Buffer.alloc(10_000)));
  await endpoint.waits(() => endpoint.bytes.length === 138_000, "the rest");
});

testInUsualMode("DATA in transit when a stream was reset costs its client no budget, up to the window", async (t) => {
  const call: Field[] = [...POST, ["content-type", "application/grpc"], ["te", "trailers"]];
  const failed: Field[] = [[":status", "200"], ...call.slice(4, 5), ["grpc-status", "14"]];
  const endpoint = await startHttp2Endpoint(t, ({ socket }, { type, stream }) => {
    if (type === FRAME.headers) socket.write(headers(stream, failed));
  });
  const listener = "http2: { maxConcurrentStreams: 3 }";
  const sluice = await startSluice(t, simpleConfig(endpoint.port, { listener, cluster: "protocol: http2" }));
  const client = await open(t, sluice, HELLO);
  const find = (type: number) => framesOf(client.bytes).filter((one) => one.type === type);
  const pong = async (count: number) => {
    client.send(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await waits(client, () => find(FRAME.ping).length === count, "a PING");
  };
  // Calls that fail while their client sends small messages.
  const ids = [1, 3, 5, 7, 9];
  for (const id of ids) {
    client.send(headers(id, call, 4));
    await waits(client, () => find(FRAME.resetStream).some(({ stream }) => stream === id), "a reset");
  }
  for (const id of ids) client.send(repeat(frame(FRAME.data, 0, id, Buffer.alloc(100)), 600));
  await pong(1);
  // More than was allowed to be in transit is charged.
  client.send(repeat(frame(FRAME.data, 0, 1, Buffer.alloc(100)), 3000));
  const last = framesOf(await client.rest()).at(-1)!;
  assert.deepEqual([last.type, readUint32(last.payload, 4)], [FRAME.goAway, CODE.enhanceYourCalm]);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

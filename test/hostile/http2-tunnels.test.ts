/** HTTP/2 endpoints that break a tunnel (RFC 8441): each costs the tunnel or the connection, and nothing else. */
import assert from "node:assert/strict";
import { CODE, FRAME, FRAME_FLAG, readUint32, SETTING } from "../../src/http2/frames.ts";
import { type EndpointConnection, startHttp2Endpoint } from "../e2e/http2-endpoint.ts";
import { connectTo, type Ending, exchange } from "../e2e/peers.ts";
import { bounded, type LiveTest, simpleConfig, startSluice, testInUsualMode, until } from "../e2e/program.ts";
import {
  type Field,
  type Frame,
  frame,
  goAway,
  headers,
  nameOf,
  repeat,
  reset,
  settings,
  uint32,
} from "../support/http2-frames.ts";

const OK: Field[] = [[":status", "200"]];
const HEAD = FRAME_FLAG.endHeaders;
const ENDS = FRAME_FLAG.endStream;
const ALLOWS = settings([SETTING.enableConnectProtocol, 1]);
const data = (stream: number, bytes: Uint8Array | string, flags = 0) =>
  frame(FRAME.data, flags, stream, Buffer.from(bytes));
const UPGRADE = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";

const goAwayOf = ({ frames }: EndpointConnection) => frames.find(({ type }) => type === FRAME.goAway);
const resetOf = ({ frames }: EndpointConnection, stream: number) =>
  frames.find((one) => one.type === FRAME.resetStream && one.stream === stream);

async function start(t: LiveTest, respond: (stream: number) => Buffer, hello = (_n: number) => ALLOWS, cluster = "") {
  const script: { respond(stream: number): Buffer; last: [EndpointConnection, number] | null } = {
    respond,
    last: null,
  };
  const onFrame = (connection: EndpointConnection, { type, stream }: Frame): void => {
    if (type !== FRAME.headers) return;
    script.last = [connection, stream];
    connection.socket.write(script.respond(stream));
  };
  const endpoint = await startHttp2Endpoint(t, onFrame, hello);
  const sluice = await startSluice(
    t,
    simpleConfig(endpoint.port, {
      cluster: `protocol: http2\n    ${cluster}`,
      route: "upgrade: [raw, websocket], retry: { attempts: 0 }",
    }),
    { workers: 1 },
  );
  const tunnel = async () => {
    const peer = await connectTo(t, sluice.port);
    peer.send(UPGRADE);
    assert.match(await peer.head(), /^HTTP\/1\.1 101 /);
    return peer;
  };
  return { script, endpoint, sluice, tunnel };
}

/** Before the tunnel: what the endpoint sends to the request, the status for the client, the code of the reset. */
const refusals: [name: string, bytes: (stream: number) => Buffer, status: number, code: string][] = [
  ["RST_STREAM", (id) => reset(id, CODE.cancel), 502, ""],
  ["REFUSED_STREAM without end", (id) => reset(id, CODE.refusedStream), 502, ""],
  ["DATA before HEADERS", (id) => data(id, "x"), 502, "protocolError"],
  ["a 101", (id) => headers(id, [[":status", "101"]], HEAD), 502, "protocolError"],
  ["connection-specific fields", (id) => headers(id, [...OK, ["upgrade", "raw"]], HEAD), 502, "protocolError"],
  [
    "a 403 without end",
    (id) =>
      Buffer.concat([
        headers(id, [
          [":status", "403"],
          ["content-length", "0"],
        ]),
      ]),
    403,
    "cancel",
  ],
];

/** In an open tunnel: what ends it, and the code of the reset that the endpoint gets. */
const faults: [name: string, bytes: (stream: number) => Buffer, code: string][] = [
  ["RST_STREAM", (id) => reset(id, CODE.cancel), ""],
  ["RST_STREAM without error before the end", (id) => reset(id, CODE.noError), ""],
  ["HEADERS", (id) => headers(id, [["a", "b"]]), "protocolError"],
  ["HEADERS of a second response", (id) => headers(id, OK, HEAD), "protocolError"],
  ["a WINDOW_UPDATE of 0", (id) => frame(FRAME.windowUpdate, 0, id, uint32(0)), "protocolError"],
  ["a window over 2^31 - 1", (id) => frame(FRAME.windowUpdate, 0, id, uint32(2 ** 31 - 1)), "flowControlError"],
  ["DATA after its end", (id) => Buffer.concat([data(id, "", ENDS), data(id, "more")]), "streamClosed"],
  ["two ends", (id) => Buffer.concat([data(id, "", ENDS), data(id, "", ENDS)]), "streamClosed"],
];

testInUsualMode("a fault ends the tunnel only, before it is open and later", async (t) => {
  const { script, endpoint, sluice, tunnel } = await start(t, (id) => headers(id, OK, HEAD));
  const accept = script.respond;
  const beside = await tunnel();
  const [connection] = endpoint.connections as [EndpointConnection];
  const [first] = connection.streams as [number];
  for (const [name, respond, status, code] of refusals) {
    script.respond = respond;
    assert.equal((await exchange(t, sluice.port, UPGRADE)).status, status, name);
    if (code === "") continue;
    const [used, stream] = script.last!;
    await until(() => resetOf(used, stream) !== undefined, `a reset after ${name}`);
    assert.equal(nameOf(readUint32(resetOf(used, stream)!.payload, 0)), code, name);
  }
  script.respond = accept;
  for (const [name, fault, code] of faults) {
    const peer = await tunnel();
    const stream = connection.streams.at(-1)!;
    connection.socket.write(data(stream, "begins"));
    await peer.take("begins");
    connection.socket.write(fault(stream));
    const ending: Ending = await bounded(peer.closed, `the client's end after ${name}`);
    if (!/ends?$/.test(name)) assert.equal(ending, "reset", name);
    if (code === "") assert.equal(resetOf(connection, stream), undefined, name);
    else {
      await until(() => resetOf(connection, stream) !== undefined, `a reset after ${name}`);
      assert.equal(nameOf(readUint32(resetOf(connection, stream)!.payload, 0)), code, name);
    }
  }
  // A reset of the client is one at the endpoint.
  const peer = await tunnel();
  const stream = connection.streams.at(-1)!;
  peer.reset();
  await until(() => resetOf(connection, stream) !== undefined, "a reset");
  assert.equal(readUint32(resetOf(connection, stream)!.payload, 0), CODE.cancel);

  connection.socket.write(data(first, "still there"));
  await beside.take("still there");
  assert.equal(goAwayOf(connection), undefined);
  assert.equal(endpoint.connections.length, 1, "one connection for all");
  await sluice.metricIs(1, "sluice_tunnels_active");
  await sluice.metricIs(0, "sluice_requests_in_flight");
  await sluice.metricIs(0, "sluice_internal_errors_total");
  // What ends the connection ends its tunnels.
  connection.socket.write(repeat(data(first, ""), 3000));
  assert.equal(await bounded(beside.closed, "the end after a flood of empty DATA"), "reset");
  await sluice.metricIs(0, "sluice_tunnels_active");
});

testInUsualMode("an endpoint that ignores windows, or gives none, is bounded", async (t) => {
  const { endpoint, sluice, tunnel } = await start(
    t,
    (id) => headers(id, OK, HEAD),
    () => settings([SETTING.enableConnectProtocol, 1], [SETTING.initialWindowSize, 10]),
  );
  const slow = await tunnel();
  const [connection] = endpoint.connections as [EndpointConnection];
  slow.socket.pause();
  const stream = connection.streams.at(-1)!;
  connection.socket.write(repeat(data(stream, Buffer.alloc(16_384)), 1024));
  await until(() => resetOf(connection, stream) !== undefined, "a reset");
  assert.equal(readUint32(resetOf(connection, stream)!.payload, 0), CODE.flowControlError);

  // It takes 10 bytes, then no more: the client is not read further.
  const client = await tunnel();
  const id = connection.streams.at(-1)!;
  const size = 16 << 20;
  client.send(Buffer.alloc(size, "x"));
  const taken = () =>
    connection.frames.reduce(
      (sum, { type, stream: of, payload }) => sum + (type === FRAME.data && of === id ? payload.length : 0),
      0,
    );
  await until(() => taken() === 10, "what the window allows");
  assert.ok(client.socket.writableLength > 0);
  // The end follows the bytes.
  connection.socket.write(
    Buffer.concat([
      frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 30)),
      frame(FRAME.windowUpdate, 0, id, uint32(2 ** 30)),
    ]),
  );
  client.end();
  await until(() => taken() === size, "all bytes");
  await until(
    () =>
      connection.frames.some(({ type, stream: of, flags }) => type === FRAME.data && of === id && (flags & ENDS) !== 0),
    "the end",
  );
  connection.socket.write(data(id, "", ENDS));
  await bounded(client.closed, "the other end");
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("settings and GOAWAY around tunnels", async (t) => {
  const { endpoint, sluice, tunnel } = await start(
    t,
    (id) => headers(id, OK, HEAD),
    (n) => (n === 0 ? settings() : ALLOWS),
  );
  assert.equal((await exchange(t, sluice.port, UPGRADE)).status, 502);
  const [connection] = endpoint.connections as [EndpointConnection];
  assert.deepEqual(connection.streams, []);
  // It announces it later.
  connection.socket.write(ALLOWS);
  const acknowledged = () =>
    connection.frames.filter(({ type, flags }) => type === FRAME.settings && flags === 1).length;
  await until(() => acknowledged() === 2, "the settings are in use");
  const peer = await tunnel();
  const stream = connection.streams.at(-1)!;
  // Tunnels continue after an orderly GOAWAY, and the next one is on another connection.
  connection.socket.write(goAway(stream, CODE.noError));
  await sluice.metricIs(1, "sluice_upstream_http2_goaways_total");
  const next = await tunnel();
  assert.equal(endpoint.connections.length, 2);
  connection.socket.write(data(stream, "old"));
  await peer.take("old");
  // One that names the tunnel as unprocessed ends it.
  connection.socket.write(goAway(0, CODE.noError));
  assert.equal(await bounded(peer.closed, "the end"), "reset");
  await sluice.metricIs(1, "sluice_tunnels_active");

  // RFC 8441 section 3: the setting is not revoked.
  const second = endpoint.connections[1]!;
  second.socket.write(settings([SETTING.enableConnectProtocol, 0]));
  await until(() => goAwayOf(second) !== undefined, "GOAWAY");
  assert.equal(readUint32(goAwayOf(second)!.payload, 4), CODE.protocolError);
  assert.equal(await bounded(next.closed, "the end"), "reset");
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

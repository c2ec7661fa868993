/** Endpoints that break HTTP/2: each costs its stream or its connection, and nothing else. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { CODE, FRAME, FRAME_FLAG, readUint32, SETTING } from "../../src/http2/frames.ts";
import { type EndpointConnection, startHttp2Endpoint } from "../e2e/http2-endpoint.ts";
import { atEnd, bounded, simpleConfig, startSluice, testInUsualMode, until } from "../e2e/program.ts";
import {
  block,
  END,
  type Field,
  type Frame,
  frame,
  goAway,
  headers,
  nameOf,
  repeat,
  reset,
  SETTINGS,
  setting,
  settings,
  uint32,
} from "../support/http2-frames.ts";

const OK: Field[] = [[":status", "200"]];
const HEAD = FRAME_FLAG.endHeaders;
const data = (stream: number, bytes: Uint8Array, flags = 0) => frame(FRAME.data, flags, stream, bytes);

type Fault = readonly [name: string, bytes: (stream: number) => Buffer, code: string];

/** Each ends the connection with this code. */
const connectionFaults: Fault[] = [
  ["DATA on an idle stream", (id) => data(id + 2, Buffer.from("x")), "protocolError"],
  ["HEADERS on an idle stream", (id) => headers(id + 2, OK), "protocolError"],
  ["HEADERS on an even stream", () => headers(2, OK), "protocolError"],
  ["RST_STREAM on an idle stream", (id) => frame(FRAME.resetStream, 0, id + 2, uint32(8)), "protocolError"],
  ["WINDOW_UPDATE on an idle stream", (id) => frame(FRAME.windowUpdate, 0, id + 2, uint32(8)), "protocolError"],
  ["PUSH_PROMISE", (id) => frame(FRAME.pushPromise, HEAD, id, Buffer.concat([uint32(2), block(OK)])), "protocolError"],
  ["ENABLE_PUSH of 1", () => settings([SETTING.enablePush, 1]), "protocolError"],
  ["a frame over 16,384 bytes", (id) => data(id, Buffer.alloc(16_385)), "frameSizeError"],
  [
    "a malformed header block",
    (id) => frame(FRAME.headers, END, id, Buffer.from([0xff, 0xff, 0xff, 0xff])),
    "compressionError",
  ],
  ["a window over 2^31 - 1", () => frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 31 - 1)), "flowControlError"],
  ["INITIAL_WINDOW_SIZE over 2^31 - 1", () => settings([SETTING.initialWindowSize, 2 ** 31]), "flowControlError"],
  ["a WINDOW_UPDATE of 0", () => frame(FRAME.windowUpdate, 0, 0, uint32(0)), "protocolError"],
  ["a frame within a header block", (id) => Buffer.concat([headers(id, OK, 0), SETTINGS]), "protocolError"],
  ["CONTINUATION without HEADERS", (id) => frame(FRAME.continuation, HEAD, id, block(OK)), "protocolError"],
  ["SETTINGS on a stream", (id) => frame(FRAME.settings, 0, id), "protocolError"],
  ["a PING of 7 bytes", () => frame(FRAME.ping, 0, 0, Buffer.alloc(7)), "frameSizeError"],
  ["a short GOAWAY", () => frame(FRAME.goAway, 0, 0, Buffer.alloc(7)), "frameSizeError"],
  ["DATA behind its own reset", (id) => Buffer.concat([reset(id, 2), data(id, Buffer.from("x"))]), "streamClosed"],
  ["HEADERS behind its own reset", (id) => Buffer.concat([reset(id, 2), headers(id, OK)]), "streamClosed"],
  ["DATA behind the end", (id) => Buffer.concat([headers(id, OK), data(id, Buffer.from("x"))]), "streamClosed"],
  ["HEADERS behind the end", (id) => repeat(headers(id, OK), 2), "streamClosed"],
  // Floods.
  [
    "CONTINUATION without end",
    (id) => Buffer.concat([headers(id, OK, 0), repeat(frame(FRAME.continuation, 0, id), 20)]),
    "enhanceYourCalm",
  ],
  ["PING", () => repeat(frame(FRAME.ping, 0, 0, Buffer.alloc(8)), 3000), "enhanceYourCalm"],
  ["SETTINGS", () => repeat(SETTINGS, 3000), "enhanceYourCalm"],
  [
    "large SETTINGS",
    () => repeat(frame(FRAME.settings, 0, 0, repeat(setting(SETTING.headerTableSize, 1), 2000)), 60),
    "enhanceYourCalm",
  ],
  [
    "empty DATA",
    (id) => Buffer.concat([headers(id, OK, HEAD), repeat(data(id, Buffer.alloc(0)), 3000)]),
    "enhanceYourCalm",
  ],
  ["unknown frames", () => repeat(frame(0x42, 0, 0), 3000), "enhanceYourCalm"],
  ["small WINDOW_UPDATE", () => repeat(frame(FRAME.windowUpdate, 0, 0, uint32(1)), 3000), "enhanceYourCalm"],
  ["PRIORITY", (id) => repeat(frame(FRAME.priority, 0, id, Buffer.alloc(5)), 3000), "enhanceYourCalm"],
];

/** Each resets the stream with this code. */
const streamFaults: Fault[] = [
  ["no :status", (id) => headers(id, [["a", "b"]]), "protocolError"],
  ["two :status", (id) => headers(id, [...OK, ...OK]), "protocolError"],
  ["a :status behind other fields", (id) => headers(id, [["a", "b"], ...OK]), "protocolError"],
  ["a :status of two digits", (id) => headers(id, [[":status", "20"]]), "protocolError"],
  ["a :status below 100", (id) => headers(id, [[":status", "099"]]), "protocolError"],
  ["a request's pseudo-header field", (id) => headers(id, [...OK, [":path", "/"]]), "protocolError"],
  ["a 101", (id) => headers(id, [[":status", "101"]], HEAD), "protocolError"],
  ["an interim response that ends", (id) => headers(id, [[":status", "103"]]), "protocolError"],
  ["a name in upper case", (id) => headers(id, [...OK, ["X", "y"]]), "protocolError"],
  ["connection", (id) => headers(id, [...OK, ["connection", "close"]]), "protocolError"],
  ["transfer-encoding", (id) => headers(id, [...OK, ["transfer-encoding", "chunked"]]), "protocolError"],
  ["a line end in a value", (id) => headers(id, [...OK, ["a", "b\r\nset-cookie: c=d"]]), "protocolError"],
  [
    "two Content-Length",
    (id) => headers(id, [...OK, ["content-length", "1"], ["content-length", "1"]], HEAD),
    "protocolError",
  ],
  ["a Content-Length with a sign", (id) => headers(id, [...OK, ["content-length", "+1"]], HEAD), "protocolError"],
  ["Content-Length without a body", (id) => headers(id, [...OK, ["content-length", "5"]]), "protocolError"],
  [
    "a body longer than Content-Length",
    (id) => Buffer.concat([headers(id, [...OK, ["content-length", "1"]], HEAD), data(id, Buffer.from("ab"), 1)]),
    "protocolError",
  ],
  [
    "a body shorter than Content-Length",
    (id) => Buffer.concat([headers(id, [...OK, ["content-length", "3"]], HEAD), data(id, Buffer.from("ab"), 1)]),
    "protocolError",
  ],
  ["DATA before HEADERS", (id) => data(id, Buffer.from("ab"), 1), "protocolError"],
  [
    "trailers without an end",
    (id) => Buffer.concat([headers(id, OK, HEAD), headers(id, [["a", "b"]], HEAD)]),
    "protocolError",
  ],
  ["a :status in trailers", (id) => Buffer.concat([headers(id, OK, HEAD), headers(id, OK)]), "protocolError"],
  [
    "too many fields",
    (id) => headers(id, [...OK, ...Array.from({ length: 300 }, (): Field => ["a", "b"])]),
    "protocolError",
  ],
  [
    "interim responses without end",
    (id) =>
      repeat(
        headers(
          id,
          [
            [":status", "103"],
            ["a", "b".repeat(4000)],
          ],
          HEAD,
        ),
        20,
      ),
    "protocolError",
  ],
  [
    "DATA in transit before the reset is received",
    (id) => Buffer.concat([headers(id, [["a", "b"]], HEAD), repeat(data(id, Buffer.from("x")), 100)]),
    "protocolError",
  ],
  ["a WINDOW_UPDATE of 0", (id) => frame(FRAME.windowUpdate, 0, id, uint32(0)), "protocolError"],
  ["a window over 2^31 - 1", (id) => frame(FRAME.windowUpdate, 0, id, uint32(2 ** 31 - 1)), "flowControlError"],
];

const goAwayOf = ({ frames }: EndpointConnection) => frames.find(({ type }) => type === FRAME.goAway);
const resetOf = ({ frames }: EndpointConnection, stream: number) =>
  frames.find((one) => one.type === FRAME.resetStream && one.stream === stream);

testInUsualMode("a fault of an endpoint ends its connection or its stream, and is a 502", async (t) => {
  let fault: Fault[1] | null = null;
  const onFrame = ({ socket }: EndpointConnection, { type, stream }: Frame): void => {
    if (type === FRAME.headers) socket.write(fault === null ? headers(stream, OK) : fault(stream));
  };
  const endpoint = await startHttp2Endpoint(t, onFrame);
  const sluice = await startSluice(
    t,
    simpleConfig(endpoint.port, { cluster: "protocol: http2", route: "retry: { attempts: 0 }" }),
  );
  const get = async (): Promise<number> => {
    const response = await bounded(fetch(sluice.url), "a response");
    await response.arrayBuffer().catch(() => undefined);
    return response.status;
  };
  for (const [name, bytes, code] of connectionFaults) {
    fault = null;
    assert.equal(await get(), 200, `before ${name}`);
    const connection = endpoint.connections.at(-1)!;
    fault = bytes;
    const status = await get();
    // A head that was complete before the fault may have been forwarded.
    assert.ok(status === 502 || (/^empty DATA|behind the end/.test(name) && status === 200), `${name}: ${status}`);
    await until(() => goAwayOf(connection) !== undefined, `GOAWAY after ${name}`);
    assert.equal(nameOf(readUint32(goAwayOf(connection)!.payload, 4)), code, name);
  }
  assert.equal(endpoint.connections.length, connectionFaults.length);
  const errors = await sluice.metric("sluice_upstream_http2_errors_total");
  assert.equal(errors, connectionFaults.length);
  assert.match(sluice.output, /"event":"upstream_http2_error".*"cause":/);

  fault = null;
  assert.equal(await get(), 200);
  const connection = endpoint.connections.at(-1)!;
  for (const [name, bytes, code] of streamFaults) {
    fault = bytes;
    assert.equal(await get(), 502, name);
    const stream = connection.streams.at(-1)!;
    await until(() => resetOf(connection, stream) !== undefined, `a reset after ${name}`);
    assert.equal(nameOf(readUint32(resetOf(connection, stream)!.payload, 0)), code, name);
    fault = null;
    assert.equal(await get(), 200, `after ${name}`);
  }
  assert.equal(goAwayOf(connection), undefined);
  assert.equal(endpoint.connections.length, connectionFaults.length + 1, "one connection for all streams");
  await sluice.metricIs(1, "sluice_upstream_http2_connections");
  await sluice.metricIs(0, "sluice_requests_in_flight");
  await sluice.metricIs(0, "sluice_internal_errors_total");
});

testInUsualMode("data beyond a window ends the stream or the connection, and memory is bounded", async (t) => {
  let size = 0;
  const onFrame = ({ socket }: EndpointConnection, { type, stream }: Frame): void => {
    if (type !== FRAME.headers) return;
    socket.write(headers(stream, OK, HEAD));
    for (let left = size; left > 0; left -= 16_384) socket.write(data(stream, Buffer.alloc(Math.min(left, 16_384))));
  };
  const endpoint = await startHttp2Endpoint(t, onFrame);
  const sluice = await startSluice(t, simpleConfig(endpoint.port, { cluster: "protocol: http2" }));
  // The client does not read: the windows do not open.
  size = 64 << 20;
  const clients = [0, 1].map(() => connect(sluice.port, "127.0.0.1"));
  const ends = clients.map((client) => new Promise((resolve) => client.on("close", resolve)));
  for (const client of clients) {
    atEnd(t, () => client.destroy());
    client.on("error", () => undefined);
    client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  }
  await until(() => sluice.output.includes("more than the window of the stream"), "a reset");
  for (const client of clients) client.resume();
  await bounded(Promise.all(ends), "the end of both responses");
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("an endpoint that does not speak HTTP/2 gets no request, and is a 502 or 504", async (t) => {
  const answers = ["HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "", null, "\0".repeat(100)];
  for (const answer of answers) {
    const received: Buffer[] = [];
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.on("data", (bytes: Buffer) => {
        received.push(bytes);
        if (answer === null) return;
        socket.end(answer);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    atEnd(t, () => server.close());
    const { port } = server.address() as { port: number };
    const cluster = "protocol: http2\n    timeouts: { connect: 300ms }";
    const sluice = await startSluice(t, simpleConfig(port, { cluster }));
    const { status } = await bounded(fetch(sluice.url, { method: "POST", body: "x" }), "a response");
    assert.equal(status, answer === null ? 504 : 502, `${answer}`);
    assert.equal(Buffer.concat(received).includes("POST"), false);
    await sluice.metricIs(0, "sluice_upstream_http2_connections");
  }
});

testInUsualMode("the size of a response head, and of all interim ones, is the cluster's setting", async (t) => {
  let size = 0;
  let interim = 0;
  /** A header block in as many frames as it takes. */
  const inFrames = (stream: number, fields: readonly Field[], flags: number): Buffer => {
    const bytes = block(fields);
    const frames: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += 16_384) {
      const isLast = at + 16_384 >= bytes.length ? FRAME_FLAG.endHeaders : 0;
      const [type, first] = at === 0 ? [FRAME.headers, flags] : [FRAME.continuation, 0];
      frames.push(frame(type, first | isLast, stream, bytes.subarray(at, at + 16_384)));
    }
    return Buffer.concat(frames);
  };
  const endpoint = await startHttp2Endpoint(t, ({ socket }, { type, stream }) => {
    if (type !== FRAME.headers) return;
    const hints: Field[] = [[":status", "103"]];
    for (let i = 0; i < interim; i++) socket.write(inFrames(stream, [...hints, ["link", "a".repeat(1000)]], 0));
    socket.write(inFrames(stream, [...OK, ["x-big", "a".repeat(size)]], FRAME_FLAG.endStream));
  });
  const cluster = `endpoints: ["127.0.0.1:${endpoint.port}"], protocol: http2`;
  const sluice = await startSluice(
    t,
    ({ web }) => `listeners:
  web: { address: "127.0.0.1:${web}", routes: [{ match: { path: /large }, cluster: large }, { cluster: usual }] }
clusters: { usual: { ${cluster} }, large: { ${cluster}, limits: { head: 256KiB } } }
`,
  );
  const ask = async (path: string, bytes: number, hints = 0): Promise<number> => {
    [size, interim] = [bytes, hints];
    const client = connect(sluice.port, "127.0.0.1");
    atEnd(t, () => client.destroy());
    client.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    const text = (await bounded(client.toArray(), "a response")).join("");
    return Number(
      text
        .match(/^HTTP\/1\.1 (?!1)\d+/gm)!
        .at(-1)!
        .slice(9),
    );
  };
  for (const [path, bytes, hints, status] of [
    ["/usual", 60_000, 20, 200],
    ["/usual", 70_000, 0, 502],
    ["/usual", 10, 80, 502],
    ["/large", 70_000, 80, 200],
    ["/large", 250_000, 0, 200],
    ["/large", 270_000, 0, 502],
    ["/large", 10, 300, 502],
  ] as const)
    assert.equal(await ask(path, bytes, hints), status, `${path}: ${bytes} bytes, ${hints} interim responses`);
});

testInUsualMode("GOAWAY and refusals without end do not repeat a request for ever", async (t) => {
  let opened = 0;
  const refuse = frame(FRAME.resetStream, 0, 1, uint32(CODE.refusedStream));
  for (const answer of [goAway(0, CODE.noError), goAway(0, CODE.internalError), refuse]) {
    const onFrame = ({ socket }: EndpointConnection, { type, stream }: Frame): void => {
      if (type !== FRAME.headers) return;
      opened++;
      socket.write(answer === refuse ? frame(FRAME.resetStream, 0, stream, uint32(CODE.refusedStream)) : answer);
    };
    opened = 0;
    const endpoint = await startHttp2Endpoint(t, onFrame);
    const sluice = await startSluice(t, simpleConfig(endpoint.port, { cluster: "protocol: http2" }));
    const { status } = await bounded(fetch(sluice.url, { method: "POST", body: "x" }), "a response");
    assert.equal(status, 502);
    assert.equal(opened, 4, "the first and three repeats");
  }
});

testInUsualMode("an endpoint that processes one request of each connection gets the others again", async (t) => {
  let opened = 0;
  let answer: (connection: EndpointConnection, stream: number) => Buffer | null = () => null;
  const endpoint = await startHttp2Endpoint(t, (connection, { type, stream }) => {
    if (type !== FRAME.headers) return;
    opened++;
    const bytes = answer(connection, stream);
    if (bytes !== null) connection.socket.write(bytes);
  });
  const sluice = await startSluice(t, simpleConfig(endpoint.port, { cluster: "protocol: http2" }));
  const post = async (): Promise<number> =>
    (await bounded(fetch(sluice.url, { method: "POST", body: "x" }), "a response")).status;
  const postAll = (count: number) => Promise.all(Array.from({ length: count }, post));

  answer = (_, stream) => (stream === 1 ? Buffer.concat([goAway(1, CODE.noError), headers(1, OK)]) : null);
  const count = 40;
  for (const status of await postAll(count)) assert.equal(status, 200);
  assert.ok(opened <= (count * (count + 1)) / 2, `${opened} streams`);

  // Without a request that is processed there is no progress.
  opened = 0;
  answer = () => goAway(0, CODE.noError);
  assert.equal(await post(), 502);
  assert.equal(opened, 4, "the first and three repeats");

  // One end costs one repeat: the refusal and the end arrive together.
  answer = (_, stream) => headers(stream, OK);
  assert.equal(await post(), 200);
  opened = 0;
  let refused = false;
  answer = (_, stream) => {
    if (refused) return headers(stream, OK);
    refused = true;
    const refusal = frame(FRAME.resetStream, 0, stream, uint32(CODE.refusedStream));
    return Buffer.concat([refusal, goAway(stream, CODE.noError)]);
  };
  assert.equal(await post(), 200);
  assert.equal(opened, 2, "the first and one repeat");

  // An error is no orderly end: three repeats, also if others were processed.
  opened = 0;
  answer = (_, stream) => (stream === 1 ? Buffer.concat([goAway(1, CODE.internalError), headers(1, OK)]) : null);
  const statuses = await postAll(20);
  assert.ok(statuses.includes(502), "some fail");
  assert.ok(opened <= 80, `${opened} streams`);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("an endpoint that resets streams or closes connections gets a request at most twice", async (t) => {
  let answer: (connection: EndpointConnection, stream: number) => void = () => {};
  let count = 0;
  const endpoint = await startHttp2Endpoint(t, (connection, { type, stream }) => {
    if (type !== FRAME.headers) return;
    count++;
    answer(connection, stream);
  });
  const sluice = await startSluice(t, simpleConfig(endpoint.port, { cluster: "protocol: http2" }));
  const get = async (): Promise<number> => (await bounded(fetch(sluice.url), "a response")).status;
  const ok = ({ socket }: EndpointConnection, stream: number) => void socket.write(headers(stream, OK));
  for (const code of [CODE.internalError, CODE.cancel, CODE.noError, CODE.enhanceYourCalm]) {
    answer = ok;
    assert.equal(await get(), 200);
    // The connection is in use and not lost: the reset is the endpoint's response to this request.
    count = 0;
    answer = ({ socket }, stream) => void socket.write(frame(FRAME.resetStream, 0, stream, uint32(code)));
    assert.equal(await get(), 502);
    assert.equal(count, 1, `code ${code}`);
  }
  assert.equal(endpoint.connections.length, 1);
  // A refusal is none: a request that is refused once is no failure of the endpoint.
  const failures = () => sluice.output.match(/"event":"upstream_failure"/g)?.length ?? 0;
  const before = failures();
  answer = (connection, stream) => {
    answer = ok;
    connection.socket.write(frame(FRAME.resetStream, 0, stream, uint32(CODE.refusedStream)));
  };
  assert.equal(await get(), 200);
  assert.equal(failures(), before);
  answer = ok;
  assert.equal(await get(), 200);
  count = 0;
  answer = ({ socket }) => socket.destroy();
  for (const status of await Promise.all(Array.from({ length: 20 }, get))) assert.equal(status, 502);
  assert.ok(count <= 40, `${count} streams`);
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

/** HTTP/2 frames that break the protocol, requests that two readers could take differently, and floods. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { CODE, FRAME, FRAME_FLAG, PREFACE, readUint32, SETTING } from "../../src/http2/frames.ts";
import { connectTo, type Peer, startRawUpstream, startUpstream, type Upstream } from "../e2e/peers.ts";
import { bounded, type LiveTest, type Program, simpleConfig, startSluice, testInUsualMode } from "../e2e/program.ts";
import {
  END,
  type Field,
  type Frame,
  frame,
  framesOf,
  headers,
  nameOf,
  repeat,
  SETTINGS,
  setting,
  uint32,
} from "../support/http2-frames.ts";
import { GET, HELLO, open, outcomeOf, POST, waits } from "./http2-client.ts";

const broken: [name: string, bytes: Buffer, outcome: string][] = [
  ["no preface of HTTP/2", Buffer.from("PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n"), ""],
  ["no SETTINGS first", Buffer.concat([PREFACE, headers(1, GET)]), "goAway protocolError"],
  ["an acknowledgement first", Buffer.concat([PREFACE, frame(FRAME.settings, 1, 0)]), "goAway protocolError"],
  [
    "a frame over 16,384 bytes",
    Buffer.concat([HELLO, frame(FRAME.ping, 0, 0, Buffer.alloc(16_385))]),
    "goAway frameSizeError",
  ],
  ["SETTINGS on a stream", Buffer.concat([HELLO, frame(FRAME.settings, 0, 1)]), "goAway protocolError"],
  [
    "SETTINGS of 5 bytes",
    Buffer.concat([HELLO, frame(FRAME.settings, 0, 0, Buffer.alloc(5))]),
    "goAway frameSizeError",
  ],
  [
    "an acknowledgement with a payload",
    Buffer.concat([HELLO, frame(FRAME.settings, 1, 0, setting(1, 1))]),
    "goAway frameSizeError",
  ],
  [
    "ENABLE_PUSH of 2",
    Buffer.concat([HELLO, frame(FRAME.settings, 0, 0, setting(SETTING.enablePush, 2))]),
    "goAway protocolError",
  ],
  [
    "MAX_FRAME_SIZE of 100",
    Buffer.concat([HELLO, frame(FRAME.settings, 0, 0, setting(SETTING.maxFrameSize, 100))]),
    "goAway protocolError",
  ],
  [
    "INITIAL_WINDOW_SIZE of 2^31",
    Buffer.concat([HELLO, frame(FRAME.settings, 0, 0, setting(SETTING.initialWindowSize, 2 ** 31))]),
    "goAway flowControlError",
  ],
  ["a stream with an even number", Buffer.concat([HELLO, headers(2, GET)]), "goAway protocolError"],
  [
    "a request on a lower stream than the one before",
    Buffer.concat([HELLO, headers(3, POST, 4), headers(1, GET)]),
    "goAway protocolError",
  ],
  ["HEADERS on stream 0", Buffer.concat([HELLO, headers(0, GET)]), "goAway protocolError"],
  ["DATA on an idle stream", Buffer.concat([HELLO, frame(FRAME.data, 0, 1)]), "goAway protocolError"],
  ["DATA on stream 0", Buffer.concat([HELLO, frame(FRAME.data, 0, 0)]), "goAway protocolError"],
  [
    "WINDOW_UPDATE on an idle stream",
    Buffer.concat([HELLO, frame(FRAME.windowUpdate, 0, 1, uint32(1))]),
    "goAway protocolError",
  ],
  ["WINDOW_UPDATE of 0", Buffer.concat([HELLO, frame(FRAME.windowUpdate, 0, 0, uint32(0))]), "goAway protocolError"],
  [
    "a window over 2^31 - 1",
    Buffer.concat([HELLO, frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 31 - 1))]),
    "goAway flowControlError",
  ],
  [
    "RST_STREAM on an idle stream",
    Buffer.concat([HELLO, frame(FRAME.resetStream, 0, 1, uint32(0))]),
    "goAway protocolError",
  ],
  [
    "RST_STREAM of 3 bytes",
    Buffer.concat([HELLO, frame(FRAME.resetStream, 0, 1, Buffer.alloc(3))]),
    "goAway frameSizeError",
  ],
  ["PING of 7 bytes", Buffer.concat([HELLO, frame(FRAME.ping, 0, 0, Buffer.alloc(7))]), "goAway frameSizeError"],
  [
    "PRIORITY of 4 bytes",
    Buffer.concat([HELLO, frame(FRAME.priority, 0, 1, Buffer.alloc(4))]),
    "goAway frameSizeError",
  ],
  ["PUSH_PROMISE", Buffer.concat([HELLO, frame(FRAME.pushPromise, 4, 1, Buffer.alloc(4))]), "goAway protocolError"],
  ["CONTINUATION without HEADERS", Buffer.concat([HELLO, frame(FRAME.continuation, 4, 1)]), "goAway protocolError"],
  [
    "PING within a header block",
    Buffer.concat([HELLO, headers(1, GET, 1), frame(FRAME.ping, 0, 0, Buffer.alloc(8))]),
    "goAway protocolError",
  ],
  [
    "CONTINUATION of another stream",
    Buffer.concat([HELLO, headers(1, GET, 1), frame(FRAME.continuation, 4, 3)]),
    "goAway protocolError",
  ],
  [
    "empty CONTINUATION frames",
    Buffer.concat([HELLO, headers(1, GET, 1), repeat(frame(FRAME.continuation, 0, 1), 20)]),
    "goAway enhanceYourCalm",
  ],
  [
    "large CONTINUATION frames",
    Buffer.concat([HELLO, headers(1, GET, 1), repeat(frame(FRAME.continuation, 0, 1, Buffer.alloc(16_384)), 7)]),
    "goAway enhanceYourCalm",
  ],
  [
    "a malformed header block",
    Buffer.concat([HELLO, frame(FRAME.headers, END, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]))]),
    "goAway compressionError",
  ],
  [
    "padding longer than HEADERS",
    Buffer.concat([HELLO, frame(FRAME.headers, END | 8, 1, Buffer.from([200, 0x82]))]),
    "goAway protocolError",
  ],
  [
    "padding longer than DATA",
    Buffer.concat([HELLO, headers(1, POST, 4), frame(FRAME.data, 8, 1, Buffer.from([9, 0]))]),
    "goAway protocolError",
  ],
  [
    "a stream's window over 2^31 - 1",
    Buffer.concat([HELLO, headers(1, POST, 4), frame(FRAME.windowUpdate, 0, 1, uint32(2 ** 31 - 1))]),
    "reset flowControlError",
  ],
  [
    "a stream's WINDOW_UPDATE of 0",
    Buffer.concat([HELLO, headers(1, POST, 4), frame(FRAME.windowUpdate, 0, 1, uint32(0))]),
    "reset protocolError",
  ],
  [
    "trailers that do not end the stream",
    Buffer.concat([HELLO, headers(1, POST, 4), headers(1, [["x", "y"]], 4)]),
    "reset protocolError",
  ],
];

const refused: [name: string, fields: Field[], body?: string][] = [
  ["no :method", GET.slice(1)],
  ["no :path", GET.filter(([name]) => name !== ":path")],
  ["no :scheme", GET.filter(([name]) => name !== ":scheme")],
  ["neither :authority nor Host", GET.slice(0, 3)],
  ["two :path", [...GET, [":path", "/b"]]],
  ["an empty :path", GET.map(([name, value]) => [name, name === ":path" ? "" : value] as const)],
  ["a :path without a slash", GET.map(([name, value]) => [name, name === ":path" ? "http://b/" : value] as const)],
  ["a line end in :path", GET.map(([name, value]) => [name, name === ":path" ? "/ HTTP/1.1\r\nx: y" : value] as const)],
  ["a blank in :path", GET.map(([name, value]) => [name, name === ":path" ? "/a HTTP/1.1" : value] as const)],
  ["a blank in :method", GET.map(([name, value]) => [name, name === ":method" ? "GET /canary" : value] as const)],
  [
    "an :authority with a path",
    GET.map(([name, value]) => [name, name === ":authority" ? "a/canary" : value] as const),
  ],
  ["an unknown pseudo-header field", [...GET, [":x", "y"]]],
  ["a pseudo-header field behind others", [...GET.slice(0, 3), ["x", "y"], GET[3]!]],
  ["a pseudo-header field of responses", [...GET, [":status", "200"]]],
  ["a Host other than :authority", [...GET, ["host", "b"]]],
  ["an upper-case name", [...GET, ["X-Canary", "1"]]],
  ["a name with a colon", [...GET, ["x:y", "1"]]],
  ["an empty name", [...GET, ["", "1"]]],
  ["a name with a line end", [...GET, ["x\r\nx-canary", "1"]]],
  ["a value with a line end", [...GET, ["x", "1\r\nx-canary: 1"]]],
  ["a value with a line feed", [...GET, ["x", "1\nx-canary: 1"]]],
  ["a value with NUL", [...GET, ["x", "1\0"]]],
  ["a value that begins with a blank", [...GET, ["x", " 1"]]],
  ["transfer-encoding", [...GET, ["transfer-encoding", "chunked"]]],
  ["connection", [...GET, ["connection", "x-canary"]]],
  ["upgrade", [...GET, ["upgrade", "websocket"]]],
  ["te: gzip", [...GET, ["te", "gzip"]]],
  ["two Content-Length", [...GET, ["content-length", "0"], ["content-length", "1"]]],
  ["a Content-Length without a body", [...GET, ["content-length", "3"]]],
];

async function start(t: LiveTest): Promise<{ sluice: Program; upstream: Upstream }> {
  const upstream = await startUpstream(t, ({ url }, response) => {
    if (!url.startsWith("/hold")) response.end("ok");
  });
  return { sluice: await startSluice(t, simpleConfig(upstream.port, { route: "timeout: 20s" })), upstream };
}

testInUsualMode(
  "frames that violate the protocol end the connection or the stream, with the error code for it",
  async (t) => {
    const { sluice, upstream } = await start(t);
    for (const [name, bytes, outcome] of broken)
      for (const size of [bytes.length, 1])
        await t.test(`${name}, in parts of ${size}`, async (t) => {
          if (size === 1 && bytes.length > 500) return;
          const client = await connectTo(t, sluice.port);
          for (let at = 0; at < bytes.length; at += size) client.send(bytes.subarray(at, at + size));
          if (outcome === "") return assert.match((await client.rest()).toString("latin1"), /^HTTP\/1\.1 400/);
          await waits(client, () => outcomeOf(client) === outcome, `${outcome}, not ${outcomeOf(client)}`);
          if (outcome.startsWith("goAway")) await client.rest();
        });
    assert.ok((await sluice.metric("sluice_http2_errors_total", { error: "protocol_error" })) > 10);
    const line = await sluice.logged(({ event }) => event === "http2_error", "the cause");
    assert.deepEqual([line.level, line.listener, line.client], ["warn", "web", "127.0.0.1"]);
    for (const { headers: got } of upstream.requests) assert.equal(got["x-canary"], undefined);
    await sluice.metricIs(0, "sluice_requests_in_flight");
  },
);

testInUsualMode("DATA beyond the window resets its stream", async (t) => {
  const upstream = await startRawUpstream(t, ({ socket }) => void socket.pause());
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const client = await open(t, sluice, Buffer.concat([HELLO, headers(1, POST, 4)]));
  const data = repeat(frame(FRAME.data, 0, 1, Buffer.alloc(16_384)), 64);
  for (let i = 0; i < 30 && outcomeOf(client) === ""; i++) {
    client.send(data);
    await new Promise(setImmediate);
  }
  await waits(client, () => /flowControlError/.test(outcomeOf(client)), "a reset");
});

testInUsualMode("a connection ends after GOAWAY by the client, once its requests are finished", async (t) => {
  const { sluice } = await start(t);
  const goAway = frame(FRAME.goAway, 0, 0, Buffer.alloc(8));
  for (const requests of [[], [headers(1, GET)], [headers(1, GET), headers(3, GET)]]) {
    const client = await open(t, sluice, Buffer.concat([HELLO, ...requests, goAway]));
    const received = framesOf(await client.rest());
    assert.equal(received.filter(({ type }) => type === FRAME.headers).length, requests.length);
  }
});

testInUsualMode("after a final GOAWAY new requests are not served, and others are not affected", async (t) => {
  const upstream = await startRawUpstream(t);
  const late = Buffer.concat([headers(3, POST, 4), frame(FRAME.data, 0, 3, Buffer.from("late"))]);
  const ping = frame(FRAME.ping, 0, 0, Buffer.alloc(8));
  const goAways = ({ bytes }: { bytes: Buffer }) =>
    framesOf(bytes)
      .filter(({ type }) => type === FRAME.goAway)
      .map(({ payload }) => [readUint32(payload, 0), nameOf(readUint32(payload, 4))]);
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: "timeouts: { idle: 1s }" }));

  await t.test("of an idle connection", async (t) => {
    const socket = connect({ port: sluice.port, host: "127.0.0.1", allowHalfOpen: true });
    t.after(() => socket.destroy());
    const client = { bytes: Buffer.alloc(0) };
    socket.write(HELLO);
    socket.on("data", (chunk) => {
      client.bytes = Buffer.concat([client.bytes, chunk as Buffer]);
    });
    await bounded(once(socket, "end"), "the end");
    socket.on("error", () => {});
    socket.write(late);
    await sluice.metricIs(0, "sluice_connections_active");
    assert.deepEqual(goAways(client), [[0, "noError"]]);
    assert.equal(upstream.peers.length, 0);
    await sluice.metricIs(0, "sluice_requests_total");
  });

  const client = await open(t, sluice, Buffer.concat([HELLO, headers(1, GET)]));
  const endpoint = await upstream.connection(0);
  await endpoint.take("\r\n\r\n");
  const stopped = sluice.stop();
  await waits(client, () => goAways(client).length === 2, "two GOAWAY");
  client.send(Buffer.concat([late, frame(FRAME.windowUpdate, 0, 3, uint32(1)), headers(3, [["x-end", "1"]]), ping]));
  await waits(client, () => framesOf(client.bytes).some(({ type }) => type === FRAME.ping), "a PING");
  endpoint.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
  const received = await client.rest();
  assert.ok(framesOf(received).some(({ stream, payload }) => stream === 1 && payload.includes("done")));
  assert.deepEqual(goAways({ bytes: received }), [
    [2 ** 31 - 1, "noError"],
    [1, "noError"],
  ]);
  assert.equal(upstream.peers.length, 1);
  await stopped;
});

testInUsualMode(
  "credit of one byte at a time is a flood, as frames of one byte cost more than they carry",
  async (t) => {
    const body = Buffer.alloc(100_000, "b");
    const upstream = await startUpstream(t, (_, response) => response.end(body));
    const sluice = await startSluice(t, simpleConfig(upstream.port));
    const noWindow = frame(FRAME.settings, 0, 0, setting(SETTING.initialWindowSize, 0));
    const isResponse = ({ type }: Frame) => type === FRAME.headers;
    const sizeOf = (client: Peer) =>
      framesOf(client.bytes).reduce((sum, { type, payload }) => sum + (type === FRAME.data ? payload.length : 0), 0);
    for (const [name, make] of [
      ["WINDOW_UPDATE", () => frame(FRAME.windowUpdate, 0, 1, uint32(1))],
      ["SETTINGS", (i) => frame(FRAME.settings, 0, 0, setting(SETTING.initialWindowSize, i + 1))],
    ] satisfies [string, (i: number) => Buffer][]) {
      const client = await open(t, sluice, Buffer.concat([HELLO, noWindow, headers(1, GET)]));
      await waits(client, () => framesOf(client.bytes).some(isResponse), "a response");
      for (let i = 0; i < 3000; i += 100)
        client.send(Buffer.concat(Array.from({ length: 100 }, (_, k) => make(i + k))));
      await waits(
        client,
        () => outcomeOf({ bytes: client.bytes.subarray(-17) } as Peer) === "goAway enhanceYourCalm",
        name,
      );
      assert.ok(sizeOf(client) < 2000);
    }
    // Small windows that are used are none.
    const client = await open(t, sluice, Buffer.concat([HELLO, noWindow, headers(1, GET)]));
    for (let sent = 500; sent <= body.length; sent += 500) {
      client.send(frame(FRAME.windowUpdate, 0, 1, uint32(500)));
      if (sent > 60_000) client.send(frame(FRAME.windowUpdate, 0, 0, uint32(500)));
      if (sent < 60_000 || sent === body.length) await waits(client, () => sizeOf(client) >= sent, `${sent} bytes`);
    }
    assert.ok(!/goAway/.test(outcomeOf(client)));
  },
);

testInUsualMode(
  "a header block that stays incomplete ends the connection, also while responses are slow to be read",
  async (t) => {
    const upstream = await startRawUpstream(t);
    const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: "timeouts: { head: 1s }" }));
    const client = await connectTo(t, sluice.port, { pauseOnConnect: true });
    const windows = [
      frame(FRAME.settings, 0, 0, setting(SETTING.initialWindowSize, 2 ** 30)),
      frame(FRAME.windowUpdate, 0, 0, uint32(2 ** 30)),
    ];
    client.send(Buffer.concat([HELLO, ...windows, headers(1, GET), headers(3, GET, 1)]));
    const endpoint = await upstream.connection(0);
    await endpoint.take("\r\n\r\n");
    const size = 32 << 20;
    endpoint.send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`).send(Buffer.alloc(size));
    await sluice.metricIs(1, "sluice_requests_in_flight");
    client.socket.resume();
    const last = framesOf(await client.rest()).at(-1)!;
    assert.deepEqual([last.type, nameOf(readUint32(last.payload, 4))], [FRAME.goAway, "enhanceYourCalm"]);
  },
);

/** What follows the end of a request would be another request at the endpoint. */
const afterEnd: [name: string, request: Buffer, then: (stream: number) => Buffer][] = [
  ["DATA after GET", headers(1, GET), (id) => frame(FRAME.data, 0, id, Buffer.from("GET /canary HTTP/1.1\r\n\r\n"))],
  ["the end twice", headers(1, GET), (id) => frame(FRAME.data, 1, id)],
  [
    "DATA after a body in chunks",
    Buffer.concat([headers(1, POST, 4), frame(FRAME.data, 1, 1, Buffer.from("abc"))]),
    (id) => frame(FRAME.data, 1, id, Buffer.from("canary")),
  ],
  ["trailers after GET", headers(1, GET), (id) => headers(id, [["x-canary", "1"]])],
  [
    "trailers twice",
    Buffer.concat([headers(1, POST, 4), headers(1, [["x-end", "1"]])]),
    (id) => headers(id, [["x-canary", "1"]]),
  ],
  ["padding after GET", headers(1, GET), (id) => frame(FRAME.data, FRAME_FLAG.padded, id, Buffer.from([0]))],
];

testInUsualMode(
  "what a client sends after the end of a request resets the stream, and reaches no endpoint",
  async (t) => {
    const upstream = await startRawUpstream(t);
    const sluice = await startSluice(t, simpleConfig(upstream.port));
    for (const [i, [name, request, then]] of afterEnd.entries())
      await t.test(name, async (t) => {
        const client = await open(t, sluice, Buffer.concat([HELLO, request]));
        const endpoint = await upstream.connection(i);
        await endpoint.take(
          request.includes("abc") ? "0\r\n\r\n" : name === "trailers twice" ? "x-end: 1\r\n\r\n" : "\r\n\r\n",
        );
        client.send(then(1));
        await waits(client, () => outcomeOf(client) === "reset streamClosed", "a reset");
        assert.equal((await endpoint.rest()).toString("latin1"), "");
      });
    await sluice.metricIs(0, "sluice_requests_in_flight");
  },
);

testInUsualMode("padding is subject to flow control, and is credited", async (t) => {
  const { sluice, upstream } = await start(t);
  const client = await open(t, sluice, Buffer.concat([HELLO, headers(1, POST, 4)]));
  const padded = frame(FRAME.data, FRAME_FLAG.padded, 1, Buffer.concat([Buffer.from([255, 1]), Buffer.alloc(255)]));
  const creditOf = (stream: number) =>
    framesOf(client.bytes)
      .filter((got) => got.type === FRAME.windowUpdate && got.stream === stream)
      .reduce((sum, { payload }) => sum + readUint32(payload, 0), 65_535);
  // More than the window of the connection, within the credit that the client has.
  let sent = 0;
  for (; sent < 4200; sent++) {
    const size = 257 * (sent + 1);
    await waits(client, () => creditOf(0) >= size && creditOf(1) >= size, `credit for ${size} bytes`);
    client.send(padded);
  }
  client.send(frame(FRAME.data, 1, 1));
  await waits(client, () => outcomeOf(client) !== "", "a response");
  assert.equal(outcomeOf(client), "response 200");
  assert.equal(upstream.requests[0]!.body.length, sent);
});

testInUsualMode("DATA frames of one byte are joined within a read, and keep their order", async (t) => {
  const upstream = await startRawUpstream(t);
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  const client = await open(t, sluice, Buffer.concat([HELLO, headers(1, POST, 4), headers(3, POST, 4)]));
  const texts = [1, 3].map((id) => Buffer.from(Array.from({ length: 5000 }, (_, i) => 97 + ((i * id) % 26))));
  const frames = Array.from({ length: 50 }, (_, i) =>
    [1, 3].flatMap((id, k) =>
      [...texts[k]!.subarray(100 * i, 100 * (i + 1))].map((byte, j) =>
        j % 7 === 0
          ? frame(FRAME.data, FRAME_FLAG.padded, id, Buffer.from([2, byte, 0, 0]))
          : frame(FRAME.data, 0, id, Buffer.from([byte])),
      ),
    ),
  );
  client.send(Buffer.concat(frames.flat()));
  client.send(Buffer.concat([frame(FRAME.data, 1, 1), headers(3, [["x-end", "1"]])]));
  const bodies = new Set<string>();
  for (const k of [0, 1]) {
    const endpoint = await upstream.connection(k);
    await endpoint.waits(() => /\r\n0\r\n(x-end: 1\r\n)?\r\n$/.test(endpoint.text), "the end");
    const chunks = endpoint.text.slice(endpoint.text.indexOf("\r\n\r\n") + 2).match(/[0-9a-f]+\r\n[a-z]+\r\n/g)!;
    assert.ok(chunks.length < 200, `${chunks.length} chunks`);
    bodies.add(chunks.map((chunk) => chunk.split("\r\n")[1]).join(""));
  }
  assert.deepEqual(bodies, new Set(texts.map(String)));
});

testInUsualMode("streams get no byte of one another", async (t) => {
  const sizes = [65_536, 10, 1 << 20, 200, 3 * 65_536, 3000];
  const upstream = await startUpstream(t, ({ url }, response) => {
    const n = Number(url.slice(1));
    const body = Buffer.alloc(sizes[n % sizes.length]!, n);
    response.writeHead(200, { "content-length": body.length, "x-n": n, "x-fill": "f".repeat(n % 90) }).end(body);
  });
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  // Windows so large that whole reads of endpoints are sent in one turn.
  const session = connectHttp2(sluice.url, { settings: { initialWindowSize: 1 << 24 } });
  session.on("connect", () => session.setLocalWindowSize(1 << 26)).on("error", () => {});
  t.after(() => session.destroy());
  let next = 0;
  const requests = async (): Promise<void> => {
    for (let n = next++; n < 400; n = next++) {
      const stream = session.request({ ":path": `/${n}` });
      let got = "";
      stream.on("response", (fields) => {
        got = String(fields["x-n"]);
      });
      const body = Buffer.concat(await bounded(stream.toArray(), `response ${n}`));
      assert.equal(got, String(n));
      assert.ok(body.equals(Buffer.alloc(sizes[n % sizes.length]!, n)), `body ${n} of ${body.length} bytes`);
    }
  };
  await Promise.all(Array.from({ length: 50 }, requests));
});

testInUsualMode("malformed requests get 400 and reach no endpoint; the connection stays open", async (t) => {
  const { sluice, upstream } = await start(t);
  const client = await open(t, sluice, HELLO);
  let stream = 1;
  for (const [name, fields] of refused)
    await t.test(name, async () => {
      const before = client.bytes.length;
      client.send(headers(stream, fields));
      const answered = () => framesOf(client.bytes).find((got) => got.stream === stream && got.type === FRAME.headers);
      await waits(client, () => answered() !== undefined, `a response to ${name}`);
      assert.equal(outcomeOf({ bytes: client.bytes.subarray(before) } as Peer), "response 400");
      stream += 2;
    });
  for (const [body, length] of [
    ["toolong", 3],
    ["short", 9],
  ] as const) {
    client.send(headers(stream, [...POST, ["content-length", String(length)]], 4));
    client.send(frame(FRAME.data, 1, stream, Buffer.from(body)));
    await waits(
      client,
      () => framesOf(client.bytes).some((got) => got.stream === stream && got.type === FRAME.headers),
      "400",
    );
    stream += 2;
  }
  assert.equal(upstream.requests.length, 0);
  client.send(headers(stream, GET));
  await waits(
    client,
    () => framesOf(client.bytes).some((got) => got.stream === stream && got.type === FRAME.data),
    "200",
  );
  assert.equal(upstream.requests.length, 1);
  await sluice.metricIs(refused.length + 2, "sluice_requests_rejected_total", { reason: "malformed" });
});

const HOLD: Field[] = POST.map(([name, value]) => [name, name === ":path" ? "/hold" : value]);

/** Processor time of all threads of a process so far, ms. */
function timeOf(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return (
    tasks.reduce(
      (sum, task) => sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]),
      0,
    ) / 1e6
  );
}

const floods: [name: string, make: (i: number) => Buffer][] = [
  ["PING", () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
  ["SETTINGS", () => SETTINGS],
  ["acknowledgements of SETTINGS", () => frame(FRAME.settings, FRAME_FLAG.acknowledge, 0)],
  ["PRIORITY", () => frame(FRAME.priority, 0, 1, Buffer.alloc(5))],
  ["PRIORITY_UPDATE", () => frame(FRAME.priorityUpdate, 0, 0, Buffer.concat([uint32(1), Buffer.from("u=1")]))],
  ["unknown frames", () => frame(200, 0, 0)],
  ["WINDOW_UPDATE", () => frame(FRAME.windowUpdate, 0, 0, uint32(1))],
  ["rapid reset", (i) => Buffer.concat([headers(2 * i + 1, GET), frame(FRAME.resetStream, 0, 2 * i + 1, uint32(8))])],
  [
    "faults that make us reset",
    (i) => Buffer.concat([headers(2 * i + 1, POST, 4), frame(FRAME.windowUpdate, 0, 2 * i + 1, uint32(0))]),
  ],
  ["empty DATA", (i) => (i === 0 ? headers(1, HOLD, 4) : frame(FRAME.data, 0, 1))],
  ["DATA of padding", (i) => (i === 0 ? headers(1, HOLD, 4) : frame(FRAME.data, 8, 1, Buffer.from([1, 0])))],
  [
    "DATA on a stream that we have reset",
    (i) =>
      i === 0
        ? Buffer.concat([headers(1, HOLD, 4), frame(FRAME.windowUpdate, 0, 1, uint32(0))])
        : frame(FRAME.data, 0, 1, Buffer.from("x")),
  ],
  ["WINDOW_UPDATE of a stream", (i) => (i === 0 ? headers(1, HOLD, 4) : frame(FRAME.windowUpdate, 0, 1, uint32(1)))],
  ["streams over the limit", (i) => headers(2 * i + 1, [...GET.slice(0, 2), [":path", "/hold"], GET[3]!])],
];

testInUsualMode("floods of control frames end the connection", async (t) => {
  const { sluice } = await start(t);
  const other = connectHttp2(sluice.url);
  t.after(() => other.destroy());
  for (const [name, make] of floods)
    await t.test(name, async (t) => {
      const client = await open(t, sluice, HELLO);
      const before = timeOf(sluice.pid);
      const started = performance.now();
      for (let i = 0; i < 3000; i += 100)
        client.send(Buffer.concat(Array.from({ length: 100 }, (_, k) => make(i + k))));
      const goesAway = () =>
        framesOf(client.bytes).some(
          ({ type, payload }) => type === FRAME.goAway && readUint32(payload, 4) === CODE.enhanceYourCalm,
        );
      await waits(client, goesAway, "GOAWAY with ENHANCE_YOUR_CALM");
      // The others are served.
      const stream = other.request({ ":path": "/" });
      const chunks = await bounded(stream.toArray(), "a response on another connection");
      assert.equal(Buffer.concat(chunks).toString(), "ok");
      const cost = timeOf(sluice.pid) - before;
      t.diagnostic(`cost ${cost.toFixed(1)} ms of processor time in ${(performance.now() - started).toFixed(0)} ms`);
    });
  await sluice.metricIs(floods.length, "sluice_http2_errors_total", { error: "enhance_your_calm" });
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("a header bomb of references costs no more than limits.head", async (t) => {
  const { sluice } = await start(t);
  const client = await open(t, sluice, HELLO);
  const before = await sluice.metric("process_resident_memory_bytes");
  const value = Buffer.alloc(4000, "b");
  const add = Buffer.concat([
    Buffer.from([0x40, 1, 0x61, 0x7f, ((4000 - 127) & 0x7f) | 0x80, (4000 - 127) >> 7]),
    value,
  ]);
  const bomb = Buffer.concat([Buffer.from([0x82, 0x86, 0x84, 0x41, 1, 0x61]), add, Buffer.alloc(10_000, 0xbe)]);
  for (let i = 0; i < 200; i++) client.send(frame(FRAME.headers, END, 2 * i + 1, bomb));
  await waits(
    client,
    () => framesOf(client.bytes).filter(({ type }) => type === FRAME.headers).length === 200,
    "200 responses",
  );
  await sluice.metricIs(200, "sluice_requests_total", { status: "431" });
  const after = await sluice.metric("process_resident_memory_bytes");
  assert.ok(after - before < 64e6, `${(after - before) / 1e6} MB`);
});

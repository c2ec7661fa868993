/** Conformance of connections of clients, by sections of RFC 9113, RFC 7541 and RFC 7540 (priorities). */
import assert from "node:assert/strict";
import { CODE, FRAME, FRAME_FLAG, MAX_PAYLOAD, PREFACE, readUint32, SETTING } from "../../src/http2/frames.ts";
import { startUpstream } from "../e2e/peers.ts";
import { simpleConfig, startSluice, testInUsualMode } from "../e2e/program.ts";
import { block, END, type Field, frame, framesOf, headers, nameOf, setting, uint32 } from "../support/http2-frames.ts";
import { GET, HELLO, open, POST, waits } from "./http2-client.ts";

type Case = readonly [
  /** Section, and what is tested. */
  promise: string,
  /** What is sent, and events to wait for in between; `response`: of a complete one. */
  bytes: readonly (Buffer | string)[],
  /** What is received, in this order, beside other frames: `goAway CODE`, `reset ID CODE`, `response ID`, `data SIZE`. */
  ...events: string[],
];

const OPEN = FRAME_FLAG.endHeaders;
const with_ = (...more: Field[]): Field[] => [...GET, ...more];
const HOLD: Field[] = POST.map(([name, value]) => [name, name === ":path" ? "/hold" : value]);
const data = (stream: number, text: string, flags: number = FRAME_FLAG.endStream) =>
  frame(FRAME.data, flags, stream, Buffer.from(text));
const reset = (stream: number) => frame(FRAME.resetStream, 0, stream, uint32(CODE.cancel));
const ping = (flags = 0) => frame(FRAME.ping, flags, 0, Buffer.from("01234567"));
const priority = (stream: number, dependency: number, weight = 15) =>
  frame(FRAME.priority, 0, stream, Buffer.concat([uint32(dependency), Buffer.from([weight])]));
const update = (stream: number, of: number, value: string) =>
  frame(FRAME.priorityUpdate, 0, stream, Buffer.concat([uint32(of), Buffer.from(value)]));
const window = (stream: number, size: number) => frame(FRAME.windowUpdate, 0, stream, uint32(size));
const settings = (...pairs: [number, number][]) =>
  frame(FRAME.settings, 0, 0, Buffer.concat(pairs.map(([id, value]) => setting(id, value))));
const raw = (stream: number, ...bytes: number[]) => frame(FRAME.headers, END, stream, Buffer.from(bytes));
/** The pseudo-header fields of a GET, by the static table. */
const INDEXED = [0x82, 0x86, 0x84, 0x41, 1, 0x61];
/** With a bit that is reserved, in the stream's number. */
const reserved = (bytes: Buffer) => {
  const copy = Buffer.from(bytes);
  copy[5]! |= 0x80;
  return copy;
};
const malformed = (id = 1) => [`response ${id}`, `reset ${id} protocolError`];

const cases: Case[] = [
  // ── RFC 9113 ──────────────────────────────────────────────────────────────────────────────────────────────────────
  ["3.4 SETTINGS are the first frame of the server", [HELLO], "settings", "acknowledgement"],
  ["4.1 unknown frames are ignored", [HELLO, frame(0x16, 0xff, 0, Buffer.alloc(8)), ping()], "ping 01234567"],
  ["4.1 unknown flags are ignored", [HELLO, ping(0xfe)], "ping 01234567"],
  ["4.1 the reserved bit is ignored", [HELLO, reserved(headers(1, GET))], "response 1"],
  [
    "4.2 DATA of 16,384 bytes is accepted",
    [HELLO, headers(1, POST, OPEN), data(1, "x".repeat(MAX_PAYLOAD))],
    "response 1",
  ],
  [
    "4.2 DATA over 16,384 bytes",
    [HELLO, headers(1, POST, OPEN), data(1, "x".repeat(MAX_PAYLOAD + 1))],
    "goAway frameSizeError",
  ],
  ["4.2 HEADERS over 16,384 bytes", [HELLO, raw(1, ...Array(MAX_PAYLOAD + 1).fill(0x82))], "goAway frameSizeError"],
  ["4.3 a header block that cannot be decoded", [HELLO, raw(1, 0xc6)], "goAway compressionError"],
  ["4.3 PRIORITY within a header block", [HELLO, headers(1, GET, 1), priority(1, 0)], "goAway protocolError"],
  ["4.3 HEADERS of another stream within one", [HELLO, headers(1, GET, 1), headers(3, GET)], "goAway protocolError"],
  ["4.3 DATA within a header block", [HELLO, headers(1, POST, 0), data(1, "x")], "goAway protocolError"],
  ["5.1 idle: DATA", [HELLO, data(1, "x")], "goAway protocolError"],
  ["5.1 idle: RST_STREAM", [HELLO, reset(1)], "goAway protocolError"],
  ["5.1 idle: WINDOW_UPDATE", [HELLO, window(1, 100)], "goAway protocolError"],
  ["5.1 idle: CONTINUATION", [HELLO, frame(FRAME.continuation, 4, 1, block(GET))], "goAway protocolError"],
  ["5.1 idle: PRIORITY is allowed", [HELLO, priority(1, 0), headers(1, GET)], "response 1"],
  ["5.1 half-closed: DATA", [HELLO, headers(1, HOLD), data(1, "x")], "reset 1 streamClosed"],
  ["5.1 half-closed: HEADERS", [HELLO, headers(1, HOLD), headers(1, GET)], "reset 1 streamClosed"],
  [
    "5.1 half-closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed",
    [HELLO, headers(1, HOLD), window(1, 100), priority(1, 0), reset(1), ping()],
    "ping 01234567",
  ],
  ["5.1 closed by RST_STREAM: DATA", [HELLO, headers(1, HOLD, OPEN), reset(1), data(1, "x")], "goAway streamClosed"],
  [
    "5.1 closed by RST_STREAM: HEADERS",
    [HELLO, headers(1, HOLD, OPEN), reset(1), headers(1, GET)],
    "goAway streamClosed",
  ],
  [
    "5.1 closed by RST_STREAM: CONTINUATION",
    [HELLO, headers(1, HOLD, OPEN), reset(1), frame(FRAME.continuation, 4, 1, block(GET))],
    "goAway protocolError",
  ],
  ["5.1 closed: DATA", [HELLO, headers(1, GET), "response", data(1, "x")], "response 1", "goAway streamClosed"],
  ["5.1 closed: HEADERS", [HELLO, headers(1, GET), "response", headers(1, GET)], "response 1", "goAway streamClosed"],
  [
    "5.1 closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are ignored",
    [HELLO, headers(1, GET), "response", window(1, 1), priority(1, 0), reset(1), ping()],
    "ping 01234567",
  ],
  [
    "5.1 reset by the server: DATA and trailers in transit are ignored",
    [HELLO, headers(1, HOLD, OPEN), window(1, 0), data(1, "x", 0), headers(1, [["x", "y"]]), headers(3, GET)],
    "reset 1 protocolError",
    "response 3",
  ],
  ["5.1.1 a stream with an even number", [HELLO, headers(2, GET)], "goAway protocolError"],
  ["5.1.1 a lower stream", [HELLO, headers(5, HOLD), headers(3, GET)], "goAway protocolError"],
  [
    "5.1.2 more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
    [HELLO, ...Array.from({ length: 101 }, (_, i) => headers(2 * i + 1, HOLD))],
    "reset 201 refusedStream",
  ],
  [
    "5.5 an unknown frame within a header block",
    [HELLO, headers(1, GET, 1), frame(0x16, 0, 0)],
    "goAway protocolError",
  ],
  ["6.1 DATA on stream 0", [HELLO, data(0, "x")], "goAway protocolError"],
  [
    "6.1 padding as long as the payload",
    [HELLO, headers(1, POST, OPEN), frame(FRAME.data, 9, 1, Buffer.from([5, 0, 0, 0, 0]))],
    "goAway protocolError",
  ],
  ["6.2 HEADERS on stream 0", [HELLO, headers(0, GET)], "goAway protocolError"],
  [
    "6.2 padding as long as the block",
    [HELLO, frame(FRAME.headers, END | 8, 1, Buffer.concat([Buffer.from([200]), block(GET)]))],
    "goAway protocolError",
  ],
  [
    "6.2 padding and priority are no part of the block",
    [
      HELLO,
      frame(
        FRAME.headers,
        END | 8 | 32,
        1,
        Buffer.concat([Buffer.from([3]), uint32(0), Buffer.from([15]), block(GET), Buffer.alloc(3)]),
      ),
    ],
    "response 1",
  ],
  ["6.3 PRIORITY on stream 0", [HELLO, priority(0, 1)], "goAway protocolError"],
  ["6.3 PRIORITY of 4 bytes", [HELLO, frame(FRAME.priority, 0, 1, Buffer.alloc(4))], "goAway frameSizeError"],
  ["6.4 RST_STREAM on stream 0", [HELLO, reset(0)], "goAway protocolError"],
  ["6.4 RST_STREAM of 3 bytes", [HELLO, headers(1, HOLD), frame(3, 0, 1, Buffer.alloc(3))], "goAway frameSizeError"],
  ["6.5 an acknowledgement with a payload", [HELLO, frame(4, 1, 0, setting(1, 1))], "goAway frameSizeError"],
  ["6.5 SETTINGS on a stream", [HELLO, frame(4, 0, 1, setting(3, 1))], "goAway protocolError"],
  ["6.5 SETTINGS of 3 bytes", [HELLO, frame(4, 0, 0, Buffer.alloc(3))], "goAway frameSizeError"],
  ["6.5.2 ENABLE_PUSH of 2", [HELLO, settings([SETTING.enablePush, 2])], "goAway protocolError"],
  [
    "6.5.2 INITIAL_WINDOW_SIZE of 2^31",
    [HELLO, settings([SETTING.initialWindowSize, 2 ** 31])],
    "goAway flowControlError",
  ],
  ["6.5.2 MAX_FRAME_SIZE of 16,383", [HELLO, settings([SETTING.maxFrameSize, 16_383])], "goAway protocolError"],
  ["6.5.2 MAX_FRAME_SIZE of 2^24", [HELLO, settings([SETTING.maxFrameSize, 2 ** 24])], "goAway protocolError"],
  ["6.5.2 unknown settings are ignored", [HELLO, settings([0xff, 1]), ping()], "ping 01234567"],
  [
    "6.5.3 values are applied in order",
    [PREFACE, settings([SETTING.initialWindowSize, 100], [SETTING.initialWindowSize, 1]), headers(1, GET)],
    "acknowledgement",
    "response 1",
    "data 1",
  ],
  ["6.6 PUSH_PROMISE", [HELLO, frame(FRAME.pushPromise, 4, 1, Buffer.alloc(4))], "goAway protocolError"],
  ["6.7 PING is acknowledged with its payload", [HELLO, ping()], "ping 01234567"],
  [
    "6.7 an acknowledgement is not",
    [HELLO, ping(1), frame(FRAME.ping, 0, 0, Buffer.from("other..."))],
    "ping other...",
  ],
  ["6.7 PING on a stream", [HELLO, frame(FRAME.ping, 0, 1, Buffer.alloc(8))], "goAway protocolError"],
  ["6.7 PING of 6 bytes", [HELLO, frame(FRAME.ping, 0, 0, Buffer.alloc(6))], "goAway frameSizeError"],
  ["6.8 GOAWAY on a stream", [HELLO, frame(FRAME.goAway, 0, 1, Buffer.alloc(8))], "goAway protocolError"],
  ["6.9 WINDOW_UPDATE of 0", [HELLO, window(0, 0)], "goAway protocolError"],
  ["6.9 a stream's WINDOW_UPDATE of 0", [HELLO, headers(1, HOLD), window(1, 0)], "reset 1 protocolError"],
  ["6.9 WINDOW_UPDATE of 3 bytes", [HELLO, frame(8, 0, 0, Buffer.alloc(3))], "goAway frameSizeError"],
  [
    "6.9.1 DATA waits for the window",
    [PREFACE, settings([SETTING.initialWindowSize, 1]), headers(1, GET), "data 1", window(1, 1)],
    "data 1",
    "data 1",
  ],
  ["6.9.1 a window over 2^31 - 1", [HELLO, window(0, 2 ** 31 - 1), window(0, 2 ** 31 - 1)], "goAway flowControlError"],
  [
    "6.9.1 a stream's window over 2^31 - 1",
    [HELLO, headers(1, HOLD), window(1, 2 ** 31 - 1), window(1, 2 ** 31 - 1)],
    "reset 1 flowControlError",
  ],
  [
    "6.9.2 a change of the initial window applies to open streams",
    [PREFACE, settings([SETTING.initialWindowSize, 0]), headers(1, GET), settings([SETTING.initialWindowSize, 1])],
    "data 1",
  ],
  [
    "6.9.2 a window may be negative",
    [
      PREFACE,
      settings([SETTING.initialWindowSize, 3]),
      headers(1, GET),
      "data 3",
      settings([SETTING.initialWindowSize, 2]),
      window(1, 2),
    ],
    "data 3",
    "data 1",
  ],
  [
    "6.9.2 an initial window that makes a window exceed 2^31 - 1",
    [HELLO, headers(1, HOLD), window(1, 2 ** 30), settings([SETTING.initialWindowSize, 2 ** 31 - 1])],
    "goAway flowControlError",
  ],
  [
    "6.10 CONTINUATION frames are one block with HEADERS",
    [
      HELLO,
      frame(FRAME.headers, 1, 1, block(GET).subarray(0, 2)),
      frame(FRAME.continuation, 0, 1, block(GET).subarray(2, 3)),
      frame(FRAME.continuation, 4, 1, block(GET).subarray(3)),
    ],
    "response 1",
  ],
  ["6.10 CONTINUATION on stream 0", [HELLO, headers(1, GET, 1), frame(9, 4, 0)], "goAway protocolError"],
  [
    "6.10 CONTINUATION after END_HEADERS",
    [HELLO, headers(1, HOLD, OPEN), frame(9, 4, 1, block([["x", "y"]]))],
    "goAway protocolError",
  ],
  [
    "6.10 CONTINUATION after a CONTINUATION with END_HEADERS",
    [HELLO, headers(1, HOLD, 0), frame(9, 4, 1), frame(9, 4, 1)],
    "goAway protocolError",
  ],
  [
    "6.10 CONTINUATION after DATA",
    [HELLO, headers(1, HOLD, OPEN), data(1, "x", 0), frame(9, 4, 1)],
    "goAway protocolError",
  ],
  [
    "8.1 HEADERS without END_STREAM after the first",
    [HELLO, headers(1, HOLD, OPEN), headers(1, [["x", "y"]], 4)],
    "reset 1 protocolError",
  ],
  ["8.1 trailers", [HELLO, headers(1, POST, OPEN), data(1, "x", 0), headers(1, [["x", "y"]])], "response 1"],
  [
    "8.1 a pseudo-header field in trailers",
    [HELLO, headers(1, POST, OPEN), headers(1, [[":path", "/"]])],
    ...malformed(),
  ],
  [
    "8.1.1 a body longer than Content-Length",
    [HELLO, headers(1, [...POST, ["content-length", "1"]], OPEN), data(1, "xx")],
    ...malformed(),
  ],
  [
    "8.1.1 the sum of DATA other than Content-Length",
    [HELLO, headers(1, [...POST, ["content-length", "1"]], OPEN), data(1, "x", 0), data(1, "x")],
    ...malformed(),
  ],
  [
    "8.1.1 a malformed request does not affect others",
    [HELLO, headers(1, with_(["X", "y"])), headers(3, GET)],
    ...malformed(),
    "response 3",
  ],
  ["8.2.1 a field name in upper case", [HELLO, headers(1, with_(["X-Test", "y"]))], ...malformed()],
  ["8.2.1 a control character in a value", [HELLO, headers(1, with_(["x", "a\nb"]))], ...malformed()],
  ["8.2.1 a value with a blank at its end", [HELLO, headers(1, with_(["x", "a "]))], ...malformed()],
  ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"].map(
    (name): Case => [`8.2.2 ${name}`, [HELLO, headers(1, with_([name, "x"]))], ...malformed()],
  ),
  ["8.2.2 TE other than trailers", [HELLO, headers(1, with_(["te", "trailers, deflate"]))], ...malformed()],
  ["8.2.2 TE of trailers", [HELLO, headers(1, with_(["te", "trailers"]))], "response 1"],
  ["8.3 an unknown pseudo-header field", [HELLO, headers(1, with_([":test", "ok"]))], ...malformed()],
  ["8.3 a pseudo-header field of responses", [HELLO, headers(1, with_([":status", "200"]))], ...malformed()],
  ["8.3 a pseudo-header field behind others", [HELLO, headers(1, [["x", "y"], ...GET])], ...malformed()],
  ...[":method", ":scheme", ":path"].flatMap((pseudo): Case[] => [
    [
      `8.3.1 no ${pseudo}`,
      [
        HELLO,
        headers(
          1,
          GET.filter(([name]) => name !== pseudo),
        ),
      ],
      ...malformed(),
    ],
    [`8.3.1 two ${pseudo}`, [HELLO, headers(1, with_(GET.find(([name]) => name === pseudo)!))], ...malformed()],
  ]),
  [
    "8.3.1 an empty :path",
    [
      HELLO,
      headers(
        1,
        GET.map(([n, v]) => [n, n === ":path" ? "" : v] as const),
      ),
    ],
    ...malformed(),
  ],
  [
    "8.5 CONNECT is not allowed",
    [
      HELLO,
      headers(1, [
        [":method", "CONNECT"],
        [":authority", "a"],
      ]),
    ],
    "response 1",
  ],
  ["RFC 8441 4 :protocol of another method", [HELLO, headers(1, with_([":protocol", "websocket"]))], ...malformed()],
  [
    "RFC 8441 4 an extended CONNECT has :scheme and :path",
    [
      HELLO,
      headers(1, [
        [":method", "CONNECT"],
        [":protocol", "websocket"],
        [":authority", "a"],
      ]),
    ],
    ...malformed(),
  ],

  ["RFC 9218 7.1 PRIORITY_UPDATE on a stream", [HELLO, update(1, 1, "u=1")], "goAway protocolError"],
  ["RFC 9218 7.1 PRIORITY_UPDATE of stream 0", [HELLO, update(0, 0, "u=1")], "goAway protocolError"],
  ["RFC 9218 7.1 PRIORITY_UPDATE of 3 bytes", [HELLO, frame(16, 0, 0, Buffer.alloc(3))], "goAway frameSizeError"],
  ["RFC 9218 7.1 PRIORITY_UPDATE of an idle stream", [HELLO, update(0, 1, "u=1"), headers(1, GET)], "response 1"],

  // ── RFC 7540 ──────────────────────────────────────────────────────────────────────────────────────────────────────
  ["RFC 7540 5.3.1 PRIORITY of a stream that depends on itself", [HELLO, priority(1, 1)], "goAway protocolError"],
  [
    "RFC 7540 5.3.1 HEADERS of a stream that depends on itself",
    [HELLO, frame(FRAME.headers, END | 32, 1, Buffer.concat([uint32(1), Buffer.from([15]), block(GET)]))],
    "goAway protocolError",
  ],

  // ── RFC 7541 ──────────────────────────────────────────────────────────────────────────────────────────────────────
  ["RFC 7541 2.3.3 an index beyond the tables", [HELLO, raw(1, ...INDEXED, 0xc6)], "goAway compressionError"],
  [
    "RFC 7541 2.3.3 the index of a name beyond the tables",
    [HELLO, raw(1, ...INDEXED, 0x7f, 0x7f, 1, 0x61)],
    "goAway compressionError",
  ],
  ["RFC 7541 4.2 a size update behind a field", [HELLO, raw(1, ...INDEXED, 0x20)], "goAway compressionError"],
  ["RFC 7541 4.2 two size updates first", [HELLO, raw(1, 0x20, 0x3f, 0x61, ...INDEXED)], "response 1"],
  [
    "RFC 7541 5.1 an integer that does not end",
    [HELLO, raw(1, ...INDEXED, 0xff, ...Array(9).fill(0xff))],
    "goAway compressionError",
  ],
  [
    "RFC 7541 5.2 Huffman padding of more than 7 bits",
    [HELLO, raw(1, ...INDEXED, 0, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x49, 0x50, 0x9f, 0xff)],
    "goAway compressionError",
  ],
  [
    "RFC 7541 5.2 Huffman padding of zeros",
    [HELLO, raw(1, ...INDEXED, 0, 1, 0x61, 0x82, 0x1f, 0x80)],
    "goAway compressionError",
  ],
  [
    "RFC 7541 5.2 EOS within a string",
    [HELLO, raw(1, ...INDEXED, 0, 1, 0x61, 0x84, 0xff, 0xff, 0xff, 0xff)],
    "goAway compressionError",
  ],
  ["RFC 7541 6.1 the index 0", [HELLO, raw(1, ...INDEXED, 0x80)], "goAway compressionError"],
  [
    "RFC 7541 6.2.1 a field is indexed for the next request",
    [HELLO, raw(1, ...INDEXED), raw(3, 0x82, 0x86, 0x84, 0xbe)],
    "response 1",
    "response 3",
  ],
  [
    "RFC 7541 6.3 a size update over the setting",
    [HELLO, raw(1, 0x3f, 0xe2, 0x1f, ...INDEXED)],
    "goAway compressionError",
  ],
];

/** What was received, as in `Case`. */
function eventsOf(bytes: Buffer): string[] {
  return framesOf(bytes).map(({ type, flags, stream, payload }) => {
    if (type === FRAME.settings) return (flags & FRAME_FLAG.acknowledge) !== 0 ? "acknowledgement" : "settings";
    if (type === FRAME.ping) return `ping ${payload.toString("latin1")}`;
    if (type === FRAME.goAway) return `goAway ${nameOf(readUint32(payload, 4))}`;
    if (type === FRAME.resetStream) return `reset ${stream} ${nameOf(readUint32(payload, 0))}`;
    if (type === FRAME.headers) return `response ${stream}`;
    return type === FRAME.data ? `data ${payload.length}` : "other";
  });
}

function hasInOrder(events: readonly string[], expected: readonly string[]): boolean {
  let found = 0;
  for (const event of events) if (event === expected[found]) found++;
  return found === expected.length;
}

testInUsualMode("connections conform to RFC 9113, RFC 7541 and RFC 8441, section by section", async (t) => {
  const upstream = await startUpstream(t, ({ url }, response) => {
    if (url !== "/hold") response.end("body");
  });
  const sluice = await startSluice(t, simpleConfig(upstream.port, { listener: "timeouts: { idle: 5m }" }));
  for (const [promise, bytes, ...expected] of cases)
    await t.test(promise, async (t) => {
      const client = await open(t, sluice, Buffer.alloc(0));
      const events = () => eventsOf(client.bytes);
      for (const part of bytes) {
        if (typeof part !== "string") client.send(part);
        else if (part === "response") await waits(client, () => events().includes("data 4"), "a response");
        else await waits(client, () => events().includes(part), part);
      }
      await waits(client, () => hasInOrder(events(), expected), `${expected.join(", ")}, not ${events().join(", ")}`);
      const isError = expected.some((event) => event.startsWith("goAway"));
      assert.equal(
        events().some((event) => event.startsWith("goAway")),
        isError,
        events().join(", "),
      );
      if (isError) await client.rest();
      else client.socket.destroy();
    });
  await sluice.metricIs(0, "sluice_requests_in_flight");
});

testInUsualMode("the most urgent responses are sent first (RFC 9218), as changed by PRIORITY_UPDATE", async (t) => {
  const upstream = await startUpstream(t, (_, response) => response.end(Buffer.alloc(40_000)));
  const sluice = await startSluice(t, simpleConfig(upstream.port));
  // The window of the connection is used up by the first response.
  const client = await open(t, sluice, Buffer.concat([PREFACE, settings([SETTING.initialWindowSize, 2 ** 20])]));
  const sizeOf = (stream: number) =>
    framesOf(client.bytes)
      .filter((got) => got.type === FRAME.data && got.stream === stream)
      .reduce((sum, { payload }) => sum + payload.length, 0);
  client.send(headers(1, GET));
  await waits(client, () => sizeOf(1) === 40_000, "the first response");
  client.send(headers(3, GET));
  await waits(client, () => sizeOf(3) === 25_535, "the window is used up");
  client.send(Buffer.concat([headers(5, with_(["priority", "u=6"])), headers(7, with_(["priority", "u=1, i"]))]));
  client.send(Buffer.concat([update(0, 11, "u=0"), headers(9, GET), headers(11, with_(["priority", "u=7"]))]));
  const answered = () => framesOf(client.bytes).filter(({ type }) => type === FRAME.headers).length;
  await waits(client, () => answered() === 6, "all headers");
  client.send(Buffer.concat([update(0, 5, "u=2"), window(0, 2 ** 20)]));
  await waits(client, () => [3, 5, 7, 9, 11].every((id) => sizeOf(id) === 40_000), "all bodies");
  const order = framesOf(client.bytes)
    .filter(({ type, payload }) => type === FRAME.data && payload.length > 0)
    .map(({ stream }) => stream)
    .filter((id, i, all) => id !== all[i - 1]);
  assert.deepEqual(order.slice(2), [11, 7, 5, 3, 9]);
});

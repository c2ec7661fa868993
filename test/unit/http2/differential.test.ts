/** The codec against Node's (nghttp2), both ways: random fields over one connection, so that both tables are in use. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect as connectTcp, createServer as createTcp, type Socket } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { FIELD_WORDS, Head, NAME_END, VALUE_END, VALUE_START } from "../../../src/http/head.ts";
import * as frames from "../../../src/http2/frames.ts";
import { DECODED, HpackDecoder } from "../../../src/http2/hpack-decoder.ts";
import { BEGIN_BOUND, FIELD_BOUND, HpackEncoder } from "../../../src/http2/hpack-encoder.ts";

const { FRAME, FRAME_FLAG, FrameReader, PREFACE, SETTING, writeFrameHead } = frames;
type Fields = [name: string, value: string][];

const name = fc.oneof(
  fc.constantFrom("accept", "user-agent", "x-a", "x-request-id", "referer", "authorization", "content-type"),
  fc.stringMatching(/^x-[a-z0-9-]{1,30}$/),
);
const value = fc.oneof(
  fc.constantFrom("", "*/*", "a", "text/html; charset=utf-8", "x".repeat(300)),
  fc.stringMatching(/^[!-~]([ -~]{0,60}[!-~])?$/),
);
/** Distinct names: Node joins or drops others. */
const fields = fc.uniqueArray(fc.tuple(name, value), { selector: ([text]) => text, maxLength: 12 });
const messages = fc.array(fields, { minLength: 20, maxLength: 40 });

const sorted = (list: Fields) => list.toSorted(([a], [b]) => (a < b ? -1 : 1));
const ofNode = (headers: IncomingHttpHeaders): Fields =>
  sorted(Object.entries(headers).map(([key, text]) => [key, String(text)] as const) as Fields).filter(
    ([key]) => !key.startsWith(":") && key !== "date",
  );

function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(9 + payload.length);
  writeFrameHead(bytes, 0, payload.length, type, flags, stream);
  bytes.set(payload, 9);
  return bytes;
}

/** Decodes the header blocks that a peer sends, in reads of `size` bytes; acknowledges its SETTINGS. */
function decodeBlocks(socket: Socket, size: number, received: (stream: number, list: Fields) => void): void {
  const decoder = new HpackDecoder(4096);
  const reader = new FrameReader({
    frame(type, flags, stream, bytes, start, end) {
      if (type === FRAME.settings && (flags & FRAME_FLAG.acknowledge) === 0)
        socket.write(frame(FRAME.settings, FRAME_FLAG.acknowledge, 0));
      if (type !== FRAME.headers) return true;
      let at = start;
      if ((flags & FRAME_FLAG.priority) !== 0) at += 5;
      const head = new Head();
      assert.equal(decoder.decode(bytes, at, end, head, { head: 1 << 20, headers: 1000 }), DECODED.complete);
      const list: Fields = [];
      for (let i = 0; i < head.count; i++) {
        const word = i * FIELD_WORDS;
        const key = head.text(head.fields[word]!, head.fields[word + NAME_END]!);
        list.push([key, head.text(head.fields[word + VALUE_START]!, head.fields[word + VALUE_END]!)]);
      }
      received(stream, list);
      return true;
    },
    data: () => true,
    fail: (_code, problem) => assert.fail(problem),
  });
  socket.on("data", (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; at += size) {
      const part = Buffer.from(bytes.subarray(at, at + size));
      reader.read(part, 0, part.length);
    }
  });
}

/** The block of a message: pseudo-header fields first. */
function encode(encoder: HpackEncoder, list: Fields): Buffer {
  const size = list.reduce((sum, [key, text]) => sum + key.length + text.length + FIELD_BOUND, BEGIN_BOUND);
  const out = Buffer.alloc(size);
  encoder.begin(out, 0);
  for (const [key, text] of list) {
    const bytes = Buffer.from(key + text, "latin1");
    encoder.field(bytes, 0, key.length, key.length, bytes.length);
  }
  return out.subarray(0, encoder.end);
}

test("Node decodes the requests that we encode, and we the responses that it encodes", async () => {
  const server = createServer({ settings: { headerTableSize: 256 } });
  server.on("stream", (stream: ServerHttp2Stream, headers) => {
    const list = ofNode(headers);
    // What was received is sent back.
    stream.respond({ ":status": 200, ...Object.fromEntries(list) }, { endStream: true });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  try {
    await fc.assert(
      fc.asyncProperty(
        messages,
        fc.constantFrom(1, 7, 70_000),
        fc.constantFrom(0, 100, 256),
        async (lists, size, table) => {
          const socket = connectTcp((server.address() as AddressInfo).port, "127.0.0.1");
          const got = new Map<number, Fields>();
          const done = Promise.withResolvers<void>();
          socket.on("error", done.reject).on("close", () => done.reject(new Error("closed")));
          decodeBlocks(socket, size, (stream, list) => {
            got.set(stream, list);
            if (got.size === lists.length) done.resolve();
          });
          const encoder = new HpackEncoder();
          encoder.resize(table);
          socket.write(Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0)]));
          for (const [i, list] of lists.entries()) {
            const pseudo: Fields = [
              [":method", "GET"],
              [":scheme", "http"],
              [":path", `/${i}`],
              [":authority", "a"],
            ];
            const flags = FRAME_FLAG.endHeaders | FRAME_FLAG.endStream;
            socket.write(frame(FRAME.headers, flags, 2 * i + 1, encode(encoder, [...pseudo, ...list])));
          }
          await done.promise;
          socket.removeAllListeners("close").destroy();
          for (const [i, list] of lists.entries()) {
            const received = got.get(2 * i + 1)!.filter(([key]) => !key.startsWith(":") && key !== "date");
            assert.deepEqual(sorted(received), sorted(list));
          }
        },
      ),
      { numRuns: 15 },
    );
  } finally {
    server.close();
  }
});

test("we decode the requests that Node encodes, and Node the responses that we encode", async () => {
  const sizes = [1, 7, 70_000];
  let connections = 0;
  const server = createTcp((socket) => {
    socket.on("error", () => {});
    const encoder = new HpackEncoder();
    socket.write(frame(FRAME.settings, 0, 0, Buffer.from([0, SETTING.headerTableSize, 0, 0, 16, 0])));
    decodeBlocks(socket, sizes[connections++ % sizes.length]!, (stream, list) => {
      const own = list.filter(([key]) => !key.startsWith(":"));
      const flags = FRAME_FLAG.endHeaders | FRAME_FLAG.endStream;
      socket.write(frame(FRAME.headers, flags, stream, encode(encoder, [[":status", "200"], ...own])));
    });
    // The preface is read by the frame reader as no frame: it is removed first.
    const [listener] = socket.listeners("data") as ((bytes: Buffer) => void)[];
    let missing = PREFACE.length;
    socket.removeAllListeners("data").on("data", (bytes: Buffer) => {
      const skipped = Math.min(missing, bytes.length);
      missing -= skipped;
      if (skipped < bytes.length) listener!(bytes.subarray(skipped));
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  try {
    await fc.assert(
      fc.asyncProperty(messages, async (lists) => {
        const session = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
        try {
          await Promise.all(
            lists.map(async (list, i) => {
              const stream = session.request({ ":path": `/${i}`, ...Object.fromEntries(list) });
              const [headers] = await once(stream, "response");
              assert.deepEqual(ofNode(headers as IncomingHttpHeaders), sorted(list));
            }),
          );
        } finally {
          session.destroy();
        }
      }),
      { numRuns: 15 },
    );
  } finally {
    server.close();
  }
});

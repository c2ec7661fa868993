import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CODE, FRAME, FRAME_FLAG, type FrameHandler, FrameReader, writeFrameHead } from "../../../src/http2/frames.ts";

type Frame = { type: number; flags: number; stream: number; payload: Uint8Array; padding: number };

function write({ type, flags, stream, payload, padding }: Frame): Buffer {
  const isPadded = type === FRAME.data && (flags & FRAME_FLAG.padded) !== 0;
  const length = payload.length + (isPadded ? 1 + padding : 0);
  const bytes = Buffer.alloc(9 + length, 0xee);
  let at = writeFrameHead(bytes, 0, length, type, flags, stream);
  if (isPadded) bytes[at++] = padding;
  bytes.set(payload, at);
  return bytes;
}

/** Records frames; the parts of DATA are joined. */
class Recorder implements FrameHandler {
  readonly frames: Frame[] = [];
  readonly errors: number[] = [];
  problem = "";
  #data: Buffer[] = [];

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    this.frames.push({ type, flags, stream, payload: Buffer.from(bytes.subarray(start, end)), padding: 0 });
    return true;
  }

  data(flags: number, stream: number, bytes: Buffer, start: number, end: number, length: number, padding: number) {
    this.#data.push(Buffer.from(bytes.subarray(start, end)));
    if (length < 0) return true;
    const payload = Buffer.concat(this.#data);
    assert.equal(length, payload.length + padding);
    this.frames.push({ type: FRAME.data, flags, stream, payload, padding: Math.max(0, padding - 1) });
    this.#data = [];
    return true;
  }

  fail(code: number, problem: string): void {
    this.errors.push(code);
    this.problem = problem;
  }
}

const frame = fc
  .record({
    type: fc.oneof(fc.constant<number>(FRAME.data), fc.integer({ min: 0, max: 255 })),
    flags: fc.integer({ min: 0, max: 255 }),
    stream: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    payload: fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.uint8Array({ minLength: 200, maxLength: 400 })),
    padding: fc.integer({ min: 0, max: 255 }),
  })
  .map((one) => (one.type === FRAME.data && one.flags & FRAME_FLAG.padded ? one : { ...one, padding: 0 }))
  .map((one) => ({ ...one, payload: Buffer.from(one.payload) }));

test("frames are read the same in chunks of any size", () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 300 })), (sent, sizes) => {
      const recorder = new Recorder();
      const reader = new FrameReader(recorder);
      const bytes = Buffer.concat(sent.map(write));
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const size = sizes[i % Math.max(1, sizes.length)] ?? bytes.length;
        const chunk = Buffer.from(bytes.subarray(at, at + size));
        reader.read(chunk, 0, chunk.length);
        // The reader keeps no reference to a chunk.
        chunk.fill(0xaa);
        at += size;
      }
      assert.deepEqual(recorder.frames, sent);
      assert.deepEqual(recorder.errors, []);
    }),
  );
});

test("frames that are too large, and padding longer than its frame, are malformed; nothing more is read", () => {
  for (const [bytes, code] of [
    [Buffer.from([0, 0x40, 1, 4, 0, 0, 0, 0, 0]), CODE.frameSizeError],
    [Buffer.from([0, 0, 2, 0, 8, 0, 0, 0, 1, 2, 0]), CODE.protocolError],
    [Buffer.from([0, 0, 0, 0, 8, 0, 0, 0, 1]), CODE.frameSizeError],
  ] as const) {
    const recorder = new Recorder();
    const reader = new FrameReader(recorder);
    reader.read(
      Buffer.concat([bytes, write({ type: 6, flags: 0, stream: 0, payload: Buffer.alloc(8), padding: 0 })]),
      0,
      bytes.length + 17,
    );
    assert.deepEqual([recorder.frames, recorder.errors], [[], [code]]);
  }
});

test("a peer that speaks HTTP/1 is named as such", () => {
  const recorder = new Recorder();
  const bytes = Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n");
  new FrameReader(recorder).read(bytes, 0, bytes.length);
  assert.deepEqual([recorder.errors, recorder.problem], [[CODE.frameSizeError], "HTTP/1 instead of HTTP/2"]);
});

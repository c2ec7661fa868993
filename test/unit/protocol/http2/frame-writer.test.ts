import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FRAME, FRAME_FLAG, type FrameHandler, FrameReader, MAX_PAYLOAD } from "../../../../src/http2/frames.ts";
import { type Block, Buffers } from "../../../../src/net/buffers.ts";
import { FrameWriter } from "../../../../src/protocol/http2/frame-writer.ts";
import type { AcceptedConnection } from "../../../../src/proxy/port.ts";

type Message = { stream: number; block: Buffer; body: Buffer };

/** Reads messages; the frames of a header block follow each other. */
class Receiver implements FrameHandler {
  readonly messages: Message[] = [];
  #isComplete = true;

  frame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    assert.equal(type, this.#isComplete ? FRAME.headers : FRAME.continuation);
    if (type === FRAME.headers) this.messages.push({ stream, block: Buffer.alloc(0), body: Buffer.alloc(0) });
    const last = this.messages.at(-1)!;
    assert.equal(stream, last.stream);
    last.block = Buffer.concat([last.block, bytes.subarray(start, end)]);
    this.#isComplete = (flags & FRAME_FLAG.endHeaders) !== 0;
    return true;
  }

  data(_flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean {
    assert.ok(this.#isComplete);
    const last = this.messages.at(-1)!;
    assert.equal(stream, last.stream);
    last.body = Buffer.concat([last.body, bytes.subarray(start, end)]);
    return true;
  }

  fail(_code: number, problem: string): void {
    assert.fail(problem);
  }
}

/** A connection that sends all at once, and overwrites the buffer that it has sent as the next write would. */
function makeConnection(reader: FrameReader, buffers: Buffers) {
  return {
    alive: true,
    unsent: 0,
    send(out: Buffer, size: number) {
      reader.read(Buffer.from(out.subarray(0, size)), 0, size);
      out.fill(0xee);
    },
    sendBlock(block: Block, size: number) {
      reader.read(Buffer.from(block.bytes.subarray(0, size)), 0, size);
      block.bytes.fill(0xee);
      buffers.free(block);
    },
    guard: (run: () => void) => run(),
  } as unknown as AcceptedConnection;
}

const sizes = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: MAX_PAYLOAD - 20, max: 3 * MAX_PAYLOAD }));
const message = fc.record({ block: sizes, slack: fc.integer({ min: 0, max: 400 }), body: fc.nat(MAX_PAYLOAD) });

test("header blocks of any size and DATA arrive as written", () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 30 }), (sent) => {
      const receiver = new Receiver();
      const buffers = new Buffers();
      const writer = new FrameWriter(makeConnection(new FrameReader(receiver), buffers), { delayed() {} }, buffers);
      const messages = sent.map(({ block, slack, body }, i) => {
        const stream = 2 * i + 1;
        const bytes = Buffer.from(Array.from({ length: block }, (_, at) => at + i));
        const at = writer.beginHeaders(block + slack);
        bytes.copy(writer.bytes, at);
        writer.endHeaders(stream, at + block, false);
        const content = Buffer.alloc(body, i);
        writer.data(stream, content, 0, body, true);
        return { stream, block: bytes, body: content };
      });
      writer.flush();
      assert.deepEqual(receiver.messages, messages);
    }),
    { numRuns: 50 },
  );
});

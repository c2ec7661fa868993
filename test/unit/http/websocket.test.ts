/** Ends of frames for every split, checked against frames of another implementation. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as ws from "ws";
import { WebSocketFrames } from "../../../src/http/websocket.ts";

const { Sender } = ws as unknown as { Sender: { frame(data: Buffer, options: object): Buffer[] } };

const frame = fc.record({
  opcode: fc.constantFrom(0, 1, 2, 9, 10),
  fin: fc.boolean(),
  size: fc.oneof(fc.nat(200), fc.constantFrom(0, 125, 126, 127, 65_535, 65_536, 70_000)),
});

function write({ opcode, fin, size }: { opcode: number; fin: boolean; size: number }, mask: boolean): Buffer {
  const options = { fin, opcode, mask, rsv1: false, readOnly: true };
  return Buffer.concat(Sender.frame(Buffer.alloc(size, 0x88), options));
}

test("follow stops at the end of each frame for every split, and reports whether it is complete", () => {
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 5 }),
      fc.boolean(),
      fc.infiniteStream(fc.nat(2000)),
      (list, mask, sizes) => {
        const written = list.map((one) => write(one, mask));
        const borders = new Set<number>();
        let total = 0;
        for (const { length } of written) borders.add((total += length));
        const bytes = Buffer.concat(written);
        const frames = new WebSocketFrames(mask);
        const seen = new Set<number>();
        for (let at = 0; at < total; ) {
          const end = Math.min(total, at + 1 + sizes.next().value);
          while (at < end) {
            at = frames.advance(bytes, at, end);
            assert.equal(frames.atBoundary, borders.has(at));
            if (frames.atBoundary) seen.add(at);
          }
        }
        assert.deepEqual(seen, borders);
        assert.equal(frames.isClosed, false);
      },
    ),
  );
});

test("a Close frame is detected at its first byte, and any bytes are accepted", () => {
  const frames = new WebSocketFrames(false);
  const close = Buffer.from([0x88, 2, 3, 0xe8]);
  assert.equal(frames.advance(close, 0, 1), 1);
  assert.deepEqual([frames.atBoundary, frames.isClosed], [false, true]);
  assert.equal(frames.advance(close, 1, 4), 4);
  assert.equal(frames.atBoundary, true);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const any = new WebSocketFrames(true);
      let at = 0;
      for (let turn = 0; at < bytes.length; turn++) {
        assert.ok(turn <= bytes.length);
        at = any.advance(bytes, at, bytes.length);
      }
    }),
  );
});

test("closeFrame returns a Close frame with 1001, masked for an endpoint", () => {
  assert.deepEqual([...new WebSocketFrames(false).closeFrame()], [0x88, 2, 0x03, 0xe9]);
  const [first, second, ...rest] = new WebSocketFrames(true).closeFrame();
  assert.deepEqual([first, second, rest.length], [0x88, 0x82, 6]);
  assert.deepEqual([rest[4]! ^ rest[0]!, rest[5]! ^ rest[1]!], [0x03, 0xe9]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PendingBuffer } from "../../../src/net/pending-buffer.ts";

test("bytes are returned in order for any chunks and any reads in between", () => {
  const step = fc.oneof(
    fc.record({ append: fc.uint8Array({ maxLength: 2000 }) }),
    fc.record({ take: fc.nat(1500) }),
    fc.record({ reserve: fc.nat(3000) }),
    fc.record({ drop: fc.constant(true) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const buffer = new PendingBuffer();
      let expected = Buffer.alloc(0);
      for (const one of steps) {
        if ("append" in one) {
          const source = Buffer.from(one.append);
          buffer.append(source, 0, source.length);
          expected = Buffer.concat([expected, source]);
          source.fill(0);
        } else if ("take" in one) {
          const taken = Math.min(one.take, buffer.length);
          buffer.put(buffer.bytes, buffer.start + taken, buffer.end);
          expected = expected.subarray(taken);
        } else if ("reserve" in one) {
          buffer.reserve(one.reserve);
          assert.ok(buffer.bytes.length - buffer.end >= one.reserve);
        } else {
          buffer.drop();
          expected = Buffer.alloc(0);
        }
        assert.equal(buffer.length, expected.length);
        assert.deepEqual(Buffer.from(buffer.content), expected);
      }
    }),
  );
});

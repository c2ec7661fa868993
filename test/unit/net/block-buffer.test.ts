import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BlockBuffer } from "../../../src/net/block-buffer.ts";
import { Buffers } from "../../../src/net/buffers.ts";

test("content of any size is kept in order, and blocks are returned once", () => {
  const step = fc.oneof(fc.constant(-1), fc.integer({ min: 1, max: 100_000 }));
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const buffers = new Buffers();
      const free: unknown[] = [];
      const taken = new Set<unknown>();
      const { take } = buffers;
      buffers.take = () => {
        const block = take.call(buffers);
        taken.add(block);
        return block;
      };
      buffers.free = (block) => {
        assert.ok(taken.delete(block));
        free.push(block);
      };
      const buffer = new BlockBuffer(buffers);
      let expected = Buffer.alloc(0);
      for (const [i, size] of steps.entries()) {
        if (size < 0) {
          buffer.drop();
          expected = Buffer.alloc(0);
        } else {
          const bytes = Buffer.alloc(size, i + 1);
          buffer.append(bytes, 0, size);
          expected = Buffer.concat([expected, bytes]);
        }
        assert.ok(buffer.content.equals(expected));
        assert.ok(taken.size <= 1);
      }
      buffer.drop();
      assert.equal(taken.size, 0);
    }),
  );
});

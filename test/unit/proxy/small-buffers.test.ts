import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { allocateSmall } from "../../../src/proxy/small-buffers.ts";
import { makeExchange } from "../plugin/kit.ts";

test("small request bodies that are kept for retries share memory, at most 4 KiB of it", () => {
  const replays = Array.from({ length: 320 }, (_, i) => {
    const x = makeExchange();
    x.keep(Buffer.alloc(100, i), 0, 100);
    return x.replay!;
  });
  const shared = new Set(replays.map(({ buffer }) => buffer));
  assert.ok(shared.size <= 21, `${shared.size} blocks of memory for 320 bodies`);
  for (const buffer of shared) assert.equal(buffer.byteLength, 4096);
  for (const [i, replay] of replays.entries()) assert.deepEqual(replay.subarray(0, 100), Buffer.alloc(100, i));
});

test("buffers do not overlap, have room for what was requested, and large ones are separate", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 60 }), (sizes) => {
      const buffers = sizes.map((size, i) => allocateSmall(size).fill(i));
      for (const [i, buffer] of buffers.entries()) {
        assert.ok(buffer.length >= sizes[i]!);
        assert.ok(buffer.every((byte) => byte === i));
        if (sizes[i]! > 1024) assert.equal(buffer.buffer.byteLength, sizes[i]);
      }
    }),
  );
});

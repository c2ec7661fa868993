import assert from "node:assert/strict";
import { test } from "node:test";
import { Buffers } from "../../../src/net/buffers.ts";

test("views of out are kept until it is replaced", () => {
  const buffers = new Buffers();
  for (const size of [0, 300, 1023, 1024, 5000]) {
    const view = buffers.viewOfOut(size);
    assert.deepEqual([view.buffer, view.byteOffset, view.length], [buffers.out.buffer, buffers.out.byteOffset, size]);
    assert.equal(buffers.viewOfOut(size) === view, size < 1024, `${size}`);
  }
  const pending = buffers.viewOfOut(300);
  buffers.out.write("pending");
  buffers.replaceOut();
  const next = buffers.viewOfOut(300);
  assert.equal(next.buffer, buffers.out.buffer);
  next.write("another");
  assert.equal(pending.toString("latin1", 0, 7), "pending");
});

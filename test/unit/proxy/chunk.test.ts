import assert from "node:assert/strict";
import { test } from "node:test";
import { Chunk } from "../../../src/proxy/chunk.ts";

test("a chunk keeps a plugin's changes when it moves to its own memory", () => {
  const block = Buffer.from("--chunk--");
  const chunk = new Chunk();
  chunk.set(block, 2, 7, true);
  chunk.replace(Buffer.from("other"));
  chunk.own();
  block.fill(0);
  assert.equal(chunk.bytes.toString("latin1", chunk.start, chunk.end), "chunk");
  chunk.append(Buffer.from("+"), 0, 1);
  chunk.accept();
  assert.deepEqual([chunk.bytes.toString("latin1", chunk.start, chunk.end), chunk.last], ["other+", true]);
});

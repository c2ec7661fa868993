import assert from "node:assert/strict";
import { test } from "node:test";
import { Chunk } from "../../../src/proxy/chunk.ts";

test("a chunk keeps a plugin's changes when it moves to its own memory", () => {
  const block = Buffer.from("--piece--");
  const piece = new Chunk();
  piece.set(block, 2, 7, true);
  piece.replace(Buffer.from("other"));
  piece.own();
  block.fill(0);
  assert.equal(piece.bytes.toString("latin1", piece.start, piece.end), "piece");
  piece.append(Buffer.from("+"), 0, 1);
  piece.accept();
  assert.deepEqual([piece.bytes.toString("latin1", piece.start, piece.end), piece.last], ["other+", true]);
});

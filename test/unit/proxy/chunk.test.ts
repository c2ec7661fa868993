import assert from "node:assert/strict";
import { test } from "node:test";
import { Chunk } from "../../../src/proxy/chunk.ts";

test("what a plugin has made of a piece stays when the piece moves to memory of its own", () => {
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

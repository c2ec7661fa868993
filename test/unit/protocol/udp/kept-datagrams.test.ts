import assert from "node:assert/strict";
import { test } from "node:test";
import { KeptDatagrams } from "../../../../src/protocol/udp/kept-datagrams.ts";

test("a session keeps few datagrams, and all sessions a bounded number of bytes", () => {
  const total = { bytes: 0 };
  const small = new KeptDatagrams(total);
  const results = Array.from({ length: 9 }, (_, i) => small.add(Buffer.alloc(i)));
  assert.deepEqual(results, [...Array<boolean>(8).fill(true), false]);
  assert.deepEqual(
    [...small].map(({ length }) => length),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
  const large = Buffer.alloc(60_000);
  const one = new KeptDatagrams(total);
  assert.deepEqual([one.add(large), one.add(large)], [true, false]);
  const others: KeptDatagrams[] = [];
  for (let isKept = true; isKept; ) {
    const other = new KeptDatagrams(total);
    other.sent();
    isKept = other.add(large);
    others.push(other);
    assert.ok(total.bytes <= 32 * 1024 * 1024 && others.length < 600);
  }
  // A session without a socket has free space until it has sent the datagrams that it keeps.
  const next = new KeptDatagrams(total);
  assert.equal(next.add(large), true);
  next.sent();
  assert.deepEqual([...next], []);
  assert.ok(total.bytes <= 32 * 1024 * 1024);
  // What a session drops, twice as well, is free for others.
  one.drop();
  one.drop();
  assert.equal(others.at(-1)!.add(large), true);
  for (const kept of [small, ...others]) kept.drop();
  assert.equal(total.bytes, 0);
});

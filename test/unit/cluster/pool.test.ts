import assert from "node:assert/strict";
import { test } from "node:test";
import { Pool } from "../../../src/cluster/pool.ts";

class Connection {
  alive = true;
  close(): void {
    this.alive = false;
  }
}

test("the connection returned last is reused first, closed ones are skipped", () => {
  const pool = new Pool<Connection>(8);
  const [a, b, c] = [new Connection(), new Connection(), new Connection()];
  for (const connection of [a, b, c]) assert.equal(pool.give(connection), true);
  c.close();
  assert.equal(pool.take(), b);
  assert.equal(pool.take(), a);
  assert.equal(pool.take(), null);
});

test("it has a surplus above the number of connections to keep, and none once closed", () => {
  const pool = new Pool<Connection>(1);
  const [a, b] = [new Connection(), new Connection()];
  assert.deepEqual([pool.give(a), pool.hasSurplus], [true, false]);
  assert.deepEqual([pool.give(b), pool.hasSurplus], [true, true]);
  assert.deepEqual([pool.take(), pool.hasSurplus], [b, false]);
  assert.deepEqual([pool.give(b), pool.hasSurplus], [true, true]);
  pool.close();
  assert.deepEqual([a.alive, b.alive, pool.hasSurplus], [false, false, false]);
  assert.equal(pool.give(b), false);
});

test("one that is to keep none takes none", () => {
  assert.equal(new Pool<Connection>(0).give(new Connection()), false);
});

test("while it is suspended it keeps none", () => {
  let now = 1000;
  const pool = new Pool<Connection>(8, () => now);
  const [a, b, c] = [new Connection(), new Connection(), new Connection()];
  pool.give(a);
  pool.suspend(500);
  assert.equal(a.alive, false);
  assert.equal(pool.take(), null);
  now = 1499;
  assert.equal(pool.give(b), false);
  now = 1500;
  assert.equal(pool.give(c), true);
  assert.equal(pool.take(), c);
});

test("a dropped connection is not reused", () => {
  const pool = new Pool<Connection>(4);
  const [a, b] = [new Connection(), new Connection()];
  pool.give(a);
  pool.give(b);
  pool.drop(b);
  assert.equal(pool.take(), a);
  assert.equal(pool.take(), null);
});

test("divisions count in its limit, and have no connection in common", () => {
  const pool = new Pool<Connection>(2);
  const [first, second] = [pool.divide(), pool.divide()];
  const [a, b, c] = [new Connection(), new Connection(), new Connection()];
  assert.deepEqual([first.give(a), second.give(b), second.give(c)], [true, true, false]);
  assert.deepEqual([pool.give(c), pool.hasSurplus], [true, true]);
  pool.drop(c);
  assert.equal(pool.take(), null);
  assert.equal(first.take(), a);
  assert.equal(second.give(c), true);
  second.drop(b);
  assert.equal(pool.give(a), true);
  second.close();
  assert.deepEqual([a.alive, b.alive, c.alive], [true, true, false]);
  assert.deepEqual([first.give(b), first.give(c)], [true, false], "closed connections make room");
});

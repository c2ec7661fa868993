import assert from "node:assert/strict";
import { test } from "node:test";
import { SURPLUS_TIME } from "../../../../src/cluster/pool.ts";
import { connectTo, startRawUpstream } from "../../../e2e/peers.ts";
import { until } from "../../../e2e/program.ts";
import { mockTime } from "../../../support/time.ts";
import { startPlane } from "../../proxy/kit.ts";

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

test("connections above pool.idle are reused for a while, so that a load above it opens no more", async (t) => {
  const advance = mockTime(t);
  let waiting: (() => void)[] = [];
  const { port, peers } = await startRawUpstream(t, async (peer) => {
    for (;;) {
      await peer.head();
      waiting.push(() => peer.send(OK));
    }
  });
  const pool = { idle: 2, idleFor: 60_000, connections: 0, requests: 0, age: 0 };
  const timeouts = { connect: 60_000, response: 60_000, idle: 60_000, ping: 60_000, tunnel: 60_000 };
  const plane = startPlane(t, [port], {
    cluster: { pool, timeouts },
    timeouts: { head: 60_000, idle: 600_000, write: 60_000 },
  });
  const clients = await Promise.all(Array.from({ length: 6 }, () => connectTo(t, plane.port)));
  const burst = async (): Promise<void> => {
    for (const client of clients) client.send(GET);
    await until(() => waiting.length === clients.length, "all requests");
    for (const respond of waiting.splice(0)) respond();
    for (const client of clients) assert.equal((await client.readResponse()).status, 200);
  };
  const open = (): number => peers.filter(({ ended }) => !ended).length;
  for (let i = 0; i < 3; i++) await burst();
  assert.equal(peers.length, 6);
  // Not all at once: those in use are not idle.
  advance(SURPLUS_TIME - 1000);
  await burst();
  assert.deepEqual([peers.length, open()], [6, 6]);
  advance(SURPLUS_TIME);
  await until(() => open() === 2, "the surplus to be closed");
  advance(50_000 - SURPLUS_TIME);
  waiting = [];
  for (const client of clients.slice(0, 2)) client.send(GET);
  await until(() => waiting.length === 2, "two requests");
  for (const respond of waiting) respond();
  for (const client of clients.slice(0, 2)) assert.equal((await client.readResponse()).status, 200);
  assert.deepEqual([peers.length, open()], [6, 2]);
});

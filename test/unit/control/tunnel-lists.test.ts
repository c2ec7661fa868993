import assert from "node:assert/strict";
import { test } from "node:test";
import { TunnelLists } from "../../../src/control/tunnel-lists.ts";
import type { TunnelRecord } from "../../../src/proxy/tunnels.ts";

const record = (client: string, openedAt: number): TunnelRecord => ({
  listener: "web",
  cluster: "app",
  endpoint: "a:1",
  client,
  protocol: "websocket",
  openedAt,
  bytesReceived: 1,
  bytesSent: 2,
});

function start(workers: readonly number[]) {
  const posted: number[] = [];
  const lists = new TunnelLists({
    workers: () => workers,
    post: (worker, message) => {
      assert.deepEqual(message, { type: "listTunnels" });
      posted.push(worker);
    },
    now: () => 10_000,
  });
  return { lists, posted };
}

test("the tunnels of all workers, the oldest first; concurrent calls ask each worker once", async () => {
  const { lists, posted } = start([0, 1]);
  const both = [lists.list(), lists.list()];
  assert.deepEqual(posted, [0, 1]);
  lists.receive(1, { type: "tunnels", open: 1, oldest: [record("b", 2000)] });
  lists.receive(0, { type: "tunnels", open: 300, oldest: [record("a", 1000), record("c", 10_500)] });
  const [list, same] = await Promise.all(both);
  assert.equal(list, same);
  assert.deepEqual([list!.open, list!.silentWorkers], [301, []]);
  assert.deepEqual(
    list!.tunnels.map(({ worker, client, openedAt, age }) => [worker, client, openedAt, age]),
    [
      [0, "a", "1970-01-01T00:00:01.000Z", 9000],
      [1, "b", "1970-01-01T00:00:02.000Z", 8000],
      [0, "c", "1970-01-01T00:00:10.500Z", 0],
    ],
  );
  const next = lists.list();
  assert.deepEqual(posted, [0, 1, 0, 1]);
  for (const worker of [0, 1]) lists.receive(worker, { type: "tunnels", open: 0, oldest: [] });
  assert.deepEqual(await next, { open: 0, tunnels: [], silentWorkers: [] });
});

test("a worker that ends is not waited for; one that does not report in time is named", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { lists } = start([0, 1, 2]);
  const list = lists.list();
  lists.forget(2);
  lists.receive(0, { type: "tunnels", open: 1, oldest: [record("a", 0)] });
  t.mock.timers.tick(1000);
  const { open, silentWorkers } = await list;
  assert.deepEqual([open, silentWorkers], [1, [1]]);
  // Its late report is not part of the next list.
  lists.receive(1, { type: "tunnels", open: 9, oldest: [] });
  const next = lists.list();
  for (const worker of [0, 1, 2]) lists.forget(worker);
  assert.equal((await next).open, 0);
});

test("without workers the list is empty, each time", async () => {
  const { lists } = start([]);
  for (let i = 0; i < 2; i++) assert.deepEqual(await lists.list(), { open: 0, tunnels: [], silentWorkers: [] });
});

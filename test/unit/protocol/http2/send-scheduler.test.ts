import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { INCREMENTAL } from "../../../../src/http/priority.ts";
import { DEFAULT_WINDOW, MAX_PAYLOAD } from "../../../../src/http2/frames.ts";
import { Clock } from "../../../../src/net/clock.ts";
import type { Connection } from "../../../../src/net/connection.ts";
import { FrameBudget } from "../../../../src/protocol/http2/frame-budget.ts";
import type { FrameWriter } from "../../../../src/protocol/http2/frame-writer.ts";
import { type SendingStream, SendScheduler } from "../../../../src/protocol/http2/send-scheduler.ts";

const BYTES = Buffer.alloc(1 << 20);

/** A scheduler, and the frames that it has sent: `[stream, size]`. */
function make() {
  const frames: [number, number][] = [];
  const writer = {
    data: (id: number, _bytes: Buffer, start: number, end: number) => void frames.push([id, end - start]),
  } as unknown as FrameWriter;
  const connection = { isBackedUp: false };
  const budget = new FrameBudget({ burst: 1000, perSecond: 100 }, 0);
  const scheduler = new SendScheduler(connection as unknown as Connection, writer, budget, new Clock());
  return { scheduler, frames, connection };
}

class Stream implements SendingStream {
  window = 1 << 30;
  readonly id: number;
  priority: number;
  left: number;
  readonly #scheduler: SendScheduler;

  constructor(scheduler: SendScheduler, id: number, priority: number, size: number) {
    this.#scheduler = scheduler;
    this.id = id;
    this.priority = priority;
    this.left = size;
  }

  sendMore(): void {
    this.left -= this.#scheduler.send(this, BYTES, 0, this.left, true);
    if (this.left > 0 && this.window > 0) this.#scheduler.wait(this);
  }
}

test("blocked streams continue by urgency, and incremental ones by turns of one frame", () => {
  const { scheduler, frames } = make();
  const streams = [
    new Stream(scheduler, 1, 3, DEFAULT_WINDOW + 20_000),
    new Stream(scheduler, 3, 5, 30_000),
    new Stream(scheduler, 5, 1 | INCREMENTAL, 40_000),
    new Stream(scheduler, 7, 1 | INCREMENTAL, 40_000),
    new Stream(scheduler, 9, 3, 20_000),
  ];
  for (const stream of streams) stream.sendMore();
  assert.ok(frames.every(([id]) => id === 1));
  frames.length = 0;
  scheduler.openWindow(1 << 20);
  const order = frames.map(([id]) => id).filter((id, i, all) => id !== all[i - 1]);
  assert.deepEqual(order, [5, 7, 5, 7, 5, 7, 1, 9, 3]);
  assert.ok(streams.every(({ left }) => left === 0));
});

test("a stream that becomes ready does not pass those that wait, and a changed urgency applies at once", () => {
  const { scheduler, frames, connection } = make();
  connection.isBackedUp = true;
  const [a, b] = [new Stream(scheduler, 1, 3, 100), new Stream(scheduler, 3, 6, 100)];
  a.sendMore();
  b.sendMore();
  connection.isBackedUp = false;
  const late = new Stream(scheduler, 5, 3, 100);
  late.sendMore();
  assert.equal(frames.length, 0);
  assert.ok(scheduler.remove(b));
  b.priority = 0;
  scheduler.wait(b);
  scheduler.resume();
  assert.deepEqual(
    frames.map(([id]) => id),
    [3, 1, 5],
  );
  assert.ok(!scheduler.remove(a));
});

test("over any events each stream's bytes are sent, within the windows, and no more urgent one waits meanwhile", () => {
  const event = fc.record({ stream: fc.nat(9), size: fc.integer({ min: 1, max: 100_000 }), credit: fc.nat(60_000) });
  fc.assert(
    fc.property(fc.array(fc.nat(15), { minLength: 10, maxLength: 10 }), fc.array(event), (priorities, events) => {
      const { scheduler, frames } = make();
      const streams = priorities.map((priority, i) => new Stream(scheduler, 2 * i + 1, priority, 0));
      let window = DEFAULT_WINDOW;
      let total = 0;
      for (const { stream, size, credit } of events) {
        total += size;
        const one = streams[stream]!;
        const waits = one.left > 0;
        one.left += size;
        if (!waits) one.sendMore();
        const before = frames.length;
        const waiting = streams.filter(({ left }) => left > 0);
        const most = Math.min(...waiting.map(({ priority }) => priority % 8));
        window += credit;
        scheduler.openWindow(credit);
        const first = frames[before];
        if (first !== undefined) assert.equal(streams[(first[0] - 1) / 2]!.priority % 8, most);
        assert.ok(frames.every(([, length]) => length <= MAX_PAYLOAD));
        assert.ok(frames.reduce((sum, [, length]) => sum + length, 0) <= window);
      }
      scheduler.openWindow(1 << 29);
      assert.equal(
        frames.reduce((sum, [, length]) => sum + length, 0),
        total,
      );
    }),
  );
});

import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { test } from "node:test";
import fc from "fast-check";
import { Clock, TICK, type Timed } from "../../../src/net/clock.ts";

function timed(expire: () => void): Timed {
  return { deadline: 0, sweepIndex: -1, expire };
}

test("a deadline fires once, never early, and not after cancellation", async () => {
  const clock = new Clock();
  const fired: string[] = [];
  const began = performance.now();
  const soon = timed(() => fired.push("soon"));
  const never = timed(() => fired.push("never"));
  clock.add(soon);
  clock.add(never);
  soon.deadline = clock.after(60);
  never.deadline = clock.after(60);
  never.deadline = 0;
  await new Promise<void>((resolve) => {
    clock.start(() => {
      if (fired.length > 0 && performance.now() - began > 250) resolve();
    }, assert.ifError);
  });
  clock.close();
  assert.deepEqual(fired, ["soon"]);
});

test("a deadline whose owner throws delays no other, nor the tick", async () => {
  const clock = new Clock();
  const fired: string[] = [];
  const errors: unknown[] = [];
  const broken = new Error("broken");
  const fail = (): void => {
    throw broken;
  };
  for (const expire of [() => fired.push("first"), fail, () => fired.push("last")]) {
    const one = timed(expire);
    clock.add(one);
    one.deadline = clock.after(1);
  }
  await new Promise<void>((resolve) => {
    clock.start(
      () => fired.length === 2 && resolve(),
      (error) => errors.push(error),
    );
  });
  clock.close();
  assert.deepEqual([fired, errors], [["last", "first"], [broken]]);
});

test("no deadline is lost or leaked while others are added and removed, also during a sweep", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(9), { maxLength: 60 }), (toggles) => {
      const clock = new Clock();
      const all = Array.from({ length: 10 }, () => timed(() => {}));
      const inside = new Set<number>();
      for (const which of toggles) {
        const one = all[which]!;
        if (inside.has(which)) {
          clock.remove(one);
          inside.delete(which);
        } else {
          clock.add(one);
          inside.add(which);
        }
        for (const [i, other] of all.entries()) assert.equal(other.sweepIndex >= 0, inside.has(i));
        assert.equal(new Set([...inside].map((i) => all[i]!.sweepIndex)).size, inside.size);
      }
    }),
  );
});

test("a delayed worker reads received bytes before it reports a timeout", async () => {
  const clock = new Clock();
  const order: string[] = [];
  const server = createServer((socket) => socket.end("here"));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  const ended = new Promise<void>((resolve) => {
    socket.on("data", () => order.push("read"));
    const late = timed(() => {
      order.push("late");
      resolve();
    });
    clock.add(late);
    late.deadline = clock.after(1);
    clock.start(() => {}, assert.ifError);
    // The loop blocks until after the deadline, when the bytes have been received.
    setImmediate(() => {
      const until = performance.now() + 4 * TICK;
      while (performance.now() < until);
    });
  });
  await ended;
  clock.close();
  server.close();
  assert.deepEqual(order, ["read", "late"]);
});

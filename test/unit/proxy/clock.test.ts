import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Clock, type Timed } from "../../../src/proxy/clock.ts";

function timed(expire: () => void): Timed {
  return { deadline: 0, sweepIndex: -1, expire };
}

test("a deadline fires once, never before its time, and not after it was taken back", async () => {
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
    });
  });
  clock.close();
  assert.deepEqual(fired, ["soon"]);
});

test("none is lost or kept while others come and go, inside a sweep too", () => {
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

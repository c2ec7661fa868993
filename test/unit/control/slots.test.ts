import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { rowsOf, Slots } from "../../../src/control/slots.ts";

test("a slot belongs to one identity while a version uses it, and is reused only after", () => {
  const slots = new Slots(rowsOf("rows", 8, () => undefined));
  const a = slots.acquire(1, "a");
  const b = slots.acquire(1, "b");
  assert.notEqual(a, b);
  assert.equal(slots.acquire(2, "a"), a);
  slots.release(1);
  assert.equal(slots.acquire(3, "a"), a);
  assert.equal(slots.acquire(3, "c"), b);
});

test("a row is cleared before reuse, and exhaustion is reported with the number", () => {
  const cleared: number[] = [];
  const slots = new Slots(rowsOf("rows", 2, (row) => cleared.push(row)));
  slots.acquire(1, "a");
  slots.acquire(1, "b");
  assert.throws(() => slots.acquire(1, "c"), /more than 2 rows/);
  slots.release(1);
  slots.acquire(2, "d");
  assert.deepEqual(cleared.slice(0, 2), [0, 1]);
  assert.equal(cleared.length, 3);
});

test("for any sequence of versions, live identities never share a slot", () => {
  const step = fc.record({
    version: fc.integer({ min: 0, max: 4 }),
    identity: fc.constantFrom("a", "b", "c", "d", null),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const slots = new Slots(rowsOf("rows", 4, () => undefined));
      const occupied = new Map<string, { place: number; versions: Set<number> }>();
      for (const { version, identity } of steps) {
        if (identity === null) {
          slots.release(version);
          for (const [name, { versions }] of occupied)
            if (versions.delete(version) && versions.size === 0) occupied.delete(name);
          continue;
        }
        const place = slots.acquire(version, identity);
        const known = occupied.get(identity);
        if (known !== undefined) assert.equal(place, known.place);
        for (const [name, other] of occupied) if (name !== identity) assert.notEqual(other.place, place);
        occupied.set(identity, { place, versions: (known?.versions ?? new Set()).add(version) });
      }
    }),
  );
});

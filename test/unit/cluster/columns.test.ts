import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EndpointColumns } from "../../../src/cluster/columns.ts";

test("in-flight counts are summed over workers, without those of ended workers", () => {
  const step = fc.record({ worker: fc.nat(3), slot: fc.nat(5), up: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.nat(3), (steps, ended) => {
      const columns = EndpointColumns.allocate(4);
      const counts = Array.from({ length: 4 }, () => new Int32Array(6));
      for (const { worker, slot, up } of steps) {
        const by = up || counts[worker]![slot] === 0 ? 1 : -1;
        counts[worker]![slot]! += by;
        columns.addInFlight(worker, slot, by);
      }
      columns.forgetWorker(ended);
      counts[ended]!.fill(0);
      for (let slot = 0; slot < 6; slot++) {
        const sum = counts.reduce((total, row) => total + row[slot]!, 0);
        assert.equal(columns.inFlight(slot), sum);
      }
    }),
  );
});

test("two workers share the columns through one buffer", () => {
  const a = EndpointColumns.allocate(2);
  const b = new EndpointColumns(a.buffer);
  a.addInFlight(0, 7, 1);
  b.addInFlight(1, 7, 1);
  assert.equal(a.inFlight(7), 2);
  const before = a.epoch();
  b.bumpEpoch();
  assert.equal(a.epoch(), before + 1);
});

test("a worker that is added later counts from then on, on every side of the buffer", () => {
  const columns = EndpointColumns.allocate(1, 4);
  const other = new EndpointColumns(columns.buffer);
  other.addInFlight(3, 5, 1);
  assert.equal(columns.inFlight(5), 0);
  columns.addWorker(3);
  columns.addWorker(1);
  assert.deepEqual([columns.inFlight(5), other.inFlight(5)], [1, 1]);
  columns.clearSlot(5);
  assert.equal(other.inFlight(5), 0);
});

test("averages start at the first sample, follow the later ones, and stay whole numbers in range", () => {
  const columns = EndpointColumns.allocate(1);
  columns.sample(0, 8000, false);
  assert.equal(columns.latency[0], 8000);
  columns.sample(0, 16000, false);
  assert.equal(columns.latency[0], 9000);
  for (let i = 0; i < 200; i++) columns.sample(0, 0, true);
  assert.ok(columns.errorRate[0]! > 990_000 && columns.errorRate[0]! <= 1_000_000);
  assert.equal(columns.latency[0], 9000, "a failed attempt says nothing of latency");
  for (let i = 0; i < 200; i++) columns.sample(0, Number.MAX_SAFE_INTEGER, false);
  assert.ok(columns.latency[0]! > 0);
});

test("averages decay without traffic, and the next sample counts for more", () => {
  const columns = EndpointColumns.allocate(1);
  const begun = performance.now();
  const at = (seconds: number) => columns.moveTo(begun + 1000 * seconds);
  const read = () => [columns.latencyOf(1), columns.latencyAgeOf(1), columns.errorRateOf(1)];
  at(0);
  assert.deepEqual(read(), [0, 0, 0]);
  columns.sample(1, 0, true);
  columns.sample(1, 800_000, false);
  columns.responded(1, begun);
  const rate = columns.errorRate[1]!;
  assert.deepEqual(read(), [800_000, 0, rate]);
  at(10);
  assert.deepEqual(read(), [800_000, 10_000, rate]);
  at(20);
  assert.deepEqual(read(), [400_000, 20_000, Math.round(rate / 2)]);
  at(100);
  assert.deepEqual(read(), [Math.round(800_000 / 512), 100_000, Math.round(rate / 512)]);
  const copy = EndpointColumns.allocate(1);
  copy.setLatency(1, columns.latencyOf(1), columns.latencyAgeOf(1));
  assert.deepEqual([copy.latencyOf(1), copy.latencyAgeOf(1)], [columns.latencyOf(1), 100_000]);
  columns.sample(1, 4000, false);
  assert.ok(columns.latency[1]! < 4000, "what it was long ago weighs next to nothing");
  columns.responded(1, begun + 100_000);
  at(20 * 86_400);
  assert.deepEqual([columns.latencyOf(1), columns.errorRateOf(1)], [1, 0], "a sample is never lost");
  at(99.9);
  assert.equal(columns.latencyAgeOf(1), 0, "another thread may be ahead");
});

test("a cleared slot is like new", () => {
  const columns = EndpointColumns.allocate(1);
  columns.sample(3, 500, true);
  columns.sample(3, 500, false);
  columns.health[3] = 1;
  columns.clearSlot(3);
  assert.deepEqual([columns.latency[3], columns.errorRate[3], columns.health[3], columns.inFlight(3)], [0, 0, 0, 0]);
});

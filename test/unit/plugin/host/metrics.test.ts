import assert from "node:assert/strict";
import { test } from "node:test";
import { METRIC, STATUS } from "../../../../src/abi/abi.ts";
import { PluginMetrics } from "../../../../src/plugin/host/metrics.ts";

const plan = (kind: number, cells: number, buckets: readonly number[] = []) => ({
  kind,
  name: `m${cells}`,
  help: "",
  labels: [],
  buckets,
  cells,
});

test("a plugin counts in its own cells, whatever number it makes up", () => {
  const cells = new Float64Array(64).fill(7);
  const own = [plan(METRIC.counter, 20), plan(METRIC.gauge, 21), plan(METRIC.latest, 22)];
  const metrics = new PluginMetrics([...own, plan(METRIC.histogram, 24, [1, 2])], cells);
  const before = cells.slice();
  for (let id = -2; id < 70; id++) {
    const is = (...kinds: number[]) => own.some(({ kind, cells }) => cells === id && kinds.includes(kind));
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      for (const call of ["add", "set", "observe"] as const) assert.equal(metrics[call](id, value), STATUS.invalid);
    if (!is(METRIC.counter, METRIC.gauge)) assert.equal(metrics.add(id, 1), STATUS.invalid, `add to ${id}`);
    if (!is(METRIC.gauge, METRIC.latest)) assert.equal(metrics.set(id, 1), STATUS.invalid, `set ${id}`);
    if (id !== 24) assert.equal(metrics.observe(id, 1), STATUS.invalid, `observe ${id}`);
  }
  assert.equal(metrics.add(20, -1), STATUS.invalid, "a counter only goes up");
  assert.deepEqual(cells, before);
  assert.deepEqual(
    [metrics.add(20, 2), metrics.set(21, 3), metrics.observe(24, 1.5)],
    [STATUS.ok, STATUS.ok, STATUS.ok],
  );
  assert.deepEqual([...cells.subarray(18, 30)], [7, 7, 9, 3, 7, 7, 7, 8, 7, 8.5, 7, 7]);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMIT, METRIC, STATUS } from "../../../../src/abi/abi.ts";
import { Counters, seriesKey } from "../../../../src/observe/counters.ts";
import { labelTableCells } from "../../../../src/observe/label-table.ts";
import { renderPluginMetrics } from "../../../../src/observe/plugin-metrics.ts";
import { metricCells } from "../../../../src/observe/series.ts";
import { PluginMetrics } from "../../../../src/plugin/host/metrics.ts";

const plan = (kind: number, cells: number, buckets: readonly number[] = []) => ({
  kind,
  name: `m${cells}`,
  help: "",
  labels: [],
  buckets,
  cells,
});

test("a plugin counts in its own cells, for any number that it passes", () => {
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

const KINDS = { counter: "add", gauge: "set", latest: "set", histogram: "observe" } as const;

/** A family in a block for each worker, as the control plane places it. */
function placeFamily(kind: keyof typeof KINDS, values: number, workers: number) {
  const by = { label: "tenant", values };
  const definition = { ...plan(METRIC[kind], 0, kind === "histogram" ? [1] : []), by };
  const size = String(labelTableCells(values, metricCells(definition)));
  const series = kind === "gauge" ? "pluginGaugeBy" : "pluginBy";
  const counters = new Counters(workers);
  const key = seriesKey(series, { series: "x", cells: size, values: String(values) });
  const cells = counters.allocate(key);
  const family = { ...definition, name: "m", cells };
  const guests = counters.buffers.map((buffer) => new PluginMetrics([family], new Float64Array(buffer)));
  const lines = () =>
    renderPluginMetrics(counters, [{ plugin: "p", metric: family }])
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
  return { counters, key, family, guests, lines };
}

test("values known at run time are summed over workers that number them in different orders", () => {
  for (const kind of ["counter", "gauge"] as const) {
    const { guests, lines, family } = placeFamily(kind, 2, 2);
    const count = (worker: number, value: string, by: number) =>
      assert.equal(guests[worker]!.add(guests[worker]!.of(family.cells, value), by), STATUS.ok);
    count(0, "a", 1);
    count(0, "b", 2);
    count(1, "b", 3);
    count(1, "a", 4);
    assert.deepEqual(lines(), ['m{plugin="p",tenant="a"} 5', 'm{plugin="p",tenant="b"} 5']);
    count(0, "c", 6);
    count(1, "d", 7);
    count(1, "other", 1);
    assert.deepEqual(lines().slice(0, 1), ['m{plugin="p",tenant="other"} 14']);
    assert.equal(guests[0]!.add(family.cells, 1), STATUS.invalid, "a family is no metric");
  }
});

test("a histogram and a latest by value", () => {
  const sizes = placeFamily("histogram", 1, 2);
  for (const [worker, value] of [0.5, 3].entries())
    sizes.guests[worker]!.observe(sizes.guests[worker]!.of(sizes.family.cells, "a"), value);
  assert.deepEqual(
    sizes.lines().map((line) => line.replace('plugin="p",tenant="a"', "")),
    ['m_bucket{,le="1"} 1', 'm_bucket{,le="+Inf"} 2', "m_sum{} 3.5", "m_count{} 2"],
  );
  const level = placeFamily("latest", 1, 2);
  level.guests[1]!.set(level.guests[1]!.of(level.family.cells, "a"), 7);
  assert.deepEqual(level.lines(), ['m{plugin="p",tenant="a"} 7']);
});

test("a worker that replaces another, and another configuration, continue with the table", () => {
  const { counters, key, family, guests, lines } = placeFamily("gauge", 2, 1);
  guests[0]!.set(guests[0]!.of(family.cells, "a"), 1);
  guests[0]!.set(guests[0]!.of(family.cells, "b"), 2);
  guests[0]!.set(guests[0]!.of(family.cells, "c"), 3);
  const next = new PluginMetrics([family], new Float64Array(counters.buffers[0]!));
  assert.equal(next.of(family.cells, "b"), guests[0]!.of(family.cells, "b"));
  counters.clearGauges(0);
  assert.deepEqual(lines(), ['m{plugin="p",tenant="a"} 0', 'm{plugin="p",tenant="b"} 0']);
  next.set(next.of(family.cells, "b"), 4);
  assert.deepEqual(lines(), ['m{plugin="p",tenant="a"} 0', 'm{plugin="p",tenant="b"} 4']);
  counters.free(key, family.cells);
  assert.equal(counters.allocate(key), family.cells, "the range is used again");
  assert.deepEqual(lines(), []);
});

test("a hostile value is escaped, and one that is too long is counted as other", () => {
  const { family, guests, lines } = placeFamily("counter", 3, 1);
  const long = "é".repeat(LIMIT.metricValue / 2);
  for (const value of ['"} 1\nsluice_x 2\\', long, `${long}x`, ""])
    guests[0]!.add(guests[0]!.of(family.cells, value), 1);
  assert.deepEqual(lines(), [
    'm{plugin="p",tenant="other"} 1',
    'm{plugin="p",tenant="\\"} 1\\nsluice_x 2\\\\"} 1',
    `m{plugin="p",tenant="${long}"} 1`,
    'm{plugin="p",tenant=""} 1',
  ]);
});

test("in a start check nothing is counted, and all families together are limited", () => {
  const metrics = new PluginMetrics(null, new Float64Array(0));
  const by = (values: number) => ({ ...plan(METRIC.counter, values), by: { label: "l", values } });
  const id = metrics.define(by(LIMIT.metricValues - 1));
  assert.equal(metrics.add(metrics.of(id, "a"), 1), STATUS.ok);
  assert.equal(metrics.add(id, 1), STATUS.invalid);
  assert.equal(metrics.define(by(2)), STATUS.tooLarge);
  assert.equal(metrics.of(metrics.define(plan(METRIC.counter, 7)), "a"), STATUS.invalid);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { METRIC } from "../../../src/abi/abi.ts";
import { Counters, seriesKey } from "../../../src/observe/counters.ts";
import { type MetricDefinition, renderPluginMetrics } from "../../../src/observe/plugin-metrics.ts";
import type { Built } from "../../../src/plan/builder.ts";
import { checkMetrics, listMetrics, placeMetrics } from "../../../src/plan/plugin-metrics.ts";

const place = { file: "sluice.yaml", line: 1, column: 1, path: "plugins.p" };

/** A plan with one instance of plugin `p` for each list of definitions. */
function built(instances: number): Built {
  const of = <T>(value: T) => Array.from({ length: instances }, () => value);
  return { plan: { instances: of({ plugin: "p" }) }, origins: of({ at: place }) } as unknown as Built;
}

const BASE: MetricDefinition = { kind: METRIC.histogram, name: "m", help: "", labels: [], buckets: [1, 2] };
const ONE_TWO = [
  ["a", "1"],
  ["b", "2"],
] as const;

const DEFINITIONS: readonly MetricDefinition[] = [
  BASE,
  { ...BASE, help: "text" },
  { ...BASE, buckets: [1, 5] },
  { ...BASE, labels: [["a", "1"]] },
  { ...BASE, labels: [["a", "2"]], buckets: [1, 5] },
  { ...BASE, labels: ONE_TWO },
  { ...BASE, labels: ONE_TWO.toReversed() },
  { ...BASE, labels: ONE_TWO.toReversed(), buckets: [3] },
  { ...BASE, by: { label: "a", values: 2 } },
  { ...BASE, by: { label: "a", values: 2 }, buckets: [7] },
  { ...BASE, by: { label: "a", values: 3 } },
  { ...BASE, by: { label: "c", values: 2 } },
  { ...BASE, kind: METRIC.counter, buckets: [] },
];

/** Names and labels of the lines on `/metrics`, once every series was counted in. */
function seriesOf(definitions: readonly (readonly MetricDefinition[])[]): string[] {
  const counters = new Counters(1);
  const cells = new Map<string, number>();
  const { plan } = placeMetrics(built(definitions.length), definitions, (kind, labels) => {
    const key = seriesKey(kind, labels);
    if (!cells.has(key)) cells.set(key, counters.allocate(key));
    return cells.get(key)!;
  });
  return renderPluginMetrics(counters, listMetrics(plan))
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.replace(/ \S+$/, ""));
}

test("two definitions of one metric are the same series, different series, or rejected", () => {
  for (const one of DEFINITIONS)
    for (const other of DEFINITIONS)
      for (const definitions of [[[one, other]], [[one], [other]]]) {
        if (checkMetrics(built(definitions.length), definitions).length > 0) continue;
        const series = seriesOf(definitions);
        assert.deepEqual(series, [...new Set(series)], JSON.stringify(definitions));
      }
});

test("differences are named", () => {
  const problems = (...definitions: MetricDefinition[]) =>
    checkMetrics(built(1), [definitions]).map(({ message }) => message);
  const [base, text, buckets, , , ordered, reversed, , by, byBuckets, byValues] = DEFINITIONS;
  assert.deepEqual(problems(base!, text!), []);
  assert.deepEqual(problems(ordered!, reversed!), []);
  assert.deepEqual(problems(base!, buckets!), [
    "plugin p: metric m with buckets 1, 5 conflicts with m with buckets 1, 2: both have the same series",
  ]);
  assert.deepEqual(problems(by!, byBuckets!), [
    "plugin p: metric m with 2 values of a and buckets 7 conflicts with m with 2 values of a and buckets 1, 2: both have the same series",
  ]);
  assert.deepEqual(problems(by!, byValues!), [
    "plugin p: metric m with 3 values of a and buckets 1, 2 conflicts with m with 2 values of a and buckets 1, 2: both have the same series",
  ]);
});

/** Metrics defined by plugins: collected at the start check, checked for conflicts, and assigned cells. */

import { LIMIT, METRIC } from "../abi/abi.ts";
import type { Place, Problem } from "../config/schema.ts";
import type { Labels, SeriesKind } from "../observe/counters.ts";
import { labelTableCells } from "../observe/label-table.ts";
import type { MetricDefinition, MetricPlan } from "../observe/plugin-metrics.ts";
import { metricCells, metricIdentity, sortLabels } from "../observe/series.ts";
import type { InstancePlan } from "../plugin/host/plan.ts";
import type { Built } from "./builder.ts";
import type { Plan } from "./plan.ts";

/** The metrics that each instance of a plan has defined, in order. */
export type Definitions = readonly (readonly MetricDefinition[])[];

const KIND_NAMES = Object.keys(METRIC);
const SERIES: readonly SeriesKind[] = ["pluginCounter", "pluginGauge", "pluginHistogram", "pluginLatest"];
const OF_HISTOGRAM = ["_bucket", "_sum", "_count"];

/** Checks that a name is defined identically by all plugins, and the number of series per plugin. */
export function checkMetrics({ plan, origins }: Built, definitions: Definitions): Problem[] {
  const problems: Problem[] = [];
  const known = new Map<string, { kind: number; plugin: string; of: string }>();
  const series = new Map<string, Map<string, MetricDefinition>>();
  for (const [index, own] of definitions.entries()) {
    const { plugin } = plan.instances[index]!;
    const at: Place = origins[index]!.at;
    const all = series.getOrInsert(plugin, new Map());
    for (const definition of own) {
      const other = all.values().find((other) => conflict(definition, other));
      if (other !== undefined)
        problems.push({
          ...at,
          message: `plugin ${plugin}: metric ${describe(definition)} conflicts with ${describe(other)}: both have the same series`,
        });
      all.set(seriesOf(plugin, definition), definition);
      const { kind, name } = definition;
      const suffixes = kind === METRIC.histogram ? ["", ...OF_HISTOGRAM] : [""];
      for (const suffix of suffixes) {
        const before = known.get(name + suffix);
        if (before === undefined) known.set(name + suffix, { kind, plugin, of: name });
        else if (before.kind !== kind || before.of !== name) {
          const other = `the ${KIND_NAMES[before.kind]} ${before.of} of plugin ${before.plugin}`;
          problems.push({ ...at, message: `plugin ${plugin}: the ${KIND_NAMES[kind]} ${name} has a name of ${other}` });
        }
      }
    }
    const values = all.values().reduce((sum, { by }) => sum + (by?.values ?? 0), 0);
    if (all.size > LIMIT.metrics)
      problems.push({ ...at, message: `plugin ${plugin}: ${all.size} metric series, the limit is ${LIMIT.metrics}` });
    if (values > LIMIT.metricValues)
      problems.push({
        ...at,
        message: `plugin ${plugin}: ${values} values of labels, the limit is ${LIMIT.metricValues}`,
      });
  }
  return problems;
}

/** Returns the plan with cells for every metric. */
export function placeMetrics(
  built: Built,
  definitions: Definitions,
  cells: (kind: SeriesKind, labels: Labels) => number,
): Built {
  const place = (plugin: string, definition: MetricDefinition): MetricPlan => {
    const series = seriesOf(plugin, definition);
    const { kind, by } = definition;
    if (by === undefined) return { ...definition, cells: cells(SERIES[kind]!, { series }) };
    const size = labelTableCells(by.values, metricCells(definition));
    const labels = { series, cells: String(size), values: String(by.values) };
    return { ...definition, cells: cells(kind === METRIC.gauge ? "pluginGaugeBy" : "pluginBy", labels) };
  };
  const instances = built.plan.instances.map(
    (instance, index): InstancePlan => ({
      ...instance,
      metrics: (definitions[index] ?? []).map((definition) => place(instance.plugin, definition)),
    }),
  );
  return { ...built, plan: { ...built.plan, instances } };
}

/** The metrics of a plan, each once. */
export function listMetrics(plan: Plan | null): { plugin: string; metric: MetricPlan }[] {
  const metrics = new Map<number, { plugin: string; metric: MetricPlan }>();
  for (const { plugin, metrics: own } of plan?.instances ?? [])
    for (const metric of own ?? []) metrics.set(metric.cells, { plugin, metric });
  return [...metrics.values()];
}

function seriesOf(plugin: string, definition: MetricDefinition): string {
  return `${plugin} ${metricIdentity(definition)}`;
}

/** Whether two different definitions of one plugin could render the same series on `/metrics`. */
function conflict(one: MetricDefinition, other: MetricDefinition): boolean {
  if (one.name !== other.name || one.kind !== other.kind || metricIdentity(one) === metricIdentity(other)) return false;
  // A label with values known at run time can have the value of the other's label.
  if (one.by?.label !== other.by?.label) return true;
  return JSON.stringify(sortLabels(one.labels)) === JSON.stringify(sortLabels(other.labels));
}

function describe({ name, by, buckets }: MetricDefinition): string {
  const parts = by === undefined ? [] : [`${by.values} values of ${by.label}`];
  if (buckets.length > 0) parts.push(`buckets ${buckets.join(", ")}`);
  return parts.length === 0 ? name : `${name} with ${parts.join(" and ")}`;
}

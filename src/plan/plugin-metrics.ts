/** Metrics defined by plugins: collected at the start check, checked for conflicts, and assigned cells. */

import { LIMIT, METRIC } from "../abi/abi.ts";
import type { Place, Problem } from "../config/schema.ts";
import type { Labels, SeriesKind } from "../observe/counters.ts";
import type { MetricDefinition, MetricPlan } from "../observe/plugin-metrics.ts";
import { labelTableCells, metricCells } from "../observe/series.ts";
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
    const all = series.get(plugin) ?? new Map<string, MetricDefinition>();
    series.set(plugin, all);
    for (const definition of own) {
      const other = all.values().find((other) => areConfused(definition, other));
      if (other !== undefined)
        problems.push({
          ...at,
          message: `plugin ${plugin}: ${describe(definition)} is defined as ${describe(other)} too`,
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

/** The help text is not part of a series' identity, so that changing it keeps the value. */
function seriesOf(plugin: string, { kind, name, labels, buckets, by }: MetricDefinition): string {
  return JSON.stringify([plugin, kind, name, labels, buckets, by]);
}

/** Two series of one plugin's metric whose lines on `/metrics` could be the same, because of a label known at run time. */
function areConfused(one: MetricDefinition, other: MetricDefinition): boolean {
  if (one.name !== other.name || (one.by === undefined && other.by === undefined)) return false;
  if (one.by?.label !== other.by?.label) return true;
  return one.by!.values !== other.by!.values && JSON.stringify(one.labels) === JSON.stringify(other.labels);
}

function describe({ name, by }: MetricDefinition): string {
  return by === undefined ? name : `${name} with ${by.values} values of ${by.label}`;
}

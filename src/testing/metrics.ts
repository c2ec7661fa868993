/** Metrics of a plugin under test: allocates their cells, and reads values as on `/metrics`. */

import { METRIC } from "../abi/abi.ts";
import { LabelTable, labelTableCells } from "../observe/label-table.ts";
import type { MetricDefinition, MetricPlan } from "../observe/plugin-metrics.ts";
import { metricCells, PLUGIN_CELLS } from "../observe/series.ts";

/** Allocates cells for each metric, after those that every plugin has. */
export function placeMetrics(definitions: readonly MetricDefinition[]): { plans: MetricPlan[]; size: number } {
  let size: number = PLUGIN_CELLS.size;
  const plans = definitions.map((definition) => {
    const cells = size;
    const width = metricCells(definition);
    size += definition.by === undefined ? width : labelTableCells(definition.by.values, width);
    return { ...definition, cells };
  });
  return { plans, size };
}

/** The sum of all series of that name with those labels. */
export function readMetric(
  plans: readonly MetricPlan[],
  cells: Float64Array,
  { name, labels }: { readonly name: string; readonly labels: Readonly<Record<string, string>> },
): number {
  const wanted = Object.entries(labels);
  const values = plans
    .flatMap((plan) => listSeries(plan, cells))
    .flatMap((plan) => {
      const isMeant = wanted.every(([label, text]) =>
        plan.labels.some(([own, value]) => own === label && value === text),
      );
      const value = isMeant ? readValue(plan, cells, name) : null;
      return value === null ? [] : [value];
    });
  // A label value that was not used so far is 0, not an error.
  const isUnseen = plans.some(
    (plan) => plan.by !== undefined && Object.hasOwn(labels, plan.by.label) && hasSeries(plan, name),
  );
  if (values.length === 0 && !isUnseen)
    throw new RangeError(
      `the plugin has no metric ${name}${wanted.length === 0 ? "" : ` with ${JSON.stringify(labels)}`}; its metrics are ${plans.map((plan) => plan.name).join(", ")}`,
    );
  return values.reduce((sum, value) => sum + value, 0);
}

/** The series of a metric: one per value of a run-time label, or one. */
function listSeries(plan: MetricPlan, cells: Float64Array): MetricPlan[] {
  const { by } = plan;
  if (by === undefined) return [plan];
  const table = new LabelTable(cells, { base: plan.cells, values: by.values, width: metricCells(plan) });
  return [...table.list()].map(([value, at]) => ({ ...plan, labels: [...plan.labels, [by.label, value]], cells: at }));
}

function hasSeries({ kind, name }: MetricPlan, wanted: string): boolean {
  return kind === METRIC.histogram ? wanted === `${name}_sum` || wanted === `${name}_count` : wanted === name;
}

function readValue({ kind, name, cells: at, buckets }: MetricPlan, cells: Float64Array, wanted: string): number | null {
  if (kind !== METRIC.histogram) return wanted === name ? cells[at]! : null;
  const end = at + buckets.length + 1;
  if (wanted === `${name}_sum`) return cells[end]!;
  return wanted === `${name}_count` ? cells.subarray(at, end).reduce((sum, count) => sum + count, 0) : null;
}

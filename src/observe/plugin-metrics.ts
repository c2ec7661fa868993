/** Renders metrics of plugins in the Prometheus text format, under their own names with a label `plugin`. */
import { METRIC } from "../abi/abi.ts";

import type { Counters } from "./counters.ts";
import { OTHER } from "./label-table.ts";
import { metricCells } from "./series.ts";

export type PluginMetric = { readonly plugin: string; readonly metric: MetricPlan };

const TYPES: Readonly<Record<number, string>> = {
  [METRIC.counter]: "counter",
  [METRIC.gauge]: "gauge",
  [METRIC.histogram]: "histogram",
  [METRIC.latest]: "gauge",
};

export function renderPluginMetrics(counters: Counters, metrics: Iterable<PluginMetric>): string {
  const families = new Map<string, string[]>();
  for (const { plugin, metric } of metrics) {
    const { name, kind, help } = metric;
    const lines = families.getOrInsertComputed(name, () => [
      ...(help === "" ? [] : [`# HELP ${name} ${escapeText(help)}`]),
      `# TYPE ${name} ${TYPES[kind]}`,
    ]);
    lines.push(...linesOf(counters, metric, [["plugin", plugin], ...metric.labels]));
  }
  return [...families.values()].flat().join("\n") + (families.size === 0 ? "" : "\n");
}

type Labels = readonly (readonly [name: string, value: string])[];

/** The first cell of a series in the block of a worker. */
type Part = { readonly worker: number; readonly cells: number };

function linesOf(counters: Counters, metric: MetricPlan, labels: Labels): string[] {
  const { by, cells } = metric;
  const workers = [...counters.buffers.keys()];
  if (by === undefined) {
    const parts = workers.map((worker) => ({ worker, cells }));
    return linesOfSeries(counters, metric, { labels, parts });
  }
  const layout = { base: cells, values: by.values, width: metricCells(metric) };
  const series = new Map<string, Part[]>();
  for (const worker of workers)
    for (const [value, cells] of counters.listLabels(worker, layout))
      series.getOrInsert(value, []).push({ worker, cells });
  // `other` without counts has no series.
  if (isZero(counters, series.get(OTHER) ?? [], layout.width)) series.delete(OTHER);
  return [...series].flatMap(([value, parts]) =>
    linesOfSeries(counters, metric, { labels: [...labels, [by.label, value]], parts }),
  );
}

function linesOfSeries(
  counters: Counters,
  { name, kind, buckets }: MetricPlan,
  { labels, parts }: { labels: Labels; parts: readonly Part[] },
): string[] {
  if (kind === METRIC.latest) return [line(name, labels, newest(counters, parts))];
  const sum = (offset: number): number =>
    parts.reduce((total, { worker, cells }) => total + counters.read(worker, cells + offset), 0);
  if (kind !== METRIC.histogram) return [line(name, labels, sum(0))];
  let count = 0;
  const lines = [...buckets.map(String), "+Inf"].map((le, i) => {
    count += sum(i);
    return line(`${name}_bucket`, [...labels, ["le", le]], count);
  });
  lines.push(line(`${name}_sum`, labels, sum(buckets.length + 1)));
  lines.push(line(`${name}_count`, labels, count));
  return lines;
}

function isZero(counters: Counters, parts: readonly Part[], width: number): boolean {
  return parts.every(({ worker, cells }) => {
    for (let i = 0; i < width; i++) if (counters.read(worker, cells + i) !== 0) return false;
    return true;
  });
}

/** The value that any worker set last, by the time stored with it. */
function newest(counters: Counters, parts: readonly Part[]): number {
  let [value, at] = [0, 0];
  for (const { worker, cells } of parts) {
    const set = counters.read(worker, cells + 1);
    if (set > at) [value, at] = [counters.read(worker, cells), set];
  }
  return value;
}

function line(name: string, labels: Labels, value: number): string {
  const list = labels.map(([label, text]) => `${label}="${escapeText(text).replaceAll('"', '\\"')}"`).join(",");
  return `${name}{${list}} ${Number.isFinite(value) ? value : value > 0 ? "+Inf" : "NaN"}`;
}

function escapeText(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

export type MetricDefinition = {
  /** One of METRIC. */
  readonly kind: number;
  readonly name: string;
  readonly help: string;
  readonly labels: readonly (readonly [name: string, value: string])[];
  /** Upper bounds of a histogram, ascending; empty for other kinds. */
  readonly buckets: readonly number[];
  /** A label whose values are known only at run time, and the maximum number of its values. It makes the metric a family. */
  readonly by?: { readonly label: string; readonly values: number };
};

/** A definition with its first cell, by which the guest names it; no other series has that number at the same time. */
export type MetricPlan = MetricDefinition & { readonly cells: number };

/** Metrics that plugins define, in Prometheus' text format: under their own name, with the plugin as a label. */
import { METRIC } from "../abi/abi.ts";
import type { MetricPlan } from "../plugin/host/metrics.ts";
import type { Counters } from "./counters.ts";

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
    const lines = families.get(name) ?? [
      ...(help === "" ? [] : [`# HELP ${name} ${escapeText(help)}`]),
      `# TYPE ${name} ${TYPES[kind]}`,
    ];
    families.set(name, lines);
    lines.push(...linesOf(counters, metric, [["plugin", plugin], ...metric.labels]));
  }
  return [...families.values()].flat().join("\n") + (families.size === 0 ? "" : "\n");
}

type Labels = readonly (readonly [name: string, value: string])[];

function linesOf(counters: Counters, { name, kind, cells, buckets }: MetricPlan, labels: Labels): string[] {
  if (kind === METRIC.latest) return [line(name, labels, newest(counters, cells))];
  if (kind !== METRIC.histogram) return [line(name, labels, counters.sum(cells))];
  let count = 0;
  const lines = [...buckets.map(String), "+Inf"].map((le, i) => {
    count += counters.sum(cells + i);
    return line(`${name}_bucket`, [...labels, ["le", le]], count);
  });
  lines.push(line(`${name}_sum`, labels, counters.sum(cells + buckets.length + 1)));
  lines.push(line(`${name}_count`, labels, count));
  return lines;
}

/** The value that some thread has set last; beside it stands when. */
function newest(counters: Counters, cells: number): number {
  let [value, at] = [0, 0];
  for (let thread = 0; thread < counters.buffers.length; thread++) {
    const set = counters.read(thread, cells + 1);
    if (set > at) [value, at] = [counters.read(thread, cells), set];
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

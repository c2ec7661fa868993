/** Registers metrics whose values are read at each scrape, most of them from the workers' counters. */
import type { Metric } from "prom-client";
import Registry from "prom-client/lib/registry.js";
import { FAILURE, HOOKS } from "../abi/abi.ts";
import type { Counters, Labels, SeriesKind } from "./counters.ts";
import { METRICS, type MetricName } from "./metric-help.ts";
import { BUCKETS, MAX_REASONS, PLUGIN_CELLS } from "./series.ts";

type Value = {
  readonly labels: Labels | Readonly<Record<string, number | string>>;
  readonly value: number;
  readonly metricName?: string;
};

export class Collectors {
  readonly registry = new Registry();
  readonly counters: Counters;

  constructor(counters: Counters) {
    this.counters = counters;
  }

  /** Implements the part of prom-client's metric interface that its registry uses. */
  add(name: MetricName, collect: () => Iterable<Value>): void {
    const help = METRICS[name];
    const type = name.endsWith("_total") ? "counter" : name.endsWith("_duration_seconds") ? "histogram" : "gauge";
    const get = async () => ({ name, help, type, values: [...collect()], aggregator: "sum" });
    this.registry.registerMetric({ name, help, type, get } as unknown as Metric<string>);
  }

  number(name: MetricName, value: () => number): void {
    this.add(name, () => [{ labels: {}, value: value() }]);
  }

  /** A cell of all workers. */
  total(name: MetricName, cell: number): void {
    this.number(name, () => this.counters.sum(cell));
  }

  byResult(name: MetricName, counts: () => Readonly<Record<string, number>>): void {
    this.add(name, () => Object.entries(counts()).map(([result, value]) => ({ labels: { result }, value })));
  }

  /** A cell of each series. */
  cells(name: MetricName, kind: SeriesKind, cell: number): void {
    this.add(name, () =>
      Array.from(this.counters.list(kind), ({ labels, base }) => ({ labels, value: this.counters.sum(base + cell) })),
    );
  }

  /** Cells of each series, one for each of `values`. Those that never occurred have no series. */
  cellsBy(name: MetricName, kind: SeriesKind, cell: number, values: readonly string[], label = "reason"): void {
    this.add(name, () => this.#listBy(kind, cell, values, label));
  }

  *#listBy(kind: SeriesKind, cell: number, values: readonly string[], label: string): Iterable<Value> {
    for (const { labels, base } of this.counters.list(kind))
      for (const [index, text] of values.entries()) {
        const value = this.counters.sum(base + cell + index);
        if (value > 0) yield { labels: { ...labels, [label]: text }, value };
      }
  }

  histogram(name: MetricName, kind: SeriesKind): void {
    this.add(name, () => this.#listHistograms(name, kind));
  }

  *#listHistograms(name: string, kind: SeriesKind): Iterable<Value> {
    const { counters } = this;
    for (const { labels, base } of counters.list(kind)) {
      let count = 0;
      for (const [cell, le] of [...BUCKETS, "+Inf"].entries()) {
        count += counters.sum(base + cell);
        yield { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
      }
      yield { metricName: `${name}_sum`, labels, value: counters.sum(base + BUCKETS.length + 1) };
      yield { metricName: `${name}_count`, labels, value: count };
    }
  }

  /** Failures of plugins by hook and reason. */
  failures(name: MetricName): void {
    this.add(name, () => this.#listFailures());
  }

  *#listFailures(): Iterable<Value> {
    for (const { labels, base } of this.counters.list("plugin"))
      for (const [number, hook] of HOOKS.entries())
        for (const [index, reason] of FAILURE.entries()) {
          const value = this.counters.sum(base + PLUGIN_CELLS.failures + number * MAX_REASONS + index);
          if (value > 0) yield { labels: { ...labels, hook, reason }, value };
        }
  }
}

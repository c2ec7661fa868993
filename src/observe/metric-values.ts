/** Reads the values of metrics from the workers' counters. */
import { FAILURE, HOOKS } from "../abi/abi.ts";
import type { Counters, Labels, Series, SeriesKind } from "./counters.ts";
import { BUCKETS, GRPC_LABELS, MAX_REASONS, PLUGIN_CELLS, STATUS_LABELS } from "./series.ts";

export type Value = {
  readonly labels: Labels | Record<string, number | string>;
  readonly value: number;
  readonly metricName?: string;
};
export type Kind = "counter" | "gauge" | "histogram";

/** Registers a metric, whose values are read at each scrape. */
export type Register = (kind: Kind, name: string, help: string, collect: () => Iterable<Value>) => void;

export function* listValues(counters: Counters, kind: SeriesKind, offset: number): Iterable<Value> {
  for (const { labels, base } of counters.list(kind)) yield { labels, value: counters.sum(base + offset) };
}

/** Reasons that never occurred have no series. */
export function* listReasons(
  counters: Counters,
  kind: SeriesKind,
  offset: number,
  reasons: readonly string[],
  label = "reason",
): Iterable<Value> {
  for (const { labels, base } of counters.list(kind))
    for (const [cell, reason] of reasons.entries()) {
      const value = counters.sum(base + offset + cell);
      if (value > 0) yield { labels: { ...labels, [label]: reason }, value };
    }
}

/** Statuses that never occurred have no series. */
export function* listRequests(counters: Counters): Iterable<Value> {
  for (const { labels, base } of counters.list("requests"))
    for (const [cell, status] of STATUS_LABELS.entries()) {
      const value = counters.sum(base + cell);
      if (value > 0) yield { labels: { ...labels, status }, value };
    }
}

/** The same of gRPC calls; `offset`: of GRPC_CELLS in the series. */
export function* listCalls(counters: Counters, kind: "requests" | "grpcMethod", offset: number): Iterable<Value> {
  for (const { labels, base } of counters.list(kind))
    for (const [cell, status] of GRPC_LABELS.entries()) {
      const value = counters.sum(base + offset + cell);
      if (value > 0) yield { labels: { ...labels, grpc_status: status }, value };
    }
}

export function* listHistograms(counters: Counters, kind: SeriesKind, name: string): Iterable<Value> {
  for (const { labels, base } of counters.list(kind)) yield* listHistogram(counters, { labels, base }, name);
}

function* listHistogram(
  counters: Counters,
  { labels, base }: Pick<Series, "labels" | "base">,
  name: string,
): Iterable<Value> {
  let count = 0;
  for (const [cell, le] of [...BUCKETS, "+Inf"].entries()) {
    count += counters.sum(base + cell);
    yield { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count };
  }
  yield { metricName: `${name}_sum`, labels, value: counters.sum(base + BUCKETS.length + 1) };
  yield { metricName: `${name}_count`, labels, value: count };
}

export function* listHooks(counters: Counters, offset: number): Iterable<Value> {
  for (const { labels, base } of counters.list("plugin"))
    for (const [number, hook] of HOOKS.entries()) {
      const value = counters.sum(base + offset + number);
      if (value > 0) yield { labels: { ...labels, hook }, value };
    }
}

export function* listFailures(counters: Counters): Iterable<Value> {
  for (const { labels, base } of counters.list("plugin"))
    for (const [number, hook] of HOOKS.entries())
      for (const [index, reason] of FAILURE.entries()) {
        const value = counters.sum(base + PLUGIN_CELLS.failures + number * MAX_REASONS + index);
        if (value > 0) yield { labels: { ...labels, hook, reason }, value };
      }
}

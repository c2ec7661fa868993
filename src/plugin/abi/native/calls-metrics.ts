/** `sluice:metrics/1`: metrics are defined during the start, and changed by all hooks. */

import { LIMIT, STATUS } from "../../../abi/abi.ts";
import { OTHER } from "../../../observe/label-table.ts";
import type { CallContext } from "../call-context.ts";
import { defineMetric } from "../metric-definitions.ts";

const FLOAT_BYTES = 8;

export function makeMetricCalls(context: CallContext) {
  const { memory } = context;
  /** `texts` and `buckets`: pointers and lengths, alternating; `values`: null without a label of run-time values. */
  const define = (call: string, kind: number, texts: number[], buckets: number[], values: number | null): number => {
    const lengths = [...texts, ...buckets].filter((_, i) => i % 2 === 1);
    context.enter(
      call,
      lengths.reduce((sum, length) => sum + (length >>> 0), 0),
    );
    const parts = { kind, texts: takeTexts(context, texts), bounds: takeBounds(context, buckets), values };
    return context.leave(defineMetric(context, call, parts));
  };
  return {
    /** Ranges: name, help, labels, buckets. */
    metric_define: (kind: number, ...ranges: number[]): number =>
      define("metric_define", kind, ranges.slice(0, 6), ranges.slice(6, 8), null),

    /** Ranges: name, help, labels, buckets, and the label with values known only at run time; then their number. */
    metric_define_by: (kind: number, ...ranges: number[]): number => {
      const texts = [...ranges.slice(0, 6), ...ranges.slice(8, 10)];
      return define("metric_define_by", kind, texts, ranges.slice(6, 8), ranges[10]! >>> 0);
    },

    metric_of(family: number, value: number, length: number): number {
      context.enter("metric_of", length >>> 0);
      memory.check(value, length);
      const text = length >>> 0 > LIMIT.metricValue ? OTHER : memory.takeUtf8(value, length);
      return context.leave(context.configuration?.metrics.of(family, text) ?? STATUS.notHere);
    },

    metric_add(id: number, by: number): number {
      context.enter("metric_add", 0);
      return context.leave(context.configuration?.metrics.add(id, by) ?? STATUS.notHere);
    },

    metric_set(id: number, value: number): number {
      context.enter("metric_set", 0);
      return context.leave(context.configuration?.metrics.set(id, value) ?? STATUS.notHere);
    },

    metric_observe(id: number, value: number): number {
      context.enter("metric_observe", 0);
      return context.leave(context.configuration?.metrics.observe(id, value) ?? STATUS.notHere);
    },
  };
}

/** Reads texts; `ranges`: pointers and lengths, alternating. Null: too long. */
function takeTexts({ memory }: CallContext, ranges: readonly number[]): (string | null)[] {
  const texts: (string | null)[] = [];
  for (let i = 0; i < ranges.length; i += 2) {
    const [pointer, length] = [ranges[i]!, ranges[i + 1]!];
    memory.check(pointer, length);
    texts.push(length >>> 0 > LIMIT.metricText ? null : memory.takeUtf8(pointer, length));
  }
  return texts;
}

/** Reads the upper bounds of a histogram; null: too many. */
function takeBounds({ memory }: CallContext, [pointer, length]: number[]): number[] | null {
  const start = memory.check(pointer!, length!);
  const count = (length! >>> 0) / FLOAT_BYTES;
  if (count > LIMIT.metricBuckets) return null;
  return Array.from({ length: Math.floor(count) }, (_, i) => memory.bytes.readDoubleLE(start + FLOAT_BYTES * i));
}

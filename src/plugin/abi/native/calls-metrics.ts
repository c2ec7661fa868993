/** `sluice:metrics/1`: metrics are defined during the start, and changed by all hooks. */

import { LIMIT, STATUS } from "../../../abi/abi.ts";
import { OTHER } from "../../../observe/label-table.ts";
import type { CallContext } from "../call-context.ts";
import { defineMetric } from "../metric-definitions.ts";

const FLOAT_BYTES = 8;

export function makeMetricCalls(context: CallContext) {
  return {
    metric_define(
      kind: number,
      name: number,
      nameLength: number,
      help: number,
      helpLength: number,
      labels: number,
      labelsLength: number,
      buckets: number,
      bucketsLength: number,
    ): number {
      context.enter(
        "metric_define",
        (nameLength >>> 0) + (helpLength >>> 0) + (labelsLength >>> 0) + (bucketsLength >>> 0),
      );
      const texts = takeTexts(context, [name, nameLength, help, helpLength, labels, labelsLength]);
      const bounds = takeBounds(context, buckets, bucketsLength);
      return context.leave(defineMetric(context, "metric_define", { kind, texts, bounds, values: null }));
    },

    metric_define_by(
      kind: number,
      name: number,
      nameLength: number,
      help: number,
      helpLength: number,
      labels: number,
      labelsLength: number,
      buckets: number,
      bucketsLength: number,
      by: number,
      byLength: number,
      values: number,
    ): number {
      const length = (nameLength >>> 0) + (helpLength >>> 0) + (labelsLength >>> 0) + (bucketsLength >>> 0);
      context.enter("metric_define_by", length + (byLength >>> 0));
      const texts = takeTexts(context, [name, nameLength, help, helpLength, labels, labelsLength, by, byLength]);
      const bounds = takeBounds(context, buckets, bucketsLength);
      const parts = { kind, texts, bounds, values: values >>> 0 };
      return context.leave(defineMetric(context, "metric_define_by", parts));
    },

    metric_of(family: number, value: number, length: number): number {
      context.enter("metric_of", length >>> 0);
      const { memory, configuration } = context;
      memory.check(value, length);
      const text = length >>> 0 > LIMIT.metricValue ? OTHER : memory.takeUtf8(value, length);
      return context.leave(configuration?.metrics.of(family, text) ?? STATUS.notHere);
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
function takeBounds({ memory }: CallContext, pointer: number, length: number): number[] | null {
  const start = memory.check(pointer, length);
  const count = (length >>> 0) / FLOAT_BYTES;
  if (count > LIMIT.metricBuckets) return null;
  return Array.from({ length: Math.floor(count) }, (_, i) => memory.bytes.readDoubleLE(start + FLOAT_BYTES * i));
}

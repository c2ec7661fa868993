/** Host calls by which plugins define metrics of their own, when they are started, and count in them. */

import { LIMIT, METRIC, STATUS } from "../../abi/abi.ts";
import { WORK } from "../../abi/prices.ts";
import { BUCKETS } from "../../observe/series.ts";
import type { MetricDefinition } from "../host/metrics.ts";
import { HELD } from "./call-charges.ts";
import type { CallContext } from "./call-context.ts";

/** Of metrics and labels, as Prometheus has them. */
const NAME = /^(?!__)[A-Za-z_][A-Za-z0-9_]*$/;
/** Sluice's own, and those of its process: no plugin's metric can be taken for one. */
const RESERVED_METRIC = /^(sluice|process|nodejs)_/;
const RESERVED_LABELS: readonly string[] = ["plugin", "le", "quantile"];
const FLOAT_BYTES = 8;
const LAST_KIND = METRIC.latest;

export function makeMetricCalls(context: CallContext) {
  const { memory } = context;
  const takeText = (pointer: number, length: number): string | null => {
    memory.check(pointer, length);
    return length >>> 0 > LIMIT.metricText ? null : memory.takeUtf8(pointer, length);
  };

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
      context.enter((nameLength >>> 0) + (helpLength >>> 0) + (labelsLength >>> 0) + (bucketsLength >>> 0));
      const texts = [takeText(name, nameLength), takeText(help, helpLength), takeText(labels, labelsLength)] as const;
      const bounds = takeBounds(context, buckets, bucketsLength);
      const { configuration } = context;
      if (configuration === null || !context.isStarting) return context.leave(STATUS.notHere);
      context.spend(WORK.metric);
      const cells = bounds === null ? 0 : bounds.length + 2;
      const text = (nameLength >>> 0) + (helpLength >>> 0) + (labelsLength >>> 0);
      context.charges.holdMore("metric_define", HELD.names, 2 * FLOAT_BYTES * cells + text);
      const definition = makeDefinition(kind, texts, bounds);
      return context.leave(typeof definition === "number" ? definition : configuration.metrics.define(definition));
    },

    metric_add(id: number, by: number): number {
      context.enter(0);
      return context.leave(context.configuration?.metrics.add(id, by) ?? STATUS.notHere);
    },

    metric_set(id: number, value: number): number {
      context.enter(0);
      return context.leave(context.configuration?.metrics.set(id, value) ?? STATUS.notHere);
    },

    metric_observe(id: number, value: number): number {
      context.enter(0);
      return context.leave(context.configuration?.metrics.observe(id, value) ?? STATUS.notHere);
    },
  };
}

/** Upper bounds; null when there are too many. */
function takeBounds({ memory }: CallContext, pointer: number, length: number): number[] | null {
  const start = memory.check(pointer, length);
  const count = (length >>> 0) / FLOAT_BYTES;
  if (count > LIMIT.metricBuckets) return null;
  return Array.from({ length: Math.floor(count) }, (_, i) => memory.bytes.readDoubleLE(start + FLOAT_BYTES * i));
}

function makeDefinition(
  kind: number,
  [name, help, labels]: readonly (string | null)[],
  bounds: readonly number[] | null,
): MetricDefinition | number {
  if (name == null || help == null || labels == null || bounds === null) return STATUS.tooLarge;
  if (name.length > LIMIT.metricName) return STATUS.tooLarge;
  if (kind < 0 || kind > LAST_KIND || !NAME.test(name) || RESERVED_METRIC.test(name)) return STATUS.invalid;
  const pairs = readLabels(labels);
  if (typeof pairs === "number") return pairs;
  if (kind !== METRIC.histogram) return { kind, name, help, labels: pairs, buckets: [] };
  if (!bounds.every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > bounds[i - 1]!))) return STATUS.invalid;
  return { kind, name, help, labels: pairs, buckets: bounds.length === 0 ? BUCKETS : bounds };
}

/** Names and values in turn, each with a NUL behind it. */
function readLabels(text: string): [name: string, value: string][] | number {
  if (text === "") return [];
  const parts = text.split("\0");
  if (parts.pop() !== "" || parts.length % 2 !== 0) return STATUS.invalid;
  if (parts.length > 2 * LIMIT.metricLabels) return STATUS.tooLarge;
  const pairs: [string, string][] = [];
  for (let i = 0; i < parts.length; i += 2) {
    const name = parts[i]!;
    if (!NAME.test(name) || RESERVED_LABELS.includes(name) || pairs.some(([other]) => other === name))
      return STATUS.invalid;
    pairs.push([name, parts[i + 1]!]);
  }
  return pairs;
}

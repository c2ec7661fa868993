/** `sluice:metrics/1`: metrics are defined during the start, and changed by all hooks. */

import { LIMIT, METRIC, STATUS } from "../../../abi/abi.ts";
import { WORK } from "../../../abi/prices.ts";
import type { MetricDefinition } from "../../../observe/plugin-metrics.ts";
import { BUCKETS, labelTableCells, metricCells, OTHER } from "../../../observe/series.ts";
import { CALL_MEMORY } from "../call-charges.ts";
import type { CallContext } from "../call-context.ts";

/** Names of metrics and labels (Prometheus data model). */
const NAME = /^(?!__)[A-Za-z_][A-Za-z0-9_]*$/;
/** Prefixes of the proxy's own metrics. */
const RESERVED_METRIC = /^(sluice|process|nodejs)_/;
const RESERVED_LABELS: readonly string[] = ["plugin", "le", "quantile"];
const FLOAT_BYTES = 8;
const LAST_KIND = METRIC.latest;

/** The arguments of a definition; null: too long. */
type Parts = {
  readonly kind: number;
  /** Name, help, labels, and the label with values known only at run time. */
  readonly texts: readonly (string | null)[];
  readonly bounds: readonly number[] | null;
  /** Most values of that label; null without one. */
  readonly values: number | null;
};

/** Memory per label value in the host's table in addition to its cells, in cells. */
const ROW_CELLS = 16;

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
      return context.leave(define(context, "metric_define", { kind, texts, bounds, values: null }));
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
      return context.leave(define(context, "metric_define_by", parts));
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

/** Defines a metric; returns its number, or a STATUS. */
function define(context: CallContext, call: string, parts: Parts): number {
  const { configuration } = context;
  if (configuration === null || !context.scope.isStarting) return STATUS.notHere;
  context.spend(WORK.metric);
  const definition = makeDefinition(parts);
  if (typeof definition === "number") return definition;
  context.charges.chargeMore(call, CALL_MEMORY.names, sizeOf(definition));
  return configuration.metrics.define(definition);
}

/** Bytes that the host uses for a metric. */
function sizeOf(definition: MetricDefinition): number {
  const { name, help, labels, buckets, by } = definition;
  const text = name.length + help.length + labels.reduce((sum, pair) => sum + pair[0].length + pair[1].length, 0);
  const table = by === undefined ? 0 : labelTableCells(by.values, metricCells(definition)) + by.values * ROW_CELLS;
  return text + FLOAT_BYTES * (2 * (buckets.length + 2) + table);
}

/** Reads the upper bounds of a histogram; null: too many. */
function takeBounds({ memory }: CallContext, pointer: number, length: number): number[] | null {
  const start = memory.check(pointer, length);
  const count = (length >>> 0) / FLOAT_BYTES;
  if (count > LIMIT.metricBuckets) return null;
  return Array.from({ length: Math.floor(count) }, (_, i) => memory.bytes.readDoubleLE(start + FLOAT_BYTES * i));
}

function makeDefinition({ kind, texts, bounds, values }: Parts): MetricDefinition | number {
  const [name, help, labels, label = ""] = texts;
  if (name == null || help == null || labels == null || label == null || bounds === null) return STATUS.tooLarge;
  if (name.length > LIMIT.metricName) return STATUS.tooLarge;
  if (kind < 0 || kind > LAST_KIND || !NAME.test(name) || RESERVED_METRIC.test(name)) return STATUS.invalid;
  const pairs = readLabels(labels);
  if (typeof pairs === "number") return pairs;
  const by = values === null ? undefined : makeLabel(label, values, pairs);
  if (typeof by === "number") return by;
  const definition = { kind, name, help, labels: pairs, ...(by === undefined ? {} : { by }) };
  if (kind !== METRIC.histogram) return { ...definition, buckets: [] };
  if (!bounds.every((bound, i) => Number.isFinite(bound) && (i === 0 || bound > bounds[i - 1]!))) return STATUS.invalid;
  return { ...definition, buckets: bounds.length === 0 ? BUCKETS : bounds };
}

type Pair = readonly [name: string, value: string];

/** Checks a label with values known only at run time. */
function makeLabel(label: string, values: number, others: readonly Pair[]): { label: string; values: number } | number {
  if (!isLabel(label, others) || values === 0) return STATUS.invalid;
  return values > LIMIT.metricValues || others.length >= LIMIT.metricLabels ? STATUS.tooLarge : { label, values };
}

function isLabel(name: string, others: readonly Pair[]): boolean {
  return NAME.test(name) && !RESERVED_LABELS.includes(name) && !others.some(([other]) => other === name);
}

/** Parses names and values, alternating, each terminated by NUL. */
function readLabels(text: string): Pair[] | number {
  if (text === "") return [];
  const parts = text.split("\0");
  if (parts.pop() !== "" || parts.length % 2 !== 0) return STATUS.invalid;
  if (parts.length > 2 * LIMIT.metricLabels) return STATUS.tooLarge;
  const pairs: Pair[] = [];
  for (let i = 0; i < parts.length; i += 2) {
    const name = parts[i]!;
    if (!isLabel(name, pairs)) return STATUS.invalid;
    pairs.push([name, parts[i + 1]!]);
  }
  return pairs;
}

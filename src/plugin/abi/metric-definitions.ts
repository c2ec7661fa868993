/** Definitions of metrics by plugins, for every ABI: validated, and charged to the plugin. */
import { LIMIT, METRIC, STATUS } from "../../abi/abi.ts";
import { WORK } from "../../abi/prices.ts";
import { labelTableCells } from "../../observe/label-table.ts";
import type { MetricDefinition } from "../../observe/plugin-metrics.ts";
import { BUCKETS, metricCells } from "../../observe/series.ts";
import type { CallContext } from "./call-context.ts";

/** Names of metrics and labels (Prometheus data model). */
const NAME = /^(?!__)[A-Za-z_][A-Za-z0-9_]*$/;
/** Prefixes of the proxy's own metrics. */
const RESERVED_METRIC = /^(sluice|process|nodejs)_/;
const RESERVED_LABELS: readonly string[] = ["plugin", "le", "quantile"];
const FLOAT_BYTES = 8;
const LAST_KIND = METRIC.latest;

/** The arguments of a definition; null: too long. Labels are names and values, alternating, each terminated by NUL. */
export type MetricParts = {
  readonly kind: number;
  /** Name, help, labels, and the label with values known only at run time. */
  readonly texts: readonly (string | null)[];
  readonly bounds: readonly number[] | null;
  /** Most values of that label; null without one. */
  readonly values: number | null;
};

/** Memory per label value in the host's table in addition to its cells, in cells. */
const ROW_CELLS = 16;

/** Defines a metric; returns its number, or a STATUS. */
export function defineMetric(context: CallContext, call: string, parts: MetricParts): number {
  const { configuration } = context;
  if (configuration === null || !context.scope.isStarting) return STATUS.notHere;
  context.spend(WORK.metric);
  const definition = makeDefinition(parts);
  if (typeof definition === "number") return definition;
  context.charges.chargeNames(call, sizeOf(definition));
  return configuration.metrics.define(definition);
}

/** Bytes that the host uses for a metric. */
function sizeOf(definition: MetricDefinition): number {
  const { name, help, labels, buckets, by } = definition;
  const text = name.length + help.length + labels.reduce((sum, pair) => sum + pair[0].length + pair[1].length, 0);
  const table = by === undefined ? 0 : labelTableCells(by.values, metricCells(definition)) + by.values * ROW_CELLS;
  return text + FLOAT_BYTES * (2 * (buckets.length + 2) + table);
}

function makeDefinition({ kind, texts, bounds, values }: MetricParts): MetricDefinition | number {
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

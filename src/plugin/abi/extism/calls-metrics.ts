/** `sluice:metrics/1` for Extism plugins: metrics are defined by JSON during the start, and changed by all hooks. */
import { LIMIT, METRIC, STATUS } from "../../../abi/abi.ts";
import { OTHER } from "../../../observe/label-table.ts";
import { Fault } from "../../host/fault.ts";
import type { CallContext } from "../call-context.ts";
import { defineMetric, type MetricParts } from "../metric-definitions.ts";
import type { METRICS_FUNCTIONS } from "./interface.ts";
import type { Kernel } from "./kernel.ts";
import { describe } from "./output-schema.ts";
import { payForParsing } from "./parsing-cost.ts";

type Calls = Record<keyof typeof METRICS_FUNCTIONS, WebAssembly.ImportValue>;

/** More cannot be needed: all limits of one definition, as JSON. */
const LONGEST = 8 * LIMIT.metricText;

export function makeMetricCalls(context: CallContext, kernel: Kernel): Calls {
  const { memory } = context;
  const change = (call: "add" | "set" | "observe") => (metric: bigint, value: number) => {
    context.enter(call, 0);
    const status = context.configuration?.metrics[call](Number(metric), value) ?? STATUS.notHere;
    if (status !== STATUS.ok) refuse(call, status);
    context.leave(0);
  };
  return {
    define(definition: bigint): bigint {
      context.enter("define", 0);
      const length = kernel.size("define", definition);
      if (length > LONGEST) refuse("define", STATUS.tooLarge);
      const at = Number(definition);
      context.spend(length);
      payForParsing(context, memory.bytes, at, at + length);
      const number = defineMetric(context, "define", readDefinition(memory.takeUtf8(at, length)));
      if (number < 0) refuse("define", number);
      return BigInt(context.leave(number));
    },

    of(family: bigint, value: bigint): bigint {
      context.enter("of", 0);
      const length = kernel.size("of", value);
      context.spend(length);
      const text = length > LIMIT.metricValue ? OTHER : memory.takeUtf8(Number(value), length);
      const number = context.configuration?.metrics.of(Number(family), text) ?? STATUS.notHere;
      if (number < 0) refuse("of", number);
      return BigInt(context.leave(number));
    },

    add: change("add"),
    set: change("set"),
    observe: change("observe"),
  };
}

const KEYS = ["kind", "name", "help", "labels", "buckets", "by"];

/** Reads `{ kind, name, help, labels, buckets, by: { label, values } }`. @throws Fault */
function readDefinition(json: string): MetricParts {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch {
    throw new Fault("bad_result", "define: the metric is not JSON");
  }
  const metric = objectOf(parsed, "the metric");
  const unknown = Object.keys(metric).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) wrong(`the key ${JSON.stringify(unknown)}`, `one of ${KEYS.join(", ")}`);
  const { kind, name, help = "", labels = {}, buckets = [], by } = metric;
  if (typeof kind !== "string" || !Object.hasOwn(METRIC, kind))
    wrong(`the kind ${describe(kind)}`, `one of ${Object.keys(METRIC).join(", ")}`);
  if (!Array.isArray(buckets) || !buckets.every((bound) => typeof bound === "number"))
    wrong(`buckets are ${describe(buckets)}`, "a list of numbers");
  const pairs = Object.entries(objectOf(labels, "labels")).map(
    ([label, value]) => `${label}\0${textOf(value, `the label ${label}`)}\0`,
  );
  const texts = [textOf(name, "the name"), textOf(help, "help"), pairs.join("")];
  const bounds = buckets.length > LIMIT.metricBuckets ? null : (buckets as number[]);
  const more = by === undefined ? null : objectOf(by, "by");
  if (more !== null) texts.push(textOf(more.label, "by.label"));
  const values = more === null ? null : more.values;
  if (values !== null && !(Number.isInteger(values) && (values as number) >= 0))
    wrong(`by.values is ${describe(values)}`, "a whole number");
  const limited = texts.map((text) => (Buffer.byteLength(text) > LIMIT.metricText ? null : text));
  return { kind: METRIC[kind as "counter"], texts: limited, bounds, values: values as number | null };
}

function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  return wrong(`${what} is ${describe(value)}`, "an object");
}

function textOf(value: unknown, what: string): string {
  // U+0000 separates labels.
  if (typeof value === "string" && !value.includes("\0")) return value;
  return wrong(`${what} is ${describe(value)}`, "a text");
}

function wrong(what: string, expected: string): never {
  throw new Fault("bad_result", `define: ${what}, expected ${expected}`);
}

function refuse(call: string, status: number): never {
  const problems = call === "define" ? DEFINE_PROBLEMS : PROBLEMS;
  throw new Fault("bad_result", `${call}: ${problems[status] ?? problems[STATUS.invalid]}`);
}

const PROBLEMS: Readonly<Record<number, string>> = {
  [STATUS.notHere]: "not possible in start-up code",
  [STATUS.invalid]: "there is no such metric, it is of another kind, or the number is not possible",
  [STATUS.tooLarge]: "the metric, or all metrics together, are over a limit (docs/abi.md)",
};
const DEFINE_PROBLEMS: Readonly<Record<number, string>> = {
  ...PROBLEMS,
  [STATUS.notHere]: "only in start-up code and on_configure",
  [STATUS.invalid]: "an invalid name, label or bucket (docs/abi.md)",
  [STATUS.absent]: "the start check did not define this metric",
};

/** Parses the limits of a plugin under test: texts as in sluice.yaml, or numbers. */
import type { PluginOptions } from "../../sdk/test.js";
import { parseDuration, parseSize } from "../config/values.ts";
import { DEFAULT_MEMORY, DEFAULT_TIME } from "./load.ts";

type Limits = PluginOptions["limits"];

/** Parses a size to bytes. @throws TypeError */
export function memoryOf(limits: Limits): number {
  return read("memory", limits?.memory ?? DEFAULT_MEMORY, parseSize, 'bytes or a size such as "64MiB"');
}

/** Parses a duration to milliseconds. @throws TypeError */
export function timeOf(limits: Limits): number {
  return read("time", limits?.time ?? DEFAULT_TIME, parseDuration, 'milliseconds or a duration such as "250ms"');
}

function read(name: string, given: unknown, parse: (text: string) => number | undefined, expected: string): number {
  const value = typeof given === "string" ? parse(given) : given;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new TypeError(`limits.${name} is ${JSON.stringify(given)}, expected ${expected}`);
}

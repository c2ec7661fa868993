/** Reads the trace that a test replays. Only its format is checked: it is a file of the plugin's author. */
import { readFileSync } from "node:fs";
import { TRACE_VERSION, type TraceRecord } from "../trace/record.ts";

const STEPS = ["hook", "received", "route", "cluster", "pick", "attempt"];

/** @throws Error if the file cannot be read or is not JSON. */
export function loadTrace(path: string): unknown {
  const text = readFileSync(path, "utf8");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${path} is not a trace: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** @throws TypeError if it is not a trace, or of another version. */
export function readTrace(given: unknown): TraceRecord {
  if (typeof given !== "object" || given === null || !("steps" in given) || !Array.isArray(given.steps))
    throw new TypeError("not a trace: expected the JSON object of sluice explain --json, with a list of steps");
  const { configVersion, version, steps } = given as TraceRecord;
  if (version !== TRACE_VERSION || configVersion === undefined) {
    const found = configVersion === undefined ? "has no format version" : `has version ${version}`;
    throw new TypeError(`the trace ${found}, expected version ${TRACE_VERSION}: record it again`);
  }
  for (const [index, step] of steps.entries())
    if (!STEPS.includes(step?.step))
      throw new TypeError(
        `trace.steps[${index}].step is ${JSON.stringify(step?.step)}, expected one of ${STEPS.join(", ")}`,
      );
  return given as TraceRecord;
}

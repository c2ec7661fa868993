/**
 * Starts the guests of a version once, in a dry host, and throws them away. In slices, with other work between them:
 * start-up code that takes long must not hold up whoever tries it.
 */

import type { MetricDefinition } from "../../observe/plugin-metrics.ts";
import { makeSandboxedHost } from "./dry-run.ts";
import type { PluginParts } from "./host.ts";

/** What came of it, as plain data. */
export type StartCheckResult = {
  /** Guests that there may be, those of calls that wait included. */
  readonly guests: number;
  /** What each instance has defined, in their order; none where one failed. */
  readonly metrics: readonly (readonly MetricDefinition[])[];
  /** What is wrong with which instance; -1: only with all of them together. */
  readonly problems: readonly { readonly instance: number; readonly message: string }[];
};

/** Milliseconds for all guests of a version; each worker is given as long. */
const TIME = 10_000;

export async function checkStart(parts: PluginParts, time = TIME): Promise<StartCheckResult> {
  const end = performance.now() + time;
  const isInTime = () => performance.now() < end;
  const whole = await attempt(parts, isInTime);
  if (whole.problem === null) return { guests: whole.guests, metrics: whole.metrics, problems: [] };
  const problems: { instance: number; message: string }[] = [];
  // One by one, so that each problem is told of its own instance.
  for (const [instance, plan] of parts.instances.entries()) {
    const { problem } = isInTime() ? await attempt({ ...parts, instances: [plan] }, isInTime) : NOTHING;
    if (problem !== null) problems.push({ instance, message: problem });
  }
  if (problems.length > 0) return { guests: 0, metrics: [], problems };
  const message = isInTime()
    ? whole.problem
    : `${parts.instances.length} configurations of plugins could not be tried: starting them took more than ${time / 1000} s`;
  return { guests: 0, metrics: [], problems: [{ instance: -1, message }] };
}

type Attempt = {
  readonly guests: number;
  readonly metrics: StartCheckResult["metrics"];
  readonly problem: string | null;
};

const NOTHING: Attempt = { guests: 0, metrics: [], problem: null };

async function attempt(parts: PluginParts, isInTime: () => boolean): Promise<Attempt> {
  try {
    const host = makeSandboxedHost();
    const set = await host.prepareInSlices(parts, isInTime);
    if (set === null) return { ...NOTHING, problem: "it took too long to start" };
    const guests = host.capacity();
    const metrics = set.defined();
    set.dispose();
    return { guests, metrics, problem: null };
  } catch (error) {
    return { ...NOTHING, problem: error instanceof Error ? error.message : String(error) };
  }
}

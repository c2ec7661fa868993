/**
 * The start check: starts all guests of a version once in a sandboxed host and discards them. It yields to the event loop
 * between guests, because start-up code may take long.
 */

import type { MetricDefinition } from "../../observe/plugin-metrics.ts";
import { makeSandboxedHost } from "./dry-run.ts";
import type { PluginParts } from "./host.ts";

/** The result, as plain data. */
export type StartCheckResult = {
  /** Largest number of guests, including those for suspendable calls. */
  readonly guests: number;
  /** The metrics that each instance has defined, in their order; empty if one failed. */
  readonly metrics: readonly (readonly MetricDefinition[])[];
  /** Problems by instance; -1: a problem of all of them together. */
  readonly problems: readonly { readonly instance: number; readonly message: string }[];
};

/** Milliseconds for all guests of a version; workers have the same limit. */
const TIME = 10_000;

export async function checkStart(parts: PluginParts, time = TIME): Promise<StartCheckResult> {
  const end = performance.now() + time;
  const isInTime = () => performance.now() < end;
  const whole = await attempt(parts, isInTime);
  if (whole.problem === null) return { guests: whole.guests, metrics: whole.metrics, problems: [] };
  const problems: { instance: number; message: string }[] = [];
  // Each instance by itself, so that problems name their instance.
  for (const [instance, plan] of parts.instances.entries()) {
    const { problem } = isInTime() ? await attempt({ ...parts, instances: [plan] }, isInTime) : NOTHING;
    if (problem !== null) problems.push({ instance, message: problem });
  }
  if (problems.length > 0) return { guests: 0, metrics: [], problems };
  const message = isInTime()
    ? whole.problem
    : `${parts.instances.length} configurations of plugins could not be checked: starting them took more than ${time / 1000} s`;
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

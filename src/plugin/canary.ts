/** Starts the guests of a version once, in a dry host, and throws them away. */
import { makeDryHost } from "./dry-host.ts";
import type { PluginParts } from "./host.ts";
import type { MetricDefinition } from "./metrics.ts";

/** What came of it, as plain data. */
export type CanaryResult = {
  /** Guests that there may be, those of calls that wait included. */
  readonly guests: number;
  /** What each instance has defined, in their order; none where one failed. */
  readonly metrics: readonly (readonly MetricDefinition[])[];
  /** What is wrong with which instance; -1: only with all of them together. */
  readonly problems: readonly { readonly instance: number; readonly message: string }[];
};

export function startOnce(parts: PluginParts): CanaryResult {
  const whole = attempt(parts);
  if (whole.problem === null) return { guests: whole.guests, metrics: whole.metrics, problems: [] };
  // One by one, so that each problem is told of its own instance.
  const problems = parts.instances.flatMap((plan, instance) => {
    const { problem } = attempt({ ...parts, instances: [plan] });
    return problem === null ? [] : [{ instance, message: problem }];
  });
  const found = problems.length > 0 ? problems : [{ instance: -1, message: whole.problem }];
  return { guests: 0, metrics: [], problems: found };
}

type Attempt = { readonly guests: number; readonly metrics: CanaryResult["metrics"]; readonly problem: string | null };

function attempt(parts: PluginParts): Attempt {
  try {
    const host = makeDryHost();
    const set = host.prepare(parts);
    const guests = host.capacity();
    const metrics = set.defined();
    set.dispose();
    return { guests, metrics, problem: null };
  } catch (error) {
    return { guests: 0, metrics: [], problem: error instanceof Error ? error.message : String(error) };
  }
}

/** Starts the plugins of a version once, before it is posted to a worker; reports their problems and metrics. */
import type { Config, Place, Problem } from "../config/schema.ts";
import type { Built } from "../plan/builder.ts";
import { locateConfigProblem } from "../plan/config-problems.ts";
import { BASELINE_NOTE } from "../plan/modules.ts";
import { checkMetrics, type Definitions } from "../plan/plugin-metrics.ts";
import { pluginParts } from "../plan/plugin-parts.ts";
import type { PluginParts } from "../plugin/host/host.ts";
import type { StartCheckResult } from "../plugin/host/start-check.ts";

/** Starts all guests once in sandboxed instances. */
export type StartCheck = (parts: PluginParts) => Promise<StartCheckResult>;

/** `metrics`: those that each instance has defined, in order; empty if there are problems. */
export type PluginCheck = { readonly problems: readonly Problem[]; readonly metrics: Definitions };

export async function checkPlugins(
  startCheck: StartCheck,
  { built, config, workers }: { readonly built: Built; readonly config: Config; readonly workers: number },
): Promise<PluginCheck> {
  const { plan, origins } = built;
  const result = await startCheck(pluginParts(plan));
  const top = { file: config.file, line: 1, column: 1, path: "plugins" };
  if (result.problems.length === 0) {
    const tooMany = checkGuests(workers, result.guests, top);
    const problems = [...(tooMany === null ? [] : [tooMany]), ...checkMetrics(built, result.metrics)];
    return { problems, metrics: result.metrics };
  }
  const problems = result.problems.map(({ instance, message }) => {
    if (instance < 0) return { ...top, message };
    const isBaseline = plan.rollouts.some((rollout) => rollout.instances.some((pair) => pair.baseline === instance));
    return locateConfigProblem(isBaseline ? `${message} ${BASELINE_NOTE}` : message, origins[instance]!);
  });
  return { problems, metrics: [] };
}

/** Maximum guests over all workers; a reload doubles them, and a process can have about 16,000. */
const MAX_GUESTS = 6000;

/** The problem with the number of guests, or null. */
export function checkGuests(workers: number, perWorker: number, at: Place): Problem | null {
  const guests = workers * perWorker;
  if (guests <= MAX_GUESTS) return null;
  return {
    ...at,
    message: `${guests} plugin guests (${perWorker} on each of ${workers} workers), the limit is ${MAX_GUESTS}`,
  };
}

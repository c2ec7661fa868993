/** Starts the plugins of a version once, before it is posted to a worker; reports their problems and metrics. */
import type { Config, Problem } from "../config/schema.ts";
import { type Built, checkGuests } from "../plan/builder.ts";
import { BASELINE_NOTE } from "../plan/modules.ts";
import { checkMetrics, type Definitions } from "../plan/plugin-metrics.ts";
import { placeRefusal } from "../plan/refusals.ts";
import { checkRoles } from "../plan/roles.ts";
import type { PluginParts } from "../plugin/host/host.ts";
import type { StartCheckResult } from "../plugin/host/start-check.ts";

/** Starts the guests once, aside. */
export type Canary = (parts: PluginParts) => Promise<StartCheckResult>;

/** What came of it: what is wrong, and the metrics that each instance has defined. */
export type Trial = { readonly problems: readonly Problem[]; readonly metrics: Definitions };

export async function tryGuests(
  canary: Canary,
  { built, config, workers }: { readonly built: Built; readonly config: Config; readonly workers: number },
): Promise<Trial> {
  const misplaced = checkRoles(built);
  const { plan, origins } = built;
  const result = await canary({
    modules: plan.modules,
    instances: plan.instances,
    clusters: plan.clusters.map((cluster) => cluster.name),
    strategies: [...new Set(plan.clusters.flatMap((cluster) => cluster.strategies.map(({ name }) => name)))],
  });
  const top = { file: config.file, line: 1, column: 1, path: "plugins" };
  if (result.problems.length === 0) {
    const tooMany = checkGuests(workers, result.guests, top);
    const problems = [...misplaced, ...(tooMany === null ? [] : [tooMany]), ...checkMetrics(built, result.metrics)];
    return { problems, metrics: result.metrics };
  }
  const problems = result.problems.map(({ instance, message }) => {
    if (instance < 0) return { ...top, message };
    const isBaseline = plan.rollouts.some((rollout) => rollout.instances.some((pair) => pair.baseline === instance));
    return placeRefusal(isBaseline ? `${message} ${BASELINE_NOTE}` : message, origins[instance]!);
  });
  return { problems: [...misplaced, ...problems], metrics: [] };
}

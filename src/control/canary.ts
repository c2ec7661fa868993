/** Tries a plan's guests once on the main thread, before any data thread hears of the version. */
import type { Config, Problem } from "../config/schema.ts";
import { BLOCK_CELLS } from "../observe/series.ts";
import { SAYS_OLD_VERSION } from "./modules.ts";
import type { InstancePlan, Plan } from "./plan.ts";
import { type Built, checkGuests } from "./plan-builder.ts";
import { checkMetrics, type Definitions } from "./plugin-metrics.ts";
import { checkRoles } from "./roles.ts";

/** A plugin host to be thrown away. */
export type TrialHost = {
  prepare(plan: {
    modules: Plan["modules"];
    instances: readonly InstancePlan[];
    clusters: readonly string[];
    strategies: readonly string[];
  }): { dispose(): void; defined(): Definitions };
  /** Guests that run in it. */
  capacity(): number;
};

/** What came of it: what is wrong, and the metrics that each instance has defined. */
export type Trial = { readonly problems: readonly Problem[]; readonly metrics: Definitions };

type Attempt = { readonly guests: number; readonly metrics: Definitions; readonly problem: string | null };

export function tryGuests(
  makeHost: (cells: Float64Array) => TrialHost,
  { built, config, threads }: { built: Built; config: Config; threads: number },
): Trial {
  const misplaced = checkRoles(built);
  if (misplaced.length > 0) return { problems: misplaced, metrics: [] };
  const { plan, places } = built;
  const cells = new Float64Array(BLOCK_CELLS);
  const clusters = plan.clusters.map((cluster) => cluster.name);
  const strategies = [...new Set(plan.clusters.flatMap((cluster) => cluster.strategies.map(({ name }) => name)))];
  const attempt = (instances: readonly InstancePlan[]): Attempt => {
    try {
      const host = makeHost(cells);
      const set = host.prepare({ modules: plan.modules, instances, clusters, strategies });
      const guests = host.capacity();
      const metrics = set.defined();
      set.dispose();
      return { guests, metrics, problem: null };
    } catch (error) {
      return { guests: 0, metrics: [], problem: error instanceof Error ? error.message : String(error) };
    }
  };
  const whole = attempt(plan.instances);
  const top = { file: config.file, line: 1, column: 1, path: "plugins" };
  if (whole.problem === null) {
    const tooMany = checkGuests(threads, whole.guests, top);
    const problems = [...(tooMany === null ? [] : [tooMany]), ...checkMetrics(built, whole.metrics)];
    return { problems, metrics: whole.metrics };
  }
  // One by one, so that every problem comes with its place.
  const problems = plan.instances.flatMap((instance, index) => {
    const { problem } = attempt([instance]);
    if (problem === null) return [];
    const isOld = instance.stage !== null && instance.stage.candidate >= 0;
    return [{ ...places[index]!, message: isOld ? `${problem} ${SAYS_OLD_VERSION}` : problem }];
  });
  return { problems: problems.length > 0 ? problems : [{ ...top, message: whole.problem }], metrics: [] };
}

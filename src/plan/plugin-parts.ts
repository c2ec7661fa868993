import type { Plan } from "./plan.ts";

/** What the plugin host needs of a plan, without canary rollouts. The strategies of all clusters, each name once. */
export function pluginParts({ modules, instances, clusters }: Plan) {
  const strategies = new Set(clusters.flatMap((cluster) => cluster.strategies.map(({ name }) => name)));
  return { modules, instances, clusters: clusters.map(({ name }) => name), strategies: [...strategies] };
}

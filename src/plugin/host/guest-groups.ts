/** Groups the instances of a version by the guest that serves them. */
import type { ModulePlan } from "../wasm/build.ts";
import type { PluginConfiguration } from "./configuration.ts";
import type { InstancePlan } from "./plan.ts";
import type { PluginInstance } from "./plugin-instance.ts";

/** Instances that share a guest. `key`: identifies module, configuration, limits and permissions. */
export type Group = {
  readonly key: string;
  readonly module: ModulePlan;
  readonly instances: readonly PluginInstance[];
  readonly members: readonly PluginConfiguration[];
};

type GroupParts = { readonly modules: readonly ModulePlan[]; readonly instances: readonly InstancePlan[] };

/** A group for each instance; one group for all instances of a module that serves many, if their limits are equal. */
export function groupInstances(
  { modules, instances: plans }: GroupParts,
  instances: readonly PluginInstance[],
): Group[] {
  const groups = new Map<string, { made: string; module: ModulePlan; entries: { key: string; index: number }[] }>();
  for (const [index, plan] of plans.entries()) {
    const module = modules[plan.module]!;
    const made = `${module.hash} ${plan.memory} ${JSON.stringify(plan.clusters)}`;
    const name = module.info.servesMany ? made : String(index);
    groups.getOrInsert(name, { made, module, entries: [] }).entries.push({ key: plan.key, index });
  }
  return [...groups.values()].map(({ made, module, entries }) => {
    // A guest that serves many is reused only with the same configurations in the same order: it identifies each by its
    // number, and cannot drop one.
    entries.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.index - b.index));
    const key = JSON.stringify([made, ...entries.map((entry) => entry.key)]);
    const grouped = entries.map((entry) => instances[entry.index]!);
    return { key, module, instances: grouped, members: grouped.map(({ configuration }) => configuration) };
  });
}

/** Migrates the state of plugins from the guests of one version to those of the next. */
import { HOOK } from "../../abi/abi.ts";
import type { PluginInstance } from "./plugin-instance.ts";

/**
 * Calls `save` of each configuration that is replaced and `restore` of its successor; for a canary version, `save` of the
 * baseline. A guest that is reused (also that of a promoted canary version) keeps its state. Failures are counted and
 * logged; the successor then has no state.
 */
export function migrateState(before: readonly PluginInstance[], after: readonly PluginInstance[]): void {
  const receivers = after.filter(({ hooks }) => ((hooks >>> HOOK.restore) & 1) === 1);
  if (receivers.length === 0) return;
  const places = Map.groupBy(before, placeOf);
  const placesAfter = Map.groupBy(receivers, placeOf);
  for (const next of receivers) {
    if (before.some((last) => last.sharesGuest(next))) continue;
    const place = placeOf(next);
    const known =
      places.get(place) ?? places.get(placeOf({ plugin: next.plugin, cluster: next.cluster, rollout: 0 })) ?? [];
    const last = findPredecessor(next, known, placesAfter.get(place)!.length);
    if (last === undefined) continue;
    const state = last.save();
    if (state !== null) next.restore(state);
  }
}

/** The predecessor with the same configuration; without one, the only predecessor of an only successor. */
function findPredecessor(
  next: PluginInstance,
  candidates: readonly PluginInstance[],
  successors: number,
): PluginInstance | undefined {
  const config = JSON.stringify(next.configuration.config);
  const equal = candidates.find((candidate) => JSON.stringify(candidate.configuration.config) === config);
  return equal ?? (candidates.length === 1 && successors === 1 ? candidates[0] : undefined);
}

function placeOf({ plugin, cluster, rollout }: Pick<PluginInstance, "plugin" | "cluster" | "rollout">): string {
  return `${plugin} ${cluster} ${rollout}`;
}

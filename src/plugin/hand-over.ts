/** A plugin's state, from the guests of one version to those of the next. */
import { HOOK } from "./abi.ts";
import type { PluginInstance } from "./instance.ts";

/**
 * Calls `save` of each configuration that leaves service and `restore` of the one that takes its place. A guest that is
 * carried over keeps what it has. What fails is counted and logged, and the new one starts without.
 */
export function handOver(before: readonly PluginInstance[], after: readonly PluginInstance[]): void {
  const receivers = after.filter(({ hooks }) => ((hooks >>> HOOK.restore) & 1) === 1);
  if (receivers.length === 0) return;
  const places = Map.groupBy(before, placeOf);
  const placesAfter = Map.groupBy(receivers, placeOf);
  for (const next of receivers) {
    const last = findPredecessor(next, places.get(placeOf(next)) ?? [], placesAfter.get(placeOf(next))!.length);
    if (last === undefined || last.sharesGuest(next)) continue;
    const state = last.save();
    if (state !== null) next.restore(state);
  }
}

/** The one with the same configuration, or the only one of a plugin with only one: state is never mixed up. */
function findPredecessor(
  next: PluginInstance,
  candidates: readonly PluginInstance[],
  successors: number,
): PluginInstance | undefined {
  const config = JSON.stringify(next.config);
  const equal = candidates.find((candidate) => JSON.stringify(candidate.config) === config);
  return equal ?? (candidates.length === 1 && successors === 1 ? candidates[0] : undefined);
}

function placeOf({ plugin, cluster }: PluginInstance): string {
  return `${plugin} ${cluster}`;
}

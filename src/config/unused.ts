/** Reports clusters that no request can reach, and settings of certificates that no listener has. */
import type { Problem } from "./place.ts";
import type { Reference } from "./references.ts";
import { BUILTIN_FETCH, type Config, type PluginUse } from "./schema.ts";
import { findEntry, type Tree } from "./tree.ts";

type Parts = Pick<Config, "clusters" | "listeners" | "plugins">;

/** Reports nothing if a plugin may choose any cluster, because its choice is unknown. */
export function findUnusedClusters(config: Parts): Problem[] {
  const used = new Set<string>();
  for (const { allow } of config.plugins)
    for (const target of allow.fetch) if (target.startsWith("cluster:")) used.add(target.slice("cluster:".length));
  for (const { chain, routes } of config.listeners) {
    for (const route of routes) {
      for (const { name } of listTargets(route.action)) used.add(name);
      if (!addChain(config, route.chain, used)) return [];
    }
    if (!addChain(config, chain, used)) return [];
  }
  return config.clusters
    .filter(({ name }) => !used.has(name))
    .map(({ name, at }) => ({ ...at, message: `no route leads to the cluster "${name}"` }));
}

/** Reports `acme`, as written, where no listener obtains certificates. */
export function findUnusedAcme(acme: Tree | undefined, { listeners }: Pick<Config, "listeners">): Problem[] {
  const isUsed = listeners.some(({ tls }) => tls !== undefined && (tls.managed.length > 0 || tls.onDemand));
  if (acme === undefined || isUsed) return [];
  const message = "no listener obtains a certificate: expected `tls: { acme: [NAME] }` of a listener";
  return [{ ...acme.at, message }];
}

/** The clusters that a route names. */
export function listTargets(action: Parts["listeners"][number]["routes"][number]["action"]): readonly Reference[] {
  if (action.kind === "cluster") return [action.cluster];
  if (action.kind === "split") return action.parts;
  return action.kind === "router" ? action.clusters : [];
}

/** Adds the clusters that a chain's plugins may choose or call; false: any cluster. */
function addChain({ plugins }: Parts, chain: readonly PluginUse[], used: Set<string>): boolean {
  for (const { name, config } of chain) {
    const declared = plugins.find((plugin) => plugin.name === name);
    if (declared && declared.allow.clusters === undefined) return false;
    for (const cluster of declared?.allow.clusters ?? []) used.add(cluster.name);
    const key = declared === undefined && Object.hasOwn(BUILTIN_FETCH, name) ? BUILTIN_FETCH[name]! : null;
    const asked = key === null ? undefined : findEntry(config?.tree, key);
    if (asked?.kind === "scalar") used.add(asked.text.replace(/^cluster:/, "").replace(/[/?].*$/s, ""));
  }
  return true;
}

/** The plugin instances of a plan, and the modules and canary rollouts that they need. */
import { createHash } from "node:crypto";
import { FUEL } from "../abi/abi.ts";
import { BUILTIN_FETCH, BUILTIN_NAMESPACES, type Place, type PluginUse, type Settings } from "../config/schema.ts";
import type { Labels, SeriesKind } from "../observe/counters.ts";
import type { InstancePlan, NamespacePlan, RolloutPlan } from "../plugin/host/plan.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import type { Canary, Plugin, ReadSettings } from "./modules.ts";

export type InstanceSources = {
  /** Every plugin that the configuration names. */
  readonly plugins: ReadonlyMap<string, Plugin>;
  readonly readSettings: ReadSettings;
  /** The number of a key-value namespace; constant for the life of the process. */
  readonly namespace: (name: string) => number;
  /** Allocates a series for this version; returns its first cell. */
  readonly cells: (kind: SeriesKind, labels: Labels) => number;
};

/** Where an instance was first configured, and its configuration there. */
export type Origin = { readonly at: Place; readonly settings: Settings | undefined };

const BUILTIN_BODY = 1024 * 1024;
/** Of plugins with asynchronous calls: concurrent calls per worker, and ms per call, with its time in the queue. */
const BUILTIN_SUSPENDABLE = { guests: 64, time: 120_000 };

export class Instances {
  readonly modules: ModulePlan[] = [];
  readonly plans: InstancePlan[] = [];
  readonly rollouts: RolloutPlan[] = [];
  /** One for each of `plans`. */
  readonly origins: Origin[] = [];
  readonly #sources: InstanceSources;
  readonly #instanceByKey = new Map<string, number>();

  constructor(sources: InstanceSources) {
    this.#sources = sources;
  }

  /**
   * Returns the index of the instance for one use of a plugin; equal uses share one. A strategy keeps state for the
   * endpoints of its cluster, so each cluster has its own instance: `cluster` names it.
   */
  add(use: PluginUse, cluster = ""): number {
    const { name: plugin, module, canary, memory, declared } = this.#sources.plugins.get(use.name)!;
    const written = use.config ?? declared?.config;
    const configFor = ({ info }: ModulePlan) =>
      this.#sources.readSettings(info.configSchema, written, use.at).value ?? null;
    const config = configFor(module);
    const settings = {
      plugin,
      onFailure: declared?.onFailure ?? ("reject" as const),
      fuel: declared?.limits.fuel ?? FUEL.default,
      body: declared?.limits.body ?? BUILTIN_BODY,
      tooLarge: declared?.limits.tooLarge ?? "reject",
      time: declared?.limits.time ?? BUILTIN_SUSPENDABLE.time,
      guests: declared?.limits.guests ?? BUILTIN_SUSPENDABLE.guests,
      slow: declared?.limits.slow ?? 1,
      fetch: declared === null ? builtinFetch(plugin, config) : declared.allow.fetch,
      memory,
      clusters: declared?.allow.clusters?.map((cluster) => cluster.name) ?? null,
      hidden: declared?.allow.headers.hide ?? [],
      cluster,
      shares: declared?.allow.share ?? [],
      namespaces: this.#namespaces(declared === null ? (BUILTIN_NAMESPACES[use.name] ?? []) : declared.allow.kv),
    };
    const key = digest([module.hash, module.info.hookNames, settings, config]);
    const known = this.#instanceByKey.get(key);
    if (known !== undefined) return known;
    const cells = this.#sources.cells("plugin", { plugin });
    const push = (plan: Pick<InstancePlan, "key" | "module" | "config" | "cells">): number => {
      this.origins.push({ at: use.at, settings: written });
      return this.plans.push({ ...settings, metrics: null, ...plan }) - 1;
    };
    const index = push({ key, module: this.#module(module), config, cells });
    this.#instanceByKey.set(key, index);
    if (canary !== null) {
      // The schema of another version may read the same text as a different value.
      const canaryConfig = configFor(canary.module);
      const canaryIndex = push({
        key: digest([canary.module.hash, canary.module.info.hookNames, settings, canaryConfig]),
        module: this.#module(canary.module),
        config: canaryConfig,
        cells: this.#sources.cells("plugin", { plugin, version: "canary" }),
      });
      this.#addToRollout(plugin, canary, { baseline: index, canary: canaryIndex });
    }
    return index;
  }

  #addToRollout(plugin: string, { number, share }: Canary, pair: RolloutPlan["instances"][number]): void {
    const position = this.rollouts.findIndex((rollout) => rollout.plugin === plugin);
    if (position >= 0) {
      const known = this.rollouts[position]!;
      this.rollouts[position] = { ...known, instances: [...known.instances, pair] };
      return;
    }
    const cells = this.#sources.cells("rollout", { plugin, rollout: String(number) });
    this.rollouts.push({ number, plugin, share, cells, instances: [pair] });
  }

  #namespaces(names: readonly string[]): NamespacePlan[] {
    return [...new Set(names)].map((name) => ({ name, number: this.#sources.namespace(name) }));
  }

  #module(module: ModulePlan): number {
    const index = this.modules.indexOf(module);
    return index >= 0 ? index : this.modules.push(module) - 1;
  }
}

/** The origin or cluster of a URL, as a plugin's `allow.fetch` names it (`plugin/abi/native/calls-fetch.ts`). */
const FETCH_TARGET = /^(?:cluster:[^/?#\s]+|https?:\/\/[^/?#\s@]+)/;

/** Fetch targets of a built-in plugin, taken from its configuration. */
function builtinFetch(name: string, config: unknown): string[] {
  const key = Object.hasOwn(BUILTIN_FETCH, name) ? BUILTIN_FETCH[name]! : null;
  const asked = key === null || typeof config !== "object" ? undefined : (config as Record<string, unknown>)?.[key];
  if (typeof asked !== "string") return [];
  return [FETCH_TARGET.exec(asked)?.[0] ?? `cluster:${asked}`];
}

export function digest(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}

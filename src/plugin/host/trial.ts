/**
 * Two versions of a plugin on one thread while the new one is watched: which of them an exchange gets, and what each
 * does with it. The control plane reads the cells and decides.
 */
import { ROLLOUT_CELLS } from "../../observe/series.ts";

import type { EndpointList, ExchangeContext, HookContext, VersionChoice } from "./hook-context.ts";
import type { Instance } from "./instance.ts";
import { OUTCOME } from "./outcome.ts";
import type { RolloutPlan } from "./plan.ts";
import type { PluginInstance } from "./plugin-instance.ts";

const FAILED = -2;

/** The figures of one of the two. */
export class Version {
  readonly #rollout: number;
  readonly #cells: Float64Array;
  readonly #base: number;

  constructor(rollout: number, cells: Float64Array, base: number) {
    this.#rollout = rollout;
    this.#cells = cells;
    this.#base = base;
  }

  count(): void {
    this.#cells[this.#base + ROLLOUT_CELLS.requests]!++;
  }

  /** It failed on an exchange, which counts once; or in a hook that belongs to none. */
  fail(target: HookContext | null): void {
    const choice = target?.staged?.get(this.#rollout);
    if (choice?.failed) return;
    if (choice !== undefined) choice.failed = true;
    this.#cells[this.#base + ROLLOUT_CELLS.failures]!++;
  }

  /** A call took so many milliseconds. */
  spend(took: number): void {
    this.#cells[this.#base + ROLLOUT_CELLS.time]! += took;
  }
}

export class Trial {
  readonly number: number;
  readonly old: Version;
  readonly new: Version;
  readonly #share: number;

  constructor({ number, share, cells: base }: RolloutPlan, cells: Float64Array) {
    this.number = number;
    this.#share = share;
    this.old = new Version(number, cells, base);
    this.new = new Version(number, cells, base + ROLLOUT_CELLS.version);
  }

  /** Drawn at the exchange's first use of the plugin. */
  choose(target: HookContext): Version {
    const staged = (target.staged ??= new Map<number, VersionChoice>());
    const chosen = staged.get(this.number);
    if (chosen !== undefined) return chosen.isCanary ? this.new : this.old;
    const isCanary = Math.random() < this.#share;
    staged.set(this.number, { isCanary, failed: false });
    const version = isCanary ? this.new : this.old;
    version.count();
    return version;
  }
}

/** What chains call while a plugin has two versions. Their configurations and limits are the same. */
export class StagedInstance implements Instance {
  readonly index: number;
  readonly plugin: string;
  readonly hooks: number;
  readonly bodyLimit: number;
  readonly refusesTooLarge: boolean;
  readonly #trial: Trial;
  readonly #old: PluginInstance;
  readonly #new: PluginInstance;

  constructor(trial: Trial, old: PluginInstance, candidate: PluginInstance) {
    this.#trial = trial;
    this.#old = old;
    this.#new = candidate;
    this.index = old.index;
    this.plugin = old.plugin;
    this.hooks = old.hooks | candidate.hooks;
    this.bodyLimit = old.bodyLimit;
    this.refusesTooLarge = old.refusesTooLarge;
  }

  mayChoose(cluster: string): boolean {
    return this.#old.mayChoose(cluster);
  }

  call(hook: number, target: HookContext): number {
    const version = this.#trial.choose(target);
    const began = performance.now();
    const outcome = this.#of(version).call(hook, target);
    // One that waits tells its time, or its failure, when it ends.
    if (outcome !== OUTCOME.waiting) version.spend(performance.now() - began);
    if (outcome === OUTCOME.busy) version.fail(target);
    return outcome;
  }

  /** Both: either may be asked to pick. */
  update(view: EndpointList): boolean {
    const isOldWell = this.#old.update(view);
    const isNewWell = this.#new.update(view);
    if (!isOldWell) this.#trial.old.fail(null);
    if (!isNewWell) this.#trial.new.fail(null);
    return isOldWell || isNewWell;
  }

  pick(exchange: ExchangeContext, view: EndpointList): number {
    const version = this.#trial.choose(exchange);
    const began = performance.now();
    const index = this.#of(version).pick(exchange, view);
    version.spend(performance.now() - began);
    if (index === FAILED) version.fail(exchange);
    return index;
  }

  #of(version: Version): PluginInstance {
    return version === this.#trial.new ? this.#new : this.#old;
  }
}

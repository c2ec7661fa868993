/**
 * Two versions of a plugin on one thread while the new one is watched: which of them an exchange gets, and what each
 * does with it. The control plane reads the cells and decides.
 */
import { ROLLOUT_CELLS } from "../../observe/series.ts";

import type { EndpointList, ExchangeContext, HookContext, VersionChoice } from "./hook-context.ts";
import type { Instance } from "./instance.ts";
import { OUTCOME } from "./outcome.ts";
import type { RolloutPlan } from "./plan.ts";

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
    const choice = target?.canaryChoices?.get(this.#rollout);
    if (choice?.failed) return;
    if (choice !== undefined) choice.failed = true;
    this.#cells[this.#base + ROLLOUT_CELLS.failures]!++;
  }

  /** A call took so many milliseconds. */
  spend(took: number): void {
    this.#cells[this.#base + ROLLOUT_CELLS.time]! += took;
  }
}

export class CanaryRollout {
  readonly number: number;
  readonly baseline: Version;
  readonly canary: Version;
  readonly #share: number;

  constructor({ number, share, cells: base }: RolloutPlan, cells: Float64Array) {
    this.number = number;
    this.#share = share;
    this.baseline = new Version(number, cells, base);
    this.canary = new Version(number, cells, base + ROLLOUT_CELLS.version);
  }

  /** Drawn at the exchange's first use of the plugin. */
  choose(target: HookContext): Version {
    const staged = (target.canaryChoices ??= new Map<number, VersionChoice>());
    const chosen = staged.get(this.number);
    if (chosen !== undefined) return chosen.isCanary ? this.canary : this.baseline;
    const isCanary = Math.random() < this.#share;
    staged.set(this.number, { isCanary, failed: false });
    const version = isCanary ? this.canary : this.baseline;
    version.count();
    return version;
  }
}

/** What chains call while a plugin has two versions. Their configurations and limits are the same. */
export class CanaryInstance implements Instance {
  readonly index: number;
  readonly plugin: string;
  readonly hooks: number;
  readonly bodyLimit: number;
  readonly refusesTooLarge: boolean;
  readonly #rollout: CanaryRollout;
  readonly #baseline: Instance;
  readonly #canary: Instance;

  constructor(rollout: CanaryRollout, baseline: Instance, canary: Instance) {
    this.#rollout = rollout;
    this.#baseline = baseline;
    this.#canary = canary;
    this.index = baseline.index;
    this.plugin = baseline.plugin;
    this.hooks = baseline.hooks | canary.hooks;
    this.bodyLimit = baseline.bodyLimit;
    this.refusesTooLarge = baseline.refusesTooLarge;
  }

  mayChoose(cluster: string): boolean {
    return this.#baseline.mayChoose(cluster);
  }

  call(hook: number, target: HookContext): number {
    const version = this.#rollout.choose(target);
    const began = performance.now();
    const outcome = this.#of(version).call(hook, target);
    // One that waits tells its time, or its failure, when it ends.
    if (outcome !== OUTCOME.suspended) version.spend(performance.now() - began);
    if (outcome === OUTCOME.busy) version.fail(target);
    return outcome;
  }

  /** Both: either may be asked to pick. */
  update(view: EndpointList): boolean {
    const isBaselineUpdated = this.#baseline.update(view);
    const isCanaryUpdated = this.#canary.update(view);
    if (!isBaselineUpdated) this.#rollout.baseline.fail(null);
    if (!isCanaryUpdated) this.#rollout.canary.fail(null);
    return isBaselineUpdated || isCanaryUpdated;
  }

  pick(exchange: ExchangeContext, view: EndpointList): number {
    const version = this.#rollout.choose(exchange);
    const began = performance.now();
    const index = this.#of(version).pick(exchange, view);
    version.spend(performance.now() - began);
    if (index === FAILED) version.fail(exchange);
    return index;
  }

  #of(version: Version): Instance {
    return version === this.#rollout.canary ? this.#canary : this.#baseline;
  }
}

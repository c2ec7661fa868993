/**
 * A canary rollout on one worker: chooses the version of a plugin for each exchange, and counts its requests, failures,
 * fuel and time. The control plane evaluates these figures (`control/canary-rollouts.ts`).
 */
import { ROLLOUT_CELLS } from "../../observe/series.ts";

import type { EndpointList, ExchangeContext, HookContext, VersionChoice } from "./hook-context.ts";
import type { Instance } from "./instance.ts";
import { OUTCOME } from "./outcome.ts";
import type { RolloutPlan } from "./plan.ts";

const FAILED = -2;

/** One of the two versions, with its figures. */
export class Version {
  readonly rollout: number;
  readonly isCanary: boolean;
  readonly #cells: Float64Array;
  readonly #base: number;

  constructor({ number, cells: base }: RolloutPlan, cells: Float64Array, isCanary: boolean) {
    this.rollout = number;
    this.isCanary = isCanary;
    this.#cells = cells;
    this.#base = base + (isCanary ? ROLLOUT_CELLS.version : 0);
  }

  countRequest(): void {
    this.#cells[this.#base + ROLLOUT_CELLS.requests]!++;
  }

  /** Counts a failure, once for an exchange; `target` is null for a hook that no request calls. */
  countFailure(target: HookContext | null): void {
    const choice = target?.canaryChoices?.get(this.rollout);
    if (choice?.failed) return;
    if (choice !== undefined) choice.failed = true;
    this.#cells[this.#base + ROLLOUT_CELLS.failures]!++;
  }

  /** Adds the milliseconds of a call. */
  addTime(took: number): void {
    this.#cells[this.#base + ROLLOUT_CELLS.time]! += took;
  }

  /** Adds the fuel of a call; that of hooks which no request calls (`target` is null) is not counted. */
  addFuel(target: HookContext | null, fuel: number): void {
    if (target !== null) this.#cells[this.#base + ROLLOUT_CELLS.fuel]! += fuel;
  }
}

export class CanaryRollout {
  readonly baseline: Version;
  readonly canary: Version;
  readonly #plan: RolloutPlan;

  constructor(plan: RolloutPlan, cells: Float64Array) {
    this.#plan = plan;
    this.baseline = new Version(plan, cells, false);
    this.canary = new Version(plan, cells, true);
  }

  /** The version of an instance, by index; null if the rollout is of another plugin. */
  versionOf(index: number): Version | null {
    for (const { baseline, canary } of this.#plan.instances) {
      if (index === baseline) return this.baseline;
      if (index === canary) return this.canary;
    }
    return null;
  }

  /** Replaces the baseline's instances by ones that choose between both versions. */
  install(instances: Instance[]): void {
    for (const { baseline, canary } of this.#plan.instances)
      instances[baseline] = new CanaryInstance(this, instances[baseline]!, instances[canary]!);
  }

  /** Returns the exchange's version; chosen at random, by the share, when the exchange first calls the plugin. */
  choose(target: HookContext): Version {
    const choices = (target.canaryChoices ??= new Map<number, VersionChoice>());
    const { number, share } = this.#plan;
    const chosen = choices.get(number);
    if (chosen !== undefined) return chosen.isCanary ? this.canary : this.baseline;
    const isCanary = Math.random() < share;
    choices.set(number, { isCanary, failed: false });
    const version = isCanary ? this.canary : this.baseline;
    version.countRequest();
    return version;
  }
}

/** Both versions of a plugin with one configuration, as chains call them. Their limits are the same. */
class CanaryInstance implements Instance {
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
    const startedAt = performance.now();
    const outcome = this.#of(version).call(hook, target);
    // A suspended call adds its time, or its failure, when it ends.
    if (outcome !== OUTCOME.suspended) version.addTime(performance.now() - startedAt);
    if (outcome === OUTCOME.busy) version.countFailure(target);
    return outcome;
  }

  /** Updates both versions, since either may be chosen to pick. */
  update(view: EndpointList): boolean {
    const isBaselineUpdated = this.#baseline.update(view);
    const isCanaryUpdated = this.#canary.update(view);
    if (!isBaselineUpdated) this.#rollout.baseline.countFailure(null);
    if (!isCanaryUpdated) this.#rollout.canary.countFailure(null);
    return isBaselineUpdated || isCanaryUpdated;
  }

  pick(exchange: ExchangeContext, view: EndpointList): number {
    const version = this.#rollout.choose(exchange);
    const startedAt = performance.now();
    const index = this.#of(version).pick(exchange, view);
    version.addTime(performance.now() - startedAt);
    if (index === FAILED) version.countFailure(exchange);
    return index;
  }

  #of({ isCanary }: Version): Instance {
    return isCanary ? this.#canary : this.#baseline;
  }
}

/** Runs the hooks of one configuration on a guest: sets the fuel budget, counts calls and fuel, and records traces. */
import { fuelFor } from "../../abi/prices.ts";
import { bytesSeen } from "./bytes-seen.ts";
import type { Version } from "./canary-rollout.ts";
import type { PluginConfiguration } from "./configuration.ts";
import type { Guest } from "./guest.ts";
import type { EndpointList, HookContext, TracedHook } from "./hook-context.ts";
import type { InstanceCounters } from "./instance-counters.ts";

export type RunnerParts = {
  /** Index of the instance, for traces. */
  readonly index: number;
  /** `limits.fuel`. */
  readonly fuel: number;
  readonly configuration: PluginConfiguration;
  readonly counters: InstanceCounters;
  readonly version: Version | null;
};

export class HookRunner {
  readonly plugin: string;
  readonly index: number;
  readonly #fuel: number;
  readonly #configuration: PluginConfiguration;
  readonly #counters: InstanceCounters;
  readonly #version: Version | null;

  constructor({ index, fuel, configuration, counters, version }: RunnerParts) {
    this.plugin = configuration.plugin;
    this.index = index;
    this.#fuel = fuel;
    this.#configuration = configuration;
    this.#counters = counters;
    this.#version = version;
  }

  /** Calls a hook and returns its result, not validated. @throws what `Guest.explain` accepts */
  run(guest: Guest, hook: number, target: HookContext | null, view: EndpointList | null): number {
    if (target !== null && target.trace !== null) return this.#runTraced(guest, hook, target, view);
    this.#counters.called(hook);
    try {
      return this.#call(guest, hook, target, view);
    } finally {
      this.#count(guest, hook, target);
    }
  }

  #runTraced(guest: Guest, hook: number, target: HookContext, view: EndpointList | null): number {
    const traced = this.#beginTrace(guest, hook, target)!;
    let result: number | null = null;
    this.#counters.called(hook);
    try {
      result = this.#call(guest, hook, target, view);
      return result;
    } finally {
      this.#count(guest, hook, target);
      guest.context.recorder = null;
      traced.leave(target, result, guest.spent);
    }
  }

  /** Like `run`, for a call that can be suspended. */
  async runSuspendable(guest: Guest, hook: number, target: HookContext | null): Promise<number> {
    const seen = bytesSeen(hook, target);
    const traced = target === null ? null : this.#beginTrace(guest, hook, target);
    let result: number | null = null;
    this.#counters.called(hook);
    try {
      const { id } = this.#configuration;
      result = await guest.runSuspendable(hook, id, fuelFor(this.#fuel, seen), this.#configuration, target, seen);
      return result;
    } finally {
      this.#count(guest, hook, target);
      guest.context.recorder = null;
      if (target !== null) traced?.leave(target, result, guest.spent);
    }
  }

  #call(guest: Guest, hook: number, target: HookContext | null, view: EndpointList | null): number {
    const seen = bytesSeen(hook, target);
    const { id } = this.#configuration;
    return guest.run(hook, id, fuelFor(this.#fuel, seen), this.#configuration, target, view, seen);
  }

  #beginTrace(guest: Guest, hook: number, target: HookContext): TracedHook | null {
    const traced = target.trace?.enter(target, hook, this) ?? null;
    guest.context.recorder = traced;
    return traced;
  }

  #count(guest: Guest, hook: number, target: HookContext | null): void {
    const { spent } = guest;
    this.#counters.spent(hook, spent);
    this.#version?.addFuel(target, spent);
  }
}

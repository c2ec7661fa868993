/** Runs the hooks of one configuration on a guest: sets the fuel budget, counts calls and fuel, and records traces. */
import { fuelFor } from "../../abi/prices.ts";
import { bytesSeen } from "./bytes-seen.ts";
import type { Version } from "./canary-rollout.ts";
import type { PluginConfiguration } from "./configuration.ts";
import type { Guest } from "./guest.ts";
import type { EndpointList, HookContext, TracedHook } from "./hook-context.ts";
import type { InstanceCounters } from "./instance-counters.ts";
import { processorTime, SLOW, type SlowCalls } from "./slow-calls.ts";

export type RunnerParts = {
  /** Index of the instance, for traces. */
  readonly index: number;
  /** `limits.fuel`. */
  readonly fuel: number;
  readonly configuration: PluginConfiguration;
  readonly counters: InstanceCounters;
  readonly version: Version | null;
  readonly slow: SlowCalls;
};

export class HookRunner {
  readonly plugin: string;
  readonly index: number;
  readonly #fuel: number;
  readonly #configuration: PluginConfiguration;
  readonly #counters: InstanceCounters;
  readonly #version: Version | null;
  readonly #slow: SlowCalls;

  constructor({ index, fuel, configuration, counters, version, slow }: RunnerParts) {
    this.plugin = configuration.plugin;
    this.index = index;
    this.#fuel = fuel;
    this.#configuration = configuration;
    this.#counters = counters;
    this.#version = version;
    this.#slow = slow;
  }

  /** Calls a hook and returns its result, not validated. @throws what `Guest.explain` accepts */
  run(guest: Guest, hook: number, target: HookContext | null, view: EndpointList | null): number {
    if (target !== null && target.trace !== null) return this.#runTraced(guest, hook, target, view);
    this.#counters.called(hook);
    if (this.#slow.isTimed) return this.#runTimed(guest, hook, target, view);
    try {
      return this.#call(guest, hook, target, view);
    } finally {
      this.#count(guest, hook, target);
    }
  }

  #runTimed(guest: Guest, hook: number, target: HookContext | null, view: EndpointList | null): number {
    const slow = this.#slow;
    const readsProcessorTime = slow.readsProcessorTime;
    const processor = readsProcessorTime ? processorTime() : 0;
    const began = performance.now();
    try {
      return this.#call(guest, hook, target, view);
    } finally {
      slow.ended(performance.now() - began, readsProcessorTime ? processorTime() - processor : -1, guest.spent);
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
    const slow = this.#slow;
    const { isTimed } = slow;
    const { suspension } = guest.context;
    suspension.readsProcessorTime = isTimed && slow.readsProcessorTime;
    try {
      const { id } = this.#configuration;
      result = await guest.runSuspendable(hook, id, fuelFor(this.#fuel, seen), this.#configuration, target, seen);
      return result;
    } finally {
      if (isTimed) slow.ended(suspension.ran, suspension.readsProcessorTime ? suspension.processor : -1, guest.spent);
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
    if (spent >= SLOW.fuel) this.#slow.usedMuch();
    this.#version?.addFuel(target, spent);
  }
}

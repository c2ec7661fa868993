/** One running instance of a module. It serves until it fails once, and is then never entered again. */

import { type Failure, FUEL } from "../../abi/abi.ts";
import { fuelToStart } from "../../abi/prices.ts";
import type { AbiName, GuestAbi, HookFunction, LinkedGuest } from "../abi/abi.ts";
import { CallContext, type Configuration } from "../abi/call-context.ts";
import { extismGuest } from "../abi/extism/guest.ts";
import { STARTING } from "../abi/hook-scope.ts";
import { nativeGuest } from "../abi/native/guest.ts";
import type { ModulePlan } from "../wasm/build.ts";
import { METER, originalOffset } from "../wasm/meter.ts";
import { STOPPED } from "../wasm/meter-code.ts";
import { describeStack, type Frame } from "../wasm/source-map.ts";
import { configBytes } from "./bytes-seen.ts";
import { Fault, TRAP } from "./fault.ts";
import type { EndpointList, HookContext } from "./hook-context.ts";
import { readStack } from "./stack.ts";
import type { After } from "./timer.ts";

const ABIS: { readonly [Name in AbiName]: GuestAbi } = { native: nativeGuest, extism: extismGuest };

/** Why a guest failed, for counters and logs. */
export type GuestFailure = { readonly reason: Failure; readonly message: string; readonly stack: string };

const CAUGHT = "an exception of a host call was caught by the guest";

export class Guest {
  readonly context: CallContext;
  readonly #plan: ModulePlan;
  readonly #linked: LinkedGuest;
  readonly #hooks: readonly HookFunction[];
  /** A global of the metered module: one of STOPPED. */
  readonly #stopped: WebAssembly.Global;
  #entered = false;

  /** @throws what the engine throws when the instance cannot be made. */
  constructor(plan: ModulePlan, now: () => number, after?: After) {
    this.#plan = plan;
    this.context = new CallContext(now, after);
    this.#linked = ABIS[plan.info.abi].link(this.context, plan.info);
    const { exports } = new WebAssembly.Instance(plan.module, this.#linked.imports);
    this.#linked.attach(exports);
    this.#hooks = this.#linked.hooks;
    this.#stopped = exports[METER.stopped] as WebAssembly.Global;
    this.context.charge = exports[METER.charge] as (units: number) => number;
  }

  /** Runs the start-up code. `configuration` is null for a guest that serves many. @throws */
  start(configuration: Configuration | null): void {
    this.context.begin(STARTING, null, null, configuration);
    const seen = configBytes(configuration?.config);
    const fuel = fuelToStart(seen);
    this.context.allow(fuel, seen);
    this.context.charge(FUEL.start - fuel);
    this.#entered = true;
    this.#linked.start();
    this.#entered = false;
    this.#checkHost();
  }

  /** Calls a hook, which sees `seen` bytes. What it throws goes to `explain`, and the guest away. */
  run(
    hook: number,
    instance: number,
    fuel: number,
    configuration: Configuration,
    target: HookContext | null,
    view: EndpointList | null,
    seen = 0,
  ): number {
    if (this.#entered) throw new Fault("host", "the guest was entered while it runs, or after it failed");
    this.#entered = true;
    const { context } = this;
    context.begin(hook, target, view, configuration);
    context.allow(fuel, seen);
    const result = this.#hooks[hook]!(instance, target === null ? 0 : target.id, fuel);
    this.#entered = false;
    this.#checkHost();
    return result;
  }

  /** Calls a hook that may wait. Nothing else may enter the guest before the promise is settled. */
  async runSuspendable(
    hook: number,
    instance: number,
    fuel: number,
    configuration: Configuration,
    target: HookContext | null,
    seen = 0,
  ): Promise<number> {
    if (this.#entered) throw new Fault("host", "the guest was entered while it runs, or after it failed");
    this.#entered = true;
    const { context } = this;
    context.begin(hook, target, null, configuration);
    context.allow(fuel, seen);
    context.suspension.ran = 0;
    context.probed = null;
    context.suspension.resumed();
    const running = this.#linked.suspendable.get(hook)!(instance, target === null ? 0 : target.id, fuel);
    const result = await running.finally(() => {
      context.suspension.paused();
      context.probed = null;
    });
    this.#entered = false;
    this.#checkHost();
    return result;
  }

  /** Fuel that the last call took. */
  get spent(): number {
    const { fuel, debt } = this.context;
    const left = this.context.charge(0) - debt;
    return left < 0 ? fuel : fuel - left;
  }

  /** An exception of a host call that the guest's own handler swallowed still ends it. */
  #checkHost(): void {
    if (this.context.busy) throw new Fault("host", CAUGHT);
  }

  get memory(): number {
    return this.#linked.memory;
  }

  /** Why it failed; its stack is made by `stackOf`, where it is wanted. */
  explain(error: unknown): GuestFailure {
    return { ...this.#classify(error), stack: "" };
  }

  #classify(error: unknown): { reason: Failure; message: string } {
    if (error instanceof Fault) return { reason: error.reason, message: error.message };
    if (error === TRAP) return { reason: "host", message: CAUGHT };
    const message = error instanceof Error ? error.message : String(error);
    // V8 throws the same error for a recursion in the guest and for the host's own functions at the edge of the stack.
    if (error instanceof RangeError && message.includes("call stack"))
      return { reason: "stack", message: "the stack is used up: the guest calls itself too deeply" };
    if (error instanceof WebAssembly.RuntimeError) {
      if (this.context.charge(0) < 0) return { reason: "fuel", message: this.context.fuelProblem };
      const known = this.#linked.explain();
      if (known !== null) return known;
      if (this.#stopped.value === STOPPED.suspension)
        return { reason: "host", message: "an asynchronous host call in a hook that cannot be suspended" };
      if (this.#stopped.value === STOPPED.memory)
        return { reason: "memory", message: `the memory could not grow past ${this.memory} bytes (limits.memory)` };
      return { reason: message.startsWith("memory access") ? "memory" : "trap", message };
    }
    if (this.context.busy) return { reason: "host", message: `a host call failed: ${message}` };
    return { reason: "trap", message: "an exception was not caught" };
  }

  /** The guest's part of the stack, by the author's lines where a source map tells them; a line each. */
  stackOf(error: unknown): string {
    // The trap that is made once has no stack of this guest.
    if (!(error instanceof Error) || error === TRAP) return "";
    const { info, offsets, starts, sourceMap } = this.#plan;
    const frames: Frame[] = [];
    for (const { name, index, offset: at } of readStack(error.stack ?? "", error.message)) {
      if (index >= info.functions) continue;
      const offset = originalOffset(offsets, at);
      const start = starts[index - info.functions + starts.length] ?? offset;
      frames.push({ name, index: String(index), start, offset });
    }
    return describeStack(sourceMap, frames, error instanceof Fault ? error.place : "");
  }
}

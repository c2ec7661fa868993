/** A running instance of a module. After its first failure it is never entered again. */

import { type Failure, FUEL } from "../../abi/abi.ts";
import { fuelToStart } from "../../abi/prices.ts";
import type { AbiName, GuestAbi, HookFunction, LinkedGuest } from "../abi/abi.ts";
import { CallContext, type Configuration } from "../abi/call-context.ts";
import { extismGuest } from "../abi/extism/guest.ts";
import { STARTING } from "../abi/hook-scope.ts";
import { nativeGuest } from "../abi/native/guest.ts";
import type { ModulePlan } from "../wasm/build.ts";
import { isReusable, makeMemory, withMemory } from "../wasm/linear-memory.ts";
import { METER, originalOffset } from "../wasm/meter.ts";
import { STOPPED } from "../wasm/meter-code.ts";
import { describeStack, type Frame } from "../wasm/source-map.ts";
import { configBytes } from "./bytes-seen.ts";
import { Fault, TRAP } from "./fault.ts";
import type { EndpointList, HookContext } from "./hook-context.ts";
import { readStack } from "./stack.ts";
import type { After } from "./timer.ts";

const ABIS: { readonly [Name in AbiName]: GuestAbi } = { native: nativeGuest, extism: extismGuest };

/** A failure of a guest, for counters and logs. `stack`: frames, one per line; may be empty. */
export type GuestFailure = { readonly reason: Failure; readonly message: string; readonly stack: string };

const CAUGHT = "an exception of a host call was caught by the guest";

export class Guest {
  readonly context: CallContext;
  readonly #plan: ModulePlan;
  readonly #linked: LinkedGuest;
  readonly #hooks: readonly HookFunction[];
  /** A global of the metered module: one of STOPPED. */
  readonly #stopped: WebAssembly.Global;
  readonly #memory: WebAssembly.Memory;
  #entered = false;
  /** It was entered while it ran: the outer call continues after the failure of the inner one. */
  #wasEnteredTwice = false;

  /**
   * `now`: milliseconds since 1970; `memory`: one of `reclaimMemory`, cleared. @throws errors of the engine if the module
   * cannot be instantiated.
   */
  constructor(plan: ModulePlan, now: () => number, after?: After, memory = makeMemory(plan.info.pages)) {
    this.#plan = plan;
    this.#memory = memory;
    this.context = new CallContext(now, after);
    this.#linked = ABIS[plan.info.abi].link(this.context, plan.info);
    const { exports } = new WebAssembly.Instance(plan.module, withMemory(this.#linked.imports, memory));
    this.#linked.attach(exports);
    this.#hooks = this.#linked.hooks;
    this.#stopped = exports[METER.stopped] as WebAssembly.Global;
    this.context.charge = exports[METER.charge] as (units: number) => number;
  }

  /** Runs the start-up code. `configuration`: null for a guest that serves many. @throws what `explain` accepts. */
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

  /**
   * Calls a hook; returns its result. `seen`: bytes that it can read. @throws what `explain` accepts; the guest is then
   * dropped.
   */
  run(
    hook: number,
    instance: number,
    fuel: number,
    configuration: Configuration,
    target: HookContext | null,
    view: EndpointList | null,
    seen = 0,
  ): number {
    if (this.#entered) this.#refuse();
    this.#entered = true;
    const { context } = this;
    context.begin(hook, target, view, configuration);
    context.allow(fuel, seen);
    const result = this.#hooks[hook]!(instance, target === null ? 0 : target.id, fuel);
    this.#entered = false;
    this.#checkHost();
    return result;
  }

  /** Like `run` for a suspendable hook. The guest cannot be entered before the promise is settled. */
  async runSuspendable(
    hook: number,
    instance: number,
    fuel: number,
    configuration: Configuration,
    target: HookContext | null,
    seen = 0,
  ): Promise<number> {
    if (this.#entered) this.#refuse();
    this.#entered = true;
    const { context } = this;
    context.begin(hook, target, null, configuration);
    context.allow(fuel, seen);
    context.suspension.ran = 0;
    context.suspension.processor = 0;
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

  #refuse(): never {
    this.#wasEnteredTwice = true;
    throw new Fault("host", "the guest was entered while it runs, or after it failed");
  }

  /**
   * The memory of a failed guest, which was not suspended, for its successor; null if it is to be dropped: it is large, has
   * grown, or the guest may still run.
   */
  reclaimMemory(): WebAssembly.Memory | null {
    return !this.#wasEnteredTwice && isReusable(this.#memory, this.#plan.info.pages) ? this.#memory : null;
  }

  /** Units of fuel used by the last call. */
  get spent(): number {
    const { fuel, debt } = this.context;
    const left = this.context.charge(0) - debt;
    return left < 0 ? fuel : fuel - left;
  }

  /** An exception of a host call ends the guest, even if a handler of the guest has caught it. */
  #checkHost(): void {
    if (this.context.busy) throw new Fault("host", CAUGHT);
  }

  get memory(): number {
    return this.#linked.memory;
  }

  /** Classifies an error of a call; without its stack, which `stackOf` creates. */
  explain(error: unknown): GuestFailure {
    return { ...this.#classify(error), stack: "" };
  }

  #classify(error: unknown): { reason: Failure; message: string } {
    if (error instanceof Fault) return { reason: error.reason, message: error.message };
    if (error === TRAP) return { reason: "host", message: CAUGHT };
    const message = error instanceof Error ? error.message : String(error);
    // V8 throws the same error for recursion in the guest and for a host call at the end of the stack.
    if (error instanceof RangeError && message.includes("call stack"))
      return { reason: "stack", message: "stack overflow: the guest's calls are nested too deeply" };
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

  /** The guest's frames of an error's stack, one per line, with source positions if there is a source map. */
  stackOf(error: unknown): string {
    // TRAP is shared: its stack is not of this guest.
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

/** One running instance of a module. It serves until it fails once, and is then never entered again. */

import { ABI_VERSION, EXPORT, type Failure, FUEL, HOOK, HOOKS, WAITING_CALLS, WAITING_HOOKS } from "../../abi/abi.ts";
import { fuelToStart } from "../../abi/prices.ts";
import { CallContext, type Configuration } from "../abi/call-context.ts";
import { STARTING } from "../abi/hook-scope.ts";
import { makeImports } from "../abi/hostcalls.ts";
import type { ModulePlan } from "../wasm/build.ts";
import { METER, originalOffset } from "../wasm/meter.ts";
import { describeStack, type Frame } from "../wasm/source-map.ts";
import { configBytes } from "./bytes-seen.ts";
import { Fault, TRAP } from "./fault.ts";
import type { EndpointList, HookContext } from "./hook-context.ts";
import { readStack } from "./stack.ts";
import type { After } from "./timer.ts";

type HookFunction = (instance: number, exchange: number, fuel: number) => number;
type WaitingFunction = (instance: number, exchange: number, fuel: number) => Promise<number>;

/** Why a guest failed, for counters and logs. */
export type GuestFailure = { readonly reason: Failure; readonly message: string; readonly stack: string };

const notExported: HookFunction = () => {
  throw new Fault("host", "a hook was called that the module does not export");
};

const CAUGHT = "an exception of a host call was caught by the guest";

export class Guest {
  readonly context: CallContext;
  readonly #plan: ModulePlan;
  readonly #exports: WebAssembly.Exports;
  readonly #hooks: readonly HookFunction[];
  /** By hook: those that may wait, of a module that does. */
  readonly #waiting = new Map<number, WaitingFunction>();
  #entered = false;

  /** @throws what the engine throws when the instance cannot be made. */
  constructor(plan: ModulePlan, now: () => number, after?: After) {
    this.#plan = plan;
    this.context = new CallContext(now, after);
    const imports = importsOf(this.context, plan);
    this.#exports = new WebAssembly.Instance(plan.module, imports).exports;
    this.context.memory.attach(this.#exports[EXPORT.memory] as WebAssembly.Memory);
    this.context.charge = this.#exports[METER.charge] as (units: number) => number;
    this.#hooks = HOOKS.map((name) => (this.#exports[METER.hook + name] as HookFunction | undefined) ?? notExported);
    if (!plan.info.waits) return;
    for (const name of WAITING_HOOKS) {
      const hook = this.#exports[METER.wait + name];
      if (hook !== undefined) this.#waiting.set(HOOK[name], promising(hook as HookFunction));
    }
  }

  /** Runs the start-up code. `configuration` is null for a guest that serves many. @throws */
  start(configuration: Configuration | null): void {
    this.context.begin(STARTING, null, null, configuration);
    const seen = configBytes(configuration?.config);
    const fuel = fuelToStart(seen);
    this.context.allow(fuel, seen);
    this.context.charge(FUEL.start - fuel);
    this.#entered = true;
    const version = (this.#exports[EXPORT.version] as () => number)();
    if (version !== ABI_VERSION)
      throw new Fault(
        "start",
        `was built for version ${version} of the plugin interface, this host speaks ${ABI_VERSION}`,
      );
    (this.#exports[EXPORT.initialize] as (() => void) | undefined)?.();
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
  async runWaiting(
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
    context.suspension.goOn();
    const running = this.#waiting.get(hook)!(instance, target === null ? 0 : target.id, fuel);
    const result = await running.finally(() => {
      context.suspension.pause();
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
    return this.context.memory.size;
  }

  /** Why it failed; its stack is made by `stackOf`, where it is wanted. */
  explain(error: unknown): GuestFailure {
    return { ...this.#judge(error), stack: "" };
  }

  #judge(error: unknown): { reason: Failure; message: string } {
    if (error instanceof Fault) return { reason: error.reason, message: error.message };
    if (error === TRAP) return { reason: "host", message: CAUGHT };
    const message = error instanceof Error ? error.message : String(error);
    // V8 throws the same error for a recursion in the guest and for the host's own functions at the edge of the stack.
    if (error instanceof RangeError && message.includes("call stack"))
      return { reason: "stack", message: "the stack is used up: the guest calls itself too deeply" };
    if (error instanceof WebAssembly.RuntimeError) {
      if (this.context.charge(0) < 0) return { reason: "fuel", message: this.context.fuelProblem };
      if ((this.#exports[METER.growFailed] as WebAssembly.Global).value === 1)
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

/** JavaScript Promise Integration, which the types of the platform do not know yet. */
const jspi = WebAssembly as unknown as {
  Suspending: new (run: (...values: number[]) => unknown) => WebAssembly.ImportValue;
  promising(hook: HookFunction): WaitingFunction;
};
const promising = (hook: HookFunction): WaitingFunction => jspi.promising(hook);

function importsOf(context: CallContext, plan: ModulePlan): WebAssembly.Imports {
  const imports = makeImports(context) as unknown as Record<string, Record<string, WebAssembly.ImportValue>>;
  if (!plan.info.waits) return imports;
  for (const [group, calls] of Object.entries(WAITING_CALLS))
    for (const call of calls)
      imports[group]![call] = new jspi.Suspending(imports[group]![call] as (...values: number[]) => unknown);
  return imports;
}

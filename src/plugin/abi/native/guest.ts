/** A guest of the native ABI: hooks are the exported functions themselves. */
import { ABI_VERSION, EXPORT, HOOK, HOOKS, SUSPENDABLE_HOOKS, SUSPENDING_CALLS } from "../../../abi/abi.ts";
import { Fault } from "../../host/fault.ts";
import { METER } from "../../wasm/meter.ts";
import type { GuestAbi, HookFunction, LinkedGuest, SuspendableFunction } from "../abi.ts";
import type { CallContext } from "../call-context.ts";
import { promising, suspending } from "../suspending.ts";
import { makeImports } from "./imports.ts";

export const nativeGuest: GuestAbi = {
  link: (context, { suspends }) => new NativeGuest(context, suspends),
};

const notExported: HookFunction = () => {
  throw new Fault("host", "a hook was called that the module does not export");
};

class NativeGuest implements LinkedGuest {
  readonly imports: WebAssembly.Imports;
  hooks: readonly HookFunction[] = [];
  readonly suspendable = new Map<number, SuspendableFunction>();
  readonly #context: CallContext;
  #exports: WebAssembly.Exports = {};

  constructor(context: CallContext, suspends: boolean) {
    this.#context = context;
    const imports = makeImports(context) as unknown as Record<string, Record<string, WebAssembly.ImportValue>>;
    this.imports = imports;
    if (!suspends) return;
    for (const [group, calls] of Object.entries(SUSPENDING_CALLS))
      for (const call of calls)
        imports[group]![call] = suspending(imports[group]![call] as (...values: number[]) => unknown);
  }

  attach(exports: WebAssembly.Exports): void {
    this.#exports = exports;
    this.#context.memory.attach(exports[EXPORT.memory] as WebAssembly.Memory);
    this.hooks = HOOKS.map((name) => (exports[METER.hook + name] as HookFunction | undefined) ?? notExported);
    for (const name of SUSPENDABLE_HOOKS) {
      const hook = exports[METER.suspendable + name] as HookFunction | undefined;
      if (hook !== undefined) this.suspendable.set(HOOK[name], promising(hook));
    }
  }

  start(): void {
    const version = (this.#exports[EXPORT.version] as () => number)();
    if (version !== ABI_VERSION)
      throw new Fault(
        "start",
        `was built for version ${version} of the plugin interface, this host supports ${ABI_VERSION}`,
      );
    const initialize = this.#exports[EXPORT.initialize] ?? this.#exports[METER.start];
    (initialize as (() => void) | undefined)?.();
  }

  get memory(): number {
    return this.#context.memory.size;
  }

  explain(): null {
    return null;
  }
}

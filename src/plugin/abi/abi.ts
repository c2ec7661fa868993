/**
 * The interface between `plugin/` and a plugin ABI. An ABI defines which modules were built for it, which imports a guest
 * gets, and how its hooks are invoked; building, metering and the host use nothing else of it. Implementations: Sluice's
 * own ABI (`native/`) and that of Extism plugins (`extism/`).
 *
 * It has two halves, because modules are checked in a separate process (`wasm/build-process.ts`) and guests run in
 * workers: `ModuleAbi` must not need a running guest, `GuestAbi` must not parse modules.
 */
import type { Failure } from "../../abi/abi.ts";
import type { ModuleShape } from "../wasm/module-shape.ts";
import type { CallContext } from "./call-context.ts";

export type AbiName = "native" | "extism";

/** The modules of an ABI. Called in this order for each module, in the build process. */
export interface ModuleAbi {
  readonly name: AbiName;
  /** Returns whether the module was built for this ABI, even if it is incomplete; `check` then reports what is missing. */
  recognises(shape: ModuleShape): boolean;
  /**
   * Checks imports, exports and their types. @throws PluginError that names the wrong or missing one, and what is
   * expected.
   */
  check(bytes: Uint8Array, shape: ModuleShape, names: HookNames): void;
  /** Describes a checked module. @throws PluginError */
  describe(bytes: Uint8Array, shape: ModuleShape, names: HookNames): ModuleTraits;
  /** Returns the functions that metering wraps. */
  entryPoints(shape: ModuleShape, names: HookNames): EntryPoints;
}

/** The exports that a plugin's configuration names as its hooks (`hooks`), by the ABI's own names of these hooks. */
export type HookNames = { readonly [hook: string]: string | undefined };

export type ModuleTraits = {
  /** Bit mask of the exported hooks (`1 << HOOK.name`) and of REWRITES. */
  readonly hooks: number;
  /** Groups of host calls that it imports, each a permission request, sorted. */
  readonly groups: readonly string[];
  /** One guest serves several configurations, distinguished by the `instance` argument of its hooks. */
  readonly servesMany: boolean;
  /** Linear memories of one guest: a process has address space for about 16,000. */
  readonly memories: number;
  /** The JSON Schema of its configuration as text, not validated; null if the module has none. */
  readonly configSchema: string | null;
};

/** The functions of a module that metering wraps (`wasm/meter.ts`). */
export type EntryPoints = {
  /**
   * Exported functions that the host calls with a fuel budget. The wrapper has an additional last parameter, the budget
   * in units (i32), and is exported as `METER.hook + hook`.
   */
  readonly hooks: readonly EntryPoint[];
  /** Those of them whose call can be suspended, exported as `METER.suspendable + hook`; empty if no import suspends. */
  readonly suspendable: readonly EntryPoint[];
  /** Function indices of the imports that suspend the guest. */
  readonly suspending: readonly number[];
  /** The result of such an import in a call that cannot be suspended (i32); null: the call ends the guest. */
  readonly notHere: number | null;
  /** Fuel for each call of an import in addition to its own cost, in 1/64 of a unit. */
  readonly importPrice: number;
};

/** A hook by the ABI's own name, and the name of the export that it is. */
export type EntryPoint = { readonly hook: string; readonly target: string };

/** The guests of an ABI. */
export interface GuestAbi {
  /** Creates the imports of a guest before it is instantiated. */
  link(context: CallContext, module: LinkedModule): LinkedGuest;
}

/** The facts about a module that linking uses. */
export type LinkedModule = {
  /** Bit mask of hooks. */
  readonly hooks: number;
  /** It has imports that suspend the guest. */
  readonly suspends: boolean;
  /** Limit of the linear memory in bytes. */
  readonly memory: number;
  /** Groups of host calls that it imports. */
  readonly groups: readonly string[];
};

/** One guest. Order of use: `imports`, instantiation, `attach`, `start`, then hooks. */
export interface LinkedGuest {
  readonly imports: WebAssembly.Imports;
  /** Receives the exports of the instance, before any code of the guest runs. */
  attach(exports: WebAssembly.Exports): void;
  /** Runs the start-up code. @throws Fault, or the engine's error */
  start(): void;
  /**
   * By HOOK. A function reads and changes its context through `CallContext.scope`, and returns one of RESULT (`pick`: an
   * index, or -1). The function of a hook that the module does not export throws.
   */
  readonly hooks: readonly HookFunction[];
  /** By HOOK: the hooks whose call can be suspended. */
  readonly suspendable: ReadonlyMap<number, SuspendableFunction>;
  /** Bytes of linear memory. */
  readonly memory: number;
  /** The reason for the last trap; null if the ABI cannot determine it. */
  explain(): { readonly reason: Failure; readonly message: string } | null;
}

/** `instance`: the configuration's id; `exchange`: `HookContext.id`, 0 without a context; `fuel`: the budget in units. */
export type HookFunction = (instance: number, exchange: number, fuel: number) => number;
export type SuspendableFunction = (instance: number, exchange: number, fuel: number) => Promise<number>;

/**
 * What an ABI is to the rest of `plugin/`: what a module that was made for it looks like, which imports a guest gets, and
 * how a hook of it is invoked. The two halves are apart because modules are checked in another process than guests run
 * in. Building, metering and the host know nothing else of an ABI. There are two: Sluice's own (`native/`), and that of
 * Extism plugins (`extism/`).
 */
import type { Failure } from "../../abi/abi.ts";
import type { ModuleShape } from "../wasm/module-shape.ts";
import type { CallContext } from "./call-context.ts";

export type AbiName = "native" | "extism";

/** How a module of the ABI looks. */
export interface ModuleAbi {
  readonly name: AbiName;
  /** Whether the module was made for it, complete or not. */
  recognises(shape: ModuleShape): boolean;
  /** @throws PluginError saying which import or export is missing or wrong, and what is expected. */
  check(bytes: Uint8Array, shape: ModuleShape): void;
  /** Of a module that was checked. @throws PluginError */
  describe(bytes: Uint8Array, shape: ModuleShape): ModuleTraits;
  entryPoints(shape: ModuleShape): EntryPoints;
}

export type ModuleTraits = {
  /** Bit mask of hooks (HOOK), and of REWRITES. */
  readonly hooks: number;
  /** One guest serves many configurations, told apart by the `instance` argument. */
  readonly servesMany: boolean;
  /** The JSON Schema of its configuration, as text; null when it has none. */
  readonly configSchema: string | null;
};

/** How the host enters a module: what the rewriter wraps. */
export type EntryPoints = {
  /** Exports of functions that run with fuel of their own: the wrapper has it as one further, last argument. */
  readonly hooks: readonly string[];
  /** Those whose call may be suspended; none where no import suspends. */
  readonly suspendable: readonly string[];
  /** Imports that suspend the guest, by index of the function. */
  readonly suspending: readonly number[];
  /** What such an import returns where the guest cannot be suspended; null: it ends the guest. */
  readonly notHere: number | null;
  /** 64ths of a unit of fuel that each call of an import costs beside what the import itself takes. */
  readonly importPrice: number;
};

/** How guests of the ABI are linked. */
export interface GuestAbi {
  link(context: CallContext, module: LinkedModule): LinkedGuest;
}

/** What a guest is linked by. */
export type LinkedModule = {
  /** Bit mask of hooks. */
  readonly hooks: number;
  /** It has imports that suspend the guest. */
  readonly suspends: boolean;
  /** Bytes of memory at most. */
  readonly memory: number;
};

/** One guest: made before its instance, and attached to it before any of its code runs. */
export interface LinkedGuest {
  readonly imports: WebAssembly.Imports;
  attach(exports: WebAssembly.Exports): void;
  /** Runs the start-up code. @throws */
  start(): void;
  /**
   * By hook. Each reads and changes what the hook is called for through the context's scope, and returns one of RESULT
   * (`pick`: an index or -1). A hook that the module does not export throws.
   */
  readonly hooks: readonly HookFunction[];
  /** By hook: those whose call may be suspended. */
  readonly suspendable: ReadonlyMap<number, SuspendableFunction>;
  /** Bytes of memory that it holds. */
  readonly memory: number;
  /** What the ABI knows of why the guest has just trapped; null: nothing. */
  explain(): { readonly reason: Failure; readonly message: string } | null;
}

/** `exchange`: `HookContext.id`, or 0. */
export type HookFunction = (instance: number, exchange: number, fuel: number) => number;
export type SuspendableFunction = (instance: number, exchange: number, fuel: number) => Promise<number>;

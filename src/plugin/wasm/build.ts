/** From the bytes of a file to a module that may be run: checked, metered, compiled. What it yields is posted to threads. */
import { createHash } from "node:crypto";
import { LIMIT } from "../../abi/abi.ts";
import type { AbiName, ModuleAbi, ModuleTraits } from "../abi/abi.ts";
import { extismModule } from "../abi/extism/module.ts";
import { nativeModule } from "../abi/native/module.ts";
import { checkCompileCost } from "./compile-cost.ts";
import { compile } from "./engine.ts";
import { PluginError } from "./error.ts";
import { COMPONENT, describeForeign, describeNonModule, isComponent } from "./foreign-kind.ts";
import { meterModule, RESERVED } from "./meter.ts";
import { type ModuleShape, readShape } from "./module-shape.ts";
import { loadSourceMap, type SourceMap } from "./source-map.ts";

/** The first that recognises a module checks it; one that none does is reported as a native module that lacks exports. */
const ABIS: readonly ModuleAbi[] = [nativeModule, extismModule];

/** Only `plugin/` knows what this is. */
export type CompiledModule = WebAssembly.Module;

export type ModuleInfo = ModuleTraits & {
  readonly abi: AbiName;
  /** Import modules used: `sluice:core/1`, … */
  readonly groups: readonly string[];
  /** Bytes of the file. */
  readonly size: number;
  /** Bytes of memory at most. */
  readonly memory: number;
  /** It has a call that waits: its guests are suspended, and there are several on a thread. */
  readonly suspends: boolean;
  /** Functions of the file, imports included; those above were appended. */
  readonly functions: number;
  /** Why the engine is not to optimise it, which would take too long; null when it may. */
  readonly unoptimised: string | null;
};

/** A module that was checked, metered and compiled: posted to every thread. */
export type ModulePlan = {
  /** SHA-256 of the file, hex. */
  readonly hash: string;
  readonly module: CompiledModule;
  readonly info: ModuleInfo;
  /** Where metered code came from in the file (`meter.ts`), for stacks. */
  readonly offsets: Uint32Array;
  /** Where each of its functions begins in the file, imports left out: for stacks. */
  readonly starts: Uint32Array;
  /** Where the file's code came from in its source, when that is known: for stacks. */
  readonly sourceMap: SourceMap | null;
};

export type BuildOptions = {
  /** Bytes of memory at most: the maximum that the module gets. */
  readonly memory: number;
  readonly sourceMap?: SourceMap | null;
};

/**
 * As it is, here and now, each function compiled at its first call: for tests.
 * @throws PluginError saying what is wrong with the module, where, and which value.
 */
export function buildModule(bytes: Uint8Array, options: BuildOptions): ModulePlan {
  const { metered, ...rest } = checkModule(bytes, options);
  return { ...rest, module: new WebAssembly.Module(metered) };
}

/** A module before it is compiled: plain data, that another process may make. */
export type CheckedModule = Omit<ModulePlan, "module"> & { readonly metered: Uint8Array<ArrayBuffer> };

/** For modules that are trusted: whatever it costs to check one is paid here. Compiled on another thread. */
export async function buildModuleAside(bytes: Uint8Array, options: BuildPlace): Promise<ModulePlan> {
  return compileChecked(await checkModuleAt(bytes, options));
}

/** The source map is that of the file at `path`. */
export type BuildPlace = { readonly memory: number; readonly path: string };

export async function checkModuleAt(bytes: Uint8Array, { memory, path }: BuildPlace): Promise<CheckedModule> {
  return checkModule(bytes, { memory, sourceMap: await loadSourceMap(path, bytes) });
}

export async function compileChecked({ metered, ...rest }: CheckedModule): Promise<ModulePlan> {
  return { ...rest, module: await compile(metered, rest.info.unoptimised === null) };
}

function checkModule(bytes: Uint8Array, options: BuildOptions): CheckedModule {
  const { abi, shape } = readModule(bytes);
  const entryPoints = abi.entryPoints(shape);
  const unoptimised = checkCompileCost(bytes, shape);
  const { bytes: metered, offsets, starts } = meterModule(bytes, shape, options.memory, entryPoints);
  return {
    hash: createHash("sha256").update(bytes).digest("hex"),
    info: {
      ...abi.describe(bytes, shape),
      abi: abi.name,
      groups: importGroups(shape),
      size: bytes.length,
      memory: options.memory,
      suspends: entryPoints.suspending.length > 0,
      functions: shape.functions.length,
      unoptimised,
    },
    offsets,
    starts,
    sourceMap: options.sourceMap ?? null,
    metered,
  };
}

/** What the module declares, once all of it was found to be allowed. @throws PluginError */
export function readChecked(bytes: Uint8Array): ModuleShape {
  return readModule(bytes).shape;
}

function readModule(bytes: Uint8Array): { readonly abi: ModuleAbi; readonly shape: ModuleShape } {
  if (bytes.length > LIMIT.moduleBytes)
    throw new PluginError(`the module is ${bytes.length} bytes, the limit is ${LIMIT.moduleBytes}`);
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0x61 || bytes[2] !== 0x73 || bytes[3] !== 0x6d)
    throw new PluginError(describeNonModule(bytes));
  if (isComponent(bytes)) throw new PluginError(COMPONENT);
  // First the engine's own reading: the rewriter then works on valid modules only, and no index of the guest's can
  // mean something that is appended.
  validate(bytes);
  const shape = readShape(bytes);
  const abi = ABIS.find((candidate) => candidate.recognises(shape)) ?? nativeModule;
  const foreign = abi.recognises(shape) ? null : describeForeign(shape);
  if (foreign !== null) throw new PluginError(foreign);
  abi.check(bytes, shape);
  const reserved = shape.exports.find(({ name }) => name.startsWith(RESERVED));
  if (reserved !== undefined)
    throw new PluginError(`the export "${reserved.name}" begins with "${RESERVED}", which is reserved`);
  return { abi, shape };
}

function importGroups(shape: ModuleShape): string[] {
  return [...new Set(shape.imports.map((declared) => declared.module))].sort();
}

function validate(bytes: Uint8Array): void {
  const own = new Uint8Array(bytes);
  if (WebAssembly.validate(own)) return;
  try {
    new WebAssembly.Module(own);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new PluginError(`not a valid WebAssembly module: ${message.replace(/^WebAssembly\.Module\(\): /, "")}`);
  }
}

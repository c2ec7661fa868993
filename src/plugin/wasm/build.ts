/** Builds a module from the bytes of a file: checks, meters and compiles it. The result is posted to workers. */
import { createHash } from "node:crypto";
import { LIMIT } from "../../abi/abi.ts";
import type { AbiName, HookNames, ModuleAbi, ModuleTraits } from "../abi/abi.ts";
import { extismModule } from "../abi/extism/module.ts";
import { nativeModule } from "../abi/native/module.ts";
import { checkCompileCost } from "./compile-cost.ts";
import { compile } from "./engine.ts";
import { PluginError } from "./error.ts";
import { COMPONENT, describeForeign, describeNonModule, isComponent } from "./foreign-kind.ts";
import type { MemoryPages } from "./linear-memory.ts";
import { meterModule, RESERVED } from "./meter.ts";
import { type ModuleShape, readShape } from "./module-shape.ts";
import { loadSourceMap, type SourceMap } from "./source-map.ts";

/** The first ABI that recognises a module checks it; a module of no ABI is checked as a native one. */
const ABIS: readonly ModuleAbi[] = [nativeModule, extismModule];

/** The compiled module; opaque outside of `plugin/`. */
export type CompiledModule = WebAssembly.Module;

export type ModuleInfo = ModuleTraits & {
  readonly abi: AbiName;
  /** Names of the import modules: `sluice:core/1`, … */
  readonly groups: readonly string[];
  /** The exports that its configuration names as hooks. */
  readonly hookNames: HookNames;
  /** Size of the file in bytes. */
  readonly size: number;
  /** Limit of the linear memory in bytes. */
  readonly memory: number;
  /** The linear memory that it imports. */
  readonly pages: MemoryPages;
  /** It imports asynchronous host calls: it has a pool of guests for suspendable calls. */
  readonly suspends: boolean;
  /** Number of functions of the file including imports; functions with higher indices were appended. */
  readonly functions: number;
  /** The reason why the engine must not optimise it (it would take too long), or null. */
  readonly unoptimised: string | null;
};

/** A checked, metered and compiled module; posted to every worker. */
export type ModulePlan = {
  /** SHA-256 of the file in hexadecimal. */
  readonly hash: string;
  readonly module: CompiledModule;
  readonly info: ModuleInfo;
  /** Maps offsets of metered code to offsets in the file (`meter.ts`), for stacks. */
  readonly offsets: Uint32Array;
  /** Offset in the file of each function without imports, for stacks. */
  readonly starts: Uint32Array;
  /** The source map, if there is one, for stacks. */
  readonly sourceMap: SourceMap | null;
};

export type BuildOptions = {
  /** Maximum of the linear memory in bytes. */
  readonly memory: number;
  readonly hooks?: HookNames | undefined;
  readonly sourceMap?: SourceMap | null;
};

/**
 * Builds a module synchronously in this thread, with lazy compilation; for tests.
 * @throws PluginError naming the problem, its offset and the value.
 */
export function buildModule(bytes: Uint8Array, options: BuildOptions): ModulePlan {
  const { metered, ...rest } = checkModule(bytes, options);
  return { ...rest, module: new WebAssembly.Module(metered) };
}

/** A checked and metered module, not compiled yet: plain data, which another process can produce. */
export type CheckedModule = Omit<ModulePlan, "module"> & { readonly metered: Uint8Array<ArrayBuffer> };

/** Builds a trusted module in this process; only the compilation is on another thread. */
export async function buildModuleAside(bytes: Uint8Array, options: BuildPlace): Promise<ModulePlan> {
  return compileChecked(await checkModuleAt(bytes, options));
}

/** Checks and meters a module; reads the source map of the file `path`. @throws PluginError */
export type BuildPlace = { readonly memory: number; readonly path: string; readonly hooks?: HookNames | undefined };

export async function checkModuleAt(bytes: Uint8Array, { memory, path, hooks }: BuildPlace): Promise<CheckedModule> {
  return checkModule(bytes, { memory, hooks, sourceMap: await loadSourceMap(path, bytes) });
}

export async function compileChecked({ metered, ...rest }: CheckedModule): Promise<ModulePlan> {
  return { ...rest, module: await compile(metered, rest.info.unoptimised === null) };
}

function checkModule(bytes: Uint8Array, options: BuildOptions): CheckedModule {
  const names = definedNames(options.hooks);
  const { abi, shape } = readModule(bytes, names);
  const entryPoints = abi.entryPoints(shape, names);
  const unoptimised = checkCompileCost(bytes, shape);
  const { bytes: metered, offsets, starts, pages } = meterModule(bytes, shape, options.memory, entryPoints);
  return {
    hash: createHash("sha256").update(bytes).digest("hex"),
    info: {
      ...abi.describe(bytes, shape, names),
      abi: abi.name,
      size: bytes.length,
      memory: options.memory,
      pages,
      hookNames: names,
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

/** Validates a module and returns its declarations and ABI. @throws PluginError */
export function readChecked(bytes: Uint8Array, names: HookNames = {}): ModuleShape {
  return readModule(bytes, names).shape;
}

function definedNames(names: HookNames = {}): HookNames {
  return Object.fromEntries(Object.entries(names).filter(([, name]) => name !== undefined));
}

function readModule(bytes: Uint8Array, names: HookNames): { readonly abi: ModuleAbi; readonly shape: ModuleShape } {
  if (bytes.length > LIMIT.moduleBytes)
    throw new PluginError(`the module is ${bytes.length} bytes, the limit is ${LIMIT.moduleBytes}`);
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0x61 || bytes[2] !== 0x73 || bytes[3] !== 0x6d)
    throw new PluginError(describeNonModule(bytes));
  if (isComponent(bytes)) throw new PluginError(COMPONENT);
  // The engine validates first: metering then processes valid modules only, whose indices cannot refer to what is
  // appended.
  validate(bytes);
  const shape = readShape(bytes);
  const abi = ABIS.find((candidate) => candidate.recognises(shape)) ?? nativeModule;
  const foreign = abi.recognises(shape) ? null : describeForeign(shape);
  if (foreign !== null) throw new PluginError(foreign);
  abi.check(bytes, shape, names);
  const reserved = shape.exports.find(({ name }) => name.startsWith(RESERVED));
  if (reserved !== undefined)
    throw new PluginError(`the export "${reserved.name}" begins with "${RESERVED}", which is reserved`);
  return { abi, shape };
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

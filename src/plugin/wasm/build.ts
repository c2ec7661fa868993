/** From the bytes of a file to a module that may be run: checked, metered, compiled. What it yields is posted to threads. */
import { createHash } from "node:crypto";
import {
  ABI_VERSION,
  CUSTOM_SECTION,
  EXPORT,
  HOOK,
  type Hook,
  IMPORTS,
  type Import,
  LIMIT,
  REWRITES,
  type ValueType,
} from "../../abi/abi.ts";
import { findCustomSection, KIND, KIND_NAMES, TYPE } from "./binary.ts";
import { checkCompileCost } from "./compile-cost.ts";
import { compile } from "./engine.ts";
import { PluginError } from "./error.ts";
import { COMPONENT, describeForeign, describeNonModule, isComponent } from "./foreign-kind.ts";
import { mayWait, meterModule, RESERVED } from "./meter.ts";
import {
  type ExportShape,
  formatSignature,
  type ModuleShape,
  readConstant,
  readShape,
  type Signature,
} from "./module-shape.ts";
import { loadSourceMap, type SourceMap } from "./source-map.ts";

/** Only `plugin/` knows what this is. */
export type CompiledModule = WebAssembly.Module;

export type ModuleInfo = {
  /** Bit mask of exported hooks, and of REWRITES. */
  readonly hooks: number;
  /** Import modules used: `sluice:core/1`, … */
  readonly groups: readonly string[];
  /** Bytes of the file. */
  readonly size: number;
  /** One guest serves many configurations. */
  readonly servesMany: boolean;
  /** The JSON Schema of its configuration, as text; null when it brings none. */
  readonly configSchema: string | null;
  /** It has a call that waits: its guests are suspended, and there are several on a thread. */
  readonly waits: boolean;
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
  const shape = readChecked(bytes);
  const unoptimised = checkCompileCost(bytes, shape);
  const { bytes: metered, offsets, starts } = meterModule(bytes, shape, options.memory);
  return {
    hash: createHash("sha256").update(bytes).digest("hex"),
    info: {
      hooks: hookMask(shape) | rewriteMask(shape),
      groups: importGroups(shape),
      size: bytes.length,
      servesMany: readServesMany(bytes, shape),
      configSchema: readConfigSchema(bytes),
      waits: mayWait(shape),
      functions: shape.functions.length,
      unoptimised,
    },
    offsets,
    starts,
    sourceMap: options.sourceMap ?? null,
    metered,
  };
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** What the module says that its configuration must be; whether that is a schema is not looked at here. */
export function readConfigSchema(bytes: Uint8Array): string | null {
  const section = findCustomSection(bytes, CUSTOM_SECTION.configSchema);
  if (section === null) return null;
  if (section.length > LIMIT.configSchema)
    throw new PluginError(
      `the schema of the configuration is ${section.length} bytes, the limit is ${LIMIT.configSchema}`,
    );
  try {
    return utf8.decode(section);
  } catch {
    throw new PluginError("the schema of the configuration is not UTF-8");
  }
}

/** What the module declares, once all of it was found to be allowed. */
export function readChecked(bytes: Uint8Array): ModuleShape {
  if (bytes.length > LIMIT.moduleBytes)
    throw new PluginError(`the module is ${bytes.length} bytes, the limit is ${LIMIT.moduleBytes}`);
  if (bytes.length < 4 || bytes[0] !== 0 || bytes[1] !== 0x61 || bytes[2] !== 0x73 || bytes[3] !== 0x6d)
    throw new PluginError(describeNonModule(bytes));
  if (isComponent(bytes)) throw new PluginError(COMPONENT);
  // First the engine's own reading: the rewriter then works on valid modules only, and no index of the guest's can
  // mean something that is appended.
  validate(bytes);
  const shape = readShape(bytes);
  const foreign = describeForeign(shape);
  if (foreign !== null) throw new PluginError(foreign);
  checkImports(shape);
  checkExports(shape);
  const version = readExported(bytes, shape, EXPORT.version);
  // A version that is not plainly a constant is asked for when a guest starts.
  if (version !== null && version !== ABI_VERSION)
    throw new PluginError(`was built for version ${version} of the plugin interface, this host speaks ${ABI_VERSION}`);
  return shape;
}

/** The constant that an exported function returns; null when there is none or it is not plainly one. */
export function readExported(bytes: Uint8Array, shape: ModuleShape, name: string): number | null {
  const exported = shape.exports.find((candidate) => candidate.name === name);
  return exported === undefined ? null : readConstant(bytes, shape, exported.index);
}

/** Asked before any guest runs, since it says how many there will be. */
function readServesMany(bytes: Uint8Array, shape: ModuleShape): boolean {
  if (!shape.exports.some((exported) => exported.name === EXPORT.serves)) return false;
  const value = readExported(bytes, shape, EXPORT.serves);
  if (value === null) throw new PluginError(`the export ${EXPORT.serves} must do nothing but return a constant`);
  return value !== 0;
}

export function hookMask(shape: ModuleShape): number {
  let mask = 0;
  for (const { name } of shape.exports) if (isHook(name)) mask |= 1 << HOOK[name];
  return mask;
}

function rewriteMask(shape: ModuleShape): number {
  if (!shape.imports.some(({ name }) => name === "body_replace" || name === "body_append")) return 0;
  const exports = (hook: Hook): boolean => shape.exports.some(({ name }) => name === hook);
  return (exports("request_body") ? REWRITES.request : 0) | (exports("response_body") ? REWRITES.response : 0);
}

export function importGroups(shape: ModuleShape): string[] {
  return [...new Set(shape.imports.map((declared) => declared.module))].sort();
}

const isHook = (name: string): name is Hook => Object.hasOwn(HOOK, name);

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

const HOOK_SIGNATURE: Signature = { params: [TYPE.i32, TYPE.i32], results: [TYPE.i32] };
const GETTER: Signature = { params: [], results: [TYPE.i32] };
const ACTION: Signature = { params: [], results: [] };

function checkImports(shape: ModuleShape): void {
  for (const { module, name, signature } of shape.imports) {
    const group = Object.hasOwn(IMPORTS, module) ? (IMPORTS as Record<string, Record<string, Import>>)[module]! : null;
    const offered = group !== null && Object.hasOwn(group, name) ? group[name]! : null;
    if (offered === null) throw new PluginError(`imports ${module}.${name}, which the host does not offer`);
    const types = (names: readonly ValueType[]) => names.map((type) => TYPE[type]);
    const expected = {
      params: types(offered.params),
      results: offered.result === null ? [] : types([offered.result]),
    };
    if (!sameSignature(signature, expected))
      throw new PluginError(
        `imports ${module}.${name} as ${formatSignature(signature)}, expected ${formatSignature(expected)}`,
      );
  }
}

function checkExports(shape: ModuleShape): void {
  const byName = new Map(shape.exports.map((exported) => [exported.name, exported]));
  const memory = byName.get(EXPORT.memory);
  if (memory === undefined) throw new PluginError('exports no memory: expected an export named "memory"');
  if (memory.kind !== KIND.memory)
    throw new PluginError(`the export "memory" is a ${KIND_NAMES[memory.kind as 0]}, expected a memory`);
  if (!byName.has(EXPORT.version))
    throw new PluginError(`exports no function ${EXPORT.version}, which says the version of the plugin interface`);
  for (const exported of shape.exports) {
    if (exported.name.startsWith(RESERVED))
      throw new PluginError(`the export "${exported.name}" begins with "${RESERVED}", which is reserved`);
    const expected = expectedSignature(exported.name);
    if (expected !== null) checkFunction(shape, exported, expected);
  }
  if (shape.start !== null && byName.has(EXPORT.initialize))
    throw new PluginError(`has both a start function and an export ${EXPORT.initialize}, expected one of them`);
  if (hookMask(shape) === 0) throw new PluginError(`exports no hook, expected one of ${Object.keys(HOOK).join(", ")}`);
}

function expectedSignature(name: string): Signature | null {
  if (isHook(name)) return HOOK_SIGNATURE;
  if (name === EXPORT.version || name === EXPORT.serves) return GETTER;
  return name === EXPORT.initialize ? ACTION : null;
}

function checkFunction(shape: ModuleShape, { name, kind, index }: ExportShape, expected: Signature): void {
  if (kind !== KIND.function)
    throw new PluginError(`the export ${name} is a ${KIND_NAMES[kind as 0]}, expected a function`);
  if (index < shape.imports.length)
    throw new PluginError(`the export ${name} is an import, expected a function of the module`);
  const signature = shape.types[shape.functions[index]!]!;
  if (!sameSignature(signature, expected))
    throw new PluginError(`the export ${name} is ${formatSignature(signature)}, expected ${formatSignature(expected)}`);
}

function sameSignature(a: Signature, b: Signature): boolean {
  const same = (x: readonly number[], y: readonly number[]) =>
    x.length === y.length && x.every((type, i) => type === y[i]);
  return same(a.params, b.params) && same(a.results, b.results);
}

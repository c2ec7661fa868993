/** Modules of the native ABI: checks imports, exports and signatures, and reads the module's traits. */
import {
  ABI_VERSION,
  CUSTOM_SECTION,
  EXPORT,
  HOOK,
  HOOKS,
  type Hook,
  IMPORTS,
  type Import,
  LIMIT,
  REWRITES,
  STATUS,
  SUSPENDABLE_HOOKS,
  SUSPENDING_CALLS,
  type ValueType,
} from "../../../abi/abi.ts";
import { findCustomSection, KIND, KIND_NAMES, TYPE } from "../../wasm/binary.ts";
import { PluginError } from "../../wasm/error.ts";
import {
  type ExportShape,
  formatSignature,
  importModules,
  type ModuleShape,
  readConstant,
  type Signature,
  sameSignature,
} from "../../wasm/module-shape.ts";
import type { EntryPoints, HookNames, ModuleAbi, ModuleTraits } from "../abi.ts";
import { checkImportType, exportedSignature } from "../signatures.ts";

const HOOK_SIGNATURE: Signature = { params: [TYPE.i32, TYPE.i32], results: [TYPE.i32] };
const GETTER: Signature = { params: [], results: [TYPE.i32] };
const ACTION: Signature = { params: [], results: [] };

export const nativeModule: ModuleAbi = {
  name: "native",

  recognises({ exports }: ModuleShape): boolean {
    return exports.some(({ name }) => name === EXPORT.version);
  },

  check(bytes: Uint8Array, shape: ModuleShape, names: HookNames): void {
    if (Object.keys(names).length > 0)
      throw new PluginError(
        "a module of the native ABI exports hooks by their names: `hooks` is for Extism plugins, which import extism:host/env",
      );
    checkImports(shape);
    checkExports(shape);
    const version = readExported(bytes, shape, EXPORT.version);
    // A version that is not returned by a constant alone is checked when a guest starts.
    if (version !== null && version !== ABI_VERSION)
      throw new PluginError(
        `was built for version ${version} of the plugin interface, this host supports ${ABI_VERSION}`,
      );
  },

  describe(bytes: Uint8Array, shape: ModuleShape): ModuleTraits {
    return {
      hooks: hookMask(shape) | rewriteMask(shape),
      groups: importModules(shape),
      servesMany: readServesMany(bytes, shape),
      memories: 1,
      configSchema: readConfigSchema(bytes),
    };
  },

  entryPoints({ imports, exports }: ModuleShape): EntryPoints {
    const exported = (names: readonly string[]) =>
      exports.flatMap(({ name, kind }) =>
        kind === KIND.function && names.includes(name) ? [{ hook: name, target: name }] : [],
      );
    const suspending = imports.flatMap(({ module, name }, index) => (suspends(module, name) ? [index] : []));
    return {
      hooks: exported(HOOKS),
      suspendable: suspending.length === 0 ? [] : exported(SUSPENDABLE_HOOKS),
      suspending,
      notHere: STATUS.notHere,
      // Native host calls charge their own cost.
      importPrice: 0,
    };
  },
};

function suspends(module: string, name: string): boolean {
  return Object.hasOwn(SUSPENDING_CALLS, module) && SUSPENDING_CALLS[module]!.includes(name);
}

function checkImports(shape: ModuleShape): void {
  for (const declared of shape.imports) {
    const { module, name } = declared;
    const group = Object.hasOwn(IMPORTS, module) ? (IMPORTS as Record<string, Record<string, Import>>)[module]! : null;
    const offered = group !== null && Object.hasOwn(group, name) ? group[name]! : null;
    if (offered === null) throw new PluginError(`imports ${module}.${name}, which the host does not offer`);
    const types = (names: readonly ValueType[]) => names.map((type) => TYPE[type]);
    const results = offered.result === null ? [] : types([offered.result]);
    checkImportType(declared, { params: types(offered.params), results });
  }
}

function checkExports(shape: ModuleShape): void {
  if (shape.memory === null) throw new PluginError("no memory is declared");
  const byName = new Map(shape.exports.map((exported) => [exported.name, exported]));
  const memory = byName.get(EXPORT.memory);
  if (memory === undefined) throw new PluginError('exports no memory: expected an export named "memory"');
  if (memory.kind !== KIND.memory)
    throw new PluginError(`the export "memory" is a ${KIND_NAMES[memory.kind as 0]}, expected a memory`);
  if (!byName.has(EXPORT.version))
    throw new PluginError(`exports no function ${EXPORT.version}, which returns the version of the plugin interface`);
  for (const exported of shape.exports) {
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

function checkFunction(shape: ModuleShape, exported: ExportShape, expected: Signature): void {
  const signature = exportedSignature(shape, exported);
  if (sameSignature(signature, expected)) return;
  const [found, wanted] = [formatSignature(signature), formatSignature(expected)];
  throw new PluginError(`the export ${exported.name} is ${found}, expected ${wanted}`);
}

function hookMask(shape: ModuleShape): number {
  let mask = 0;
  for (const { name } of shape.exports) if (isHook(name)) mask |= 1 << HOOK[name];
  return mask;
}

function rewriteMask(shape: ModuleShape): number {
  if (!shape.imports.some(({ name }) => name === "body_replace" || name === "body_append")) return 0;
  const exports = (hook: Hook): boolean => shape.exports.some(({ name }) => name === hook);
  return (exports("request_body") ? REWRITES.request : 0) | (exports("response_body") ? REWRITES.response : 0);
}

const isHook = (name: string): name is Hook => Object.hasOwn(HOOK, name);

/** The constant that an exported function returns; null without the export, or if it has other code. */
function readExported(bytes: Uint8Array, shape: ModuleShape, name: string): number | null {
  const exported = shape.exports.find((candidate) => candidate.name === name);
  return exported === undefined ? null : readConstant(bytes, shape, exported.index);
}

/** Read from the code, because it determines how many guests are started. */
function readServesMany(bytes: Uint8Array, shape: ModuleShape): boolean {
  if (!shape.exports.some((exported) => exported.name === EXPORT.serves)) return false;
  const value = readExported(bytes, shape, EXPORT.serves);
  if (value === null) throw new PluginError(`the export ${EXPORT.serves} must do nothing but return a constant`);
  return value !== 0;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The text of the configuration's schema, which is not validated here. */
function readConfigSchema(bytes: Uint8Array): string | null {
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

/** Recognises Extism plugins and checks their imports, exports and signatures. */
import { HOOK, REWRITES, SUSPENDABLE_HOOKS } from "../../../abi/abi.ts";
import { PRICE } from "../../../abi/prices.ts";
import { KIND, TYPE } from "../../wasm/binary.ts";
import { PluginError } from "../../wasm/error.ts";
import { formatSignature, type ImportShape, type ModuleShape } from "../../wasm/module-shape.ts";
import type { EntryPoint, EntryPoints, HookNames, ModuleAbi, ModuleTraits } from "../abi.ts";
import { checkImportType, exportedSignature } from "../signatures.ts";
import { WASI, wasiSignature } from "../wasi-names.ts";
import { EXTISM, EXTISM_HOOKS, FUNCTIONS, HOOK_EXPORTS, SUSPENDING, USER, userModule } from "./interface.ts";

export const extismModule: ModuleAbi = {
  name: "extism",

  recognises({ imports }: ModuleShape): boolean {
    return imports.some(({ module }) => module === EXTISM);
  },

  check(_bytes: Uint8Array, shape: ModuleShape, names: HookNames): void {
    for (const declared of shape.imports) checkImport(declared);
    const { imports, exports } = shape;
    const memory = exports.find(({ name }) => name === "memory");
    if (imports.some(({ module }) => module === WASI) && memory?.kind !== KIND.memory)
      throw new PluginError('imports WASI, but exports no memory: expected an export named "memory"');
    const hooks = hooksOf(shape, names);
    for (const { hook, target } of hooks) checkHook(shape, target, names[hook] === undefined ? "" : hook);
    if (hooks.length > 0) return;
    const functions = shape.exports.filter(({ kind }) => kind === KIND.function).map(({ name }) => name);
    const exported = functions.length === 0 ? "no function" : functions.slice(0, 10).join(", ");
    throw new PluginError(
      `an Extism plugin that exports no hook, expected one of ${Object.values(HOOK_EXPORTS).join(", ")}, or \`hooks: { on_request: NAME }\`; it exports ${exported}`,
    );
  },

  describe(_bytes: Uint8Array, shape: ModuleShape, names: HookNames): ModuleTraits {
    let mask = 0;
    for (const { number } of hooksOf(shape, names)) mask |= 1 << number;
    if ((mask & (1 << HOOK.request_body)) !== 0) mask |= REWRITES.request;
    if ((mask & (1 << HOOK.response_body)) !== 0) mask |= REWRITES.response;
    // Its own and the kernel's.
    return { hooks: mask, groups: groupsOf(shape), servesMany: false, memories: 2, configSchema: null };
  },

  entryPoints(shape: ModuleShape, names: HookNames): EntryPoints {
    const hooks = hooksOf(shape, names);
    const suspending = shape.imports.flatMap(({ name }, index) => (SUSPENDING.includes(name) ? [index] : []));
    return {
      hooks,
      suspendable: suspending.length === 0 ? [] : hooks.filter(({ number }) => ((SUSPENDABLE >>> number) & 1) === 1),
      suspending,
      notHere: null,
      // A kernel function takes a few nanoseconds, about a hundred with cache misses.
      importPrice: 2 * PRICE.perUnit,
    };
  },
};

const SUSPENDABLE = SUSPENDABLE_HOOKS.reduce((mask, hook) => mask | (1 << HOOK[hook]), 0);

/** The hooks: functions named by the configuration, and exports with the standard names. */
function hooksOf({ exports }: ModuleShape, names: HookNames): (EntryPoint & { readonly number: number })[] {
  return EXTISM_HOOKS.flatMap((name) => {
    const hook = HOOK_EXPORTS[name];
    const target = names[hook] ?? hook;
    if (exports.some((exported) => exported.name === target)) return [{ hook, target, number: HOOK[name] }];
    if (names[hook] === undefined) return [];
    throw new PluginError(`exports no ${JSON.stringify(target)}, which is named as its hook ${hook}`, hook);
  });
}

/** The modules of its imports; for functions of `extism:host/user` the ones that they are of. */
function groupsOf({ imports }: ModuleShape): string[] {
  const modules = imports.map(({ module, name }) => (module === USER ? userModule(name)! : module));
  return [...new Set(modules)].sort();
}

function checkImport(declared: ImportShape): void {
  const { module, name } = declared;
  const own = Object.hasOwn(FUNCTIONS, module) ? FUNCTIONS[module]! : {};
  const expected = module === WASI ? wasiSignature(name) : Object.hasOwn(own, name) ? own[name]! : null;
  if (expected === null)
    throw new PluginError(`an Extism plugin that imports ${module}.${name}, which the host does not offer`);
  checkImportType(declared, expected);
}

/** `hook`: its key, if the configuration names it. */
function checkHook(shape: ModuleShape, name: string, hook: string): void {
  const exported = shape.exports.find((one) => one.name === name)!;
  const { params, results } = exportedSignature(shape, exported, hook);
  if (params.length > 0 || results.length > 1 || (results[0] ?? TYPE.i32) !== TYPE.i32)
    throw new PluginError(
      `the export ${name} is ${formatSignature({ params, results })}, expected () -> i32 or () -> ()`,
      hook,
    );
}

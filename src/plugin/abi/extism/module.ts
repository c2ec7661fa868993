/** What an Extism plugin looks like: its imports, its exports, their signatures. */
import { HOOK, REWRITES, SUSPENDABLE_HOOKS } from "../../../abi/abi.ts";
import { PRICE } from "../../../abi/prices.ts";
import { KIND, KIND_NAMES, TYPE } from "../../wasm/binary.ts";
import { PluginError } from "../../wasm/error.ts";
import { formatSignature, type ImportShape, type ModuleShape, sameSignature } from "../../wasm/module-shape.ts";
import type { EntryPoints, ModuleAbi, ModuleTraits } from "../abi.ts";
import { EXTISM, EXTISM_HOOKS, type ExtismHook, FUNCTIONS, HOOK_EXPORTS, SUSPENDING } from "./interface.ts";

export const extismModule: ModuleAbi = {
  name: "extism",

  recognises({ imports }: ModuleShape): boolean {
    return imports.some(({ module }) => module === EXTISM);
  },

  check(_bytes: Uint8Array, shape: ModuleShape): void {
    for (const declared of shape.imports) checkImport(declared);
    for (const hook of EXTISM_HOOKS) checkHook(shape, HOOK_EXPORTS[hook]);
    if (hooksOf(shape).length === 0)
      throw new PluginError(
        `an Extism plugin that exports no hook, expected one of ${Object.values(HOOK_EXPORTS).join(", ")}`,
      );
  },

  describe(_bytes: Uint8Array, shape: ModuleShape): ModuleTraits {
    const hooks = hooksOf(shape);
    let mask = 0;
    for (const hook of hooks) mask |= 1 << HOOK[hook];
    if (hooks.includes("request_body")) mask |= REWRITES.request;
    if (hooks.includes("response_body")) mask |= REWRITES.response;
    return { hooks: mask, servesMany: false, configSchema: null };
  },

  entryPoints(shape: ModuleShape): EntryPoints {
    const hooks = hooksOf(shape);
    const suspending = shape.imports.flatMap(({ name }, index) => (SUSPENDING.includes(name) ? [index] : []));
    const suspendable = hooks.filter((hook) => (SUSPENDABLE_HOOKS as readonly string[]).includes(hook));
    return {
      hooks: hooks.map((hook) => HOOK_EXPORTS[hook]),
      suspendable: suspending.length === 0 ? [] : suspendable.map((hook) => HOOK_EXPORTS[hook]),
      suspending,
      notHere: null,
      // A function of the kernel takes a few nanoseconds, a miss of the caches included about a hundred.
      importPrice: 2 * PRICE.perUnit,
    };
  },
};

/** Those that it exports. */
function hooksOf({ exports }: ModuleShape): ExtismHook[] {
  return EXTISM_HOOKS.filter((hook) => exports.some(({ name }) => name === HOOK_EXPORTS[hook]));
}

function checkImport({ module, name, signature }: ImportShape): void {
  const expected = module === EXTISM && Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name]! : null;
  if (expected === null)
    throw new PluginError(`an Extism plugin that imports ${module}.${name}, which the host does not offer`);
  if (!sameSignature(signature, expected))
    throw new PluginError(
      `imports ${module}.${name} as ${formatSignature(signature)}, expected ${formatSignature(expected)}`,
    );
}

function checkHook({ exports, imports, functions, types }: ModuleShape, name: string): void {
  const exported = exports.find((candidate) => candidate.name === name);
  if (exported === undefined) return;
  const { kind, index } = exported;
  if (kind !== KIND.function)
    throw new PluginError(`the export ${name} is a ${KIND_NAMES[kind as 0]}, expected a function`);
  if (index < imports.length)
    throw new PluginError(`the export ${name} is an import, expected a function of the module`);
  const { params, results } = types[functions[index]!]!;
  if (params.length > 0 || results.length > 1 || (results[0] ?? TYPE.i32) !== TYPE.i32)
    throw new PluginError(
      `the export ${name} is ${formatSignature({ params, results })}, expected () -> i32 or () -> ()`,
    );
}

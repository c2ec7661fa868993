/** Checks the types of imports and exports, for every ABI. */
import { KIND, KIND_NAMES } from "../wasm/binary.ts";
import { PluginError } from "../wasm/error.ts";
import {
  type ExportShape,
  formatSignature,
  type ImportShape,
  type ModuleShape,
  type Signature,
  sameSignature,
} from "../wasm/module-shape.ts";

/** @throws PluginError if the import has other types */
export function checkImportType({ module, name, signature }: ImportShape, expected: Signature): void {
  if (sameSignature(signature, expected)) return;
  throw new PluginError(
    `imports ${module}.${name} as ${formatSignature(signature)}, expected ${formatSignature(expected)}`,
  );
}

/**
 * The signature of an exported function of the module. `hook`: its key, if the configuration names it. @throws PluginError
 * if it is another kind, or an import
 */
export function exportedSignature(shape: ModuleShape, { name, kind, index }: ExportShape, hook = ""): Signature {
  if (kind !== KIND.function)
    throw new PluginError(`the export ${name} is a ${KIND_NAMES[kind as 0]}, expected a function`, hook);
  if (index < shape.imports.length)
    throw new PluginError(`the export ${name} is an import, expected a function of the module`, hook);
  return shape.types[shape.functions[index]!]!;
}

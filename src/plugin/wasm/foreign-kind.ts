/** Describes files that are not modules of a supported ABI, for a better error than a missing import. */
import type { ModuleShape } from "./module-shape.ts";

const OWN = "expected a module of the native ABI (docs/abi.md) or an Extism plugin (docs/extism.md)";

/** Describes a file without the WebAssembly magic number. */
export function describeNonModule(bytes: Uint8Array): string {
  if (bytes.length === 0) return "not a WebAssembly module: the file is empty";
  const start = Buffer.from(bytes.subarray(0, 512)).toString("utf8");
  const what = "not a WebAssembly module: it does not begin with \\0asm";
  // The last character may be truncated.
  if (/[\0-\x08]|\ufffd(?!$)/.test(start)) return what;
  if (/^\s*(\(module\b|;;)/.test(start)) return `${what}; it is WebAssembly text, which must be compiled (wat2wasm)`;
  if (/^\s*\{/.test(start))
    return `${what}; it is JSON: of a manifest of Extism \`sluice plugin inspect\` prints what to write instead`;
  return `${what}; it is text: set \`source\` to source code, and \`wasm\` to the module that \`sluice plugin build\` writes`;
}

/** Whether the file is a component: layer 1 in bytes 6 and 7 (component model, binary format). */
export function isComponent(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && bytes[6] === 1 && bytes[7] === 0;
}

export const COMPONENT = `a WebAssembly component, ${OWN}`;

/** Describes a module that was built for another host; null if its kind is unknown. */
export function describeForeign({ imports, exports }: Pick<ModuleShape, "imports" | "exports">): string | null {
  const version = exports.find(({ name }) => /^proxy_abi_version_/.test(name))?.name;
  const has = (module: RegExp, name = /^/) => imports.some((one) => module.test(one.module) && name.test(one.name));
  if (version !== undefined || has(/^env$/, /^proxy_/))
    return `a proxy-wasm module${version === undefined ? "" : ` (${version})`}, ${OWN}`;
  if (has(/^http_handler$/)) return `an http-wasm module (it imports http_handler), ${OWN}`;
  if (has(/^env$/, /^extism_/))
    return "an Extism plugin of 2023 or before (it imports env.extism_…), expected one that imports extism:host/env";
  if (has(/^__wbindgen|^wbg$/)) return `a module of wasm-bindgen, made for JavaScript, ${OWN}`;
  if (has(/^gojs$|^go$/)) return `a module of Go, made for JavaScript (GOOS=js), ${OWN}`;
  if (has(/^wasi_/))
    return `a WASI ${exports.some(({ name }) => name === "_start") ? "program" : "library"}, ${OWN}: there is no WASI`;
  if (has(/^env$/, /^abort$/))
    return `a module of AssemblyScript without the SDK, expected one made by \`sluice plugin build\``;
  return null;
}

/**
 * Implements `helpers()`: compiles a file of helper functions with the compiler's own runtime and without a host, and
 * calls its exports by `@assemblyscript/loader`.
 */
import { type ASUtil, type Imports, instantiateSync } from "@assemblyscript/loader";
import { makeHelpersTransform, type Signature } from "../../sdk/helpers.js";
import type { HelperValue, helpers } from "../../sdk/test.js";
import { formatProblem, runCompiler } from "../compiler/compile.ts";
import { readShape } from "../plugin/wasm/module-shape.ts";

type Helper = Awaited<ReturnType<typeof helpers>>[string];
type Exports = ASUtil & Record<string, (...values: unknown[]) => unknown>;

const NUMBERS = new Set(["i8", "i16", "i32", "u8", "u16", "u32", "isize", "usize", "f32", "f64"]);
const LONGS = new Set(["i64", "u64"]);
/** Element types whose array class ids the module exports, for `__newArray`. */
const ARRAYS = [...NUMBERS, ...LONGS].filter((type) => !type.endsWith("size"));
const ID = "__sluice_array_";

export async function loadHelpers(file: string): Promise<Record<string, Helper>> {
  const signatures = new Map<string, Signature>();
  const ids = ARRAYS.map((type) => `export function ${ID}${type}(): u32 { return idof<Array<${type}>>(); }`);
  const flags = ["--outFile", "helpers.wasm", "--runtime", "incremental", "--exportRuntime", "-O1", "--debug"];
  const ran = await runCompiler(file, { flags, transform: makeHelpersTransform(signatures, ids.join("\n")) });
  if (ran.problems) throw new Error(ran.problems.map(formatProblem).join("\n"));
  const bytes = ran.output.get("helpers.wasm") as Uint8Array<ArrayBuffer>;
  const { exports } = instantiateSync<Exports>(bytes, hostless(bytes));
  return Object.fromEntries(
    Array.from(signatures, ([name, signature]) => [name, makeHelper(name, signature, exports as Exports)]),
  );
}

/** Imports that throw: there is no host. */
function hostless(bytes: Uint8Array): Imports {
  const imports: Record<string, Record<string, unknown>> = {};
  for (const { module: group, name } of readShape(bytes).imports) {
    if (!group.startsWith("sluice:")) continue;
    (imports[group] ??= {})[name] = () => {
      throw new TypeError(`${group}.${name} is the host's, and a helper by itself has none: test it through plugin()`);
    };
  }
  return imports;
}

function makeHelper(name: string, { parameters, returns }: Signature, exports: Exports): Helper {
  return (...values) => {
    if (values.length > parameters.length)
      throw new TypeError(`${name} takes ${parameters.length} arguments, not ${values.length}`);
    // Pinned, so that allocating the next argument does not free it.
    const pinned: number[] = [];
    try {
      const given = values.map((value, i) => lower(exports, value, parameters[i]!, pinned));
      return lift(exports, exports[name]!(...given), returns);
    } finally {
      for (const pointer of pinned) exports.__unpin(pointer);
    }
  };
}

function lower(exports: Exports, value: HelperValue, type: string, pinned: number[]): unknown {
  const pin = (pointer: number) => {
    pinned.push(exports.__pin(pointer));
    return pointer;
  };
  if (NUMBERS.has(type)) return Number(value);
  if (LONGS.has(type)) return BigInt(value as number);
  if (type === "bool") return value ? 1 : 0;
  if (type === "string") return value === null ? 0 : pin(exports.__newString(String(value)));
  const item = itemOf(type);
  if (item !== null && Array.isArray(value))
    return pin(exports.__newArray(exports[`${ID}${item}`]!() as number, value as number[]));
  throw new TypeError(`a value of ${type} cannot be handed in, expected numbers, bool, string or arrays of numbers`);
}

function lift(exports: Exports, value: unknown, type: string): HelperValue {
  if (type === "void") return undefined;
  if (type === "bool") return value !== 0;
  if (NUMBERS.has(type)) return type.startsWith("u") ? (value as number) >>> 0 : (value as number);
  if (LONGS.has(type)) return type === "u64" ? BigInt.asUintN(64, value as bigint) : (value as bigint);
  if (value === 0) return null;
  if (type === "string") return exports.__getString(value as number);
  if (itemOf(type) !== null) return exports.__getArray(value as number);
  throw new TypeError(`a value of ${type} cannot be handed out, expected numbers, bool, string or arrays of numbers`);
}

function itemOf(type: string): string | null {
  const item = /^Array<(\w+)>$/.exec(type)?.[1];
  return item !== undefined && ARRAYS.includes(item) ? item : null;
}

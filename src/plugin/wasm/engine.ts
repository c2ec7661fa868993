/**
 * Compiles modules eagerly: without these V8 flags each function would be compiled at its first call, in the worker that
 * serves a request. Modules that are too costly to optimise stay with baseline code.
 *
 * V8 flags apply to the whole process. They are set during a compilation only, because Node's compile cache is valid only
 * for the flags with which it was written.
 */
import { setFlagsFromString } from "node:v8";

const WHILE_COMPILING = ["--no-wasm-lazy-compilation", "--wasm-num-compilation-tasks=1"];
const UNOPTIMISED = ["--no-wasm-dynamic-tiering", "--no-wasm-tier-up"];
const USUAL = [
  "--wasm-lazy-compilation",
  "--wasm-num-compilation-tasks=128",
  "--wasm-dynamic-tiering",
  "--wasm-tier-up",
];

let last: Promise<unknown> = Promise.resolve();

/** Compiles modules one after the other, on threads of the engine. @throws WebAssembly.CompileError */
export function compile(bytes: Uint8Array<ArrayBuffer>, optimised: boolean): Promise<WebAssembly.Module> {
  const done = last.then(() => compileNow(bytes, optimised));
  last = done.catch(() => undefined);
  return done;
}

async function compileNow(bytes: Uint8Array<ArrayBuffer>, optimised: boolean): Promise<WebAssembly.Module> {
  for (const flag of optimised ? WHILE_COMPILING : [...WHILE_COMPILING, ...UNOPTIMISED]) setFlagsFromString(flag);
  // A compilation does not keep the process alive.
  const alive = setInterval(() => undefined, 1 << 30);
  try {
    return await WebAssembly.compile(bytes);
  } finally {
    clearInterval(alive);
    for (const flag of USUAL) setFlagsFromString(flag);
  }
}

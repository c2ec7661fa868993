/**
 * How the engine compiles a module: all functions at once and before it is used, where it would else compile each at its
 * first call, on the thread of a request. What is costly to optimise stays as it is first compiled.
 *
 * The flags are those of the whole process. They are set for the time of a compilation only, since compiled JavaScript
 * in Node's cache is good for the flags alone with which it was made.
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

/** One module after the other, on another thread. @throws what the engine says of a module that is not valid. */
export function compile(bytes: Uint8Array<ArrayBuffer>, optimised: boolean): Promise<WebAssembly.Module> {
  const done = last.then(() => compileNow(bytes, optimised));
  last = done.catch(() => undefined);
  return done;
}

async function compileNow(bytes: Uint8Array<ArrayBuffer>, optimised: boolean): Promise<WebAssembly.Module> {
  for (const flag of optimised ? WHILE_COMPILING : [...WHILE_COMPILING, ...UNOPTIMISED]) setFlagsFromString(flag);
  // The engine's own thread keeps no process alive.
  const alive = setInterval(() => undefined, 1 << 30);
  try {
    return await WebAssembly.compile(bytes);
  } finally {
    clearInterval(alive);
    for (const flag of USUAL) setFlagsFromString(flag);
  }
}

/** Compiles a fixture that exports functions of the SDK, and calls them by name through the AssemblyScript loader. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { instantiate } from "@assemblyscript/loader";
import { main } from "assemblyscript/asc";

const FIXTURES = join(import.meta.dirname, "../../fixtures");

export type Argument = string | number | Uint8Array;

/** What a fixture returns: numbers are themselves, texts and bytes are read by `text` and `bytes`. */
export type SdkGuest = {
  number(name: string, ...args: Argument[]): number;
  /** Null when it returned null. */
  text(name: string, ...args: Argument[]): string | null;
  bytes(name: string, ...args: Argument[]): Buffer | null;
};

/** A fixture that takes bytes exports `BYTES = idof<StaticArray<u8>>()`. */
export async function loadSdkGuest(fixture: string): Promise<SdkGuest> {
  let wasm: Uint8Array | undefined;
  const flags = ["--outFile", "a.wasm", "--exportRuntime", "--enable", "simd", "-O2", "--baseDir", FIXTURES];
  const { error, stderr } = await main([fixture, ...flags], {
    readFile: (name, base) => readFile(resolve(base, name), "utf8").catch(() => null),
    writeFile: (name, contents) => {
      if (name === "a.wasm") wasm = contents as Uint8Array;
    },
    listFiles: () => [],
  });
  assert.equal(error, null, String(stderr));
  const { exports } = await instantiate(wasm!);
  const { memory, __new, __pin, __unpin, __newString, __getString } = exports;

  const lower = (argument: Argument): number => {
    if (typeof argument === "number") return argument;
    if (typeof argument === "string") return __pin(__newString(argument));
    const pointer = __pin(__new(argument.length, (exports.BYTES as WebAssembly.Global).value));
    new Uint8Array(memory!.buffer).set(argument, pointer);
    return pointer;
  };
  const call = (name: string, args: Argument[]): number => {
    const lowered = args.map(lower);
    const result = (exports[name] as (...values: number[]) => number)(...lowered);
    args.forEach((argument, i) => {
      if (typeof argument !== "number") __unpin(lowered[i]!);
    });
    return result;
  };
  return {
    number: (name, ...args) => call(name, args),
    text(name, ...args) {
      const pointer = call(name, args);
      return pointer === 0 ? null : __getString(pointer);
    },
    bytes(name, ...args) {
      const pointer = call(name, args);
      if (pointer === 0) return null;
      const length = new DataView(memory!.buffer).getUint32(pointer - 4, true);
      return Buffer.from(memory!.buffer.slice(pointer, pointer + length));
    },
  };
}

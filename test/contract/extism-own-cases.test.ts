/**
 * Modules of Extism's repositories, called through the npm package of Extism and through our host: both give the same
 * output, logs and failures. They are not part of this repository: `EXTISM_MODULES=<directories, separated by colons>
 * npm test -- extism-own-cases`, with `wasm` of github.com/extism/extism and github.com/extism/js-sdk, for example.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { openOracle } from "../support/extism.ts";
import { callExtism } from "./extism-call.ts";
import { load } from "./plugin-harness.ts";

const directories = process.env.EXTISM_MODULES?.split(":");
const CONFIG = { thing: "config", vowels: "aeiouyAEIOUY" };
const INPUTS = ["hello world", "", '{"url":"http://127.0.0.1:1/"}', "a".repeat(5000)];
const FUEL = 20_000_000;
const MEMORY = 64 << 20;

const HOST_MODULES = new Set(["extism:host/env", "wasi_snapshot_preview1"]);
/** Start-up code and functions of the runtimes, some of which have parameters. */
const NOT_A_CALL = /^(_start|_initialize|__|hs_|asyncify_|malloc$|calloc$|realloc$|free$)/;

/** Modules that cannot agree, and why. */
const DIFFERENT: readonly [file: RegExp, reason: string][] = [
  [/infinite-loop|loop-forever/, "never ends in the package"],
  [/\bhttp(_headers)?\.wasm$/, "sends requests, which the package does only in a worker"],
  [/\bfs\.wasm$/, "returns another value than 0, which the package ignores"],
  [/\bexit\.wasm$/, "ends itself in its start-up code"],
  [/\bupper\.wasm$/, "has no memory, which the package requires"],
];

if (directories === undefined)
  test("modules of Extism's repositories", { skip: "set EXTISM_MODULES to their directories" }, () => {});
else
  for (const directory of directories)
    for (const file of readdirSync(directory, { recursive: true, encoding: "utf8" }).filter((one) =>
      /\.wasm$/.test(one),
    ))
      addTests(join(directory, file));

function addTests(path: string): void {
  const wasm = readFileSync(path);
  const skip = reasonToSkip(path, wasm);
  if (skip !== "") return void test(path, { skip }, () => {});
  for (const { name, kind } of WebAssembly.Module.exports(new WebAssembly.Module(wasm)))
    if (kind === "function" && !NOT_A_CALL.test(name)) test(`${basename(path)}: ${name}`, () => compare(wasm, name));
}

/** Empty: it is a plugin for both hosts. */
function reasonToSkip(path: string, wasm: Uint8Array<ArrayBuffer>): string {
  const different = DIFFERENT.find(([file]) => file.test(path))?.[1];
  if (different !== undefined) return different;
  if (!WebAssembly.validate(wasm)) return "V8 does not accept it";
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(wasm));
  const foreign = [...new Set(imports.map(({ module }) => module))].filter((module) => !HOST_MODULES.has(module));
  if (foreign.length > 0) return `imports functions of ${foreign.join(", ")}`;
  if (!imports.some(({ module }) => module === "extism:host/env")) return "imports nothing of Extism";
  const isNew = imports.some(({ name }) => name === "get_log_level");
  return isNew ? "imports get_log_level, which the package lacks" : "";
}

async function compare(wasm: Uint8Array, name: string): Promise<void> {
  const oracle = await openOracle(wasm, CONFIG, { useWasi: true });
  const loaded = load(wasm, { configs: [CONFIG], hooks: { on_request_body: name }, fuel: FUEL, memory: MEMORY });
  for (const text of INPUTS) {
    const input = new Uint8Array(Buffer.from(text, "latin1"));
    const ours = callExtism(loaded, input);
    assert.deepEqual(ours, await oracle.call(name, input), JSON.stringify(text.slice(0, 40)));
  }
  loaded.dispose();
  await oracle.close();
}

/** Builds a plugin from its source or its `.wasm`, as the proxy does; for commands that run plugins. */
import { readFile, stat } from "node:fs/promises";
import type { HookNames } from "../plugin/abi/abi.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import { ModuleBuilder } from "../plugin/wasm/builder.ts";
import { decodeSourceMap } from "../plugin/wasm/source-map.ts";
import type { Succeeded } from "./compile.ts";

const builder = new ModuleBuilder();

/** Cache by path: a test file loads its plugin for each test. */
const builds = new Map<string, { readonly compiled: Succeeded; readonly stamp: string }>();

/** @throws Error with a line for each problem. */
export async function buildPlugin(path: string, memory: number, hooks?: HookNames): Promise<ModulePlan> {
  if (path.endsWith(".wasm")) return builder.build(await readFile(path), { memory, path, hooks });
  const { wasm, sourceMap } = await compileOnce(path);
  const module = await builder.build(wasm, { memory, path });
  return { ...module, sourceMap: decodeSourceMap(sourceMap, wasm) };
}

/** Compiles the plugin unless its files are unchanged since the last call. */
async function compileOnce(path: string): Promise<Succeeded> {
  const last = builds.get(path);
  if (last !== undefined && last.stamp === (await stampOf(last.compiled.files))) return last.compiled;
  // Late, since a module needs no compiler.
  const { compile, formatProblem } = await import("./compile.ts");
  const compiled = await compile(path);
  if (compiled.problems) throw new Error(compiled.problems.map(formatProblem).join("\n"));
  builds.set(path, { compiled, stamp: await stampOf(compiled.files) });
  return compiled;
}

async function stampOf(files: readonly string[]): Promise<string> {
  const stamps = files.map(async (file) => {
    const found = await stat(file, { bigint: true }).catch(() => null);
    return found === null ? "absent" : `${found.mtimeNs} ${found.size}`;
  });
  return (await Promise.all(stamps)).join("\n");
}

/** A plugin from its source or its `.wasm`, built as the proxy builds it: for commands that run it. */
import { readFile } from "node:fs/promises";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import { ModuleBuilder } from "../plugin/wasm/builder.ts";
import { decodeSourceMap } from "../plugin/wasm/source-map.ts";
import { compile, formatProblem } from "./compile.ts";

const builder = new ModuleBuilder();

/** @throws Error with a line for each problem. */
export async function buildPlugin(path: string, memory: number): Promise<ModulePlan> {
  if (path.endsWith(".wasm")) return builder.build(await readFile(path), { memory, path });
  const compiled = await compile(path);
  if (compiled.problems) throw new Error(compiled.problems.map(formatProblem).join("\n"));
  const module = await builder.build(compiled.wasm, { memory, path });
  return { ...module, sourceMap: decodeSourceMap(compiled.sourceMap, compiled.wasm) };
}

/** `sluice/test`: what a test of a plugin imports (sdk/test.js, sdk/test.d.ts). */
import { readFile } from "node:fs/promises";
import type * as kit from "../../../sdk/test.js";
import { readSettings } from "../../config/plugin-schema.ts";
import { parseTree } from "../../config/tree.ts";
import { buildModule, buildModuleAside, type ModulePlan } from "../../plugin/build.ts";
import { decodeSourceMap } from "../../plugin/source-map.ts";
import { compile, formatProblem } from "../compile.ts";
import { listOf } from "../plugin-surroundings.ts";
import { findFile } from "./caller.ts";
import { TestGuest } from "./guest.ts";
import { loadHelpers } from "./helpers.ts";
import { memoryOf } from "./limits.ts";

export { PluginFailure } from "./runner.ts";

export const plugin: typeof kit.plugin = async (file, options = {}) => {
  const path = findFile(file);
  const module = await build(path, memoryOf(options.limits));
  const clusters = options.clusters ?? listOf(process.env.SLUICE_TEST_CLUSTERS ?? "");
  const config = readConfig(module, options.config);
  return new TestGuest(module, { ...options, clusters, config }, path);
};

export const helpers: typeof kit.helpers = async (file) => loadHelpers(findFile(file));

async function build(path: string, memory: number): Promise<ModulePlan> {
  if (path.endsWith(".wasm")) return buildModuleAside(await readFile(path), { memory, path });
  const compiled = await compile(path);
  if (compiled.problems) throw new Error(compiled.problems.map(formatProblem).join("\n"));
  return buildModule(compiled.wasm, { memory, sourceMap: decodeSourceMap(compiled.sourceMap, compiled.wasm) });
}

/** As the proxy does when a configuration is loaded. */
function readConfig({ info }: ModulePlan, config: unknown): unknown {
  if (info.configSchema === null) return config;
  const at = { file: "config", line: 1, column: 1, path: "" };
  const { tree } = parseTree(JSON.stringify(config ?? null), { file: at.file, env: null });
  const { value, problems } = readSettings(info.configSchema, tree === null ? undefined : { tree }, at);
  const lines = problems.map(({ path, message }) => `config${path === "" ? "" : `.${path}`}: ${message}`);
  if (lines.length > 0) throw new Error(lines.join("\n"));
  return config === undefined ? undefined : value;
}

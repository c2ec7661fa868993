/** `sluice check`: what `run` would say of a configuration and its plugins, without binding, resolving or serving. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { formatProblem, loadConfig, loadPlugins } from "../config/load.ts";
import { readSettings } from "../config/plugin-schema.ts";
import type { Config, Problem } from "../config/schema.ts";
import { planOf } from "./plan-of-file.ts";

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { config: { type: "string", short: "c", default: "sluice.yaml" } } });
  const file = values.config;
  const { readConfigFile } = await import("../control/reload.ts");
  const text = await readConfigFile(file);
  const options = { file, env: process.env };
  const { config, problems: wrong } = loadConfig(text, options);
  const problems = config
    ? [...(await tryPlugins(config))]
    : [...wrong, ...(await tryModules(loadPlugins(text, options)))];
  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  for (const problem of problems) process.stdout.write(`${formatProblem(problem)}\n`);
  if (problems.length > 0) return 1;
  process.stdout.write(`${file}: no problem found\n`);
  return 0;
}

/** Builds the plan of version 1 and runs its guests once, as a proxy does before it serves. */
async function tryPlugins(config: Config): Promise<readonly Problem[]> {
  const { tryGuests } = await import("../control/canary.ts");
  const { startOnce } = await import("../plugin/canary.ts");
  const { built, problems } = await planOf(config);
  if (built === null) return problems;
  const trial = await tryGuests(startOnce, { built, config, threads: config.workers || availableParallelism() });
  return trial.problems;
}

/** The modules alone, when other things are wrong: every problem is told at once. */
async function tryModules(plugins: Config["plugins"]): Promise<readonly Problem[]> {
  const { readWasmFiles } = await import("../control/modules.ts");
  const { buildModule } = await import("../plugin/build.ts");
  const files = await readWasmFiles(plugins.map(({ wasm }) => wasm.path));
  return plugins.flatMap(({ wasm, limits, config, at }): readonly Problem[] => {
    const bytes = files.get(wasm.path);
    if (bytes === undefined || typeof bytes === "string") return [{ ...wasm.at, message: bytes ?? "" }];
    try {
      const { configSchema } = buildModule(bytes, { memory: limits.memory }).info;
      return config === undefined ? [] : readSettings(configSchema, config, at).problems;
    } catch (error) {
      return [{ ...wasm.at, message: `${wasm.path}: ${error instanceof Error ? error.message : String(error)}` }];
    }
  });
}

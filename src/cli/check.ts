/** `sluice check`: validates a configuration and its plugins as `run` does, without sockets or DNS. */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { formatProblem, loadConfig, type Readable } from "../config/load.ts";
import { byPlace, hasProblem } from "../config/place.ts";
import type { Config, Problem } from "../config/schema.ts";
import { instanceSources, loadModules, sourcesOf, type TlsParts } from "./plan-of-file.ts";

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { config: { type: "string", short: "c", default: "sluice.yaml" } } });
  const file = values.config;
  const { readConfigFile } = await import("../control/config-file.ts");
  const text = await readConfigFile(file);
  const { config, readable, problems: wrong, warnings } = loadConfig(text, { file, env: process.env });
  const found = readable === null ? { problems: [], warnings: [] } : await checkFiles(config, readable, wrong);
  const problems = [...wrong, ...found.problems].sort(byPlace);
  for (const problem of problems) process.stdout.write(`${formatProblem(problem)}\n`);
  const doubtful = [...warnings, ...found.warnings].sort(byPlace);
  for (const warning of doubtful)
    process.stdout.write(`${formatProblem({ ...warning, message: `warning: ${warning.message}` })}\n`);
  if (problems.length > 0) return 1;
  const count = doubtful.length > 0 ? `, ${doubtful.length} warning${doubtful.length > 1 ? "s" : ""}` : "";
  process.stdout.write(`${file}: no problem found${count}\n`);
  return 0;
}

type Found = { readonly problems: readonly Problem[]; readonly warnings: readonly Problem[] };

/** Checks the files of the configuration: the log, certificates, keys and plugins. */
async function checkFiles(config: Config | null, readable: Readable, wrong: readonly Problem[]): Promise<Found> {
  const { readTlsFiles } = await import("../plan/tls-files.ts");
  const tls = await readTlsFiles(readable);
  const valid = tls.problems.length === 0 ? config : null;
  const plugins = await checkPlugins(valid, readable, [...wrong, ...tls.problems], tls);
  return {
    problems: [...(await checkLog(readable)), ...tls.problems, ...plugins.problems],
    warnings: [...tls.warnings, ...plugins.warnings],
  };
}

/** `run` creates the file. */
async function checkLog({ log }: Readable): Promise<Problem[]> {
  const file = (log?.access || undefined)?.file;
  if (file === undefined) return [];
  const { checkLogFile } = await import("../observe/log-target.ts");
  const message = checkLogFile(file.path, false);
  return message === undefined ? [] : [{ ...file.at, message }];
}

/** Checks modules, permissions, configurations, and starts the plugins, as far as other problems allow. */
async function checkPlugins(
  config: Config | null,
  readable: Readable,
  wrong: readonly Problem[],
  tls: TlsParts,
): Promise<Found> {
  const { plugins, problems } = await loadModules(readable);
  const { findTightLimits } = await import("../plan/limits.ts");
  const warnings = findTightLimits(plugins.values());
  if (config === null || problems.length > 0)
    return { problems: [...problems, ...(await startValid(readable, plugins, [...wrong, ...problems]))], warnings };
  const { checkPlugins } = await import("../control/plugin-start-check.ts");
  const { checkStart: startOnce } = await import("../plugin/host/start-check.ts");
  const { buildPlan } = await import("../plan/builder.ts");
  const built = buildPlan(sourcesOf(config, plugins, tls));
  const check = await checkPlugins(startOnce, { built, config, workers: config.workers || availableParallelism() });
  return { problems: check.problems, warnings };
}

/** Starts the plugins without problems so far, so that all problems are reported at once. */
async function startValid(
  readable: Readable,
  plugins: Awaited<ReturnType<typeof loadModules>>["plugins"],
  wrong: readonly Problem[],
): Promise<readonly Problem[]> {
  const { listUses } = await import("../plan/modules.ts");
  const { Instances } = await import("../plan/instances.ts");
  const { locateConfigProblem } = await import("../plan/config-problems.ts");
  const { checkStart: startOnce } = await import("../plugin/host/start-check.ts");
  const uses = [...listUses(readable)].filter(
    ({ name, at }) => plugins.has(name) && !hasProblem(wrong, at.path) && !hasProblem(wrong, `plugins.${name}`),
  );
  const built = new Instances(instanceSources(plugins));
  for (const use of uses) built.add(use);
  const strategies = [...new Set(readable.clusters.flatMap(({ strategy }) => strategy.map(({ name }) => name)))];
  const { problems } = await startOnce({
    modules: built.modules,
    instances: built.plans,
    clusters: readable.clusterNames,
    strategies,
  });
  return problems
    .filter(({ instance }) => instance >= 0)
    .map(({ instance, message }) => locateConfigProblem(message, built.origins[instance]!));
}

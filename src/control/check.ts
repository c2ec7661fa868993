/** Everything about a configuration that can be found out without serving it. */
import type { Config, Problem } from "../config/schema.ts";
import { listWasmFiles, type Modules, readWasmFiles } from "./modules.ts";
import { type Built, buildPlan } from "./plan-builder.ts";

export type CheckTools = {
  readonly builtins: string;
  readonly modules: Modules;
  readonly tryGuests: (built: Built, config: Config) => { readonly problems: readonly Problem[] };
};

/** Builds every plugin and runs its guests once; names are not resolved, and nothing is bound. */
export async function checkConfig(config: Config, tools: CheckTools): Promise<readonly Problem[]> {
  const files = await readWasmFiles(listWasmFiles(config, tools.builtins).keys());
  const { plugins, problems } = await tools.modules.load(config, files);
  if (problems.length > 0) return problems;
  let places = 0;
  const built = buildPlan({
    version: 0,
    config,
    plugins,
    addresses: new Map(),
    listeners: new Map(config.listeners.map(({ name, address }) => [name, address])),
    row: () => places++,
    cells: () => 0,
    namespace: () => 0,
  });
  return tools.tryGuests(built, config).problems;
}

/** The plan that a proxy would make of a configuration, for commands that do not serve it. */
import { readSettings } from "../config/plugin-schema.ts";
import type { Config, Problem } from "../config/schema.ts";
import type { Built } from "../control/plan-builder.ts";

/** Names are not resolved, nothing is bound, and nothing has a place in shared memory. */
export async function planOf(config: Config): Promise<{ built: Built | null; problems: readonly Problem[] }> {
  const { BUILTIN_PLUGINS } = await import("../control/app.ts");
  const { listWasmFiles, Modules, readWasmFiles } = await import("../control/modules.ts");
  const { buildPlan } = await import("../control/plan-builder.ts");
  const { buildModuleAside } = await import("../plugin/build.ts");
  const { Namespaces } = await import("../state/store.ts");

  const modules = new Modules({ build: buildModuleAside, readSettings, builtins: BUILTIN_PLUGINS });
  const files = await readWasmFiles(listWasmFiles(config, BUILTIN_PLUGINS).keys());
  const { plugins, problems } = await modules.load(config, files);
  if (problems.length > 0) return { built: null, problems };
  const namespaces = new Namespaces();
  let rows = 0;
  const built = buildPlan({
    version: 1,
    config,
    plugins,
    readSettings,
    addresses: new Map(),
    listeners: new Map(config.listeners.map(({ name, address }) => [name, address])),
    row: () => rows++,
    listenerRow: () => 0,
    cells: () => 0,
    namespace: (name) => namespaces.numberOf(name),
  });
  return { built, problems: [] };
}

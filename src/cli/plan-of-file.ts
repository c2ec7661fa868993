/** Builds the plan of a configuration for commands that do not serve it. */
import { readSettings } from "../config/plugin-schema.ts";
import type { Config, Problem } from "../config/schema.ts";
import type { Built, PlanSources } from "../plan/builder.ts";
import { listEndpoints } from "../plan/endpoint-set.ts";
import { STATIC_SOURCE } from "../plan/endpoint-source.ts";
import type { InstanceSources } from "../plan/instances.ts";
import type { Plugin } from "../plan/modules.ts";
import type { TlsFiles } from "../plan/tls-files.ts";
import { Namespaces } from "../state/store.ts";

type Parts = Pick<Config, "clusters" | "listeners" | "plugins">;
/** TLS options of listeners and clusters. */
export type TlsParts = Pick<TlsFiles, "servers" | "clients">;

/** Builds the plan without DNS, sockets and shared memory. */
export async function planOf(config: Config): Promise<{ built: Built | null; problems: readonly Problem[] }> {
  const { buildPlan } = await import("../plan/builder.ts");
  const { readTlsFiles } = await import("../plan/tls-files.ts");
  const { plugins, problems } = await loadModules(config);
  const tls = await readTlsFiles(config);
  const all = [...problems, ...tls.problems];
  return all.length > 0
    ? { built: null, problems: all }
    : { built: buildPlan(sourcesOf(config, plugins, tls)), problems: [] };
}

/** Loads the modules of a configuration; returns problems of modules, permissions and configurations. */
export async function loadModules(
  config: Parts,
): Promise<{ plugins: ReadonlyMap<string, Plugin>; problems: readonly Problem[] }> {
  const { BUILTIN_PLUGINS } = await import("../control/app.ts");
  const { listWasmFiles, Modules, readWasmFiles } = await import("../plan/modules.ts");
  const { ModuleBuilder } = await import("../plugin/wasm/builder.ts");
  const builder = new ModuleBuilder(BUILTIN_PLUGINS);
  if (config.plugins.length > 0) builder.warm();
  const modules = new Modules({
    build: (bytes, place) => builder.build(bytes, place),
    readSettings,
    builtins: BUILTIN_PLUGINS,
  });
  const files = await readWasmFiles(listWasmFiles(config, BUILTIN_PLUGINS).keys());
  return modules.load(config, files).finally(() => builder.close());
}

export function sourcesOf(config: Config, plugins: ReadonlyMap<string, Plugin>, tls: TlsParts): PlanSources {
  let rows = 0;
  return {
    ...instanceSources(plugins),
    version: 1,
    config,
    tls: tls.servers,
    tlsToEndpoints: tls.clients,
    endpoints: (cluster) => ({
      version: 1,
      endpoints: listEndpoints(cluster, STATIC_SOURCE.endpoints).map((endpoint) => {
        return { ...endpoint, slot: rows++, cells: 0 };
      }),
    }),
    listeners: new Map(config.listeners.map(({ name, address }) => [name, address])),
    listenerRow: () => 0,
  };
}

export function instanceSources(plugins: ReadonlyMap<string, Plugin>): InstanceSources {
  const namespaces = new Namespaces();
  return { plugins, readSettings, cells: () => 0, namespace: (name) => namespaces.numberOf(name) };
}

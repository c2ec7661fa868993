/** The module `sluice/test` (sdk/test.js, sdk/test.d.ts). */
import type * as kit from "../../sdk/test.js";
import { buildPlugin } from "../compiler/build-plugin.ts";
import { readSettings } from "../config/plugin-schema.ts";
import { parseTree } from "../config/tree.ts";
import type { ModulePlan } from "../plugin/wasm/build.ts";
import { findFile } from "./caller.ts";
import { TestGuest } from "./guest.ts";
import { loadHelpers } from "./helpers.ts";
import { memoryOf } from "./limits.ts";

export { PluginFailure } from "./runner.ts";

export const plugin: typeof kit.plugin = async (file, options = {}) => {
  const path = findFile(file);
  const module = await buildPlugin(path, memoryOf(options.limits), options.hooks);
  const clusters = options.clusters ?? (process.env.SLUICE_TEST_CLUSTERS ?? "").split(",").filter(Boolean);
  const config = readConfig(module, options.config);
  return new TestGuest(module, { ...options, clusters, config }, path);
};

export const helpers: typeof kit.helpers = async (file) => loadHelpers(findFile(file));

/** Validates the configuration against the schema of the plugin, as the proxy does. */
function readConfig({ info }: ModulePlan, config: unknown): unknown {
  if (info.configSchema === null) return config;
  const at = { file: "config", line: 1, column: 1, path: "" };
  const { tree } = parseTree(JSON.stringify(config ?? null), { file: at.file, env: null });
  const { value, problems } = readSettings(info.configSchema, tree === null ? undefined : { tree }, at);
  const lines = problems.map(({ path, message }) => `config${path === "" ? "" : `.${path}`}: ${message}`);
  if (lines.length > 0) throw new Error(lines.join("\n"));
  return config === undefined ? undefined : value;
}

/** Configuration, clusters and limits of a plugin to measure, from options and the `sluice.yaml` of its project. */
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { loadConfig } from "../config/load.ts";
import { readSettings } from "../config/plugin-schema.ts";
import type { PluginConfig } from "../config/schema.ts";
import { hookNames } from "../plan/modules.ts";
import type { HookNames } from "../plugin/abi/abi.ts";
import { DEFAULT_MEMORY } from "../testing/load.ts";
import { UsageError } from "./usage.ts";

/** Options for `parseArgs` of commands that measure plugins. */
export const CONTEXT_OPTIONS = {
  config: { type: "string" },
  clusters: { type: "string", default: "" },
  kv: { type: "string", default: "" },
} as const;

type Values = { readonly config?: string | undefined; readonly clusters: string; readonly kv: string };

/** The parsed options. */
export type Given = {
  /** Null if the option is missing; its value may be null too. */
  readonly config: { readonly value: unknown } | null;
  readonly clusters: readonly string[];
  readonly namespaces: readonly string[];
};

export function parseContext({ config, clusters, kv }: Values): Given {
  return {
    config: config === undefined ? null : { value: parseConfig(config) },
    clusters: listOf(clusters),
    namespaces: listOf(kv),
  };
}

export type PluginContext = {
  readonly memory: number;
  /** Export names of hooks, from `hooks` of the plugin in the file. */
  readonly hookNames: HookNames;
  readonly clusters: readonly string[];
  readonly namespaces: readonly string[];
  /** Returns the configuration, validated against the module's schema. */
  readonly configFor: (schema: string | null) => unknown;
};

/** `path`: source or module of the plugin. Options take precedence over the file. */
export async function readContext(path: string, given: Given): Promise<PluginContext> {
  const declared = (await findDeclared(dirname(path), path)) ?? (await findDeclared(join(dirname(path), ".."), path));
  return {
    memory: declared?.plugin.limits.memory ?? DEFAULT_MEMORY,
    hookNames: hookNames(declared?.plugin),
    clusters: [...given.clusters, ...(declared?.clusters ?? [])],
    namespaces: [...given.namespaces, ...(declared?.plugin.allow.kv ?? [])],
    configFor: (schema) => {
      if (given.config !== null || declared === null) return given.config?.value ?? null;
      return readSettings(schema, declared.plugin.config, declared.plugin.at).value;
    },
  };
}

/** Finds the plugin in the `sluice.yaml` of a directory. Problems of the file are ignored here; `check` reports them. */
async function findDeclared(
  directory: string,
  path: string,
): Promise<{ plugin: PluginConfig; clusters: readonly string[] } | null> {
  const file = join(directory, "sluice.yaml");
  const text = await readFile(file, "utf8").catch(() => null);
  if (text === null) return null;
  const { readable } = loadConfig(text, { file, env: process.env });
  const isPlugin = (one: { readonly path: string } | undefined) =>
    one !== undefined && resolve(one.path) === resolve(path);
  const plugin = readable?.plugins.find(({ wasm, source }) => isPlugin(source) || isPlugin(wasm));
  return plugin === undefined ? null : { plugin, clusters: readable!.clusterNames };
}

function listOf(text: string): string[] {
  return text.split(",").filter(Boolean);
}

function parseConfig(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--config is not JSON: ${(error as Error).message}`);
  }
}

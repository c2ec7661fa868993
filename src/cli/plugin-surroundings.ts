/** What a plugin that is measured finds around it: as the `sluice.yaml` beside it declares it, or as options say. */
import { readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { loadConfig } from "../config/load.ts";
import { readSettings } from "../config/plugin-schema.ts";
import type { PluginConfig } from "../config/schema.ts";
import type { HookNames } from "../plugin/abi/abi.ts";
import { DEFAULT_MEMORY } from "../testing/load.ts";
import { UsageError } from "./usage.ts";

/** Of `parseArgs`, for the commands that measure. */
export const SURROUNDING_OPTIONS = {
  config: { type: "string" },
  clusters: { type: "string", default: "" },
  kv: { type: "string", default: "" },
} as const;

type Values = { readonly config?: string | undefined; readonly clusters: string; readonly kv: string };

/** What options say. */
export type Given = {
  /** Null without a configuration, which may be `null` itself. */
  readonly config: { readonly value: unknown } | null;
  readonly clusters: readonly string[];
  readonly namespaces: readonly string[];
};

export function parseSurroundings({ config, clusters, kv }: Values): Given {
  return {
    config: config === undefined ? null : { value: parseConfig(config) },
    clusters: listOf(clusters),
    namespaces: listOf(kv),
  };
}

export type Surroundings = {
  readonly memory: number;
  /** The exports that are its hooks, where the file names them. */
  readonly hookNames: HookNames;
  readonly clusters: readonly string[];
  readonly namespaces: readonly string[];
  /** The configuration, read by the schema that the module brings. */
  readonly configFor: (schema: string | null) => unknown;
};

/** `path` is the source or the module of the plugin. What options say goes before what the file says. */
export async function readSurroundings(path: string, given: Given): Promise<Surroundings> {
  const declared = (await findDeclared(dirname(path), path)) ?? (await findDeclared(join(dirname(path), ".."), path));
  return {
    memory: declared?.plugin.limits.memory ?? DEFAULT_MEMORY,
    hookNames: declared?.plugin.hooks ?? {},
    clusters: [...given.clusters, ...(declared?.clusters ?? [])],
    namespaces: [...given.namespaces, ...(declared?.plugin.allow.kv ?? [])],
    configFor: (schema) => {
      if (given.config !== null || declared === null) return given.config?.value ?? null;
      return readSettings(schema, declared.plugin.config, declared.plugin.at).value;
    },
  };
}

/** Where a file has mistakes, what can be read of it is enough here: `check` reports them. */
async function findDeclared(
  directory: string,
  path: string,
): Promise<{ plugin: PluginConfig; clusters: readonly string[] } | null> {
  const file = join(directory, "sluice.yaml");
  const text = await readFile(file, "utf8").catch(() => null);
  if (text === null) return null;
  const { readable } = loadConfig(text, { file, env: process.env });
  const isIt = (one: { readonly path: string } | undefined) => one !== undefined && resolve(one.path) === resolve(path);
  const plugin = readable?.plugins.find(({ wasm, source }) => isIt(source) || isIt(wasm));
  return plugin === undefined ? null : { plugin, clusters: readable!.clusterNames };
}

export function listOf(text: string): string[] {
  return text.split(",").filter(Boolean);
}

function parseConfig(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--config is JSON: ${(error as Error).message}`);
  }
}

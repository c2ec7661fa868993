/** Finds, reads and builds the WebAssembly modules of a configuration; each is built once while in use. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import {
  BUILTINS,
  type Config,
  type Place,
  type PluginConfig,
  type PluginUse,
  type Problem,
  type Settings,
} from "../config/schema.ts";
import type { BuildPlace, ModulePlan } from "../plugin/wasm/build.ts";
import { checkPermissions } from "./permissions.ts";
import { checkRoles, type Roles } from "./roles.ts";

/** A plugin as routes name it: one of `plugins`, or a built-in. */
export type Plugin = {
  readonly name: string;
  readonly module: ModulePlan;
  readonly canary: Canary | null;
  /** Its entry in `plugins`; null for a built-in. */
  readonly declared: PluginConfig | null;
  /** Maximum memory, bytes. */
  readonly memory: number;
};

/** The canary version of a plugin: number of its rollout, and its share of the requests. */
export type Canary = { readonly module: ModulePlan; readonly number: number; readonly share: number };

/** The versions of a plugin to use instead of its file. */
export type PluginVersions = {
  readonly baseline: { readonly bytes: Uint8Array };
  readonly canary: { readonly bytes: Uint8Array; readonly number: number; readonly share: number } | null;
};

/** Contents of the files by path; a problem's text for one that could not be read. */
export type WasmFiles = ReadonlyMap<string, Uint8Array | string>;

/** The parts of a configuration that refer to plugins. */
type UsesPlugins = Pick<Config, "clusters" | "listeners" | "plugins">;

export type BuildModule = (bytes: Uint8Array, options: BuildPlace) => Promise<ModulePlan>;

/** Reads a configuration by the module's embedded schema, if any (`config/plugin-schema.ts`). */
export type ReadSettings = (
  schema: string | null,
  settings: Settings | undefined,
  at: Place,
) => { readonly value: unknown; readonly problems: readonly Problem[] };

export type ModulesOptions = {
  readonly build: BuildModule;
  readonly readSettings: ReadSettings;
  /** The directory of the built-in plugins. */
  readonly builtins: string;
};

/** Added to a problem of the baseline with a configuration that the canary version accepts. */
export const BASELINE_NOTE = "(reported by the baseline, which stays in service during the canary rollout)";

const BUILTIN_MEMORY = 16 * 1024 * 1024;

/** The files of all declared plugins and used built-ins, with the first position that names each. */
export function listWasmFiles(config: UsesPlugins, builtins: string): Map<string, Place> {
  const files = new Map<string, Place>();
  for (const plugin of config.plugins) files.set(plugin.wasm.path, plugin.wasm.at);
  for (const use of listUses(config)) {
    if (!isBuiltin(config, use.name)) continue;
    const path = builtinPath(builtins, use.name);
    if (!files.has(path)) files.set(path, use.at);
  }
  return files;
}

export async function readWasmFiles(paths: Iterable<string>): Promise<WasmFiles> {
  const read = async (path: string): Promise<[string, Uint8Array | string]> => {
    try {
      return [path, await readFile(path)];
    } catch (error) {
      return [path, describeUnreadable(path, error)];
    }
  };
  return new Map(await Promise.all([...paths].map(read)));
}

function describeUnreadable(path: string, error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (code === "ENOENT") return `there is no file ${path}`;
  if (code === "EISDIR") return `${path} is a directory, expected a .wasm file`;
  return `${path} cannot be read: ${(error as Error).message}`;
}

/** The command that builds a missing module. */
function adviseBuild(declared: PluginConfig | null): string {
  if (declared === null) return "; `npm ci` in the checkout builds it";
  const { source, wasm } = declared;
  if (source === undefined) return "";
  const name = relative("", source.path);
  if (!existsSync(source.path)) return `, nor its source ${name}`;
  const out =
    resolve(source.path.replace(/\.ts$/, ".wasm")) === resolve(wasm.path) ? "" : ` -o ${relative("", wasm.path)}`;
  return `: run \`sluice plugin build ${name}${out}\``;
}

/** All uses of plugins in a configuration. */
export function* listUses(config: Pick<Config, "clusters" | "listeners">): Iterable<PluginUse> {
  for (const { strategy, health } of config.clusters) {
    yield* strategy;
    if (health.active?.probe.kind === "plugin") yield health.active.probe.use;
  }
  for (const listener of config.listeners) {
    yield* listener.chain;
    for (const route of listener.routes) {
      yield* route.chain;
      if (route.action.kind === "router") yield route.action.router;
    }
  }
}

/** The exports that a plugin's configuration names as its hooks. */
export function hookNames(declared: PluginConfig | null | undefined): { readonly [hook: string]: string } {
  return Object.fromEntries(Object.entries(declared?.hooks ?? {}).map(([hook, { name }]) => [hook, name]));
}

/** The place of the entry in `hooks` that a PluginError names. */
function placeOf(declared: PluginConfig | null, error: unknown): Place | undefined {
  const { hook } = error as { readonly hook?: string };
  return Object.entries(declared?.hooks ?? {}).find(([name]) => name === hook)?.[1].at;
}

/** Builds modules and caches those of the last version: an unchanged file is not rebuilt. */
export class Modules {
  readonly #build: BuildModule;
  readonly #readSettings: ReadSettings;
  readonly #builtins: string;
  #built = new Map<string, ModulePlan>();

  constructor(options: ModulesOptions) {
    this.#build = options.build;
    this.#readSettings = options.readSettings;
    this.#builtins = options.builtins;
  }

  /** All plugins by name; failed builds are in `problems` instead. */
  async load(
    config: UsesPlugins,
    files: WasmFiles,
    versions: ReadonlyMap<string, PluginVersions> = new Map(),
  ): Promise<{ plugins: Map<string, Plugin>; problems: Problem[] }> {
    const built = new Map<string, ModulePlan>();
    const plugins = new Map<string, Plugin>();
    const problems: Problem[] = [];
    const add = async (name: string, declared: PluginConfig | null, path: string, at: Place) => {
      const memory = declared?.limits.memory ?? BUILTIN_MEMORY;
      const place = { memory, path, hooks: hookNames(declared) };
      const selected = versions.get(name);
      const bytes = selected?.baseline.bytes ?? files.get(path) ?? `there is no file ${path}`;
      const advice = () => (typeof bytes === "string" && !existsSync(path) ? adviseBuild(declared) : "");
      try {
        if (typeof bytes === "string") throw new Error(bytes);
        const module = await this.#take(built, bytes, place);
        const next = selected?.canary ?? null;
        const { number, share } = next ?? { number: 0, share: 0 };
        const canary = next && { number, share, module: await this.#take(built, next.bytes, place) };
        plugins.set(name, { name, declared, memory, module, canary });
        const groups = new Set([...module.info.groups, ...(canary?.module.info.groups ?? [])]);
        // Built-ins need no permissions.
        if (declared !== null) problems.push(...checkPermissions(declared.allow, [...groups], module.info.hooks));
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        problems.push({
          ...(placeOf(declared, error) ?? at),
          message: typeof bytes === "string" ? message + advice() : `${path}: ${message}`,
        });
      }
    };
    for (const declared of config.plugins) await add(declared.name, declared, declared.wasm.path, declared.wasm.at);
    const seen = new Set(config.plugins.map((declared) => declared.name));
    for (const { name, at } of listUses(config)) {
      if (seen.has(name) || !isBuiltin(config, name)) continue;
      seen.add(name);
      await add(name, null, builtinPath(this.#builtins, name), at);
    }
    this.#built = built;
    const roles = checkRoles(config, plugins);
    problems.push(...this.#checkConfigurations(config, plugins, roles), ...roles.problems);
    return { plugins, problems };
  }

  /** Checks each configuration at its position; a missing one at the plugin's use, unless that is wrong itself. */
  #checkConfigurations(
    config: UsesPlugins,
    plugins: ReadonlyMap<string, Plugin>,
    { misplaced }: Pick<Roles, "misplaced">,
  ): Problem[] {
    const check = (name: string, settings: Settings | undefined, at: Place): readonly Problem[] => {
      const { module, canary = null } = plugins.get(name) ?? {};
      const ask = (asked: ModulePlan | undefined) =>
        asked === undefined ? [] : this.#readSettings(asked.info.configSchema, settings, at).problems;
      const problems = ask(canary?.module ?? module);
      // If both versions report problems, one list is enough.
      if (canary === null || problems.length > 0) return problems;
      return ask(module).map((problem) => ({
        ...problem,
        message: `${problem.message} ${BASELINE_NOTE}`,
      }));
    };
    const declared = config.plugins.filter((plugin) => plugin.config !== undefined);
    const problems = declared.flatMap((plugin) => check(plugin.name, plugin.config, plugin.at));
    for (const use of listUses(config)) {
      if (misplaced.has(use)) continue;
      const isDeclared = declared.some(({ name }) => name === use.name);
      if (use.config !== undefined || !isDeclared) problems.push(...check(use.name, use.config, use.at));
    }
    return problems;
  }

  async #take(built: Map<string, ModulePlan>, bytes: Uint8Array, options: BuildPlace): Promise<ModulePlan> {
    const hash = createHash("sha256").update(bytes).digest("hex");
    const key = `${hash} ${options.memory} ${JSON.stringify(options.hooks ?? {})}`;
    const module = built.get(key) ?? this.#built.get(key) ?? (await this.#build(bytes, options));
    built.set(key, module);
    return module;
  }
}

/** Unknown names are skipped; they are reported by the reader of the configuration. */
function isBuiltin({ plugins }: UsesPlugins, name: string): boolean {
  return Object.hasOwn(BUILTINS, name) && !plugins.some((plugin) => plugin.name === name);
}

function builtinPath(builtins: string, name: string): string {
  return join(builtins, `${name}.wasm`);
}

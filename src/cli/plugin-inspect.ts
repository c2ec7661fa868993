/**
 * `sluice plugin inspect FILE.wasm`: prints ABI, hooks, permissions, configuration, size and cost of a module; for a
 * manifest of Extism, its entry in `plugins`.
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { ABI_VERSION, EXPORT, HOOKS, type Hook, type IMPORTS } from "../abi/abi.ts";
import { describeSettings } from "../config/plugin-config.ts";
import { parsePluginSchema } from "../config/plugin-schema.ts";
import { permissionFor } from "../plan/permissions.ts";
import { type ExtismHook, HOOK_EXPORTS, USER, userModule } from "../plugin/abi/extism/interface.ts";
import { type ModulePlan, readChecked } from "../plugin/wasm/build.ts";
import { ModuleBuilder } from "../plugin/wasm/builder.ts";
import { describeManifest, isManifest } from "./extism-manifest.ts";
import { formatCosts } from "./plugin-bench.ts";
import { CONTEXT_OPTIONS, type Given, parseContext, readContext } from "./plugin-context.ts";
import { measureCosts } from "./plugin-cost.ts";
import { describeSize, kibibytes } from "./plugin-size.ts";
import { UsageError } from "./usage.ts";

const PAGE = 64 * 1024;

/** What each import module permits. */
type Group = keyof typeof IMPORTS | "extism:host/env" | "sluice:http/1" | "wasi_snapshot_preview1";
const PERMISSIONS: { readonly [G in Group]: string } = {
  "sluice:core/1": "read and change requests and responses, and select permitted clusters",
  "sluice:log/1": "write to the log",
  "sluice:metrics/1": "define and update metrics",
  "sluice:kv/1": "read and write entries of permitted namespaces, shared by all workers",
  "sluice:sleep/1": "suspend for a time",
  "sluice:fetch/1": "send subrequests to permitted targets",
  "sluice:probe/1": "connect to the endpoint under check",
  "sluice:clock/1": "read the time in microseconds",
  "sluice:balance/1": "read endpoints and their load",
  "sluice:crypto/1": "compute hashes, verify signatures, generate secure random bytes",
  "extism:host/env":
    "read and change requests and responses, select clusters and endpoints, log, store variables, send subrequests to permitted targets (allow.fetch)",
  "sluice:http/1": "read and change requests and responses, and select permitted clusters",
  wasi_snapshot_preview1: "write to the log, read a coarse clock, generate random bytes",
};

export async function run(args: string[]): Promise<number> {
  const { file, given } = readArguments(args);
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${file}: ${error.code === "ENOENT" ? "no such file" : error.message}`, { cause: error });
  });
  if (isManifest(bytes)) {
    process.stdout.write(describeManifest(file, bytes.toString("utf8")));
    return 0;
  }
  const { memory: limit, hookNames, configFor, ...context } = await readContext(file, given);
  const module = await new ModuleBuilder()
    .build(bytes, { memory: limit, hooks: hookNames, path: file })
    .catch((error: Error) => {
      throw new Error(`${file}: ${error.message}`, { cause: error });
    });
  const { imports, exports, memory } = readChecked(bytes, hookNames);
  const hooks = HOOKS.filter((_, number) => (module.info.hooks >>> number) & 1);
  const lines: [label: string, text: string][] = [
    ["abi", module.info.abi === "native" ? String(ABI_VERSION) : "Extism"],
    ["size", kibibytes(bytes.length)],
    ["hash", module.hash],
    ["memory", memory === null ? "none" : `${kibibytes(memory.initial * PAGE)}, at most ${maximum(memory.maximum)}`],
    ["serves", exports.some(({ name }) => name === EXPORT.serves) ? "many configurations" : "one configuration"],
    ["hooks", hooks.map((hook) => describeHook(hook, module)).join(" ")],
    ["speed", module.info.unoptimised === null ? "optimised" : `not optimised: ${module.info.unoptimised}`],
  ];
  for (const group of module.info.groups) {
    const names = imports.filter((declared) => groupOf(declared) === group).map(({ name }) => name);
    lines.push(["imports", `${group}: ${names.sort().join(" ")}`]);
    const needs = permissionFor(group);
    lines.push([
      "may",
      `${PERMISSIONS[group as keyof typeof PERMISSIONS]}${needs === null ? "" : `, requires allow: { ${needs} }`}`,
    ]);
  }
  lines.push(...describeConfig(module.info.configSchema));
  process.stdout.write(
    `${file}\n${lines.map(([label, text]) => `  ${label.padEnd(8)} ${text}\n`).join("")}${describeSize(bytes)}`,
  );
  const config = configFor(module.info.configSchema);
  process.stdout.write(describeCosts(() => measureCosts(module, { memory: limit, config, ...context })));
  return 0;
}

/** The group of a host function; those of `extism:host/user` are of other modules. */
function groupOf({ module, name }: { readonly module: string; readonly name: string }): string {
  return (module === USER ? userModule(name) : null) ?? module;
}

/** The keys of the configuration, from the module's schema. */
function describeConfig(schemaText: string | null): [label: string, text: string][] {
  if (schemaText === null) return [["config", "no schema: any configuration is accepted"]];
  const { schema, problems } = parsePluginSchema(schemaText, { file: "", line: 0, column: 0, path: "" });
  if (schema === null) return problems.map(({ message }) => ["config", message]);
  const settings = describeSettings(schema);
  if (settings.length === 0) return [["config", schema.additional === false ? "none" : "any"]];
  return settings.map(({ key, value, usual, description }) => {
    const notes = [usual === "" || usual === "required" ? usual : `default ${usual}`, description].filter(Boolean);
    return ["config", `${key}: ${value}${notes.length === 0 ? "" : `  (${notes.join("; ")})`}`];
  });
}

/** An Extism plugin exports hooks by other names. */
function describeHook(hook: Hook, { info }: ModulePlan): string {
  if (info.abi === "native") return hook;
  const own = HOOK_EXPORTS[hook as ExtismHook];
  return `${hook} (${info.hookNames[own] ?? own})`;
}

function readArguments(args: string[]): { file: string; given: Given } {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: CONTEXT_OPTIONS });
  const [file, ...rest] = positionals;
  if (file === undefined || rest.length > 0)
    throw new UsageError("plugin inspect takes one FILE.wasm, or a manifest of Extism");
  return { file, given: parseContext(values) };
}

/** The costs; or why they were not measured: the plugin may not start without its configuration. */
function describeCosts(measure: () => ReturnType<typeof measureCosts>): string {
  try {
    return formatCosts(measure());
  } catch (error) {
    return `  not measured (set --config JSON, --clusters A,B or --kv A,B): ${(error as Error).message.split("\n")[0]}\n`;
  }
}

function maximum(pages: number | null): string {
  return pages === null ? "limits.memory" : kibibytes(pages * PAGE);
}

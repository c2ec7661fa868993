/** `sluice plugin inspect FILE.wasm`: what a module is, may do, and costs. */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { ABI_VERSION, EXPORT, HOOKS, type IMPORTS } from "../abi/abi.ts";
import { describeSettings } from "../config/plugin-config.ts";
import { parsePluginSchema } from "../config/plugin-schema.ts";
import { permissionFor } from "../plan/permissions.ts";
import { readChecked } from "../plugin/wasm/build.ts";
import { ModuleBuilder } from "../plugin/wasm/builder.ts";
import { formatCosts } from "./plugin-bench.ts";
import { measureCosts } from "./plugin-cost.ts";
import { describeSize, kibibytes } from "./plugin-size.ts";
import { type Given, parseSurroundings, readSurroundings, SURROUNDING_OPTIONS } from "./plugin-surroundings.ts";
import { UsageError } from "./usage.ts";

const PAGE = 64 * 1024;

/** Import groups are permissions: what a plugin that has them can do. */
const PERMISSIONS: { readonly [G in keyof typeof IMPORTS | "extism:host/env"]: string } = {
  "sluice:core/1": "read and change requests and responses, and choose among the clusters that it is allowed",
  "sluice:log/1": "write to the log",
  "sluice:metrics/1": "count in metrics of its own",
  "sluice:kv/1": "keep entries that all threads share, in the namespaces that it is allowed",
  "sluice:sleep/1": "wait",
  "sluice:fetch/1": "send requests of its own, to whom it is allowed",
  "sluice:probe/1": "speak to the endpoint that it checks",
  "sluice:clock/1": "tell the time to the microsecond",
  "sluice:balance/1": "see endpoints and their load",
  "sluice:crypto/1": "compute hashes, check signatures, draw secure random bytes",
  "extism:host/env":
    "read and change requests and responses, choose among clusters and endpoints, log, keep variables, send requests to whom it is allowed (allow.fetch)",
};

export async function run(args: string[]): Promise<number> {
  const { file, given } = readArguments(args);
  const { memory: limit, hookNames, configFor, ...surroundings } = await readSurroundings(file, given);
  const bytes = await readFile(file);
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
    ["hooks", hooks.join(" ")],
    ["speed", module.info.unoptimised === null ? "optimised" : `not optimised: ${module.info.unoptimised}`],
  ];
  for (const group of module.info.groups) {
    const names = imports.filter((declared) => declared.module === group).map(({ name }) => name);
    lines.push(["imports", `${group}: ${names.sort().join(" ")}`]);
    const needs = permissionFor(group);
    lines.push([
      "may",
      `${PERMISSIONS[group as keyof typeof PERMISSIONS]}${needs === null ? "" : `, when allowed: { ${needs} }`}`,
    ]);
  }
  lines.push(...describeConfig(module.info.configSchema));
  process.stdout.write(
    `${file}\n${lines.map(([label, text]) => `  ${label.padEnd(8)} ${text}\n`).join("")}${describeSize(bytes)}`,
  );
  const config = configFor(module.info.configSchema);
  process.stdout.write(describeCosts(() => measureCosts(module, { memory: limit, config, ...surroundings })));
  return 0;
}

/** The keys of its configuration, by the schema that it brings. */
function describeConfig(schemaText: string | null): [label: string, text: string][] {
  if (schemaText === null) return [["config", "brings no schema: any configuration is handed to it"]];
  const { schema, problems } = parsePluginSchema(schemaText, { file: "", line: 0, column: 0, path: "" });
  if (schema === null) return problems.map(({ message }) => ["config", message]);
  const settings = describeSettings(schema);
  if (settings.length === 0) return [["config", schema.additional === false ? "none" : "any"]];
  return settings.map(({ key, value, usual, description }) => {
    const notes = [usual === "" || usual === "required" ? usual : `default ${usual}`, description].filter(Boolean);
    return ["config", `${key}: ${value}${notes.length === 0 ? "" : `  (${notes.join("; ")})`}`];
  });
}

function readArguments(args: string[]): { file: string; given: Given } {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options: SURROUNDING_OPTIONS });
  const [file, ...rest] = positionals;
  if (file === undefined || rest.length > 0) throw new UsageError("plugin inspect takes one FILE.wasm");
  return { file, given: parseSurroundings(values) };
}

/** A plugin may need its configuration to start: then there is nothing to measure, and that is no failure. */
function describeCosts(measure: () => ReturnType<typeof measureCosts>): string {
  try {
    return formatCosts(measure());
  } catch (error) {
    return `  not measured (--config JSON, --clusters A,B and --kv A,B help): ${(error as Error).message.split("\n")[0]}\n`;
  }
}

function maximum(pages: number | null): string {
  return pages === null ? "what limits.memory says" : kibibytes(pages * PAGE);
}

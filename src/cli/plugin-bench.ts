/** `sluice plugin bench [PATH]`: what a call of each hook costs, in time, fuel and memory. */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { buildModule, buildModuleAside, type ModulePlan } from "../plugin/build.ts";
import { decodeSourceMap } from "../plugin/source-map.ts";
import { compile, formatProblem } from "./compile.ts";
import { findSource } from "./plugin-build.ts";
import { type Cost, measureCosts } from "./plugin-cost.ts";
import { DEFAULT_MEMORY } from "./testing/load.ts";
import { UsageError } from "./usage.ts";

export async function run(args: string[]): Promise<number> {
  const { path, ...options } = readArguments(args);
  const module = await load(path);
  const costs = measureCosts(module, { memory: DEFAULT_MEMORY, ...options });
  process.stdout.write(formatCosts(costs));
  return 0;
}

async function load(path: string): Promise<ModulePlan> {
  const memory = DEFAULT_MEMORY;
  if (path.endsWith(".wasm")) return buildModuleAside(await readFile(path), { memory, path });
  const compiled = await compile(findSource(path));
  if (compiled.problems) throw new Error(compiled.problems.map(formatProblem).join("\n"));
  return buildModule(compiled.wasm, { memory, sourceMap: decodeSourceMap(compiled.sourceMap, compiled.wasm) });
}

export function formatCosts(costs: readonly Cost[]): string {
  const lines = costs.map(({ hook, nanoseconds, fuel, grown }) => {
    const memory = grown === 0 ? "no memory beyond what it began with" : `${grown / 1024} KiB of memory in all`;
    return `    ${hook.padEnd(18)} ${Math.round(nanoseconds)} ns, ${Math.round(fuel)} units of fuel, ${memory}\n`;
  });
  if (lines.length === 0) return "  no hook to measure by itself\n";
  return `  one call, with ten headers, a body of 1 KiB, or three endpoints:\n${lines.join("")}`;
}

type Arguments = {
  readonly path: string;
  readonly config: unknown;
  readonly clusters: readonly string[];
  readonly namespaces: readonly string[];
  readonly request: string | undefined;
};

function readArguments(args: string[]): Arguments {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      config: { type: "string", default: "null" },
      clusters: { type: "string", default: "" },
      kv: { type: "string", default: "" },
      method: { type: "string", short: "X", default: "GET" },
      url: { type: "string" },
      header: { type: "string", short: "H", multiple: true, default: [] },
    },
  });
  if (positionals.length > 1) throw new UsageError("plugin bench takes one PATH");
  const { method, url, header } = values;
  const list = (text: string) => text.split(",").filter(Boolean);
  const own = url !== undefined || header.length > 0 || method !== "GET";
  return {
    path: positionals[0] ?? ".",
    config: parseConfig(values.config),
    clusters: list(values.clusters),
    namespaces: list(values.kv),
    request: own ? writeRequest(method, url ?? "http://www.example.com/", header) : undefined,
  };
}

export function parseConfig(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--config is JSON: ${(error as Error).message}`);
  }
}

function writeRequest(method: string, url: string, headers: readonly string[]): string {
  if (!URL.canParse(url, "http://www.example.com/")) throw new UsageError(`--url is no URL: ${url}`);
  const { host, pathname, search } = new URL(url, "http://www.example.com/");
  return [`${method} ${pathname}${search} HTTP/1.1`, `Host: ${host}`, ...headers, "\r\n"].join("\r\n");
}

/** `sluice plugin bench [PATH]`: what a call of each hook costs, in time, fuel and memory. */
import { parseArgs } from "node:util";
import { buildPlugin } from "../compiler/build-plugin.ts";
import { findSource } from "./plugin-build.ts";
import { type Cost, measureCosts } from "./plugin-cost.ts";
import { type Given, parseSurroundings, readSurroundings, SURROUNDING_OPTIONS } from "./plugin-surroundings.ts";
import { UsageError } from "./usage.ts";

export async function run(args: string[]): Promise<number> {
  const { path, request, given } = readArguments(args);
  const file = path.endsWith(".wasm") ? path : findSource(path);
  const { memory, configFor, ...surroundings } = await readSurroundings(file, given);
  const module = await buildPlugin(file, memory);
  const config = configFor(module.info.configSchema);
  process.stdout.write(formatCosts(measureCosts(module, { memory, config, request, ...surroundings })));
  return 0;
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
  readonly request: string | undefined;
  readonly given: Given;
};

function readArguments(args: string[]): Arguments {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...SURROUNDING_OPTIONS,
      method: { type: "string", short: "X", default: "GET" },
      url: { type: "string" },
      header: { type: "string", short: "H", multiple: true, default: [] },
    },
  });
  if (positionals.length > 1) throw new UsageError("plugin bench takes one PATH");
  const { method, url, header } = values;
  const own = url !== undefined || header.length > 0 || method !== "GET";
  return {
    path: positionals[0] ?? ".",
    request: own ? writeRequest(method, url ?? "http://www.example.com/", header) : undefined,
    given: parseSurroundings(values),
  };
}

function writeRequest(method: string, url: string, headers: readonly string[]): string {
  if (!URL.canParse(url, "http://www.example.com/")) throw new UsageError(`--url is no URL: ${url}`);
  const { host, pathname, search } = new URL(url, "http://www.example.com/");
  return [`${method} ${pathname}${search} HTTP/1.1`, `Host: ${host}`, ...headers, "\r\n"].join("\r\n");
}

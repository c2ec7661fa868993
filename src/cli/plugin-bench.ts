/** `sluice plugin bench [PATH]`: measures time, fuel and memory of a call of each hook. */
import { parseArgs } from "node:util";
import { buildPlugin } from "../compiler/build-plugin.ts";
import { CONTEXT_OPTIONS, type Given, parseContext, readContext } from "./plugin-context.ts";
import { type Cost, measureCosts } from "./plugin-cost.ts";
import { findSource } from "./plugin-source.ts";
import { UsageError } from "./usage.ts";

export async function run(args: string[]): Promise<number> {
  const { path, request, given } = readArguments(args);
  const file = path.endsWith(".wasm") ? path : findSource(path);
  const { memory, hookNames, configFor, ...context } = await readContext(file, given);
  const module = await buildPlugin(file, memory, hookNames);
  const config = configFor(module.info.configSchema);
  process.stdout.write(formatCosts(measureCosts(module, { memory, config, request, ...context })));
  return 0;
}

export function formatCosts(costs: readonly Cost[]): string {
  const lines = costs.map(({ hook, nanoseconds, fuel, grown }) => {
    const memory = grown === 0 ? "no memory growth" : `memory grew by ${grown / 1024} KiB in total`;
    return `    ${hook.padEnd(18)} ${Math.round(nanoseconds)} ns, ${Math.round(fuel)} units of fuel, ${memory}\n`;
  });
  if (lines.length === 0) return "  no measurable hook\n";
  return `  cost of one call (ten headers, a body of 1 KiB, three endpoints):\n${lines.join("")}`;
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
      ...CONTEXT_OPTIONS,
      method: { type: "string", short: "X", default: "GET" },
      url: { type: "string" },
      header: { type: "string", short: "H", multiple: true, default: [] },
    },
  });
  if (positionals.length > 1) throw new UsageError("plugin bench takes one PATH");
  const { method, url, header } = values;
  const isCustom = url !== undefined || header.length > 0 || method !== "GET";
  return {
    path: positionals[0] ?? ".",
    request: isCustom ? writeRequest(method, url ?? "http://www.example.com/", header) : undefined,
    given: parseContext(values),
  };
}

function writeRequest(method: string, url: string, headers: readonly string[]): string {
  if (!URL.canParse(url, "http://www.example.com/")) throw new UsageError(`invalid --url "${url}"`);
  const { host, pathname, search } = new URL(url, "http://www.example.com/");
  return [`${method} ${pathname}${search} HTTP/1.1`, `Host: ${host}`, ...headers, "\r\n"].join("\r\n");
}

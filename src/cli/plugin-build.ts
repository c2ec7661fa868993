/** `sluice plugin build [PATH]`: compiles a plugin, or reports its problems with their positions. */
import { parseArgs } from "node:util";
import { HOOKS } from "../abi/abi.ts";
import { compile, formatProblem, modulePath, type Problem, type Runtime, writeModule } from "../compiler/compile.ts";
import { ModuleBuilder } from "../plugin/wasm/builder.ts";
import { describeSize, kibibytes } from "./plugin-size.ts";
import { findSource } from "./plugin-source.ts";
import { UsageError } from "./usage.ts";

/** Memory limit for the check of the module; that of the configuration applies when it is loaded. */
const MEMORY = 16 * 1024 * 1024;

export async function run(args: string[]): Promise<number> {
  const parsed = readArguments(args);
  const file = findSource(parsed.path);
  const compiled = await compile(file, parsed);
  if (compiled.problems) return fail(compiled.problems);
  const out = await writeModule(compiled, parsed.out ?? modulePath(file));
  const { info } = await new ModuleBuilder().build(compiled.wasm, { memory: MEMORY, path: out });
  const hooks = HOOKS.filter((_, i) => (info.hooks >>> i) & 1);
  process.stdout.write(`${out}  ${kibibytes(info.size)}  hooks: ${hooks.join(" ")}\n${describeSize(compiled.wasm)}`);
  return 0;
}

type Arguments = { readonly path: string; readonly runtime: Runtime | undefined; readonly out: string | undefined };

function readArguments(args: string[]): Arguments {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { runtime: { type: "string" }, out: { type: "string", short: "o" } },
  });
  if (positionals.length > 1) throw new UsageError("plugin build takes one PATH");
  const { runtime, out } = values;
  if (runtime !== undefined && runtime !== "arena" && runtime !== "gc")
    throw new UsageError(`invalid --runtime "${runtime}": expected arena or gc`);
  return { path: positionals[0] ?? ".", runtime, out };
}

function fail(problems: readonly Problem[]): number {
  for (const problem of problems) process.stderr.write(`${formatProblem(problem)}\n`);
  return 1;
}

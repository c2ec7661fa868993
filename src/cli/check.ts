import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { formatProblem, loadConfig } from "../config/load.ts";

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { config: { type: "string", short: "c", default: "sluice.yaml" } } });
  const file = values.config;
  const text = await readFile(file, "utf8");
  const { problems } = loadConfig(text, { file, env: process.env });
  for (const problem of problems) process.stdout.write(`${formatProblem(problem)}\n`);
  if (problems.length > 0) return 1;
  process.stdout.write(`${file}: no problem found\n`);
  return 0;
}

/**
 * How long a unit of fuel can take: code of every class, unoptimised and optimised, in processes of their own. What is
 * above the goal of the price list (`abi/prices.ts`) is marked: its price is too low.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { FUEL } from "../../src/abi/abi.ts";
import { PRICE } from "../../src/abi/prices.ts";
import { renderTable } from "./table.ts";

/** What V8 makes of all code: nothing but its baseline, nothing but its best. */
const TIERS = ["--liftoff-only", "--no-liftoff"] as const;

const run = promisify(execFile);

export async function runPrices(): Promise<string> {
  const [plain, best] = [await measure(TIERS[0]), await measure(TIERS[1])];
  const lines = Object.keys(plain).map((name) => ({ name, plain: plain[name]!, best: best[name]! }));
  const worstOf = (line: (typeof lines)[number]): number => Math.max(line.plain, line.best);
  lines.sort((a, b) => worstOf(b) - worstOf(a));
  const rows = lines.map((line) => [
    line.name,
    line.plain.toFixed(1),
    line.best.toFixed(1),
    worstOf(line) > PRICE.nanoseconds ? "above" : "",
  ]);
  const table = renderTable(["code", "ns a unit, unoptimised", "optimised", `goal: ${PRICE.nanoseconds}`], rows);
  const worst = (worstOf(lines[0]!) * FUEL.default) / 1e6;
  const start = (worstOf(lines[0]!) * FUEL.start) / 1e6;
  return `${table}\n\nA call with ${FUEL.default} units takes at most ${worst.toFixed(0)} ms, start-up code with ${FUEL.start} units ${start.toFixed(0)} ms.`;
}

/** By name: nanoseconds for a unit. */
async function measure(tier: string): Promise<Readonly<Record<string, number>>> {
  const { stdout } = await run(process.execPath, [tier, join(import.meta.dirname, "price-run.ts")], {
    maxBuffer: 2 ** 24,
  });
  return JSON.parse(stdout) as Record<string, number>;
}

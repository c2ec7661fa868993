/**
 * `sluice plugin test [PATH]`: runs a plugin's tests under `node:test`; resolves `sluice/test` outside of
 * `node_modules` too.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync, statSync } from "node:fs";
import { extname, join } from "node:path";
import { parseArgs } from "node:util";
import { UsageError } from "./usage.ts";

const RESOLVER = new URL(`../testing/resolve${extname(import.meta.filename)}`, import.meta.url);

export async function run(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { watch: { type: "boolean", default: false }, name: { type: "string" }, clusters: { type: "string" } },
  });
  if (positionals.length > 1) throw new UsageError("plugin test takes one PATH");
  const files = findTests(positionals[0] ?? ".");
  const options = [
    "--import",
    RESOLVER.href,
    // A plugin's directory needs no package.json.
    "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON",
    "--test",
    ...(values.watch ? ["--watch"] : []),
    ...(values.name === undefined ? [] : [`--test-name-pattern=${values.name}`]),
  ];
  // With this variable of an outer test run Node would report to it and run nothing.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  if (values.clusters !== undefined) env.SLUICE_TEST_CLUSTERS = values.clusters;
  const child = spawn(process.execPath, [...options, ...files], { stdio: "inherit", env });
  // The terminal sends SIGINT to the child too; this process waits for its exit.
  const ignore = (): void => undefined;
  process.on("SIGINT", ignore);
  const [code] = (await once(child, "exit")) as [number | null];
  process.off("SIGINT", ignore);
  return code ?? 1;
}

/** The file itself, or all tests in the directory and below. */
function findTests(path: string): string[] {
  if (!existsSync(path)) throw new Error(`${path}: no such file or directory`);
  if (!statSync(path).isDirectory()) return [path];
  const files = globSync("**/*.test.{ts,mts,js,mjs}", { cwd: path, exclude: (name) => name === "node_modules" });
  if (files.length === 0) throw new Error(`${path}: no test found, expected a file such as plugin.test.ts`);
  return files.sort().map((file) => join(path, file));
}

/**
 * Compiles the built-in plugins and those of the examples, each to a `.wasm` beside its source, in one process.
 * What was compiled from the same sources by the same compiler is left as it is.
 */
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Compiled } from "../src/compiler/compile.ts";
import { root } from "./run-node.ts";

const STAMPS = join(root, ".cache/plugins.json");

const files = globSync(["plugins/*.ts", "examples/*/plugins/*.ts"], { cwd: root }).sort();
const shared = hashOf([
  ...globSync("sdk/**/*.{ts,js}", { cwd: root }).sort(),
  "src/compiler/compile.ts",
  compilerManifest(),
]);
const stamps: Record<string, string> = existsSync(STAMPS) ? JSON.parse(readFileSync(STAMPS, "utf8")) : {};
const stale = files.filter((file) => stamps[file] !== stampOf(file) || !existsSync(moduleOf(file)));

if (stale.length > 0) {
  // The compiler takes a second to load: only when there is something to do.
  const { compile, formatProblem, writeModule } = await import("../src/compiler/compile.ts");
  for (const file of stale) {
    const stamp = stampOf(file);
    const compiled: Compiled = await compile(join(root, file));
    if (compiled.problems) {
      for (const problem of compiled.problems) console.error(formatProblem(problem));
      process.exitCode = 1;
      continue;
    }
    await writeModule(compiled, moduleOf(file));
    stamps[file] = stamp;
  }
  mkdirSync(dirname(STAMPS), { recursive: true });
  // Another run may read it at this moment.
  writeFileSync(`${STAMPS}.${process.pid}`, JSON.stringify(stamps, null, 2));
  renameSync(`${STAMPS}.${process.pid}`, STAMPS);
}

/** A plugin may import what stands beside it. */
function stampOf(file: string): string {
  const beside = globSync(join(dirname(file), "{*.ts,*.schema.json,shared/*.ts}"), { cwd: root }).sort();
  return createHash("sha256")
    .update(shared)
    .update(hashOf([file, ...beside]))
    .digest("hex");
}

function hashOf(paths: readonly string[]): string {
  const hash = createHash("sha256");
  for (const path of paths)
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(root, path)))
      .update("\0");
  return hash.digest("hex");
}

function moduleOf(file: string): string {
  return join(root, file.replace(/\.ts$/, ".wasm"));
}

function compilerManifest(): string {
  return "node_modules/assemblyscript/package.json";
}

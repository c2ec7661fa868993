/**
 * Compiles the built-in plugins and those of the examples, each to a `.wasm` next to its source, in one process. Skips modules
 * whose sources and compiler are unchanged.
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
  console.error(`compiling ${stale.length} of ${files.length} plugins`);
  // Imported only if necessary: loading the compiler takes a second.
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
  // Atomic, since another run may read it at the same time.
  writeFileSync(`${STAMPS}.${process.pid}`, JSON.stringify(stamps, null, 2));
  renameSync(`${STAMPS}.${process.pid}`, STAMPS);
}

/** Hash of a plugin and of all files that it may import. */
function stampOf(file: string): string {
  const sources = globSync(join(dirname(file), "{*.ts,*.schema.json,shared/*.ts}"), { cwd: root }).sort();
  return createHash("sha256")
    .update(shared)
    .update(hashOf([file, ...sources]))
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

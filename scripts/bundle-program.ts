/**
 * Builds the program that the end-to-end tests start, in `.cache/program`: the sources in a few files. The tests start
 * hundreds of programs, and a start from the sources spends half of its processor time on finding, reading and linking some
 * 500 modules.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import { root } from "./run-node.ts";

const src = join(root, "src");

/** Modules that are started as a program, a thread or a process by their path. */
const ENTRIES = [
  "main.ts",
  "compiler/compiler-process.ts",
  "plugin/wasm/build-process.ts",
  "plugin/wasm/build-thread.ts",
  "testing/resolve.ts",
  "worker/dry-run.ts",
  "worker/worker.ts",
];

/** Returns the path of the built program. */
export async function bundleProgram(): Promise<string> {
  const target = join(root, ".cache/program");
  const dist = join(target, "dist");
  rmSync(target, { recursive: true, force: true });
  for (const path of ["bin", "src"]) mkdirSync(join(target, path), { recursive: true });
  for (const path of ["bin/sluice.js", "package.json"])
    writeFileSync(join(target, path), readFileSync(join(root, path)));
  // The kit for tests of plugins runs from the sources: it tells its own stack frames by their directory.
  for (const path of ["plugins", "sdk", "src/testing"]) symlinkSync(join(root, path), join(target, path));
  // An example starts the program beside it. Its modules are newer than their sources, or `sluice dev` would build them.
  cpSync(join(root, "examples"), join(target, "examples"), { recursive: true, preserveTimestamps: true });
  await build({
    entryPoints: ENTRIES.map((file) => join(src, file)),
    outbase: src,
    outdir: dist,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "esnext",
    packages: "external",
    plugins: [
      { name: "paths", setup: (options) => options.onLoad({ filter: /\.[jt]s$/ }, ({ path }) => load(path, dist)) },
    ],
  });
  return join(target, "bin/sluice.js");
}

/** A module finds others by its path, which for those of `src` is the one in `dist` without bundling. */
function load(path: string, dist: string): { contents: string; loader: "ts" } {
  const own = path.startsWith(src) ? join(dist, relative(src, path)).replace(/\.ts$/, ".js") : path;
  const paths = { url: pathToFileURL(own).href, filename: own, dirname: dirname(own) };
  const contents = readFileSync(path, "utf8").replace(/\bimport\.meta\.(url|filename|dirname)\b/g, (_, name) =>
    JSON.stringify(paths[name as keyof typeof paths]),
  );
  return { contents, loader: "ts" };
}

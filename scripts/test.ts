/**
 * Runs the tests, except the benchmarks: all, or those whose path contains one of the arguments (`npm test -- codec reload`).
 * Arguments that start with `-` are passed to `node --test`.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { bundleProgram } from "./bundle-program.ts";
import { root, runNode } from "./run-node.ts";

const options = process.argv.slice(2).filter((argument) => argument.startsWith("-"));
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith("-"));

const files = globSync("test/**/*.test.ts", { cwd: root })
  .filter((file) => !file.startsWith(join("test", "bench")))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort();
if (files.length === 0) {
  console.error(`no test file has a path that contains ${wanted.join(" or ")}`);
  process.exit(64);
}

// Tests start hundreds of programs: caching the compiled sources halves their start time.
process.env.NODE_COMPILE_CACHE ??= join(root, "node_modules/.cache/sluice-tests");

runNode(["scripts/build-plugins.ts"]);
process.env.SLUICE_TEST_LAUNCHER = await bundleProgram();

// One compiler process for all files; it ends when its standard input is closed.
const directory = mkdtempSync(join(tmpdir(), "sluice-tests-"));
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
process.env.SLUICE_TEST_COMPILER = join(directory, "compiler");
const compiler = spawn(process.execPath, ["test/support/compiler.ts"], {
  cwd: root,
  stdio: ["pipe", "pipe", "inherit"],
});
await once(compiler.stdout, "data");

// One file more than there are cores: a file waits for its programs a sixth of the time.
const concurrency = availableParallelism() + 1;
// A test that waits for ever fails, rather than the machine's patience.
runNode(["--test", `--test-concurrency=${concurrency}`, "--test-timeout=300000", ...options, ...files]);
compiler.stdin.end();

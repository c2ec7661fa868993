/** Makes plugins/*.wasm of the filters: by the AssemblyScript compiler, and by WABT's wat2wasm. */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const { resolve } = createRequire(import.meta.url);

/**
 * Runs a program of an npm package on this Node.
 * @param {string} name
 * @param {string} program
 * @param {string[]} args
 */
function run(name, program, args) {
  let package_;
  try {
    package_ = dirname(resolve(`${name}/package.json`));
  } catch {
    throw new Error(`${name} is not installed: npm install --save-dev ${name}`);
  }
  const { status } = spawnSync(process.execPath, [join(package_, program), ...args], { cwd: here, stdio: "inherit" });
  if (status !== 0) throw new Error(`${name} ended with ${status}`);
}

/** @param {string} to The directory of the modules. */
export function build(to = join(here, "plugins")) {
  mkdirSync(to, { recursive: true });
  for (const name of ["tenant", "quota"]) {
    const files = [`filters/${name}.ts`, "--outFile", join(to, `${name}.wasm`), "-O3"];
    run("assemblyscript", "bin/asc.js", [...files, "--use", `abort=filters/${name}/abort`]);
  }
  run("wabt", "bin/wat2wasm", ["filters/greeting.wat", "-o", join(to, "greeting.wasm")]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) build();

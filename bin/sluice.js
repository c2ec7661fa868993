#!/usr/bin/env node
// Starts Sluice on Node 26 or later. If an older Node runs this file, it starts the `node` that npm installed
// with the package. Plain JavaScript, since an older Node cannot run TypeScript.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import inspector from "node:inspector";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

// Without a handler Node opens its inspector on SIGUSR1, by which any local user could execute code in this process.
// (`--disable-sigusr1` would block the signal, which reopens log files.) An inspector that was opened before this line is
// closed. `run` installs its own handler.
process.on("SIGUSR1", () => {});
// Once they serve, these commands reload on SIGHUP, which must not end them before.
if (["run", "dev"].includes(process.argv[2])) process.on("SIGHUP", () => {});
closeInspector();
setImmediate(closeInspector);
setTimeout(closeInspector, 1000).unref();

const LEAST = 26;
const home = join(dirname(fileURLToPath(import.meta.url)), "..");

if (Number.parseInt(process.versions.node, 10) >= LEAST) {
  const source = join(home, "src/main.ts");
  await import(existsSync(source) ? source : join(home, "dist/main.js"));
} else {
  handOver();
}

function closeInspector() {
  const isAsked = process.execArgv.concat(process.env.NODE_OPTIONS ?? "").some((text) => text.includes("--inspect"));
  if (!isAsked && inspector.url() !== undefined) inspector.close();
}

function handOver() {
  const node = findNode(home);
  if (node === null || process.env.SLUICE_HANDED_OVER) {
    process.stderr.write(`sluice: this is Node ${process.versions.node}, expected ${LEAST} or later\n`);
    process.exitCode = 1;
    return;
  }
  const args = [...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, SLUICE_HANDED_OVER: "1" };
  if (process.execve) process.execve(node, [node, ...args], env);

  // A separate process group, so that Ctrl-C reaches the child once, through this process: a second signal ends it at once.
  const child = spawn(node, args, { stdio: "inherit", env, detached: true });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"]) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(`sluice: ${node} cannot be started: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** The `node` of the nearest node_modules, from the package upwards; not from `.bin`, where npm before 11 does not link it. */
function findNode(directory) {
  const node = join(directory, `node_modules/node-${process.platform}-${process.arch}/bin/node`);
  if (existsSync(node)) return node;
  const parent = dirname(directory);
  return parent === directory ? null : findNode(parent);
}

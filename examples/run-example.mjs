/**
 * What every example's `start.mjs` does: some upstreams in this process, and a proxy with the example's `sluice.yaml`.
 * Plain JavaScript, because no Node runs TypeScript in an installed package, and an older one runs none.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/**
 * @typedef {import("node:http").RequestListener} RequestListener
 * @typedef {object} Example
 * @property {string} from `import.meta.url` of the example: its `sluice.yaml` is beside it.
 * @property {Record<string, number | { port: number, respond: RequestListener }>} upstreams Upstreams by name, each with
 * the port that the `sluice.yaml` has for it unless `<NAME>_PORT` is set. One without `respond` sends back the request
 * that it received.
 * @property {string[]} commands Commands to try, shown when the proxy is ready; `$URL` is where it listens.
 */

/** @param {Example} example */
export async function runExample({ from, upstreams, commands }) {
  const names = ["web", "admin", ...Object.keys(upstreams)];
  process.on("exit", (code) => {
    if (code !== 0) console.error(`If a port is in use: ${names.map(variableOf).join(", ")} set others.`);
  });
  const servers = await Promise.all(
    Object.entries(upstreams).map(([name, upstream]) => {
      const { port, respond } =
        typeof upstream === "number" ? { port: upstream, respond: echoRequest(name) } : upstream;
      return startUpstream(name, portOf(name, port), respond);
    }),
  );

  const config = fileURLToPath(new URL("sluice.yaml", from));
  // In a process group of its own: a signal to this process, or to the terminal's group, reaches the proxy exactly once,
  // although npm passes Ctrl-C on a second time. A second signal would end the proxy without draining.
  const command = [findLauncher(), "dev", "-c", config];
  const proxy = spawn(process.execPath, command, { stdio: "inherit", detached: true });
  let isStopping = false;
  const stop = () => {
    if (!isStopping) proxy.kill("SIGTERM");
    isStopping = true;
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, stop);
  process.on("exit", stop);
  const ended = new Promise((resolve) => {
    proxy.once("exit", (code) => resolve(code ?? 1));
  });
  if (await isReady(proxy, portOf("admin", 9901))) {
    const url = `http://127.0.0.1:${portOf("web", 8080)}`;
    console.log(`\nTry, in another terminal:\n${commands.map((c) => `  ${c.replaceAll("$URL", url)}\n`).join("")}`);
  }
  process.exitCode = await ended;
  for (const server of servers) {
    server.close();
    server.closeAllConnections();
  }
}

/** The program of the package that contains these examples, or the one installed in a parent directory. */
function findLauncher() {
  const beside = fileURLToPath(new URL("../bin/sluice.js", import.meta.url));
  if (existsSync(beside)) return beside;
  return join(dirname(createRequire(import.meta.url).resolve("sluice/package.json")), "bin/sluice.js");
}

/** @param {string} name */
function variableOf(name) {
  return `${name.replace("-", "_").toUpperCase()}_PORT`;
}

/**
 * `app-1` is at APP_1_PORT.
 * @param {string} name
 * @param {number} fallback
 */
function portOf(name, fallback) {
  return Number(process.env[variableOf(name)] ?? fallback);
}

/**
 * Responds to every request with a copy of it.
 * @param {string} name
 * @returns {RequestListener}
 */
function echoRequest(name) {
  return (request, response) => {
    const seen = { upstream: name, request: `${request.method} ${request.url}`, headers: request.headers };
    response.setHeader("content-type", "application/json");
    response.setHeader("x-powered-by", "node");
    request.resume().once("end", () => response.end(`${JSON.stringify(seen, null, 2)}\n`));
  };
}

/**
 * Shows a line of every request.
 * @param {string} name
 * @param {number} port
 * @param {RequestListener} respond
 */
async function startUpstream(name, port, respond) {
  const server = createServer((request, response) => {
    console.log(`${name}: ${request.method} ${request.url}`);
    respond(request, response);
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", () => resolve(undefined));
  });
  console.log(`${name} listens on 127.0.0.1:${port}`);
  return server;
}

/**
 * Waits until the proxy serves, or has ended.
 * @param {import("node:child_process").ChildProcess} proxy
 * @param {number} adminPort
 */
async function isReady(proxy, adminPort) {
  while (proxy.exitCode === null && proxy.signalCode === null) {
    const response = await fetch(`http://127.0.0.1:${adminPort}/ready`).catch(() => null);
    if (response?.ok) return true;
    await setTimeout(50);
  }
  return false;
}

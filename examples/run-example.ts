/** What every example's `start.ts` does: some upstreams in this process, and a proxy with the example's `sluice.yaml`. */
import { type ChildProcess, spawn } from "node:child_process";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";

type Example = {
  /** Where its `sluice.yaml` lies. */
  directory: string;
  /**
   * Upstreams by name, each with the port that the `sluice.yaml` has for it unless `<NAME>_PORT` says another. One that
   * has no answer of its own tells what reached it.
   */
  upstreams: Record<string, number | { port: number; answer: RequestListener }>;
  /** Commands to try, shown when the proxy is ready; `$URL` is where it listens. */
  commands: string[];
};

export async function runExample({ directory, upstreams, commands }: Example): Promise<void> {
  const servers = await Promise.all(
    Object.entries(upstreams).map(([name, upstream]) => {
      const { port, answer } = typeof upstream === "number" ? { port: upstream, answer: tellRequest(name) } : upstream;
      return startUpstream(name, portOf(name, port), answer);
    }),
  );

  const launcher = join(import.meta.dirname, "../bin/sluice.js");
  const proxy = spawn(process.execPath, [launcher, "dev", "-c", join(directory, "sluice.yaml")], { stdio: "inherit" });
  const ended = new Promise<number>((resolve) => {
    proxy.once("exit", (code) => resolve(code ?? 1));
  });
  // Ctrl-C reaches the proxy by itself, as it reaches every process of the terminal's foreground group.
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => proxy.kill("SIGTERM"));

  if (await isReady(proxy, portOf("admin", 9901))) {
    const url = `http://127.0.0.1:${portOf("web", 8080)}`;
    console.log(`\nTry, in another terminal:\n${commands.map((c) => `  ${c.replaceAll("$URL", url)}\n`).join("")}`);
  }
  process.exitCode = await ended;
  for (const server of servers) server.close().closeAllConnections();
}

/** `app-1` is at APP_1_PORT. */
function portOf(name: string, fallback: number): number {
  return Number(process.env[`${name.replace("-", "_").toUpperCase()}_PORT`] ?? fallback);
}

/** Answers every request with what reached it. */
function tellRequest(name: string): RequestListener {
  return (request, response) => {
    const seen = { upstream: name, request: `${request.method} ${request.url}`, headers: request.headers };
    response.setHeader("content-type", "application/json");
    response.setHeader("x-powered-by", "node");
    request.resume().once("end", () => response.end(`${JSON.stringify(seen, null, 2)}\n`));
  };
}

/** Shows a line of every request. */
async function startUpstream(name: string, port: number, answer: RequestListener) {
  const server = createServer((request, response) => {
    console.log(`${name}: ${request.method} ${request.url}`);
    answer(request, response);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", resolve);
  });
  console.log(`${name} listens on 127.0.0.1:${(server.address() as AddressInfo).port}`);
  return server;
}

/** Waits until the proxy serves, or has ended. */
async function isReady(proxy: ChildProcess, adminPort: number): Promise<boolean> {
  while (proxy.exitCode === null && proxy.signalCode === null) {
    const answer = await fetch(`http://127.0.0.1:${adminPort}/ready`).catch(() => null);
    if (answer?.ok) return true;
    await setTimeout(50);
  }
  return false;
}

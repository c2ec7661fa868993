/** Shared by the tests of the control plane. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type App, type AppOptions, startApp } from "../../../src/control/app.ts";

export function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "sluice-control-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A proxy in this process, with its configuration in a separate directory. */
export async function startProxy(
  t: TestContext,
  config: string,
  options: Partial<AppOptions> = {},
): Promise<{ app: App; file: string; write(config: string): void; url(): string }> {
  const file = join(makeDirectory(t), "sluice.yaml");
  const write = (text: string) => writeFileSync(file, text);
  write(config);
  const app = await startApp({ file, logLevel: "silent", watch: false, ...options });
  t.after(() => app.close({ announce: 0, grace: 0 }));
  return { app, file, write, url: () => `http://${app.listeners.get("web")}` };
}

/** An endpoint that responds with `body`. */
export async function startEndpoint(t: TestContext, body: string): Promise<string> {
  const server = createServer((_request, response) => response.end(body));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A request on a new connection. */
export async function ask(url: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
  const response = await fetch(url, { ...init, headers: { connection: "close", ...init.headers } });
  return { status: response.status, text: await response.text() };
}

/** Polls until `holds` returns true, up to a bound that is reached only if the code is broken. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 15_000; !(await holds()); await setTimeout(10))
    if (performance.now() > end) throw new Error(`waited 15 s until ${holds}`);
}

export function configOf(endpoints: readonly string[], more = ""): string {
  return `workers: 2
admin: 127.0.0.1:0
listeners:
  web: { address: "127.0.0.1:0", cluster: app }
clusters:
  app: [${endpoints.map((endpoint) => `"${endpoint}"`).join(", ")}]
${more}`;
}

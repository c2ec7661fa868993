/** HAProxy, nginx and nghttpd as peers of the program under test, each with its own directory and configuration. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { atEnd, bounded, until } from "./program.ts";

const STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so";

/** Whether nginx can relay TCP: a module of its own in Debian. */
export const hasStream = existsSync(STREAM_MODULE);

/** Null if the programs are installed, otherwise why a test that needs them is skipped. */
export function missingPeers(...names: readonly string[]): string | null {
  const missing = names.filter((name) => spawnSync(name, ["-v"]).error !== undefined);
  return missing.length === 0 ? null : `not installed: ${missing.join(", ")}`;
}

/** Starts HAProxy with those sections; it listens on `port`. */
export async function startHaproxy(t: TestContext, port: number, sections: string): Promise<void> {
  const defaults = "defaults\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\n";
  await start(t, port, { command: "haproxy", args: ["-db", "-f"], config: `${defaults}${sections}` });
}

/** Starts nginx with those blocks (`http`, `stream`); it listens on `port`. */
export async function startNginx(t: TestContext, port: number, blocks: string): Promise<void> {
  const head = `${hasStream ? `load_module ${STREAM_MODULE};\n` : ""}daemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {}\n`;
  await start(t, port, { command: "nginx", args: ["-c"], config: head + blocks });
}

/**
 * Starts nghttpd, which listens on `port`. `files`: those of its key and certificate, or `--no-tls`. `onOutput`: gets what
 * it prints.
 */
export async function startNghttpd(
  t: TestContext,
  port: number,
  options: readonly string[],
  files: readonly string[],
  onOutput?: (text: string) => void,
): Promise<void> {
  await run(t, port, "nghttpd", ["-a127.0.0.1", ...options, `${port}`, ...files], onOutput);
}

type Program = { readonly command: string; readonly args: readonly string[]; readonly config: string };

async function start(t: TestContext, port: number, { command, args, config }: Program): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), `sluice-${command}-`));
  const file = join(directory, "config");
  writeFileSync(file, config);
  atEnd(t, () => rmSync(directory, { recursive: true, force: true }));
  const prefix = command === "nginx" ? ["-p", directory] : [];
  await run(t, port, command, [...prefix, ...args, file]);
}

async function run(
  t: TestContext,
  port: number,
  command: string,
  args: readonly string[],
  onOutput?: (text: string) => void,
): Promise<void> {
  const child = spawn(command, args, { stdio: ["ignore", onOutput === undefined ? "ignore" : "pipe", "pipe"] });
  if (onOutput !== undefined) child.stdout!.setEncoding("latin1").on("data", onOutput);
  let output = "";
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const exited = once(child, "exit");
  atEnd(t, async () => {
    child.kill("SIGKILL");
    await bounded(exited, `${command} to end`);
  });
  await until(async () => child.exitCode !== null || (await listens(port)), `${command} listens`);
  if (child.exitCode !== null) throw new Error(`${command} ended: ${output}`);
}

function listens(port: number): Promise<boolean> {
  const socket = connect(port, "127.0.0.1");
  return new Promise((resolve) => {
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}

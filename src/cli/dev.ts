/** `sluice dev`: runs the proxy, and builds a plugin anew when its source is saved; the proxy takes it like any other. */
import { type ChildProcess, fork } from "node:child_process";
import { readFile, stat } from "node:fs/promises";
import { extname } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../config/load.ts";
import { watchFiles } from "../config/watch.ts";
import type { BuildOrder, BuildReport } from "./compiler.ts";
import { run as runProxy } from "./run.ts";

const COMPILER = new URL(`./compiler${extname(import.meta.filename)}`, import.meta.url);

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, strict: false, options: { config: { type: "string", short: "c" } } });
  const file = typeof values.config === "string" ? values.config : "sluice.yaml";
  const compiler = new Compiler();
  const rebuild = async (): Promise<void> => {
    const orders = await listPlugins(file);
    await Promise.all(orders.map((order) => compiler.buildIfStale(order)));
    watch.update([file, ...orders.map(({ source }) => source)]);
  };
  const watch = watchFiles([file], () => void rebuild());
  try {
    await rebuild();
    return await runProxy(args);
  } finally {
    watch.close();
    compiler.close();
  }
}

/** The plugins that the configuration has a source for; none while it does not load, which the proxy says. */
async function listPlugins(file: string): Promise<BuildOrder[]> {
  const text = await readFile(file, "utf8").catch(() => "");
  const { config } = loadConfig(text, { file, env: process.env });
  if (config === null) return [];
  return config.plugins.flatMap(({ wasm, source }) =>
    source === undefined ? [] : [{ source: source.path, wasm: wasm.path }],
  );
}

class Compiler {
  #child: ChildProcess | null = null;
  readonly #waiting = new Map<string, (report: BuildReport) => void>();
  /** The time of each source as it was last tried, so that a source that does not compile is tried once. */
  readonly #tried = new Map<string, number>();

  async buildIfStale(order: BuildOrder): Promise<void> {
    const source = await modifiedAt(order.source);
    if (source === 0) return say([`${order.source}: there is no such file`]);
    if (this.#tried.get(order.source) === source || source <= (await modifiedAt(order.wasm))) return;
    this.#tried.set(order.source, source);
    const report = await this.#build(order);
    say(report.problems.length > 0 ? report.problems : [`${order.source}: built in ${Math.round(report.took)} ms`]);
  }

  #build(order: BuildOrder): Promise<BuildReport> {
    const { promise, resolve } = Promise.withResolvers<BuildReport>();
    this.#waiting.set(order.source, resolve);
    this.#start().send(order);
    return promise;
  }

  #start(): ChildProcess {
    if (this.#child !== null) return this.#child;
    const child = fork(COMPILER);
    child.on("message", (report: BuildReport) => this.#report(report));
    child.on("exit", () => {
      this.#child = null;
      for (const source of this.#waiting.keys())
        this.#report({ source, problems: [`${source}: the compiler ended`], took: 0 });
    });
    this.#child = child;
    return child;
  }

  #report(report: BuildReport): void {
    this.#waiting.get(report.source)?.(report);
    this.#waiting.delete(report.source);
  }

  close(): void {
    this.#child?.disconnect();
  }
}

async function modifiedAt(path: string): Promise<number> {
  const found = await stat(path).catch(() => null);
  return found?.mtimeMs ?? 0;
}

function say(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${line}\n`);
}

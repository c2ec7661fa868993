/** `sluice dev`: runs the proxy, and builds a plugin anew when its source is saved; the proxy takes it like any other. */
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { relative } from "node:path";
import { schemaPath } from "../compiler/schema-path.ts";
import { WarmCompiler } from "../compiler/warm-compiler.ts";
import { loadConfig } from "../config/load.ts";
import { watchFiles } from "../config/watch.ts";
import { type App, StartError, startApp } from "../control/app.ts";
import { parseOptions, type RunOptions, serve, untilSignal } from "./run.ts";

/** An editor's save is over sooner than a deployment's: an author waits for it. */
const TIMES = { quiet: 30, longest: 500, poll: 2000 };
const DAY = 86_400_000;

type Plugin = { readonly source: string; readonly wasm: string };

export async function run(args: string[]): Promise<number> {
  const options = parseOptions(args);
  const { file } = options;
  const stopped = untilSignal();
  const builder = new Builder();
  let saved = Promise.withResolvers<void>();
  const rebuild = async (): Promise<void> => {
    const { plugins, modules } = await readPlugins(file);
    const watchAll = () =>
      watch.update([file, ...modules, ...plugins.flatMap(({ source }) => builder.filesOf(source))]);
    watchAll();
    await Promise.all(plugins.map((plugin) => builder.buildIfStale(plugin)));
    // What they import is known now.
    watchAll();
  };
  const watch = watchFiles([file], () => void rebuild().then(() => saved.resolve()), TIMES);
  // Watching alone does not keep the process alive, and nothing else does until the proxy runs.
  const alive = setInterval(() => undefined, DAY);
  try {
    await rebuild();
    void builder.warm((await readPlugins(file)).plugins).then(rebuild);
    for (;;) {
      saved = Promise.withResolvers();
      const app = await startIfSound(options);
      if (app !== null) {
        await serve(app, stopped);
        return 0;
      }
      say(["not started; waiting for a saved change"]);
      if ((await Promise.race([saved.promise, stopped])) !== undefined) return 0;
    }
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    say(error.problems);
    return 1;
  } finally {
    clearInterval(alive);
    watch.close();
    builder.close();
  }
}

/**
 * Starts the proxy; null when something is wrong in the files, which has been reported.
 * @throws StartError when no saved file would help: a port in use, a configuration that is not there.
 */
async function startIfSound(options: RunOptions): Promise<App | null> {
  const { plugins } = await readPlugins(options.file);
  // The compiler has said why.
  if (plugins.some(({ source, wasm }) => existsSync(source) && !existsSync(wasm))) return null;
  try {
    return await startApp(options);
  } catch (error) {
    const hasPlace = (problem: string) => /^:\d+:\d+: /.test(problem.slice(options.file.length));
    if (!(error instanceof StartError) || !error.problems.every(hasPlace)) throw error;
    say(error.problems);
    return null;
  }
}

/**
 * The plugins that the configuration has a source for, and the modules of the others, which are made elsewhere; none
 * while it does not load, which the proxy says.
 */
async function readPlugins(file: string): Promise<{ plugins: readonly Plugin[]; modules: readonly string[] }> {
  const text = await readFile(file, "utf8").catch(() => "");
  const { config } = loadConfig(text, { file, env: process.env });
  const declared = config?.plugins ?? [];
  return {
    plugins: declared.flatMap(({ wasm, source }) => (source ? [{ source: source.path, wasm: wasm.path }] : [])),
    modules: declared.flatMap(({ wasm, source }) => (source ? [] : [wasm.path])),
  };
}

class Builder {
  readonly #compiler = new WarmCompiler();
  readonly #files = new Map<string, readonly string[]>();
  /** When the newest file of each source was changed as it was last tried: what does not compile is tried once. */
  readonly #tried = new Map<string, number>();

  /** What a module is made of, as far as that is known. */
  filesOf(source: string): readonly string[] {
    return this.#files.get(source) ?? [source, schemaPath(source)];
  }

  async buildIfStale({ source, wasm }: Plugin): Promise<void> {
    if ((await modifiedAt(source)) === 0) return say([`${source}: there is no such file`]);
    const newest = Math.max(...(await Promise.all(this.filesOf(source).map(modifiedAt))));
    if (this.#tried.get(source) === newest || newest <= (await modifiedAt(wasm))) return;
    this.#tried.set(source, newest);
    const report = await this.#compiler.build({ source, wasm });
    if (report.files.length > 0) this.#files.set(source, report.files);
    const name = relative("", source);
    say(report.problems.length > 0 ? report.problems : [`${name}: built in ${Math.round(report.took)} ms`]);
  }

  /** The first save is not to wait for the compiler to load, and a file that a plugin imports is to be known. */
  async warm(plugins: readonly Plugin[]): Promise<void> {
    for (const { source } of plugins) {
      if (this.#files.has(source)) continue;
      const { files } = await this.#compiler.build({ source, wasm: null });
      if (files.length > 0) this.#files.set(source, files);
    }
  }

  close(): void {
    this.#compiler.close();
  }
}

async function modifiedAt(path: string): Promise<number> {
  const found = await stat(path).catch(() => null);
  return found?.mtimeMs ?? 0;
}

function say(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${line}\n`);
}

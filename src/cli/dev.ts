/** `sluice dev`: runs the proxy, and rebuilds a plugin when its source is saved; the proxy then reloads the module. */
import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { relative } from "node:path";
import { schemaPath } from "../compiler/schema-path.ts";
import { WarmCompiler } from "../compiler/warm-compiler.ts";
import { loadConfig } from "../config/load.ts";
import { watchFiles } from "../config/watch.ts";
import { type App, StartError, startApp } from "../control/app.ts";
import { parseOptions, type RunOptions, serve, untilSignal } from "./run.ts";

/** Delays in milliseconds, shorter than those of `run`: a save is complete sooner than a deployment. */
const TIMES = { quiet: 30, longest: 500, poll: 2000 };
/** ms. The compiler is loaded after the proxy has started, which it would slow down. */
const WARM_AFTER = 5000;
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
    // The builds have reported the imported files.
    watchAll();
  };
  const watch = watchFiles([file], () => void rebuild().then(() => saved.resolve()), TIMES);
  // Keeps the process alive until the proxy runs; watching does not.
  const alive = setInterval(() => undefined, DAY);
  let warming: NodeJS.Timeout | undefined;
  try {
    await rebuild();
    warming = setTimeout(async () => void builder.warm((await readPlugins(file)).plugins).then(rebuild), WARM_AFTER);
    for (;;) {
      saved = Promise.withResolvers();
      const app = await startIfValid(options);
      if (app !== null) {
        await serve(app, stopped);
        return 0;
      }
      print(["not started; waiting for a change"]);
      if ((await Promise.race([saved.promise, stopped])) !== undefined) return 0;
    }
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    print(error.problems);
    return 1;
  } finally {
    clearInterval(alive);
    clearTimeout(warming);
    watch.close();
    builder.close();
  }
}

/**
 * Starts the proxy; null if the configuration or a plugin is invalid, which is reported.
 * @throws StartError for problems that no change of these files solves: a port in use, a missing configuration.
 */
async function startIfValid(options: RunOptions): Promise<App | null> {
  const { plugins } = await readPlugins(options.file);
  // The compiler has reported the problem.
  if (plugins.some(({ source, wasm }) => existsSync(source) && !existsSync(wasm))) return null;
  try {
    return await startApp(options);
  } catch (error) {
    const hasPosition = (problem: string) => /^:\d+:\d+: /.test(problem.slice(options.file.length));
    if (!(error instanceof StartError) || !error.problems.every(hasPosition)) throw error;
    print(error.problems);
    return null;
  }
}

/**
 * The plugins with a source in the configuration, and the modules of the others. Empty if the configuration is invalid,
 * which the proxy reports.
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
  /** For each source the last build and the time of its newest file: a failed build is not repeated, a running one shared. */
  readonly #builds = new Map<string, { readonly newest: number; readonly done: Promise<void> }>();

  /** The files of a plugin, as far as they are known. */
  filesOf(source: string): readonly string[] {
    return this.#files.get(source) ?? [source, schemaPath(source)];
  }

  async buildIfStale({ source, wasm }: Plugin): Promise<void> {
    if ((await modifiedAt(source)) === 0) return print([`${source}: no such file`]);
    const newest = Math.max(...(await Promise.all(this.filesOf(source).map(modifiedAt))));
    const written = await modifiedAt(wasm);
    const last = this.#builds.get(source);
    if (last?.newest === newest) return last.done;
    if (newest <= written) return;
    const done = this.#build(source, wasm);
    this.#builds.set(source, { newest, done });
    await done;
  }

  async #build(source: string, wasm: string): Promise<void> {
    const report = await this.#compiler.build({ source, wasm });
    if (report.files.length > 0) this.#files.set(source, report.files);
    const name = relative("", source);
    print(report.problems.length > 0 ? report.problems : [`${name}: built in ${Math.round(report.took)} ms`]);
  }

  /** Loads the compiler before the first save, and finds the imported files of each plugin. */
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

function print(lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${line}\n`);
}

/** `sluice dev`: runs the proxy, and builds a plugin anew when its source is saved; the proxy takes it like any other. */
import { readFile, stat } from "node:fs/promises";
import { relative } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../config/load.ts";
import { watchFiles } from "../config/watch.ts";
import { run as runProxy } from "./run.ts";
import { schemaPath } from "./schema-path.ts";
import { WarmCompiler } from "./warm-compiler.ts";

/** An editor's save is over sooner than a deployment's: an author waits for it. */
const TIMES = { quiet: 30, longest: 500, poll: 2000 };

type Plugin = { readonly source: string; readonly wasm: string };

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, strict: false, options: { config: { type: "string", short: "c" } } });
  const file = typeof values.config === "string" ? values.config : "sluice.yaml";
  const builder = new Builder();
  const rebuild = async (): Promise<void> => {
    const plugins = await listPlugins(file);
    const watchAll = () => watch.update([file, ...plugins.flatMap(({ source }) => builder.filesOf(source))]);
    watchAll();
    await Promise.all(plugins.map((plugin) => builder.buildIfStale(plugin)));
    // What they import is known now.
    watchAll();
  };
  const watch = watchFiles([file], () => void rebuild(), TIMES);
  try {
    await rebuild();
    void builder.warm(await listPlugins(file)).then(rebuild);
    return await runProxy(args);
  } finally {
    watch.close();
    builder.close();
  }
}

/** The plugins that the configuration has a source for; none while it does not load, which the proxy says. */
async function listPlugins(file: string): Promise<Plugin[]> {
  const text = await readFile(file, "utf8").catch(() => "");
  const { config } = loadConfig(text, { file, env: process.env });
  if (config === null) return [];
  return config.plugins.flatMap(({ wasm, source }) =>
    source === undefined ? [] : [{ source: source.path, wasm: wasm.path }],
  );
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

/** Compiles plugins from AssemblyScript. The compiler holds 450 MiB: never in a process that serves. */
import { readFile, rename, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { DiagnosticMessage } from "assemblyscript/asc";
import { main, version } from "assemblyscript/asc";
import SluiceTransform from "../../sdk/transform.js";

export const SDK_DIRECTORY = fileURLToPath(new URL("../../sdk/", import.meta.url));
export const COMPILER_VERSION = version;

/** Whatever `node_modules` the compiler tries, it reads the SDK beside this program: the one that fits this host. */
const SDK_FILE = /(?:^|\/)node_modules\/sluice\/sdk\/(.+)$/;
const ERROR = 3;
const OUTPUT = "plugin.wasm";

export type Runtime = "arena" | "gc";

export type Problem = {
  readonly file: string;
  /** From 1; 0 when the problem has no place. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
};

export type Compiled =
  | { readonly wasm: Uint8Array; readonly sourceMap: string; readonly problems: null }
  | { readonly problems: readonly Problem[] };

/**
 * Compiles the plugin in `file`. Its own imports are read beside it.
 * @param runtime overrules what the file says (`// runtime: gc` on a line of its own); `arena` without either.
 */
export async function compile(file: string, runtime?: Runtime): Promise<Compiled> {
  const path = resolve(file);
  const name = basename(path);
  const baseDir = dirname(path);
  const source = await readText(path);
  if (source === null) return { problems: [{ file, line: 0, column: 0, message: "cannot be read" }] };

  const output = new Map<string, string | Uint8Array>();
  const texts = new Map<string, string>();
  const found: DiagnosticMessage[] = [];
  const result = await main([name, ...options(name, baseDir, runtime ?? declaredRuntime(source))], {
    readFile: async (filename, directory) => {
      const sdk = SDK_FILE.exec(filename.replaceAll("\\", "/"));
      const text = await readText(sdk ? join(SDK_DIRECTORY, sdk[1]!) : resolve(directory, filename));
      if (text !== null) texts.set(sdk ? `~lib/sluice/sdk/${sdk[1]}` : filename, text);
      return text;
    },
    writeFile: (filename, contents) => void output.set(filename, contents),
    listFiles: () => [],
    reportDiagnostic: (diagnostic) => void found.push(diagnostic),
    transforms: [SluiceTransform],
  });

  const errors = found.filter((d) => d.category === ERROR).map((d) => describe(d, file, texts));
  const wasm = output.get(OUTPUT);
  if (errors.length > 0) return { problems: errors };
  if (result.error || !(wasm instanceof Uint8Array))
    return { problems: [{ file, line: 0, column: 0, message: result.error?.message ?? "the compiler wrote nothing" }] };
  return { wasm, sourceMap: String(output.get(name.replace(/\.ts$/, ".wasm.map")) ?? ""), problems: null };
}

/** Writes the module and its source map beside the source, each whole or not at all; returns the module's path. */
export async function writeModule(file: string, wasm: Uint8Array, sourceMap: string): Promise<string> {
  const path = file.replace(/\.ts$/, ".wasm");
  // The map first: who watches the module finds the map that belongs to it.
  await replaceFile(`${path}.map`, sourceMap);
  await replaceFile(path, wasm);
  return path;
}

async function replaceFile(path: string, contents: string | Uint8Array): Promise<void> {
  const fresh = `${path}.${process.pid}.tmp`;
  await writeFile(fresh, contents);
  await rename(fresh, path);
}

/** `file:line:col: message`, as editors and terminals link it. */
export function formatProblem({ file, line, column, message }: Problem): string {
  return line > 0 ? `${file}:${line}:${column}: ${message}` : `${file}: ${message}`;
}

function options(name: string, baseDir: string, runtime: Runtime): string[] {
  return [
    "--baseDir",
    baseDir,
    // A project's own asconfig.json is for editors and for `asc`; here nothing but the file decides.
    "--config",
    `${name}.none`,
    "--outFile",
    OUTPUT,
    "--sourceMap",
    `./${name.replace(/\.ts$/, ".wasm.map")}`,
    "--runtime",
    runtime === "gc" ? "incremental" : "node_modules/sluice/sdk/runtime/arena",
    "--exportStart",
    "_initialize",
    "--use",
    "abort=~lib/sluice/sdk/abort/abort",
    "--enable",
    "simd",
    "-O3",
    "--noColors",
  ];
}

function declaredRuntime(source: string): Runtime {
  return /^\s*\/\/\s*runtime:\s*gc\s*$/m.test(source) ? "gc" : "arena";
}

async function readText(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** The compiler asks for every place a file might be at. */
function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "EISDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

function describe(diagnostic: DiagnosticMessage, file: string, texts: ReadonlyMap<string, string>): Problem {
  const message = diagnostic.message.replace(/^Transform 'sluice': /, "");
  const range = diagnostic.range;
  if (!range) return { file, line: 0, column: 0, message };
  const source = range.source.normalizedPath;
  const before = (texts.get(source) ?? "").slice(0, range.start);
  return {
    file: source.startsWith("~lib/") ? source.slice("~lib/".length) : relative("", resolve(dirname(file), source)),
    line: before.split("\n").length,
    column: before.length - before.lastIndexOf("\n"),
    message,
  };
}

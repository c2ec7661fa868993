/** Compiles plugins from AssemblyScript. The compiler uses 450 MiB: do not import this in a process that serves traffic. */
import { createHash } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";
import type { DiagnosticMessage } from "assemblyscript/asc";
import { libraryFiles, main } from "assemblyscript/asc";
import SluiceTransform from "../../sdk/transform.js";
import { CUSTOM_SECTION } from "../abi/abi.ts";
import { readPluginSchema } from "../config/plugin-schema.ts";
import { SECTION } from "../plugin/wasm/binary.ts";
import { MAP_MODULE } from "../plugin/wasm/source-map.ts";
import { Writer } from "../plugin/wasm/writer.ts";
import { advise, isConsequence } from "./advice.ts";
import { schemaPath } from "./schema-path.ts";

const SDK_DIRECTORY = fileURLToPath(new URL("../../sdk/", import.meta.url));

/** Any path of the SDK in a `node_modules`: mapped to the SDK of this program, which matches its host. */
const SDK_FILE = /(?:^|\/)node_modules\/sluice\/sdk\/(.+)$/;
const ERROR = 3;

// Of the library, every method of RegExp throws, and those of crypto are imports. There is advice for an abstract class and
// for an unknown name.
libraryFiles.regexp = "export abstract class RegExp { abstract test(search: string): bool; }";
delete libraryFiles.crypto;
// `body.bytes.length` without `()` would be the number of parameters, and a method in a template its text.
libraryFiles.function = libraryFiles.function!.replace(
  /^ {2}(?:get (?:name|length)|toString)\(this: T\).*?^ {2}\}\n/gms,
  "",
);

/**
 * V8 flags for a short-lived process. The compiler is a WebAssembly module itself: optimising it costs more than it
 * saves for fewer than about thirty builds. Reset afterwards, so that plugins run optimised.
 */
const UNOPTIMISED = ["--no-wasm-dynamic-tiering", "--no-wasm-tier-up"];
const OPTIMISED = ["--wasm-dynamic-tiering", "--wasm-tier-up"];

export type Runtime = "arena" | "gc";

export type Problem = {
  readonly file: string;
  /** From 1; 0 if the problem has no position. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
};

/** Source files that were read or are missing: the files to watch for a rebuild. */
type Inputs = { readonly files: readonly string[] };
export type Succeeded = Inputs & { readonly wasm: Uint8Array; readonly sourceMap: string; readonly problems: null };
export type Compiled = Succeeded | (Inputs & { readonly problems: readonly Problem[] });

export type CompileOptions = {
  /** Default: `gc` if the source has a line `// runtime: gc`, otherwise `arena`. */
  readonly runtime?: Runtime | undefined;
  /** Output path of the module, for the name of its source map. Default: next to the source. */
  readonly out?: string | undefined;
  /** Whether this process compiles repeatedly, so that optimising the compiler pays off. */
  readonly isWarm?: boolean;
};

/** Default output path of a source. */
export function modulePath(file: string): string {
  return file.replace(/\.ts$/, ".wasm");
}

/** Compiles the plugin in `file`. Its imports are relative to it. Problems of the source are in the result. */
export async function compile(
  file: string,
  { runtime, out = modulePath(file), isWarm = false }: CompileOptions = {},
): Promise<Compiled> {
  const source = await readText(resolve(file));
  const inputs = [resolve(file), schemaPath(resolve(file))];
  if (source === null) return { problems: [{ file, line: 0, column: 0, message: "cannot be read" }], files: inputs };
  const name = basename(out);
  const flags = ["--outFile", name, "--sourceMap", `./${name}.map`, ...pluginFlags(runtime ?? declaredRuntime(source))];
  const ran = await runCompiler(file, { flags, transform: SluiceTransform, isWarm });
  const files = [...ran.files, schemaPath(resolve(file))];
  if (ran.problems) return { problems: ran.problems, files };
  const schema = await readSchema(resolve(file));
  if (schema.problems) return { problems: schema.problems, files };
  const bare = ran.output.get(name) as Uint8Array;
  const wasm = schema.text === null ? bare : addSection(bare, CUSTOM_SECTION.configSchema, schema.text);
  return { wasm, sourceMap: finishSourceMap(String(ran.output.get(`${name}.map`)), wasm), problems: null, files };
}

/** Reads the schema next to the source, minified; null if there is none. */
async function readSchema(path: string): Promise<{ text: string | null; problems: null } | { problems: Problem[] }> {
  const file = schemaPath(path);
  const text = await readText(file);
  if (text === null) return { text: null, problems: null };
  const { problems } = readPluginSchema(text, relative("", file));
  if (problems.length === 0) return { text: JSON.stringify(JSON.parse(text)), problems: null };
  return { problems: problems.map((problem) => ({ ...problem, message: withPath(problem) })) };
}

function withPath({ path, message }: { path: string; message: string }): string {
  return path === "" ? message : `${path}: ${message}`;
}

/** Appends a custom section to the module; offsets of its code do not change. */
function addSection(wasm: Uint8Array, name: string, text: string): Uint8Array {
  const writer = new Writer(wasm.length + text.length + 64);
  writer.copy(wasm, 0, wasm.length);
  const content = Buffer.from(text, "utf8");
  writer.section(SECTION.custom, () => {
    writer.name(name);
    writer.copy(content, 0, content.length);
  });
  return writer.done();
}

export type CompilerResult =
  | (Inputs & { readonly output: ReadonlyMap<string, string | Uint8Array>; readonly problems: null })
  | (Inputs & { readonly problems: readonly Problem[] });

type CompilerRun = Pick<CompileOptions, "isWarm"> & { readonly flags: readonly string[]; readonly transform: unknown };

/** Runs the compiler on one file. Returns its output files, or all problems with their positions. */
export async function runCompiler(
  file: string,
  { flags, transform, isWarm = false }: CompilerRun,
): Promise<CompilerResult> {
  const path = resolve(file);
  const output = new Map<string, string | Uint8Array>();
  const texts = new Map<string, string>();
  const files = new Set([path]);
  const found: DiagnosticMessage[] = [];
  // The name of a missing file as --config: a project's asconfig.json is not used.
  const fixed = ["--baseDir", dirname(path), "--config", `${basename(path)}.none`, "--enable", "simd", "--noColors"];
  for (const flag of isWarm ? [] : UNOPTIMISED) setFlagsFromString(flag);
  const result = await main([basename(path), ...fixed, ...flags], {
    readFile: async (filename, directory) => {
      const sdk = SDK_FILE.exec(filename.replaceAll("\\", "/"));
      const text = await readText(sdk ? join(SDK_DIRECTORY, sdk[1]!) : resolve(directory, filename));
      if (text !== null && sdk === null) files.add(resolve(directory, filename));
      if (text !== null) texts.set(sdk ? `~lib/sluice/sdk/${sdk[1]}` : filename, text);
      return text;
    },
    writeFile: (filename, contents) => void output.set(filename, contents),
    listFiles: () => [],
    reportDiagnostic: (diagnostic) => void found.push(diagnostic),
    transforms: [transform as never],
  });
  for (const flag of isWarm ? [] : OPTIMISED) setFlagsFromString(flag);
  const errors = new Map<string, Problem>();
  const failed = found.filter(({ category }) => category === ERROR);
  const causes = failed.filter((diagnostic) => !isConsequence(diagnostic));
  for (const diagnostic of causes.length > 0 ? causes : failed) {
    const problem = describe(diagnostic, file, texts);
    errors.set(formatProblem(problem), problem);
  }
  if (errors.size > 0) return { problems: [...errors.values()], files: [...files] };
  if (!result.error && output.size > 0) return { output, problems: null, files: [...files] };
  const message = result.error?.message ?? "the compiler has no output";
  return { problems: [{ file, line: 0, column: 0, message }], files: [...files] };
}

/**
 * Removes the sources of AssemblyScript's library, which are 90 % of the map, and the source root; adds the hash of the
 * module to which the map belongs.
 */
function finishSourceMap(text: string, wasm: Uint8Array): string {
  const map = JSON.parse(text) as {
    sources: string[];
    sourcesContent: (string | null)[];
    sourceRoot?: string;
    [MAP_MODULE]?: string;
  };
  delete map.sourceRoot;
  map[MAP_MODULE] = createHash("sha256").update(wasm).digest("hex");
  map.sourcesContent = map.sourcesContent.map((content, i) =>
    /^~lib\/(?!sluice\/)/.test(map.sources[i]!) ? null : content,
  );
  return JSON.stringify(map);
}

/** Writes the module to `path` and its source map next to it, each atomically. */
export async function writeModule(compiled: Succeeded, path: string): Promise<string> {
  // The map first, so that a watcher of the module finds the matching map.
  await replaceFile(`${path}.map`, compiled.sourceMap);
  await replaceFile(path, compiled.wasm);
  return path;
}

async function replaceFile(path: string, contents: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, contents);
  await rename(temporary, path);
}

/** `file:line:col: message`, the format that editors and terminals link. */
export function formatProblem({ file, line, column, message }: Problem): string {
  return line > 0 ? `${file}:${line}:${column}: ${message}` : `${file}: ${message}`;
}

function pluginFlags(runtime: Runtime): string[] {
  return [
    "--runtime",
    // The transform replaces `stub` by the arena.
    runtime === "gc" ? "incremental" : "stub",
    "--exportStart",
    "_initialize",
    "--use",
    "abort=~lib/sluice/sdk/abort/abort",
    "-O3",
    // Adds only function names, for stack traces and size reports; the code is the same.
    "--debug",
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

/** Whether there is no such file: the compiler tries several paths for each import. */
function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "EISDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}

function describe(diagnostic: DiagnosticMessage, file: string, texts: ReadonlyMap<string, string>): Problem {
  const message = diagnostic.message.replace(/^Transform 'sluice': /, "");
  const range = diagnostic.range;
  if (!range) return { file, line: 0, column: 0, message };
  const source = range.source.normalizedPath;
  const text = texts.get(source) ?? "";
  const before = text.slice(0, range.start);
  return {
    file: source.startsWith("~lib/") ? source.slice("~lib/".length) : relative("", resolve(dirname(file), source)),
    line: before.split("\n").length,
    column: before.length - before.lastIndexOf("\n"),
    message: source.startsWith("~lib/") ? message : advise({ message, text, start: range.start }),
  };
}

/**
 * Builds the program that the end-to-end tests start, in `.cache/program`: the sources with all modules of the core in one
 * file. The tests start hundreds of programs, and a start from the sources spends half of its processor time on finding,
 * reading and linking some 500 modules.
 *
 * It relies on the style of the sources, held by test/unit/imports.test.ts and Biome: imports are at the top, no value import
 * is in a cycle, and an export is a `function`, `class` or `const`, or a list with `from`. Each module becomes a function,
 * which runs at its first import and returns the exports.
 */
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { dirname, join, posix } from "node:path";
import { root } from "./run-node.ts";

/** Outside of the core; they stay files, with the compiler's packages, which only `import` can load. Also the SDK. */
const TOOLS = /^(main\.ts$|(cli|compiler|testing|\.\.)\/)/;
/** Modules of the core that are started as a thread or a process, by their URL. */
const ENTRIES = [
  "worker/worker.ts",
  "worker/dry-run.ts",
  "plugin/wasm/build-process.ts",
  "plugin/wasm/build-thread.ts",
];
const CORE = "core.js";

const IMPORT = /^import\s+(?:([^;"']*?)\s+from\s+)?"([^"]+)";/gm;
const LIST = /^export\s+\{([^}]*)\}\s+from\s+"([^"]+)";/gm;
const EXPORT = /^export +(?=(?:async )?function\*? (\w+)|class (\w+)|const (\w+))/gm;
const DYNAMIC = /\bimport\("(\.[^"]+)"\)/g;

/** Returns the path of the built program; builds it if a source has changed. */
export function bundleProgram(): string {
  const target = join(root, ".cache/program");
  const launcher = join(target, "bin/sluice.js");
  const src = join(root, "src");
  const files = globSync("**/*.ts", { cwd: src, exclude: ["**/*.d.ts"] }).sort();
  const sources = new Map(files.map((file) => [file, readFileSync(join(src, file), "utf8")]));
  const own = [import.meta.filename, join(root, "bin/sluice.js"), join(root, "package.json")];
  const hash = createHash("sha256").update(JSON.stringify([...sources, own.map((path) => readFileSync(path, "utf8"))]));
  const stamp = hash.digest("hex");
  const stampFile = join(target, "stamp");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return launcher;

  rmSync(stampFile, { force: true });
  rmSync(join(target, "src"), { recursive: true, force: true });
  const write = (path: string, text: string): void => {
    const file = join(target, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  for (const path of ["bin/sluice.js", "package.json"]) write(path, readFileSync(join(root, path), "utf8"));
  for (const path of ["plugins", "sdk"])
    if (!existsSync(join(target, path))) symlinkSync(join(root, path), join(target, path));
  const modules: string[] = [];
  for (const [file, source] of sources)
    if (TOOLS.test(file)) write(`src/${file}`, convertTool(file, source));
    else modules.push(convertModule(file, source));
  write(`src/${CORE}`, `${LOADER}const modules = {\n${modules.join("")}};\n`);
  for (const file of ENTRIES) write(`src/${file}`, `${importOfLoader(file)}$use("${file}");\n`);
  write("stamp", stamp);
  return launcher;
}

const LOADER = `import { createRequire } from "node:module";
const require = createRequire(import.meta.url);
const loaded = new Map();
export function $use(file) {
  let exports = loaded.get(file);
  if (exports === undefined) loaded.set(file, (exports = modules[file]()));
  return exports;
}
`;

/** A module of the core as a method that returns its exports. */
function convertModule(file: string, source: string): string {
  const imports: string[] = [];
  const exports: string[] = [];
  const body = stripTypeScriptTypes(source)
    .replace(IMPORT, (all, names: string | undefined, from: string) => {
      imports.push(bind(names, load(file, from)));
      return "\n".repeat(all.split("\n").length - 1);
    })
    .replace(LIST, (_, list: string, from: string) => {
      for (const [name, alias = name] of namesOf(list)) exports.push(`${alias}: ${load(file, from)}.${name}`);
      return "";
    })
    .replace(EXPORT, (_, ...names: (string | undefined)[]) => {
      exports.push(names.slice(0, 3).find((name) => name !== undefined)!);
      return "";
    })
    .replace(DYNAMIC, (_, from: string) => `Promise.resolve().then(() => ${load(file, from)})`)
    .replace(/\bimport\.meta\.(url|filename|dirname)\b/g, (_, what: string) => {
      if (what === "url") return `new URL("${file}", import.meta.url).href`;
      const path = what === "filename" ? file : posix.dirname(file);
      return `process.getBuiltinModule("node:path").join(import.meta.dirname, "${path}")`;
    });
  const rest = /^export\b.*/m.exec(body);
  if (rest !== null) throw new Error(`src/${file}: cannot bundle \`${rest[0]}\``);
  return `"${file}"() {${imports.join(" ")}${body}\nreturn { ${exports.join(", ")} };\n},\n`;
}

/** A module outside of the core, with the imports from the core replaced. */
function convertTool(file: string, source: string): string {
  const isTool = (from: string): boolean => !from.startsWith(".") || TOOLS.test(resolve(file, from));
  // Not stripped, since Node does that: an import without values is left to it.
  const body = source
    .replace(IMPORT, (all, names: string | undefined, from: string) =>
      isTool(from) || names?.startsWith("type ") ? all : bind(names, load(file, from)),
    )
    .replace(DYNAMIC, (all, from: string) =>
      isTool(from) ? all : `Promise.resolve().then(() => ${load(file, from)})`,
    );
  return importOfLoader(file) + body;
}

/** Declares the names of an import clause. */
function bind(clause: string | undefined, value: string): string {
  if (clause === undefined) return `${value};`;
  const [, all, name, list = ""] = /^(?:\*\s+as\s+(\w+)|(\w+)?\s*,?\s*(?:\{([^}]*)\})?)$/.exec(clause) ?? [];
  const names = namesOf(list).map((pair) => pair.join(": "));
  const whole = all ?? name;
  return [
    ...(whole === undefined ? [] : [`const ${whole} = ${value};`]),
    ...(names.length === 0 ? [] : [`const { ${names.join(", ")} } = ${value};`]),
  ].join(" ");
}

/** The values of a list of names, each with its alias if it has one. */
function namesOf(list: string): string[][] {
  return list
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "" && !item.startsWith("type "))
    .map((item) => item.split(/\s+as\s+/));
}

/** The expression that loads what `file` imports. */
function load(file: string, from: string): string {
  if (from.startsWith(".")) return `$use("${resolve(file, from)}")`;
  return from.startsWith("node:") ? `process.getBuiltinModule("${from}")` : `require("${from}")`;
}

function resolve(file: string, from: string): string {
  return posix.join(posix.dirname(file), from);
}

function importOfLoader(file: string): string {
  const path = posix.relative(posix.dirname(file), CORE);
  return `import { $use } from "${path.startsWith(".") ? path : `./${path}`}";`;
}

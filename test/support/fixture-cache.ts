/**
 * Compiled test plugins, in `.cache/fixtures`. Many tests compile the same source (in each accept mode, in several
 * files), at a quarter of a second of processor time each: it is compiled once for all files and runs.
 */
import { createHash, randomUUID } from "node:crypto";
import { globSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../..");
const CACHE = join(ROOT, ".cache/fixtures");
/** A module depends on these beside its source. */
const TOOLCHAIN = [
  "sdk/**/*.{ts,js}",
  "src/{abi,compiler,plugin/wasm}/**/*.ts",
  "node_modules/assemblyscript/package.json",
];

let directory: string | null = null;

/** The directory of this toolchain's modules. Those of other toolchains are removed. */
function openCache(): string {
  const hash = createHash("sha256");
  for (const file of globSync(TOOLCHAIN, { cwd: ROOT }).sort())
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(ROOT, file)))
      .update("\0");
  const name = hash.digest("hex");
  mkdirSync(join(CACHE, name), { recursive: true });
  for (const other of readdirSync(CACHE))
    if (other !== name) rmSync(join(CACHE, other), { recursive: true, force: true });
  return join(CACHE, name);
}

/** The module stored under `key`, or else what `compile` returns, which is then stored. */
export async function cached(key: string, compile: () => Promise<Uint8Array>): Promise<Uint8Array> {
  directory ??= openCache();
  const file = join(directory, `${createHash("sha256").update(key).digest("hex")}.wasm`);
  try {
    return readFileSync(file);
  } catch {
    const wasm = await compile();
    // Other test files run at the same time: they see a whole module or none.
    const temporary = `${file}.${randomUUID()}`;
    writeFileSync(temporary, wasm);
    renameSync(temporary, file);
    return wasm;
  }
}

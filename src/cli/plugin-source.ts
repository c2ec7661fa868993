/** Finds the source of a plugin; apart from `plugin-build.ts`, which loads the compiler. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, relative, resolve } from "node:path";

/** The source: the file itself, or plugin.ts, NAME.ts or the only .ts file of a directory NAME. @throws Error */
export function findSource(path: string): string {
  if (!existsSync(path)) throw new Error(`${path}: no such file or directory`);
  if (!statSync(path).isDirectory()) {
    if (!path.endsWith(".ts")) throw new Error(`${path}: not a .ts file`);
    return path;
  }
  const files = readdirSync(path).filter((name) => name.endsWith(".ts") && !/\.(d|test)\.ts$/.test(name));
  const named = ["plugin.ts", `${basename(resolve(path))}.ts`].find((name) => files.includes(name));
  if (named === undefined && files.length !== 1)
    throw new Error(`${path}: no plugin.ts${files.length > 0 ? `; specify one of ${files.join(", ")}` : ""}`);
  return relative("", join(path, named ?? files[0]!));
}

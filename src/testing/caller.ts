/** Resolves paths relative to the test file that calls the test kit. */
import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { getCallSites } from "node:util";

/** Resolves a path relative to the calling file: the first file on the stack outside of the test kit. */
export function findFile(file: string | URL): string {
  if (file instanceof URL) return fileURLToPath(file);
  const caller = getCallSites()
    .map(({ scriptName }) => scriptName)
    .filter((name) => name !== "" && !name.startsWith("node:"))
    .map((name) => (name.startsWith("file:") ? fileURLToPath(name) : name))
    .find((name) => dirname(name) !== import.meta.dirname);
  return relative("", resolve(caller === undefined ? "" : dirname(caller), file));
}

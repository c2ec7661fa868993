/** Where a test stands that calls the kit: what it names is relative to that. */
import { dirname, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { getCallSites } from "node:util";

/** A relative path is relative to the file whose code has called: the first on the stack that is not the kit's. */
export function findFile(file: string | URL): string {
  if (file instanceof URL) return fileURLToPath(file);
  const caller = getCallSites()
    .map(({ scriptName }) => scriptName)
    .filter((name) => name !== "" && !name.startsWith("node:"))
    .map((name) => (name.startsWith("file:") ? fileURLToPath(name) : name))
    .find((name) => dirname(name) !== import.meta.dirname);
  return relative("", resolve(caller === undefined ? "" : dirname(caller), file));
}

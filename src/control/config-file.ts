/** Reads the text of a configuration file. */
import { readFile } from "node:fs/promises";

/** Reads a file as UTF-8, without a byte order mark. @throws Error with the reason */
export async function readConfigFile(file: string): Promise<string> {
  const bytes = await readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new Error(`${file}: ${UNREADABLE[error.code ?? ""] ?? error.message}`, { cause: error });
  });
  const [first, second] = bytes;
  if (first === 0 || second === 0 || (first! >= 0xfe && second! >= 0xfe))
    throw new Error(`${file}:1:1: invalid UTF-8: the file is UTF-16`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    // Replacement characters would change values silently.
    throw new Error(`${placeOfBadByte(file, bytes)}: invalid UTF-8`, {
      cause: error,
    });
  }
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EACCES: "permission denied",
  EISDIR: "is a directory, expected a file",
};

function placeOfBadByte(file: string, bytes: Uint8Array): string {
  const good = Buffer.from(bytes).toString("utf8").split("\ufffd", 1)[0]!;
  const line = good.slice(good.lastIndexOf("\n") + 1);
  return `${file}:${good.split("\n").length}:${line.length + 1}`;
}

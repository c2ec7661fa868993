/**
 * Results in docs/benchmarks.md: each row is between two marks and is replaced whole; text outside of
 * marks is prose, written by hand, and is never touched.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const FILE = join(import.meta.dirname, "../../docs/benchmarks.md");

export function writeBlock(name: string, block: string): void {
  writeFileSync(FILE, replaceBlock(readFileSync(FILE, "utf8"), name, block));
}

/** @throws when the text has no place for that row. */
export function replaceBlock(text: string, name: string, block: string): string {
  const begin = `<!-- measured: ${name} -->`;
  const end = `<!-- end: ${name} -->`;
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error(`docs/benchmarks.md has no place for "${name}": ${begin} … ${end}`);
  return `${text.slice(0, from + begin.length)}\n\n${block}\n\n${text.slice(to)}`;
}

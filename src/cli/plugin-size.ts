/** The size report of `plugin build`. */
import { gzipSync } from "node:zlib";
import { readShape } from "../plugin/wasm/module-shape.ts";
import { measureModule } from "../plugin/wasm/module-size.ts";

const SHOWN = 5;

/** What the bytes of a module are spent on, and its largest functions: lines to print. */
export function describeSize(bytes: Uint8Array): string {
  const { code, data, custom, rest, functions } = measureModule(bytes, readShape(bytes).imports.length);
  const parts = [
    `code ${kibibytes(code)}`,
    `data ${kibibytes(data)}`,
    ...custom.filter(({ bytes }) => bytes >= 100).map(({ name, bytes }) => `${name} ${kibibytes(bytes)}`),
    `other ${kibibytes(rest + custom.filter(({ bytes }) => bytes < 100).reduce((sum, one) => sum + one.bytes, 0))}`,
  ];
  const lines = [`  ${parts.join(", ")}; ${kibibytes(gzipSync(bytes).length)} compressed`, "  largest functions:"];
  for (const { name, bytes } of functions.slice(0, SHOWN))
    lines.push(`    ${String(bytes).padStart(6)} bytes  ${name}`);
  return `${lines.join("\n")}\n`;
}

export function kibibytes(bytes: number): string {
  return `${(bytes / 1024).toFixed(1)} KiB`;
}

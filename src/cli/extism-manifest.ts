/** Converts a manifest of Extism to an entry of `plugins`, and lists the settings without a counterpart. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";

const KEYS = ["wasm", "config", "memory", "allowed_hosts", "allowed_paths", "timeout_ms"];
const PAGE_KIB = 64;

/** Whether the file is JSON rather than a module. */
export function isManifest(bytes: Uint8Array): boolean {
  return /^\s*\{/.test(Buffer.from(bytes.subarray(0, 64)).toString("latin1"));
}

/** Returns the text to print. @throws Error if it is not a manifest, or a module has another hash */
export function describeManifest(file: string, text: string): string {
  const manifest = objectOf(parse(file, text), `${file}: the manifest`);
  const modules = manifest.wasm;
  if (!Array.isArray(modules) || modules.length === 0)
    throw new Error(`${file}: expected a manifest of Extism, {"wasm":[{"path":"plugin.wasm"}]}`);
  const notes = unknownKeys(manifest);
  // As in Extism: the one named "main", or the last.
  const objects = modules.map((module, i) => objectOf(module, `${file}: wasm.${i}`));
  const main = objects.find(({ name }) => name === "main") ?? objects.at(-1)!;
  if (objects.length > 1) notes.push("wasm: a plugin is one module, others are not linked to it");
  const path = pathOf(file, main, notes);
  const fetch = targetsOf(manifest.allowed_hosts, notes);
  const lines = [`wasm: ${JSON.stringify(path)}`];
  if (manifest.config !== undefined) lines.push(`config: ${JSON.stringify(manifest.config)}`);
  if (fetch.length > 0) lines.push(`allow: { fetch: ${JSON.stringify(fetch)} }`);
  const limits = limitsOf(manifest, notes);
  if (limits.length > 0) lines.push(`limits: { ${limits.join(", ")} }`);
  if (manifest.allowed_paths !== undefined) notes.push("allowed_paths: plugins have no files");
  const entry = lines.map((line) => `    ${line}\n`).join("");
  const rest = notes.map((note) => `  ${note}\n`).join("");
  return `${file} is a manifest of Extism; in sluice.yaml it is\n\nplugins:\n  ${nameOf(main, path)}:\n${entry}${rest === "" ? "" : `\nnot supported:\n${rest}`}`;
}

function parse(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${file}: not a manifest: ${(error as Error).message}`, { cause: error });
  }
}

function objectOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new Error(`${what} is ${JSON.stringify(value) ?? "absent"}, expected an object`);
}

function unknownKeys(manifest: Record<string, unknown>): string[] {
  return Object.keys(manifest).flatMap((key) => (KEYS.includes(key) ? [] : [`${key}: an unknown key`]));
}

/** The module's path, after its hash has been compared. */
function pathOf(file: string, module: Record<string, unknown>, notes: string[]): string {
  const { path, url, hash } = module;
  if (typeof path !== "string") {
    notes.push(typeof url === "string" ? `url: save ${url} as a file` : "data: save the module as a file");
    return typeof url === "string" ? `./${basename(url)}` : "./plugin.wasm";
  }
  const found = [path, join(dirname(file), path)].find((place) => existsSync(place));
  if (typeof hash !== "string" || found === undefined) return path;
  const actual = createHash("sha256").update(readFileSync(found)).digest("hex");
  if (actual !== hash.toLowerCase()) throw new Error(`${found}: its SHA-256 is ${actual}, the manifest has ${hash}`);
  return path;
}

function targetsOf(hosts: unknown, notes: string[]): string[] {
  if (!Array.isArray(hosts)) return [];
  return hosts.flatMap((host) => {
    if (typeof host === "string" && !/[*?[\]{}]/.test(host)) return [`https://${host}`];
    notes.push(`allowed_hosts: ${JSON.stringify(host)}: name each origin in allow.fetch, there are no patterns`);
    return [];
  });
}

function limitsOf({ memory, timeout_ms: time }: Record<string, unknown>, notes: string[]): string[] {
  const limits: string[] = [];
  const { max_pages: pages, ...others } = objectOf(memory ?? {}, "memory");
  if (typeof pages === "number") limits.push(`memory: ${pages * PAGE_KIB}KiB`);
  if (typeof time === "number") limits.push(`time: ${time}ms`);
  for (const key of Object.keys(others)) notes.push(`memory.${key}: the limit is fixed (docs/extism.md)`);
  return limits;
}

/** A name for the entry. */
function nameOf({ name }: Record<string, unknown>, path: string): string {
  const given = typeof name === "string" && name !== "main" ? name : basename(path, extname(path));
  const made = given
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return made === "" ? "plugin" : made;
}

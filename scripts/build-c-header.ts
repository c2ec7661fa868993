/** Writes sdk/c/sluice.h, the ABI in C, from src/abi/abi.ts. `--check` only checks that it is up to date. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as abi from "../src/abi/abi.ts";
import { root } from "./run-node.ts";

const HEADER = join(root, "sdk/c/sluice.h");
const SOURCE = join(root, "src/abi/abi.ts");
const WIDTH = 116;

const INTRODUCTION = `/*
 * The native plugin ABI of Sluice, version ${abi.ABI_VERSION}, in C. Reference: docs/abi.md.
 * Generated from src/abi/abi.ts by scripts/build-c-header.ts.
 *
 *   clang --target=wasm32 -O2 -mbulk-memory -nostdlib -I sdk/c \\
 *     -Wl,--no-entry -Wl,--stack-first -o plugin.wasm plugin.c
 *
 * One source file of the module contains SLUICE_MODULE; hooks are defined by their macros:
 *
 *   SLUICE_MODULE
 *   SLUICE_ON_REQUEST_HEAD(instance, exchange) {
 *     sluice_header_set(SLUICE_HEADERS_REQUEST, SLUICE_TEXT("x-greeting"), SLUICE_TEXT("hello"));
 *     return SLUICE_RESULT_CONTINUE;
 *   }
 *
 * A call with (out, cap) returns the full length of the value, and writes it only if the length is at most cap.
 * A negative result is a SLUICE_STATUS. Only functions that are called become imports, and an import is a permission
 * request: modules other than sluice:core/1 may have to be allowed in the configuration.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))
#define SLUICE_EXPORT(name) __attribute__((export_name(name), used))
#define SLUICE_UNUSED __attribute__((unused))

/* A string literal as two arguments: pointer and length. */
#define SLUICE_TEXT(literal) (literal), (int32_t)(sizeof(literal) - 1)

#define SLUICE_ABI_VERSION ${abi.ABI_VERSION}

/* Declares the version of the ABI that the module was built for. Required once. */
#define SLUICE_MODULE \\
  SLUICE_EXPORT("${abi.EXPORT.version}") int32_t sluice_abi(void); \\
  int32_t sluice_abi(void) { return SLUICE_ABI_VERSION; }

/* Optional, once: one guest serves several configurations, distinguished by \`instance\` of each hook call. */
#define SLUICE_SERVES_MANY \\
  SLUICE_EXPORT("${abi.EXPORT.serves}") int32_t sluice_serves_many(void); \\
  int32_t sluice_serves_many(void) { return 1; }

#define SLUICE_HOOK(name, function, instance, exchange) \\
  SLUICE_EXPORT(name) int32_t function(int32_t instance, int32_t exchange); \\
  int32_t function(SLUICE_UNUSED int32_t instance, SLUICE_UNUSED int32_t exchange)
`;

const END = `#ifdef __cplusplus
}
#endif

#endif
`;

export function makeHeader(): string {
  const hooks = abi.HOOKS.map(describeHook).join("\n");
  return [INTRODUCTION, `${hooks}\n`, ...describeConstants(), ...describeImports(), END].join("\n");
}

function describeHook(hook: abi.Hook): string {
  const results = abi.HOOK_RESULTS[hook];
  const names = Object.entries(abi.RESULT)
    .filter(([, number]) => results.includes(number))
    .map(([name]) => name);
  const function_ = `sluice_on_${hook}`;
  return `/* Returns ${names.length === 0 ? "a number" : names.join(", ")}. */
#define ${macro("on", hook)}(instance, exchange) SLUICE_HOOK("${hook}", ${function_}, instance, exchange)`;
}

// ── Constants ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Every group of numbers that the ABI exports, except those for the host only. */
function describeConstants(): string[] {
  const comments = readComments(readFileSync(SOURCE, "utf8"));
  return Object.entries(abi).flatMap(([group, value]) => {
    if (group === "HOOK" || group === "REWRITES" || !isNumbers(value)) return [];
    const entries = Object.entries(value).map(([name, number]) => {
      const line = `  ${macro(group, name)} = ${number},`;
      const comment = comments.get(`${group}.${name}`);
      return comment === undefined ? line : `${wrap(comment, "  ")}\n${line}`;
    });
    const comment = comments.get(group);
    const head = comment === undefined ? "" : `${wrap(comment, "")}\n`;
    return [`${head}enum {\n${entries.join("\n")}\n};\n`];
  });
}

function isNumbers(value: unknown): value is Readonly<Record<string, number>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((one) => typeof one === "number");
}

/** The comment before each constant and each of its entries, by \`NAME\` and \`NAME.entry\`. */
function readComments(source: string): Map<string, string> {
  const comments = new Map<string, string>();
  let group = "";
  let lines: string[] | null = null;
  let comment: string | null = null;
  for (const line of source.split("\n")) {
    const begins = /^\s*\/\*\*(.*)$/.exec(line);
    if (begins !== null) lines = [];
    if (lines !== null) {
      lines.push(line.replace(/^\s*\/?\*+\/?/, "").replace(/\*\/\s*$/, ""));
      if (!line.includes("*/")) continue;
      comment = lines.join(" ").replace(/\s+/g, " ").trim();
      lines = null;
      continue;
    }
    const constant = /^export const (\w+)/.exec(line)?.[1];
    if (constant !== undefined) group = constant;
    const name = constant ?? /^ {2}(\w+): -?[\d ]/.exec(line)?.[1];
    if (name !== undefined && comment !== null) comments.set(constant ?? `${group}.${name}`, comment);
    comment = null;
  }
  return comments;
}

// ── Host calls ──────────────────────────────────────────────────────────────────────────────────────────────────────

const TYPES = { i32: "int32_t", f64: "double" } as const;

function describeImports(): string[] {
  return Object.entries(abi.IMPORTS).flatMap(([module, calls]) => {
    const group = /^sluice:(\w+)\/\d+$/.exec(module)![1]!;
    const texts = Object.entries(calls as Record<string, abi.Import>).map(([name, call]) =>
      describeImport(
        module,
        group === "core" || name.startsWith(`${group.replace(/s$/, "")}_`) ? name : `${group}_${name}`,
        name,
        call,
      ),
    );
    return [`/* ── ${module} ── */\n`, `${texts.join("\n\n")}\n`];
  });
}

function describeImport(module: string, symbol: string, name: string, call: abi.Import): string {
  const list = describeParameters(name, call);
  const result = call.result === null ? "void" : TYPES[call.result];
  return `${wrap(call.doc, "")}
SLUICE_IMPORT("${module}", "${name}")
${result} sluice_${symbol}(${list.length === 0 ? "void" : list.join(", ")});`;
}

/** Names come from the first parentheses of `doc`. Pointers: `out`, names before their length, and `…Out` (an f64). */
function describeParameters(name: string, { params, doc }: abi.Import): string[] {
  const names = (/^\(([^)]*)\)/.exec(doc)?.[1] ?? "")
    .split(",")
    .map((one) => one.replace(/:.*/, "").trim())
    .filter(Boolean);
  if (names.length !== params.length)
    throw new Error(`${name}: the text has ${names.length} parameters, expected ${params.length}: ${doc}`);
  return params.map((type, i) => {
    const own = names[i]!;
    const next = names[i + 1];
    if (own === "out" || own.endsWith("Out")) return `void *${snake(own)}`;
    if (own.endsWith("Out")) return `double *${snake(own)}`;
    if (next === "len" || next === `${own}Len`) return `const void *${snake(own)}`;
    return `${TYPES[type]} ${own === "len" ? `${snake(names[i - 1] ?? "")}_len` : snake(own)}`;
  });
}

// ── Text ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function macro(group: string, name: string): string {
  return `SLUICE_${group}_${snake(name)}`.toUpperCase();
}

function wrap(comment: string, indent: string): string {
  const lines = [""];
  for (const word of comment.split(" "))
    if (`${lines.at(-1)} ${word}`.length > WIDTH) lines.push(word);
    else lines.push(`${lines.pop()} ${word}`.trim());
  return `${indent}/* ${lines.join(`\n${indent} * `)} */`;
}

if (import.meta.main) {
  const text = makeHeader();
  if (!process.argv.includes("--check")) writeFileSync(HEADER, text);
  else if (readFileSync(HEADER, "utf8") !== text) {
    console.error("sdk/c/sluice.h is not up to date: run node scripts/build-c-header.ts");
    process.exitCode = 1;
  }
}

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildModule } from "../../../../src/plugin/wasm/build.ts";
import { compileWat } from "../kit.ts";

const MEMORY = '(memory (export "memory") 1)';

test("a module for another host is reported by its kind", () => {
  const cases: [wat: string, kind: RegExp][] = [
    [
      `${MEMORY} (func (export "proxy_abi_version_0_2_1"))`,
      /^a proxy-wasm module \(proxy_abi_version_0_2_1\), expected/,
    ],
    [`(import "env" "proxy_log" (func)) ${MEMORY}`, /^a proxy-wasm module, /],
    [`(import "http_handler" "log" (func)) ${MEMORY}`, /^an http-wasm module/],
    [`(import "env" "extism_input_length" (func)) ${MEMORY}`, /^an Extism plugin of 2023 or before/],
    [`(import "wasi_snapshot_preview1" "proc_exit" (func)) ${MEMORY} (func (export "_start"))`, /^a WASI program/],
    [`(import "wbg" "x" (func)) ${MEMORY}`, /^a module of wasm-bindgen/],
    [`(import "gojs" "x" (func)) ${MEMORY}`, /^a module of Go, made for JavaScript \(GOOS=js\), expected/],
    [`(import "go" "debug" (func)) ${MEMORY}`, /^a module of Go, made for JavaScript/],
    [`(import "env" "abort" (func)) ${MEMORY}`, /^a module of AssemblyScript without the SDK/],
    [`(import "env" "own" (func)) ${MEMORY}`, /^imports env\.own, which the host does not offer$/],
    [
      `(import "env" "proxy_log" (func)) ${MEMORY} (func (export "sluice_abi") (result i32) i32.const 1)`,
      /^imports env\.proxy_log, which the host does not offer$/,
    ],
  ];
  for (const [wat, kind] of cases) {
    const bytes = compileWat(`(module ${wat})`);
    assert.throws(() => buildModule(bytes, { memory: 65536 }), { message: kind }, wat);
  }
});

test("a file that is not a module is reported by its kind", () => {
  const cases: [bytes: Uint8Array, message: RegExp][] = [
    [Buffer.alloc(0), /^not a WebAssembly module: the file is empty$/],
    [Buffer.from('import { Request } from "sluice/sdk";'), /it is text: set `source` to source code/],
    [Buffer.from('{ "wasm": [] }'), /it is JSON: of a manifest of Extism `sluice plugin inspect` prints what to write/],
    [Buffer.from("  (module)"), /it is WebAssembly text/],
    [Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]), /^not a WebAssembly module: it does not begin with \\0asm$/],
    [Buffer.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]), /^a WebAssembly component/],
  ];
  for (const [bytes, message] of cases) assert.throws(() => buildModule(bytes, { memory: 65536 }), { message });
});

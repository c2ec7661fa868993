import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageChannel, receiveMessageOnPort } from "node:worker_threads";
import { HOOK } from "../../../../src/abi/abi.ts";
import { buildModule, buildModuleAside, type ModulePlan } from "../../../../src/plugin/wasm/build.ts";
import { PluginError } from "../../../../src/plugin/wasm/error.ts";
import { makeMemory, withMemory } from "../../../../src/plugin/wasm/linear-memory.ts";
import { buildFixture, compileWat, MEMORY, readFixture } from "../kit.ts";

const refused: [fixture: string, problem: RegExp][] = [
  ["wrong-signature", /^the export pick is \(i32, i64\) -> i32, expected \(i32, i32\) -> i32$/],
  ["no-memory", /^no memory is declared$/],
  ["hidden-memory", /^exports no memory: expected an export named "memory"$/],
  ["imported-memory", /^imports the memory env\.memory, but only functions of the host are offered$/],
  ["shared-memory", /^a shared memory is not supported$/],
  ["wide-memory", /^a 64-bit memory is not supported$/],
  ["two-memories", /^2 memories are declared, one is supported$/],
  ["unknown-import", /^imports wasi_snapshot_preview1\.fd_write, which the host does not offer$/],
  ["mistyped-import", /^imports sluice:core\/1\.now as \(\) -> i32, expected \(\) -> f64$/],
  ["exported-import", /^the export pick is an import, expected a function of the module$/],
  ["later-version", /^was built for version 2 of the plugin interface, this host supports 1$/],
  ["reserved-export", /^the export "sluice:charge" begins with "sluice:", which is reserved$/],
  ["no-hook", /^exports no hook, expected one of configure, request_head, /],
];

for (const [fixture, problem] of refused) {
  test(`a module is refused: ${fixture}`, () => {
    assert.throws(
      () => buildFixture(fixture),
      (error) => error instanceof PluginError && problem.test(error.message),
    );
  });
}

const module = (body: string) =>
  compileWat(`(module (memory (export "memory") 1) ${body}
    (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "log") (param i32 i32) (result i32) i32.const 0))`);

const refusedBytes: [name: string, bytes: () => Uint8Array, problem: RegExp][] = [
  ["empty", () => new Uint8Array(0), /^not a WebAssembly module: the file is empty$/],
  ["a text", () => Buffer.from("export function pick() {}"), /^not a WebAssembly module/],
  ["a component", () => Buffer.from([0, 0x61, 0x73, 0x6d, 13, 0, 1, 0]), /^a WebAssembly component, expected /],
  ["cut short", () => readFixture("no-op").subarray(0, 40), /^not a valid WebAssembly module: /],
  [
    "an index of what the host appends",
    () => {
      const bytes = Buffer.from(module("(func i32.const 0 global.set 0) (global (mut i32) (i32.const 0))"));
      bytes[bytes.indexOf(Buffer.from([0x41, 0, 0x24, 0])) + 3] = 1;
      return bytes;
    },
    /^not a valid WebAssembly module: .*global/i,
  ],
  [
    "more than 16 MiB",
    () => new Uint8Array(16 * 1024 * 1024 + 1),
    /^the module is 16777217 bytes, the limit is 16777216$/,
  ],
  [
    "more memory than its limit",
    () =>
      compileWat(`(module (memory (export "memory") 300)
        (func (export "sluice_abi") (result i32) i32.const 1)
        (func (export "log") (param i32 i32) (result i32) i32.const 0))`),
    /^memory begins with 19660800 bytes, the plugin's limit is 16777216 \(limits\.memory\)$/,
  ],
  [
    "a large table",
    () => module("(table 200000 funcref)"),
    /^a table of 200000 entries is declared, the limit is 131072$/,
  ],
  ["many tables", () => module("(table 1 funcref) ".repeat(9)), /^9 tables are declared, the limit is 8$/],
  [
    "a function above 1 MiB",
    () => module(`(func ${"i32.const 1 drop ".repeat(400_000)})`),
    /^function 0 is \d+ bytes of code, the limit is 1048576$/,
  ],
  [
    "two ways to start",
    () => module('(func $a (export "_initialize")) (start $a)'),
    /^has both a start function and an export _initialize, expected one of them$/,
  ],
  [
    "memory that is a function",
    () => Buffer.from(swapMemory()),
    /^the export "memory" is a function, expected a memory$/,
  ],
  [
    "no version",
    () =>
      compileWat(
        '(module (memory (export "memory") 1) (func (export "log") (param i32 i32) (result i32) i32.const 0))',
      ),
    /^exports no function sluice_abi, which returns the version of the plugin interface$/,
  ],
  [
    "a hook that is no function",
    () => module('(global (export "pick") i32 (i32.const 0))'),
    /^the export pick is a global, expected a function$/,
  ],
  [
    "a changing number of configurations",
    () => module('(func (export "sluice_serves_many") (result i32) i32.const 1 i32.const 1 i32.add)'),
    /^the export sluice_serves_many must do nothing but return a constant$/,
  ],
];

function swapMemory(): Uint8Array {
  return compileWat(`(module (memory 1) (func (export "memory"))
    (func (export "sluice_abi") (result i32) i32.const 1)
    (func (export "log") (param i32 i32) (result i32) i32.const 0))`);
}

for (const [name, bytes, problem] of refusedBytes) {
  test(`a module is refused: ${name}`, () => {
    assert.throws(
      () => buildModule(bytes(), { memory: MEMORY }),
      (error) => error instanceof PluginError && problem.test(error.message),
    );
  });
}

test("garbage-collected types are refused by name", () => {
  // (type (struct)) and what every module has.
  const bytes = Buffer.from(module("(type (func))"));
  const types = bytes.indexOf(Buffer.from([0x60, 0, 0]));
  assert.ok(types > 0);
  bytes[types] = 0x5f;
  // A struct type is 0x5f and a count of fields: the two bytes after it would be one too many, so make it (array i8).
  bytes[types] = 0x5e;
  bytes[types + 1] = 0x78;
  assert.throws(
    () => buildModule(bytes, { memory: MEMORY }),
    /^PluginError: garbage-collected types are not supported/,
  );
});

test("a built module has its hooks, import groups and size", () => {
  const plan = buildFixture("no-op");
  assert.equal(plan.info.hooks, 0xff);
  assert.deepEqual(plan.info.groups, []);
  assert.equal(plan.info.servesMany, false);
  assert.equal(plan.info.size, readFixture("no-op").length);
  assert.match(plan.hash, /^[0-9a-f]{64}$/);
  const strategy = buildFixture("strategy");
  assert.equal(strategy.info.hooks, (1 << HOOK.update) | (1 << HOOK.pick) | (1 << HOOK.outcome));
  assert.deepEqual(strategy.info.groups, ["sluice:balance/1"]);
  assert.equal(buildFixture("serves-many").info.servesMany, true);
});

test("a plan can be posted to a worker", () => {
  const { port1, port2 } = new MessageChannel();
  const plan = buildFixture("no-op");
  port1.postMessage(plan);
  const copy = receiveMessageOnPort(port2)?.message as ModulePlan;
  port1.close();
  assert.deepEqual({ ...copy, module: null }, { ...plan, module: null });
  assert.equal(WebAssembly.Module.exports(copy.module).length, WebAssembly.Module.exports(plan.module).length);
});

test("a module compiled in the background has the same result", async () => {
  const here = buildFixture("no-op");
  const aside = await buildModuleAside(readFixture("no-op"), { memory: MEMORY, path: "no-op.wasm" });
  assert.deepEqual({ ...aside, module: null }, { ...here, module: null });
});

test("the memory gets the limit as its maximum, or keeps a lower one", () => {
  const pagesOf = (text: string) => {
    const plan = buildModule(compileWat(text), { memory: MEMORY });
    const memory = makeMemory(plan.info.pages);
    const { exports } = new WebAssembly.Instance(plan.module, withMemory({}, memory));
    assert.equal(exports.memory, memory);
    let pages = memory.buffer.byteLength / 65536;
    for (;;) {
      try {
        memory.grow(1);
        pages++;
      } catch {
        return pages;
      }
    }
  };
  const rest = `(func (export "sluice_abi") (result i32) i32.const 1) (func (export "log") (param i32 i32) (result i32) i32.const 0)`;
  assert.equal(pagesOf(`(module (memory (export "memory") 1) ${rest})`), 256);
  assert.equal(pagesOf(`(module (memory (export "memory") 1 9999) ${rest})`), 256);
  assert.equal(pagesOf(`(module (memory (export "memory") 1 3) ${rest})`), 3);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { EXPORT, FUEL } from "../../../../src/abi/abi.ts";
import { PRICE, SURCHARGE } from "../../../../src/abi/prices.ts";
import { nativeModule } from "../../../../src/plugin/abi/native/module.ts";
import { METER, type Metered, meterModule, originalOffset } from "../../../../src/plugin/wasm/meter.ts";
import { readShape } from "../../../../src/plugin/wasm/module-shape.ts";
import { compileWat, instantiate, MEMORY } from "../kit.ts";
import { compileScript } from "./compile-script.ts";

type Run = (input: number) => number;

/** Modules that export `run: (i32) -> i32` and a memory. */
const texts: Record<string, string> = {
  "a loop": `(func (export "run") (param i32) (result i32) (local $i i32) (local $sum i32)
    (loop
      (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $i)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get 0))))
    local.get $sum)`,
  recursion: `(func $fib (export "run") (param i32) (result i32)
    (if (result i32) (i32.lt_s (local.get 0) (i32.const 2)) (then (local.get 0))
      (else (i32.add (call $fib (i32.sub (local.get 0) (i32.const 1))) (call $fib (i32.sub (local.get 0) (i32.const 2)))))))`,
  "loops with parameters and results": `(type $pair (func (param i32 i32) (result i32 i32)))
    (func (export "run") (param i32) (result i32)
      i32.const 7
      local.get 0
      (loop (type $pair)
        i32.const 1
        i32.sub
        local.tee 0
        (block (type $pair) i32.const 3 drop)
        local.get 0
        i32.const 0
        i32.gt_s
        br_if 0)
      i32.add)`,
  "a jump table": `(func (export "run") (param i32) (result i32)
    (block (block (block (br_table 0 1 2 (local.get 0))) (return (i32.const 10))) (return (i32.const 20))) i32.const 30)`,
  "calls through a table": `(type $f (func (param i32) (result i32))) (table funcref (elem $a $b))
    (func $a (type $f) (i32.add (local.get 0) (i32.const 1)))
    (func $b (type $f) (i32.mul (local.get 0) (i32.const 5)))
    (func (export "run") (param i32) (result i32)
      (call_indirect (type $f) (local.get 0) (i32.and (local.get 0) (i32.const 1))))`,
  "bulk memory": `(data $d "hello world") (func (export "run") (param i32) (result i32)
    (memory.fill (i32.const 100) (local.get 0) (i32.const 50))
    (memory.copy (i32.const 120) (i32.const 90) (i32.const 20))
    (memory.init $d (i32.const 130) (i32.const 0) (i32.const 11))
    (data.drop $d)
    (i32.add (i32.load (i32.const 125)) (i32.load (i32.const 132))))`,
  "bulk tables": `(table $t 4 20 funcref) (elem $e func 0) (func (export "run") (param i32) (result i32)
    (table.init $t $e (i32.const 0) (i32.const 0) (i32.const 1))
    (table.copy $t $t (i32.const 1) (i32.const 0) (i32.const 1))
    (table.fill $t (i32.const 2) (ref.null func) (i32.const 2))
    (elem.drop $e)
    (i32.add (table.grow $t (ref.null func) (local.get 0)) (i32.add (table.size $t) (ref.is_null (table.get $t (i32.const 1))))))`,
  "growing memory": `(func (export "run") (param i32) (result i32)
    (i32.add (i32.mul (memory.grow (local.get 0)) (i32.const 1000)) (memory.size)))`,
  vectors: `(func (export "run") (param i32) (result i32)
    (v128.store (i32.const 0) (i32x4.splat (local.get 0)))
    (v128.store64_lane 1 (i32.const 32) (i8x16.shuffle 0 1 2 3 4 5 6 7 15 14 13 12 11 10 9 8
      (v128.load (i32.const 0)) (v128.const i32x4 1 2 3 4)))
    (i32.add (i32x4.extract_lane 2 (i32x4.mul (v128.load (i32.const 0)) (v128.load32_zero (i32.const 4))))
      (i32.load (i32.const 32))))`,
  exceptions: `(tag $t (param i32)) (func (export "run") (param i32) (result i32)
    (try (result i32)
      (do (if (result i32) (i32.and (local.get 0) (i32.const 1)) (then (throw $t (i32.const 40))) (else (i32.const 2))))
      (catch $t (i32.add (i32.const 1)))
      (catch_all (i32.const -1))))`,
  "tail calls": `(func $down (param i32 i32) (result i32)
    (if (result i32) (local.get 0)
      (then (return_call $down (i32.sub (local.get 0) (i32.const 1)) (i32.add (local.get 1) (i32.const 2))))
      (else (local.get 1))))
    (func (export "run") (param i32) (result i32) (call $down (i32.mul (local.get 0) (i32.const 1000)) (i32.const 0)))`,
  "atomics on memory of its own": `(func (export "run") (param i32) (result i32)
    (i32.atomic.store (i32.const 8) (local.get 0))
    atomic.fence
    (i32.add (i32.atomic.rmw.add (i32.const 8) (i32.const 5)) (i32.atomic.load (i32.const 8))))`,
  "wide numbers": `(func (export "run") (param i32) (result i32)
    (i32.trunc_sat_f64_s (f64.mul (f64.convert_i64_s (i64.mul (i64.extend_i32_s (local.get 0)) (i64.const -81985529216486895)))
      (f64.const 1.25e-11))))`,
};

const scripts: Record<string, string> = {
  sorting: `export function run(n: i32): i32 {
    const list = new Array<i32>(); let seed = n;
    for (let i = 0; i < n * 10; i++) { seed = seed * 1103515245 + 12345; list.push(seed >> 8); }
    list.sort((a, b) => a - b);
    let hash = 0; for (let i = 0; i < list.length; i++) hash = hash * 31 + list[i];
    return hash; }`,
  strings: `export function run(n: i32): i32 {
    const seen = new Map<string, i32>();
    const words = "the quick brown fox jumps over the lazy dog and the quick cat".split(" ");
    for (let i = 0; i < n * words.length; i++) { const w = words[i % words.length].toUpperCase(); seen.set(w, seen.has(w) ? seen.get(w) + i : i); }
    const keys = seen.keys(); let out = ""; for (let i = 0; i < keys.length; i++) out += keys[i] + "=" + seen.get(keys[i]).toString() + ";";
    let hash = 0; for (let i = 0; i < out.length; i++) hash = hash * 33 ^ out.charCodeAt(i); return hash; }`,
  "bytes in vectors": `export function run(n: i32): i32 {
    const bytes = new Uint8Array(256); for (let i = 0; i < 256; i++) bytes[i] = <u8>(i * n);
    let count = 0; const want = i8x16.splat(<i8>7);
    for (let i = 0; i < 256; i += 16) count += popcnt(i8x16.bitmask(i8x16.eq(v128.load(bytes.dataStart + i), want)));
    bytes.copyWithin(10, 100, 200).fill(3, 0, 20); for (let i = 0; i < 256; i++) count = count * 7 + bytes[i];
    return count; }`,
};

const corpus = new Map<string, Uint8Array>();
for (const [name, text] of Object.entries(texts))
  corpus.set(name, compileWat(`(module (memory (export "memory") 1) ${text})`));
for (const [name, script] of Object.entries(scripts)) {
  corpus.set(`script, ${name}`, await compileScript(script));
  corpus.set(`script, ${name}, optimised`, await compileScript(script, ["-O3"]));
}

function start(code: Uint8Array | Metered): WebAssembly.Exports {
  const exports = instantiate(code);
  // A former start function runs when the host calls it.
  ((exports[EXPORT.initialize] ?? exports[METER.start]) as (() => void) | undefined)?.();
  return exports;
}

function meter(bytes: Uint8Array, memory = MEMORY) {
  return meterModule(bytes, readShape(bytes), memory, nativeModule.entryPoints(readShape(bytes), {}));
}

for (const [name, bytes] of corpus) {
  test(`metering changes nothing: ${name}`, () => {
    for (const input of [0, 1, 2, 3, 7, 12]) {
      const plain = start(bytes).run as Run;
      const metered = start(meter(bytes));
      assert.equal((metered.run as Run)(input), plain(input), `run(${input})`);
      const left = (metered[METER.charge] as Run)(0);
      assert.ok(left < FUEL.start && left > 0, `${left} left`);
    }
  });

  test(`every run ends when the fuel does: ${name}`, () => {
    const exports = start(meter(bytes));
    const charge = exports[METER.charge] as Run;
    charge(charge(0));
    assert.throws(() => (exports.run as Run)(3), WebAssembly.RuntimeError);
    assert.ok(charge(0) < 0);
  });
}

/** The offsets of the frames of what `run` throws, and the fuel that was taken. */
function frames(exports: WebAssembly.Exports): number[] {
  try {
    (exports.run as Run)(3);
  } catch (error) {
    return [...(error as Error).stack!.matchAll(/wasm-function\[\d+\]:0x([0-9a-f]+)/g)].map(([, hex]) =>
      Number.parseInt(hex!, 16),
    );
  }
  return assert.fail("it did not trap");
}

test("offsets of a stack lead back to the file", () => {
  const traps = [
    `(func (export "run") (param i32) (result i32) unreachable)`,
    `(func $f (param i32) (loop (i32.store (i32.const -4) (local.get 0))))
     (func (export "run") (param i32) (result i32)
       (block (loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 10)) (call $f (i32.const 3)) (br 0)))
       i32.const 0)`,
    `(func (export "run") (param i32) (result i32)
       (drop (memory.grow (i32.const 1))) (memory.fill (i32.const -1) (i32.const 0) (i32.const 1000)) (i32.const 1))`,
    `(func (export "run") (param i32) (result i32) (loop (loop (loop nop nop))) (i32.div_u (i32.const 1) (i32.const 0)))`,
  ];
  for (const text of traps) {
    const bytes = compileWat(`(module (memory (export "memory") 1) ${text})`);
    const metered = meter(bytes);
    const expected = frames(start(bytes));
    assert.ok(expected.length > 0);
    assert.deepEqual(
      frames(start(metered)).map((offset) => originalOffset(metered.offsets, offset)),
      expected,
    );
  }
});

function costOf(text: string, input = 0): number {
  const exports = start(meter(compileWat(`(module (memory (export "memory") 256) ${text})`), 64 * 1024 * 1024));
  (exports.run as Run)(input);
  return FUEL.start - (exports[METER.charge] as Run)(0);
}

const run = (body: string) => `(func (export "run") (param i32) (result i32) ${body} i32.const 0)`;

test("code is charged by its length, and more for slow instructions", () => {
  // One division is 6 bytes; the function ends with i32.const 0 and end.
  const division = "i32.const 9 i32.const 3 i32.div_u drop ";
  assert.equal(costOf(run("")), PRICE.entry);
  const price = 6 + SURCHARGE.divide;
  assert.equal(costOf(run(division.repeat(1000))), PRICE.entry + Math.floor((1000 * price + 3) / 64));
});

test("locals are charged, since each entry clears them", () => {
  assert.equal(
    costOf(run("").replace("(result i32)", `(result i32) (local ${"i64 ".repeat(800)})`)),
    PRICE.entry + Math.floor((3 + 800 * PRICE.local) / 64),
  );
});

test("each iteration of a loop is charged by the loop's length", () => {
  const turn = "i32.const 9 i32.const 3 i32.div_u drop ".repeat(100);
  const text = run(`(loop ${turn} (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))`);
  const once = costOf(text, 1);
  const loop = PRICE.turn + Math.floor((100 * (6 + SURCHARGE.divide) + 10) / 64);
  assert.equal(costOf(text, 11) - once, 10 * loop);
});

test("bulk operations are charged by their length, before they run", () => {
  const fill = (length: number) => costOf(run(`(memory.fill (i32.const 0) (i32.const 1) (i32.const ${length}))`));
  const copy = (length: number) => costOf(run(`(memory.copy (i32.const 0) (i32.const 1) (i32.const ${length}))`));
  assert.equal(fill(0x1000000) - fill(0x1000000 - PRICE.bulkBytes), 1);
  for (const cost of [fill, copy]) {
    assert.ok(cost(0) >= PRICE.entry + Math.floor(SURCHARGE.bulkMemory / 64));
    assert.ok(cost(0xffffff) - cost(0) >= Math.floor(0xffffff / PRICE.bulkBytes));
  }
  assert.ok(costOf(run("(drop (memory.grow (i32.const 16)))")) >= PRICE.grow + 16 * PRICE.growPage);
  // Without enough fuel it does not run, for ranges inside and outside of the memory.
  const exports = start(
    meter(
      compileWat(
        `(module (memory (export "memory") 256) ${run("(memory.fill (i32.const 0) (i32.const 1) (i32.const 0x1000000))")})`,
      ),
    ),
  );
  const charge = exports[METER.charge] as Run;
  charge(charge(0) - 1000);
  assert.throws(() => (exports.run as Run)(0), /unreachable/);
  assert.ok(charge(0) < 0);
  assert.equal(new Uint8Array((exports.memory as WebAssembly.Memory).buffer)[0], 0);
});

test("a length of four gigabytes costs, and does not wrap", () => {
  for (const body of [
    "(drop (memory.grow (i32.const -1)))",
    "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))",
  ]) {
    const exports = start(meter(compileWat(`(module (memory (export "memory") 256) ${run(body)})`)));
    assert.throws(() => (exports.run as Run)(0), /unreachable/);
    assert.ok((exports[METER.charge] as Run)(0) < 0);
  }
});

test("memory that could not grow is reported", () => {
  const exports = start(
    meter(compileWat(`(module (memory (export "memory") 256) ${run("(drop (memory.grow (i32.const 1)))")})`)),
  );
  const flag = exports[METER.stopped] as WebAssembly.Global;
  assert.equal(flag.value, 0);
  (exports.run as Run)(0);
  assert.equal(flag.value, 1);
});

test("function names are kept for stacks, other custom sections are dropped", () => {
  const bytes = compileWat(
    `(module (memory (export "memory") 1) (func $named (export "run") (param i32) (result i32) unreachable))`,
  );
  const debug = Buffer.concat([bytes, Buffer.from([0, 6, 5]), Buffer.from("debug")]);
  const metered = meter(debug);
  const module = new WebAssembly.Module(metered.bytes);
  assert.equal(WebAssembly.Module.customSections(module, "name").length, 1);
  assert.equal(WebAssembly.Module.customSections(module, "debug").length, 0);
  assert.throws(
    () => (start(metered).run as Run)(0),
    (error) => /at named/.test((error as Error).stack!),
  );
});

test("a hook sets its fuel as it is called", () => {
  const exports = start(
    meter(
      compileWat(
        '(module (memory (export "memory") 1) (func (export "pick") (param i32 i32) (result i32) (i32.sub (local.get 0) (local.get 1))))',
      ),
    ),
  );
  const pick = exports[`${METER.hook}pick`] as (instance: number, exchange: number, fuel: number) => number;
  assert.equal(pick(9, 4, 100), 5);
  assert.equal((exports[METER.charge] as Run)(0), 100 - PRICE.entry);
  assert.throws(() => pick(9, 4, 0), /unreachable/);
});

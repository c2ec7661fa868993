/** Fuel prices: on every path each instruction costs at least its price in the list. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FUEL, LIMIT } from "../../../src/abi/abi.ts";
import { PRICE, SURCHARGE, surchargeOf } from "../../../src/abi/prices.ts";
import { nativeModule } from "../../../src/plugin/abi/native/module.ts";
import { Reader, readSections, SECTION } from "../../../src/plugin/wasm/binary.ts";
import { OP, skipImmediates } from "../../../src/plugin/wasm/instructions.ts";
import { METER, meterModule } from "../../../src/plugin/wasm/meter.ts";
import { readShape } from "../../../src/plugin/wasm/module-shape.ts";
import { Writer } from "../../../src/plugin/wasm/writer.ts";
import { compileWat, instantiate, MEMORY } from "../plugin/kit.ts";
import { randomModule } from "../plugin/wasm/random-module.ts";

type Charge = (units: number) => number;

function start(text: string) {
  const bytes = compileWat(`(module (memory (export "memory") 1) ${text})`);
  const exports = instantiate(
    meterModule(bytes, readShape(bytes), MEMORY, nativeModule.entryPoints(readShape(bytes), {})),
  );
  const charge = exports[METER.charge] as Charge;
  const run = exports.run as (input: number) => number;
  /** Units that a run takes; Infinity: it trapped without fuel. */
  const cost = (input: number, fuel: number = FUEL.start): number => {
    charge(charge(0) - fuel);
    try {
      run(input);
      return fuel - charge(0);
    } catch (error) {
      if (charge(0) >= 0) throw error;
      return Number.POSITIVE_INFINITY;
    }
  };
  return { exports, cost };
}

// ── Entries of tables ───────────────────────────────────────────────────────────────────────────────────────────────

const table = `(table $t (export "t") 4096 16384 funcref) (elem $e func ${"$f ".repeat(2048)}) (func $f) (elem declare func $f)`;
const operations: Record<string, string> = {
  "table.copy": "(table.copy $t $t (i32.const 2048) (i32.const 0) (local.get 0))",
  "table.fill": "(table.fill $t (i32.const 0) (ref.func $f) (local.get 0))",
  "table.init": "(table.init $t $e (i32.const 0) (i32.const 0) (local.get 0))",
  "table.grow": "(drop (table.grow $t (ref.null func) (local.get 0)))",
};

for (const [name, operation] of Object.entries(operations)) {
  const text = `${table} (func (export "run") (param i32) (result i32) ${operation} i32.const 0)`;

  test(`${name} is charged for each entry, few or many`, () => {
    const { cost } = start(text);
    const none = cost(0);
    assert.ok(none >= PRICE.entry + SURCHARGE.bulkTable / PRICE.perUnit);
    for (const entries of [1, 2, 3, 15, 31, 62, 63, 64, 65, 127, 1000, 2048])
      assert.equal(cost(entries) - none, entries * PRICE.tableEntry, `${entries} entries`);
  });

  test(`${name} does not run without fuel for all of it, and no length is free`, () => {
    const { exports, cost } = start(text);
    const { length } = exports.t as WebAssembly.Table;
    const price = cost(0) + 63 * PRICE.tableEntry;
    assert.equal(cost(63, price - 1), Number.POSITIVE_INFINITY);
    assert.equal(cost(63, price), price);
    for (const entries of [-1, 2 ** 31, LIMIT.tableEntries + 1, 2 ** 32 / PRICE.tableEntry])
      assert.equal(
        cost(entries, LIMIT.tableEntries * PRICE.tableEntry),
        Number.POSITIVE_INFINITY,
        `${entries} entries`,
      );
    assert.equal((exports.t as WebAssembly.Table).length, name === "table.grow" ? length + 63 : length);
  });
}

test("table.init is charged for its whole segment, which the engine creates at the first use, before it is created", () => {
  for (const copied of [0, 1]) {
    const text = (entries: number) => `(table $t 8 funcref) (func $f) (elem $other func $f)
      (elem $e funcref ${"(ref.func $f) ".repeat(entries)})
      (func (export "run") (param i32) (result i32)
        (table.init $t $e (i32.const 0) (i32.const 0) (local.get 0)) i32.const 0)`;
    const one = start(text(1)).cost(copied);
    for (const entries of [2, 3, 1000])
      assert.equal(start(text(entries)).cost(copied) - one, (entries - 1) * PRICE.tableEntry, `${entries} entries`);
    assert.equal(start(text(1000)).cost(copied, one + 998 * PRICE.tableEntry), Number.POSITIVE_INFINITY);
  }
});

test("each operation that takes time has a price", () => {
  const once = (body: string, more = "(func $f) (elem declare func $f)") =>
    start(`${more} (tag $x) (func (export "run") (param i32) (result i32) ${body} i32.const 0)`).cost(0);
  const bare = once("");
  const dear: [body: string, least: number, more?: string][] = [
    ["(drop (i32.load (i32.const 0)))", SURCHARGE.load],
    ["(drop (v128.load (i32.const 0)))", SURCHARGE.load],
    ["(drop (i64.div_u (i64.const 1) (i64.const 3)))", SURCHARGE.divide],
    ["(drop (f64.sqrt (f64.const 2)))", SURCHARGE.float],
    ["(drop (i64.trunc_sat_f64_s (f64.const 2)))", SURCHARGE.float],
    ["(drop (f64x2.sqrt (v128.const i32x4 0 0 0 0)))", SURCHARGE.vector],
    ["(i32.store (i32.const 0) (i32.const 0))", SURCHARGE.store],
    ["atomic.fence ", SURCHARGE.fence],
    ["(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))", SURCHARGE.atomic],
    ["(drop (memory.atomic.notify (i32.const 0) (i32.const 1)))", SURCHARGE.atomic],
    ["(drop (ref.func $f))", SURCHARGE.function],
    ["(table.set $t (i32.const 0) (ref.func $f))", SURCHARGE.tableSet + SURCHARGE.function, table],
    ["(drop (table.get $t (i32.const 0)))", SURCHARGE.tableGet, table],
    ["(call_indirect (i32.const 0))", SURCHARGE.indirect, "(func $f) (table funcref (elem $f))"],
    ["(memory.copy (i32.const 0) (i32.const 1) (i32.const 0))", SURCHARGE.bulkMemory],
    ["(try (do (throw $x)) (catch_all))", 64 * PRICE.throw],
    ["(drop (memory.grow (i32.const 1)))", 64 * (PRICE.grow + PRICE.growPage)],
  ];
  for (const [body, least, more] of dear) assert.ok(once(body.repeat(64), more) - bare >= least - 1, body);
});

test("a call with the default fuel takes less than 100 ms with any code, and no price is below its measured time", () => {
  const milliseconds = (fuel: number) => (fuel * PRICE.nanoseconds) / 1e6;
  assert.ok(milliseconds(FUEL.default) < 100);
  assert.ok(milliseconds(FUEL.start) <= 300);
  // Nanoseconds, as measured by `npm run bench -- prices`, without the instruction's length.
  const measured: [keyof typeof SURCHARGE, number][] = [
    ["load", 145],
    ["atomic", 145],
    ["fence", 190],
    ["divide", 4],
    ["float", 6],
    ["indirect", 400 - PRICE.entry * PRICE.nanoseconds],
    ["function", 1000],
    ["tableGet", 290],
    ["tableSet", 45],
    ["bulkMemory", 60],
    ["bulkTable", 60],
  ];
  for (const [name, time] of measured)
    assert.ok(SURCHARGE[name] * PRICE.nanoseconds >= time * PRICE.perUnit, `${name}: ${SURCHARGE[name]}`);
  assert.ok(PRICE.tableEntry * PRICE.nanoseconds >= 2000, "the first use of a function");
  assert.ok(PRICE.growPage * PRICE.nanoseconds >= 16 * 2000, "page faults of a page of 64 KiB");
});

// ── Paths ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Costs more than the preceding instructions. */
const LONG = "(drop (i32.load (i32.const 0)))".repeat(2 * Math.ceil(PRICE.shortest / SURCHARGE.load));

test("skipped code is not charged", () => {
  const arms = (then: string, otherwise: string) =>
    start(
      `(func (export "run") (param i32) (result i32) (if (local.get 0) (then ${then}) (else ${otherwise})) i32.const 0)`,
    ).cost;
  const bare = arms("", "")(0);
  const long = arms(LONG, LONG)(0) - bare;
  assert.ok(long > 0);
  assert.ok(arms(LONG, "")(1) - bare >= long - 1);
  assert.ok(arms(LONG, "")(0) - bare <= 1);
  const left = start(
    `(func (export "run") (param i32) (result i32) (block (br_if 0 (local.get 0)) ${LONG}) i32.const 0)`,
  );
  assert.ok(left.cost(0) - left.cost(1) >= long - 1);
  const loop = start(
    `(func (export "run") (param i32) (result i32) (loop (if (i32.eqz (local.get 0)) (then (loop ${LONG}) (return (i32.const 0))))
      (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))) i32.const 0)`,
  );
  assert.ok(loop.cost(100) < loop.cost(0) + 200, "a loop pays for a loop in an arm of it only where that runs");
});

/** A module that adds the price of each instruction to a last global just before it runs: what a run must cost at least. */
function priceEach(bytes: Uint8Array): Uint8Array {
  const { globals } = readShape(bytes);
  const writer = new Writer(16 * bytes.length);
  for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) writer.u8(byte);
  const take = (price: number) => {
    for (const [opcode, value] of [
      [OP.globalGet, globals],
      [OP.i32Const, price],
    ] as const) {
      writer.u8(opcode);
      if (opcode === OP.i32Const) writer.s32(value);
      else writer.u32(value);
    }
    writer.u8(0x6a);
    writer.u8(OP.globalSet);
    writer.u32(globals);
  };
  const copyBody = (reader: Reader) => {
    const from = reader.at;
    for (let left = reader.u32(); left > 0; left--) {
      reader.u32();
      reader.valueType();
    }
    writer.copy(bytes, from, reader.at);
    while (reader.at < reader.end) {
      const at = reader.at;
      const opcode = reader.u8();
      take(surchargeOf(opcode, skipImmediates(reader, opcode)) + reader.at - at);
      writer.copy(bytes, at, reader.at);
    }
  };
  for (const { id, start: from, end } of readSections(bytes)) {
    const reader = new Reader(bytes, from, end);
    writer.section(id, () => {
      if (id === SECTION.global || id === SECTION.export) {
        writer.u32(reader.u32() + 1);
        writer.copy(bytes, reader.at, end);
        if (id === SECTION.global) for (const byte of [0x7f, 1, OP.i32Const, 0, OP.end]) writer.u8(byte);
        else {
          writer.name("price");
          writer.u8(3);
          writer.u32(globals);
        }
      } else if (id === SECTION.code) {
        const count = reader.u32();
        writer.u32(count);
        for (let i = 0; i < count; i++) {
          const size = reader.u32();
          writer.sized(() => copyBody(new Reader(bytes, reader.at, reader.at + size)));
          reader.skip(size);
        }
      } else writer.copy(bytes, from, end);
    });
  }
  return writer.done();
}

type Random = { again: () => void; run: (a: number, b: bigint) => void; [name: string]: unknown };

/** However it ends. */
function play({ again, run }: Random, input: number): void {
  again();
  try {
    run(input, 3n);
  } catch {}
}

test("no run of a random module costs less than the instructions that it runs", () => {
  const numbers = fc.array(fc.nat(2 ** 16), { minLength: 30, maxLength: 3000, size: "max" });
  let most = 0;
  fc.assert(
    fc.property(numbers, fc.integer(), (numbers, input) => {
      const bytes = compileWat(randomModule(numbers));
      const [metered, priced] = [
        meterModule(bytes, readShape(bytes), MEMORY, nativeModule.entryPoints(readShape(bytes), {})),
        priceEach(bytes),
      ].map((code) => instantiate(code)) as unknown as [Random, Random];
      const charge = metered[METER.charge] as Charge;
      charge(charge(0) - FUEL.start);
      play(metered, input);
      play(priced, input);
      const price = (priced.price as WebAssembly.Global).value as number;
      const units = FUEL.start - charge(0);
      assert.ok(PRICE.perUnit * units >= price, `${units} units for a price of ${price}`);
      most = Math.max(most, price);
    }),
    { numRuns: 200 },
  );
  assert.ok(most > 10_000, `${most}`);
});

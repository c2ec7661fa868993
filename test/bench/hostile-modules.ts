/**
 * Hostile plugins that no compiler makes, as text, by the name of their source. Each uses some nine tenths of the fuel of
 * a call in the way that takes longest, and then ends as it should; but for the one that fails.
 */
import { FUEL } from "../../src/abi/abi.ts";
import { PRICE, SURCHARGE, WORK } from "../../src/abi/prices.ts";

const UNITS = 0.9 * FUEL.default;
const PAGES = 256;
/** Entries that were once copied for nothing. */
const ENTRIES = 63;
const VALUE = 65_536;
/** Of the loop that builds the chain of pointers through the lines of 16 MiB in pseudo-random order: n = a·n + c. */
const LINES = (PAGES * 65_536) / 64;
const READS = 64;

const hook = (body: string, more = ""): string => `(module ${more}
  (func (export "sluice_abi") (result i32) i32.const 1)
  (func (export "request_head") (param i32 i32) (result i32) (local $i i32) (local $p i32) ${body} i32.const 0))`;
const times = (count: number, body: string): string =>
  `(loop ${body} (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const ${Math.floor(count)}))))`;
/** Units of an instruction. */
const units = (surcharge: number): number => surcharge / PRICE.perUnit;

const copies = UNITS / (ENTRIES * PRICE.tableEntry + units(SURCHARGE.bulkTable) + PRICE.turn + 1);
const turns = UNITS / (READS * (units(SURCHARGE.load) + 0.05) + PRICE.turn + 1);
const values = UNITS / (FUEL.hostCall + ((1 + WORK.keptByte) * VALUE) / FUEL.bytesPerUnit + PRICE.turn + 1);
/** A page of a list is 64 KiB of work. */
const pages = UNITS / (FUEL.hostCall + (65_536 + WORK.record) / FUEL.bytesPerUnit + PRICE.turn + 4);

const NEXT = `(i32.and (i32.add (i32.mul (local.get $p) (i32.const 1664525)) (i32.const 1013904223)) (i32.const ${LINES - 1}))`;
const LONG_NAME = ":wasm-function".repeat(6000);

export const HOSTILE_MODULES: Readonly<Record<string, string>> = {
  "hostile-tables": hook(
    times(copies, `(table.copy $t $t (i32.const 1) (i32.const 0) (i32.const ${ENTRIES}))`),
    `(memory (export "memory") 1) (table $t 128 funcref) (func $f) (elem (table $t) (i32.const 0) func ${"$f ".repeat(ENTRIES)})`,
  ),
  "hostile-pointers": hook(
    `${times(turns, `local.get $p ${"i32.load ".repeat(READS)} local.set $p`)} (global.set $seen (local.get $p))`,
    `(memory (export "memory") ${PAGES}) (global $seen (mut i32) (i32.const 0))
     (func (export "_initialize") (local $i i32) (local $p i32)
      ${times(LINES, `(i32.store (i32.shl (local.get $p) (i32.const 6)) (i32.shl ${NEXT} (i32.const 6))) (local.set $p ${NEXT})`)})`,
  ),
  "hostile-values": hook(
    times(values, `(drop (call $set (i32.const 0) (i32.const 1) (i32.const 0) (i32.const ${VALUE})))`),
    `(import "sluice:core/1" "exchange_set" (func $set (param i32 i32 i32 i32) (result i32))) (memory (export "memory") 1)`,
  ),
  "hostile-lists": hook(
    times(
      pages,
      "(drop (call $list (local.get $p) (i32.const 0) (i32.const 4) (f64.load (i32.const 8)) (i32.const 64) (i32.const 1024) (i32.const 8)))",
    ).replace("(loop", "(local.set $p (call $find (i32.const 16) (i32.const 5))) (loop"),
    `(import "sluice:kv/1" "kv_find" (func $find (param i32 i32) (result i32)))
     (import "sluice:kv/1" "kv_list" (func $list (param i32 i32 i32 f64 i32 i32 i32) (result i32)))
     (memory (export "memory") 1) (data (i32.const 0) "none") (data (i32.const 16) "flood")`,
  ),
  "hostile-names": hook(`(call $${LONG_NAME})`, `(memory (export "memory") 1) (func $${LONG_NAME} unreachable)`),
};

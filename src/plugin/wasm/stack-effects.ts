/**
 * The change of the stack height by each instruction, to estimate the compile cost of functions (`compile-cost.ts`). 0 for
 * instructions whose effect depends on a type or a label.
 */
import { OP } from "./instructions.ts";

type Ranges = readonly (readonly [effect: number, from: number, to?: number])[];

function table(size: number, ranges: Ranges): Int8Array {
  const effects = new Int8Array(size);
  for (const [effect, from, to = from] of ranges) effects.fill(effect, from, to + 1);
  return effects;
}

const PLAIN = table(256, [
  [-1, OP.if],
  [-1, 0x0d, 0x0e], // br_if, br_table
  [-1, 0x11], // call_indirect: the index
  [-1, 0x13, 0x15], // return_call_indirect, call_ref, return_call_ref
  [-1, 0x1a], // drop
  [-2, 0x1b, 0x1c], // select
  [1, OP.localGet],
  [-1, 0x21], // local.set
  [1, OP.globalGet],
  [-1, OP.globalSet],
  [-2, 0x26], // table.set
  [-2, 0x36, 0x3e], // stores
  [1, 0x3f], // memory.size
  [1, OP.i32Const, 0x44],
  [-1, 0x46, 0x4f], // comparisons
  [-1, 0x51, 0x5a],
  [-1, 0x5b, 0x66],
  [-1, 0x6a, 0x78], // arithmetic
  [-1, 0x7c, 0x8a],
  [-1, 0x92, 0x98],
  [-1, 0xa0, 0xa6],
  [1, 0xd0], // ref.null
  [1, 0xd2], // ref.func
  [-1, 0xd6], // br_on_non_null
]);

/** By number after the prefix 0xfc: `memory.init`, `copy` and `fill`, `table.init`, `copy`, `grow`, `size` and `fill`. */
const BULK = table(18, [
  [-3, 8],
  [-3, 10, 12],
  [-3, 14],
  [-1, 15],
  [1, 16],
  [-3, 17],
]);

/** By number after the prefix 0xfd: -1, except for the listed ones. */
const VECTOR = table(0x114, [
  [-1, 0, 0x113],
  [0, 0, 10], // loads
  [-2, 11], // store
  [1, 12], // const
  [0, 15, 22], // splat, extract_lane
  [0, 24, 25],
  [0, 27],
  [0, 29],
  [0, 31],
  [0, 33],
  [0, 77], // not
  [-2, 82], // bitselect
  [0, 83], // any_true
  [-2, 88, 91], // store_lane
  [0, 92, 100],
  [0, 103, 106],
  [0, 116, 117],
  [0, 122],
  [0, 124, 129],
  [0, 131, 132],
  [0, 135, 138],
  [0, 148],
  [0, 160, 161],
  [0, 163, 164],
  [0, 167, 170],
  [0, 192, 193],
  [0, 195, 196],
  [0, 199, 202],
  [0, 224, 225],
  [0, 227],
  [0, 236, 237],
  [0, 239],
  [0, 248, 255],
  [0, 257, 260],
  [-2, 261, 268],
  [-2, 275],
]);

const ATOMIC = table(0x4f, [
  [-1, 0], // notify
  [-2, 1, 2], // wait
  [-2, 0x17, 0x1d], // stores
  [-1, 0x1e, 0x47], // read-modify-write
  [-2, 0x48, 0x4e], // compare and exchange
]);

/** `sub` is the number after a prefix byte. */
export function stackEffect(opcode: number, sub: number): number {
  if (opcode === OP.bulk) return BULK[sub]!;
  if (opcode === OP.vector) return VECTOR[sub]!;
  return opcode === OP.atomic ? ATOMIC[sub]! : PLAIN[opcode]!;
}

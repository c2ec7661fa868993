/**
 * The change of the stack height by each instruction, to estimate the compile cost of functions (`compile-cost.ts`). 0 for
 * instructions whose effect depends on a type or a label.
 */
import { OP, table } from "./instructions.ts";

const PLAIN = table(256, [
  [-1, OP.if, [0x0d, 0x0e]], // if, br_if, br_table
  [-1, 0x11, [0x13, 0x15]], // indirect calls: the index, or the reference
  [-1, 0x1a], // drop
  [-2, [0x1b, 0x1c]], // select
  [1, OP.localGet, OP.globalGet],
  [-1, 0x21, OP.globalSet], // local.set, global.set
  [-2, 0x26], // table.set
  [-2, [0x36, 0x3e]], // stores
  [1, 0x3f], // memory.size
  [1, [OP.i32Const, 0x44]],
  [-1, [0x46, 0x4f], [0x51, 0x5a], [0x5b, 0x66]], // comparisons
  [-1, [0x6a, 0x78], [0x7c, 0x8a], [0x92, 0x98], [0xa0, 0xa6]], // arithmetic
  [1, 0xd0, 0xd2], // ref.null, ref.func
  [-1, 0xd6], // br_on_non_null
]);

/** By number after the prefix 0xfc: `memory.init`, `copy` and `fill`, `table.init`, `copy`, `grow`, `size` and `fill`. */
const BULK = table(18, [
  [-3, 8, [10, 12], 14, 17],
  [-1, 15],
  [1, 16],
]);

/** By number after the prefix 0xfd: -1, except for the listed ones. */
const VECTOR = table(0x114, [
  [-1, [0, 0x113]],
  [0, [0, 10], [92, 100]], // loads
  [-2, 11, [88, 91]], // stores
  [1, 12], // const
  [0, [15, 22], [24, 25], 27, 29, 31, 33], // splat, extract_lane
  [0, 77, 83], // not, any_true
  [-2, 82, [261, 268], 275], // bitselect and other operations with three operands
  // Operations with one operand.
  [0, [103, 106], [116, 117], 122, [124, 129], [131, 132], [135, 138], 148, [160, 161], [163, 164], [167, 170]],
  [0, [192, 193], [195, 196], [199, 202], [224, 225], 227, [236, 237], 239, [248, 255], [257, 260]],
]);

const ATOMIC = table(0x4f, [
  [-1, 0], // notify
  [-2, [1, 2]], // wait
  [-2, [0x17, 0x1d]], // stores
  [-1, [0x1e, 0x47]], // read-modify-write
  [-2, [0x48, 0x4e]], // compare and exchange
]);

/** `sub` is the number after a prefix byte. */
export function stackEffect(opcode: number, sub: number): number {
  if (opcode === OP.bulk) return BULK[sub]!;
  if (opcode === OP.vector) return VECTOR[sub]!;
  return opcode === OP.atomic ? ATOMIC[sub]! : PLAIN[opcode]!;
}

/**
 * The immediates of instructions, by which parsers step from one instruction to the next. Instructions that are not in
 * these tables are rejected.
 */
import type { Reader } from "./binary.ts";

/** Instructions that are recognised or written. */
export const OP = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  try: 0x06,
  catch: 0x07,
  throw: 0x08,
  rethrow: 0x09,
  throwRef: 0x0a,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  returnCall: 0x12,
  callRef: 0x14,
  delegate: 0x18,
  catchAll: 0x19,
  tryTable: 0x1f,
  localGet: 0x20,
  globalGet: 0x23,
  globalSet: 0x24,
  memoryGrow: 0x40,
  i32Const: 0x41,
  brOnNull: 0xd5,
  brOnNonNull: 0xd6,
  bulk: 0xfc,
  vector: 0xfd,
  atomic: 0xfe,
} as const;

const SHAPE = { unknown: 0, none: 1, leb: 2, leb2: 3, memory: 4, four: 5, eight: 6, special: 7 } as const;

/** A value, and the indices that have it: single ones, and ranges. */
type Row = readonly [value: number, ...at: (number | readonly [from: number, to: number])[]];

/** A table of numbers from -128 to 127 by index; later rows override earlier ones, indices without a row have 0. */
export function table(size: number, rows: readonly Row[]): Int8Array {
  const values = new Int8Array(size);
  for (const [value, ...at] of rows)
    for (const one of at)
      if (typeof one === "number") values[one] = value;
      else values.fill(value, one[0], one[1] + 1);
  return values;
}

const shapes = table(256, [
  [SHAPE.none, [0x00, 0x01], 0x05, [0x0a, 0x0b], 0x0f, [0x19, 0x1b], [0x45, 0xc4], 0xd1, 0xd4],
  [SHAPE.leb, [0x07, 0x09], [0x0c, 0x0d], 0x10, 0x12, [0x14, 0x15], 0x18, [0x20, 0x26], [0x3f, 0x42]],
  [SHAPE.leb, 0xd0, 0xd2, [0xd5, 0xd6]],
  [SHAPE.leb2, 0x11, 0x13],
  [SHAPE.memory, [0x28, 0x3e]],
  [SHAPE.four, 0x43],
  [SHAPE.eight, 0x44],
  [SHAPE.special, [0x02, 0x04], 0x06, 0x0e, 0x1c, 0x1f, [0xfc, 0xfe]],
]);

/**
 * Skips the immediates of `opcode`, which was just read. Returns the number after a prefix byte, else 0. @throws
 * PluginError
 */
export function skipImmediates(reader: Reader, opcode: number): number {
  const at = reader.at - 1;
  switch (shapes[opcode]) {
    case SHAPE.none:
      return 0;
    case SHAPE.leb:
      reader.skipLeb();
      return 0;
    case SHAPE.leb2:
      reader.skipLeb();
      reader.skipLeb();
      return 0;
    case SHAPE.memory:
      skipMemoryArgument(reader);
      return 0;
    case SHAPE.four:
      reader.skip(4);
      return 0;
    case SHAPE.eight:
      reader.skip(8);
      return 0;
    case SHAPE.special:
      return skipSpecial(reader, opcode, at);
    default:
      if (opcode === 0xfb || opcode === 0xd3) return reader.fail("garbage-collected types are not supported", at);
      return reader.fail(`unknown instruction 0x${opcode.toString(16)}`, at);
  }
}

function skipSpecial(reader: Reader, opcode: number, at: number): number {
  switch (opcode) {
    case 0x02:
    case 0x03:
    case 0x04:
    case 0x06:
      skipBlockType(reader);
      return 0;
    case 0x0e:
      for (let left = reader.u32(); left >= 0; left--) reader.skipLeb();
      return 0;
    case 0x1c:
      for (let left = reader.u32(); left > 0; left--) reader.valueType();
      return 0;
    case 0x1f:
      skipBlockType(reader);
      for (let left = reader.u32(); left > 0; left--) {
        // A clause: catch and catch_ref have a tag and a label, catch_all and catch_all_ref a label.
        if (reader.u8() < 2) reader.skipLeb();
        reader.skipLeb();
      }
      return 0;
    case 0xfc:
      return skipBulk(reader, at);
    case 0xfd:
      return skipVector(reader, at);
    default:
      return skipAtomic(reader, at);
  }
}

/** Skips a block type: empty (0x40), a value type, or a type index. Each is one LEB128, except two-byte reference types. */
function skipBlockType(reader: Reader): void {
  const first = reader.bytes[reader.at];
  if (first === 0x63 || first === 0x64) reader.skip(1);
  reader.skipLeb();
}

/** Skips alignment (bit 6: a memory index follows) and offset. */
function skipMemoryArgument(reader: Reader): void {
  if ((reader.u32() & 0x40) !== 0) reader.skipLeb();
  reader.skipLeb();
}

/** Skips the immediates after 0xfc: 0 to 7 are saturating truncations, then bulk operations with one or two indices. */
function skipBulk(reader: Reader, at: number): number {
  const sub = reader.u32();
  if (sub > 17) reader.fail(`unknown instruction 0xfc ${sub}`, at);
  if (sub < 8) return sub;
  reader.skipLeb();
  if (sub === 8 || sub === 10 || sub === 12 || sub === 14) reader.skipLeb();
  return sub;
}

function skipVector(reader: Reader, at: number): number {
  const sub = reader.u32();
  if (sub <= 11 || sub === 92 || sub === 93) skipMemoryArgument(reader);
  else if (sub === 12 || sub === 13) reader.skip(16);
  else if (sub >= 21 && sub <= 34) reader.skip(1);
  else if (sub >= 84 && sub <= 91) {
    skipMemoryArgument(reader);
    reader.skip(1);
  } else if (sub > 0x113) reader.fail(`unknown instruction 0xfd ${sub}`, at);
  return sub;
}

function skipAtomic(reader: Reader, at: number): number {
  const sub = reader.u32();
  if (sub === 3) reader.skip(1);
  else if (sub <= 2 || (sub >= 0x10 && sub <= 0x4e)) skipMemoryArgument(reader);
  else reader.fail(`unknown instruction 0xfe ${sub}`, at);
  return sub;
}

/**
 * Reading the WebAssembly binary format (core specification, chapter 5), as far as rewriting needs it: sections, LEB128
 * numbers, and the lengths of instructions. Every read is bounded by `end`.
 */
import { PluginError } from "./error.ts";

export const SECTION = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  start: 8,
  element: 9,
  code: 10,
  data: 11,
  dataCount: 12,
  tag: 13,
} as const;

/** The order in which sections stand in a module. */
export const SECTION_ORDER = [
  SECTION.type,
  SECTION.import,
  SECTION.function,
  SECTION.table,
  SECTION.memory,
  SECTION.tag,
  SECTION.global,
  SECTION.export,
  SECTION.start,
  SECTION.element,
  SECTION.dataCount,
  SECTION.code,
  SECTION.data,
] as const;

export const KIND = { function: 0, table: 1, memory: 2, global: 3, tag: 4 } as const;
export const KIND_NAMES = ["function", "table", "memory", "global", "tag"] as const;
export const TYPE = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b, func: 0x60 } as const;

const utf8 = new TextDecoder("utf-8");

/** Offsets are those of the whole file, so that messages and tables need no base. */
export class Reader {
  readonly bytes: Uint8Array;
  at: number;
  end: number;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  fail(problem: string, at = this.at): never {
    throw new PluginError(`${problem} at offset 0x${at.toString(16)}`);
  }

  u8(): number {
    if (this.at >= this.end) this.fail("the module ends early");
    return this.bytes[this.at++]!;
  }

  u32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.u8();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    return this.fail("a number is longer than five bytes");
  }

  /** Steps over one LEB128 number of any width. */
  skipLeb(): void {
    for (let i = 0; i < 10; i++) if (this.u8() < 0x80) return;
    this.fail("a number is longer than ten bytes");
  }

  skip(count: number): void {
    if (count > this.end - this.at) this.fail("the module ends early");
    this.at += count;
  }

  name(): string {
    const length = this.u32();
    const start = this.at;
    this.skip(length);
    return utf8.decode(this.bytes.subarray(start, this.at));
  }

  /** A value type: one byte, or `ref`/`ref null` and a heap type. Returns its first byte. */
  valueType(): number {
    const type = this.u8();
    if (type === 0x63 || type === 0x64) this.skipLeb();
    return type;
  }
}

/** Where one section's content stands. */
export type Section = { readonly id: number; readonly start: number; readonly end: number };

/** The sections of a module, in order. */
export function readSections(bytes: Uint8Array): Section[] {
  const reader = new Reader(bytes);
  if (bytes.length < 8 || reader.u8() !== 0 || reader.u8() !== 0x61 || reader.u8() !== 0x73 || reader.u8() !== 0x6d)
    throw new PluginError("not a WebAssembly module: it does not begin with \\0asm");
  const version = reader.u8() | (reader.u8() << 8) | (reader.u8() << 16) | (reader.u8() << 24);
  if (version !== 1)
    throw new PluginError(`not a core WebAssembly module: version 0x${(version >>> 0).toString(16)}, expected 1`);
  const sections: Section[] = [];
  while (reader.at < reader.end) {
    const id = reader.u8();
    const size = reader.u32();
    const start = reader.at;
    reader.skip(size);
    sections.push({ id, start, end: reader.at });
  }
  return sections;
}

/** Instructions that open a block closed by `end` (or, for `try`, by `delegate`). */
export const OP = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  try: 0x06,
  throw: 0x08,
  rethrow: 0x09,
  throwRef: 0x0a,
  end: 0x0b,
  return: 0x0f,
  call: 0x10,
  delegate: 0x18,
  tryTable: 0x1f,
  localGet: 0x20,
  globalGet: 0x23,
  globalSet: 0x24,
  memoryGrow: 0x40,
  i32Const: 0x41,
  bulk: 0xfc,
  vector: 0xfd,
} as const;

const SHAPE = { unknown: 0, none: 1, leb: 2, leb2: 3, memory: 4, four: 5, eight: 6, special: 7 } as const;

const shapes = new Uint8Array(256);
const shape = (kind: number, from: number, to = from) => shapes.fill(kind, from, to + 1);
shape(SHAPE.none, 0x00, 0x01);
shape(SHAPE.special, 0x02, 0x04);
shape(SHAPE.none, 0x05);
shape(SHAPE.special, 0x06);
shape(SHAPE.leb, 0x07, 0x09);
shape(SHAPE.none, 0x0a, 0x0b);
shape(SHAPE.leb, 0x0c, 0x0d);
shape(SHAPE.special, 0x0e);
shape(SHAPE.none, 0x0f);
shape(SHAPE.leb, 0x10);
shape(SHAPE.leb2, 0x11);
shape(SHAPE.leb, 0x12);
shape(SHAPE.leb2, 0x13);
shape(SHAPE.leb, 0x14, 0x15);
shape(SHAPE.leb, 0x18);
shape(SHAPE.none, 0x19, 0x1b);
shape(SHAPE.special, 0x1c);
shape(SHAPE.special, 0x1f);
shape(SHAPE.leb, 0x20, 0x26);
shape(SHAPE.memory, 0x28, 0x3e);
shape(SHAPE.leb, 0x3f, 0x42);
shape(SHAPE.four, 0x43);
shape(SHAPE.eight, 0x44);
shape(SHAPE.none, 0x45, 0xc4);
shape(SHAPE.leb, 0xd0);
shape(SHAPE.none, 0xd1);
shape(SHAPE.leb, 0xd2);
shape(SHAPE.none, 0xd4);
shape(SHAPE.leb, 0xd5, 0xd6);
shape(SHAPE.special, 0xfc, 0xfe);

/** Steps over the immediates of `opcode`, which was just read. Returns the number after a prefix byte, else 0. */
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
        // A clause: catch and catch_ref name a tag and a label, catch_all and catch_all_ref a label alone.
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

/** Empty (0x40), a value type, or a type index: each is one LEB128, but for the two-byte reference types. */
function skipBlockType(reader: Reader): void {
  const first = reader.bytes[reader.at];
  if (first === 0x63 || first === 0x64) reader.skip(1);
  reader.skipLeb();
}

/** Alignment (bit 6: a memory index follows) and offset. */
function skipMemoryArgument(reader: Reader): void {
  if ((reader.u32() & 0x40) !== 0) reader.skipLeb();
  reader.skipLeb();
}

/** 0 to 7 saturating truncation; then the bulk operations, with one or two indices. */
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

/** Bytes that grow as they are written. */
export class Writer {
  bytes: Buffer;
  at = 0;

  constructor(size: number) {
    this.bytes = Buffer.allocUnsafeSlow(size);
  }

  #reserve(more: number): void {
    if (this.at + more <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(this.at + more, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.at));
    this.bytes = grown;
  }

  u8(byte: number): void {
    this.#reserve(1);
    this.bytes[this.at++] = byte;
  }

  /** Unsigned LEB128. */
  u32(value: number): void {
    this.#reserve(5);
    let rest = value;
    while (rest > 0x7f) {
      this.bytes[this.at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.bytes[this.at++] = rest;
  }

  /** Signed LEB128 of a 32-bit integer. */
  s32(value: number): void {
    this.#reserve(5);
    let rest = value | 0;
    for (;;) {
      const byte = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0)) {
        this.bytes[this.at++] = byte;
        return;
      }
      this.bytes[this.at++] = byte | 0x80;
    }
  }

  copy(source: Uint8Array, start: number, end: number): void {
    this.#reserve(end - start);
    this.bytes.set(source.subarray(start, end), this.at);
    this.at += end - start;
  }

  name(text: string): void {
    const bytes = Buffer.from(text, "utf8");
    this.u32(bytes.length);
    this.copy(bytes, 0, bytes.length);
  }

  /** A section with the content that `fill` writes; its size is put before it. */
  section(id: number, fill: () => void): void {
    this.u8(id);
    this.sized(fill);
  }

  /** What `fill` writes, with its length before it in five bytes (a LEB128 may be padded). */
  sized(fill: () => void): void {
    this.#reserve(5);
    const at = this.at;
    this.at += 5;
    fill();
    const size = this.at - at - 5;
    for (let i = 0; i < 5; i++) this.bytes[at + i] = ((size / 2 ** (7 * i)) & 0x7f) | (i < 4 ? 0x80 : 0);
  }

  done(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.bytes.subarray(0, this.at));
  }
}

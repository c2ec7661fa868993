/** Reads the WebAssembly binary format (core specification, chapter 5); every read is bounds-checked. */
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

/** The order of sections in a module. */
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

/** Reads a range of a module; offsets are those of the whole file. Methods throw PluginError at the end of the range. */
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

  /** Skips one LEB128 number of any width. */
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

/** A section and the range of its content. */
export type Section = { readonly id: number; readonly start: number; readonly end: number };

/** The content of the custom section of that name, without the name; null if there is none. */
export function findCustomSection(bytes: Uint8Array, name: string): Uint8Array | null {
  for (const section of readSections(bytes)) {
    if (section.id !== SECTION.custom) continue;
    const reader = new Reader(bytes, section.start, section.end);
    if (reader.name() === name) return bytes.subarray(reader.at, reader.end);
  }
  return null;
}

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

/** Writes the WebAssembly binary format. */
import { OP } from "./instructions.ts";

/** A growable buffer with the encodings of the format. Those of instructions return it, so that code is one expression. */
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

  /** Instructions without immediates, or bytes of others. */
  op(...bytes: readonly number[]): this {
    for (const byte of bytes) this.u8(byte);
    return this;
  }

  #indexed(opcode: number, index: number): this {
    this.u8(opcode);
    this.u32(index);
    return this;
  }

  get(global: number): this {
    return this.#indexed(OP.globalGet, global);
  }

  set(global: number): this {
    return this.#indexed(OP.globalSet, global);
  }

  local(index: number): this {
    return this.#indexed(OP.localGet, index);
  }

  call(index: number): this {
    return this.#indexed(OP.call, index);
  }

  constant(value: number): this {
    this.u8(OP.i32Const);
    this.s32(value);
    return this;
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

  /** Writes a section; `fill` writes its content. */
  section(id: number, fill: () => void): void {
    this.u8(id);
    this.sized(fill);
  }

  /** Writes the length of what `fill` writes, as LEB128 padded to five bytes, followed by it. */
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

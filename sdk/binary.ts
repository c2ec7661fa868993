// Bytes as authors see them, and how they become strings. Inside, everything works on addresses and lengths.
import { encodeUtf8, isAscii, utf8Length, widen } from "./bytes";

/** A fixed number of bytes. Made by what returns it, or by `new StaticArray<u8>(length)`. */
export type Bytes = StaticArray<u8>;

/** The text in UTF-8. A lone surrogate becomes U+FFFD. */
export function toUtf8(text: string): Bytes {
  const bytes = new StaticArray<u8>(utf8Length(text));
  encodeUtf8(text, changetype<usize>(bytes), true);
  return bytes;
}

/** The text that these bytes spell in UTF-8; what is not UTF-8 becomes U+FFFD, as the WHATWG Encoding standard says. */
export function fromUtf8(bytes: Bytes): string {
  return decodeUtf8(changetype<usize>(bytes), bytes.length, false)!;
}

/** One byte for each character, as headers hold them. A character above U+00FF is an error. */
export function toBytes(text: string): Bytes {
  const bytes = new StaticArray<u8>(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 255) throw new Error(`"${text}" holds a character above U+00FF, which is no byte`);
    unchecked((bytes[i] = <u8>unit));
  }
  return bytes;
}

/** One character for each byte, as headers hold them. */
export function fromBytes(bytes: Bytes): string {
  return spell(changetype<usize>(bytes), bytes.length);
}

/** A copy of a view's bytes, as `body.bytes()` hands one out. */
export function fromView(view: Uint8Array): Bytes {
  return copyBytes(view.dataStart, view.length);
}

/** A view of a copy of the bytes, as `body.replace` takes one. */
export function toView(bytes: Bytes): Uint8Array {
  const view = new Uint8Array(bytes.length);
  memory.copy(view.dataStart, changetype<usize>(bytes), bytes.length);
  return view;
}

/** A string of one character for each byte. */
export function spell(from: usize, length: i32): string {
  return widen(from, length);
}

/** A copy of the bytes at an address. */
export function copyBytes(from: usize, length: i32): Bytes {
  const bytes = new StaticArray<u8>(length);
  memory.copy(changetype<usize>(bytes), from, length);
  return bytes;
}

/** The string that these bytes spell in UTF-8. What is not UTF-8 is U+FFFD, or makes null of the whole. */
export function decodeUtf8(from: usize, length: i32, strict: bool): string | null {
  if (isAscii(from, length)) return widen(from, length);
  // A reference and not an address: making it shorter may make a collector run.
  const text = changetype<string>(__new(<usize>length << 1, idof<string>()));
  const out = changetype<usize>(text);
  let to = out;
  const end = from + length;
  for (let at = from; at < end; ) {
    const size = <i32>sequenceAt(at, end);
    let point: u32 = 0xfffd;
    if (size == 1) point = load<u8>(at);
    else if (size > 1) {
      point = load<u8>(at) & (0xff >> <u32>(size + 1));
      for (let i = 1; i < size; i++) point = (point << 6) | (load<u8>(at + i) & 0x3f);
    } else if (strict) return null;
    if (point < 0x10000) {
      store<u16>(to, <u16>point);
      to += 2;
    } else {
      store<u16>(to, <u16>(0xd7c0 + (point >> 10)));
      store<u16>(to, <u16>(0xdc00 | (point & 0x3ff)), 2);
      to += 4;
    }
    at += abs(size);
  }
  return changetype<string>(__renew(out, to - out));
}

/** How many bytes the UTF-8 sequence at `at` has, 1 to 4; below zero: it is none, and so many bytes are one mistake. */
export function sequenceAt(at: usize, end: usize): i32 {
  const first = load<u8>(at);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return -1;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // Overlong forms, surrogates and what is above U+10FFFF are told by the second byte (Unicode, table 3-7).
  const low: u8 = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const high: u8 = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < size; i++) {
    if (at + i >= end) return -i;
    const byte = load<u8>(at + i);
    if (i == 1 ? byte < low || byte > high : (byte & 0xc0) != 0x80) return -i;
  }
  return size;
}

/** Bytes that grow at the end. */
// @ts-ignore: decorator
@final
export class ByteBuilder {
  private buffer: Bytes = new StaticArray<u8>(64);
  /** How many there are. */
  length: i32 = 0;

  /** Makes room for `count` bytes and says where they go. */
  reserve(count: i32): usize {
    const length = this.length + count;
    if (length > this.buffer.length) this.resize(max(length, this.buffer.length << 1));
    const at = changetype<usize>(this.buffer) + this.length;
    this.length = length;
    return at;
  }

  /** Adds one byte. */
  byte(value: i32): void {
    store<u8>(this.reserve(1), <u8>value);
  }

  /** Adds the bytes at an address. */
  copy(from: usize, length: i32): void {
    memory.copy(this.reserve(length), from, length);
  }

  /** Adds a text of ASCII. */
  ascii(text: string): void {
    const at = this.reserve(text.length);
    for (let i = 0; i < text.length; i++) store<u8>(at + i, <u8>text.charCodeAt(i));
  }

  /** What was added, as bytes. */
  toBytes(): Bytes {
    return copyBytes(changetype<usize>(this.buffer), this.length);
  }

  /** The same without a copy: nothing can be added any more. */
  take(): Bytes {
    this.resize(this.length);
    return this.buffer;
  }

  /** What was added, one character a byte. */
  toString(): string {
    return spell(changetype<usize>(this.buffer), this.length);
  }

  /** At the end of the arena it grows in place. */
  private resize(length: i32): void {
    this.buffer = changetype<Bytes>(__renew(changetype<usize>(this.buffer), <usize>length));
  }
}

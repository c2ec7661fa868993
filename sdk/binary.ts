// Bytes in the public API, and conversions to strings. Internal functions take addresses and lengths.
import { encodeUtf8, isAscii, utf8Length, widen } from "./bytes";

/** A byte array of fixed length. Create one by `new StaticArray<u8>(length)`. */
export type Bytes = StaticArray<u8>;

/** Encodes text as UTF-8. A lone surrogate becomes U+FFFD. */
export function toUtf8(text: string): Bytes {
  const bytes = new StaticArray<u8>(utf8Length(text));
  encodeUtf8(text, changetype<usize>(bytes), true);
  return bytes;
}

/** Decodes UTF-8. Invalid sequences become U+FFFD (WHATWG Encoding standard). */
export function fromUtf8(bytes: Bytes): string {
  return decodeUtf8(changetype<usize>(bytes), bytes.length, false)!;
}

/** Converts each character to one byte (ISO 8859-1, as in headers). Throws for a character above U+00FF. */
export function toBytes(text: string): Bytes {
  const bytes = new StaticArray<u8>(text.length);
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 255) throw new Error(`"${text}" contains a character above U+00FF, which is not one byte`);
    unchecked((bytes[i] = <u8>unit));
  }
  return bytes;
}

/** Converts each byte to one character (ISO 8859-1, as in headers). */
export function fromBytes(bytes: Bytes): string {
  return widen(changetype<usize>(bytes), bytes.length);
}

/** Copies a view, such as the result of `body.bytes()`. */
export function fromView(view: Uint8Array): Bytes {
  return copyBytes(view.dataStart, view.length);
}

/** Copies bytes to a view, such as the argument of `body.replace`. */
export function toView(bytes: Bytes): Uint8Array {
  const view = new Uint8Array(bytes.length);
  memory.copy(view.dataStart, changetype<usize>(bytes), bytes.length);
  return view;
}

/** Copies the bytes at an address. */
export function copyBytes(from: usize, length: i32): Bytes {
  const bytes = new StaticArray<u8>(length);
  memory.copy(changetype<usize>(bytes), from, length);
  return bytes;
}

/** Decodes UTF-8. Invalid sequences become U+FFFD, or the result is null if `strict`. */
export function decodeUtf8(from: usize, length: i32, strict: bool): string | null {
  if (isAscii(from, length)) return widen(from, length);
  // Held as a reference, not as an address: `__renew` may start a garbage collection.
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

/** Length of the UTF-8 sequence at `at`, 1 to 4; negative for an invalid sequence of that many bytes. */
export function sequenceAt(at: usize, end: usize): i32 {
  const first = load<u8>(at);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return -1;
  const size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // The second byte distinguishes overlong forms, surrogates and code points above U+10FFFF (Unicode, table 3-7).
  const low: u8 = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const high: u8 = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  for (let i = 1; i < size; i++) {
    if (at + i >= end) return -i;
    const byte = load<u8>(at + i);
    if (i == 1 ? byte < low || byte > high : (byte & 0xc0) != 0x80) return -i;
  }
  return size;
}

/** A growing byte buffer. */
// @ts-ignore: decorator
@final
export class ByteBuilder {
  private buffer: Bytes = new StaticArray<u8>(64);
  /** Number of bytes. */
  length: i32 = 0;

  /** Appends `count` uninitialised bytes; returns their address. */
  reserve(count: i32): usize {
    const length = this.length + count;
    if (length > this.buffer.length) this.resize(max(length, this.buffer.length << 1));
    const at = changetype<usize>(this.buffer) + this.length;
    this.length = length;
    return at;
  }

  /** Appends one byte. */
  byte(value: i32): void {
    store<u8>(this.reserve(1), <u8>value);
  }

  /** Appends the bytes at an address. */
  copy(from: usize, length: i32): void {
    memory.copy(this.reserve(length), from, length);
  }

  /** Appends ASCII text. */
  ascii(text: string): void {
    const at = this.reserve(text.length);
    for (let i = 0; i < text.length; i++) store<u8>(at + i, <u8>text.charCodeAt(i));
  }

  /** Copies the bytes. */
  toBytes(): Bytes {
    return copyBytes(changetype<usize>(this.buffer), this.length);
  }

  /** Returns the bytes without a copy; nothing may be appended afterwards. */
  take(): Bytes {
    this.resize(this.length);
    return this.buffer;
  }

  /** The bytes as a string, one character per byte. */
  toString(): string {
    return widen(changetype<usize>(this.buffer), this.length);
  }

  /** Grows in place if the buffer is the last object of the arena. */
  private resize(length: i32): void {
    this.buffer = changetype<Bytes>(__renew(changetype<usize>(this.buffer), <usize>length));
  }
}

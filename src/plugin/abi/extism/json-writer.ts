/**
 * Writes JSON straight into a guest's memory. Bytes of messages are written as the characters U+0000 to U+00FF, one for
 * each byte, so that what a plugin sets back is the same bytes; names of the configuration as their text.
 */

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const HEX = "0123456789abcdef";

/** What becomes of a byte: 0 itself, 1 it is escaped, 2 two bytes of UTF-8. */
const KIND = new Uint8Array(256);
KIND.fill(1, 0, 32);
KIND[QUOTE] = 1;
KIND[BACKSLASH] = 1;
KIND.fill(2, 128);
const LOWER = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 65 && byte <= 90 ? byte + 32 : byte));

/** Bytes that one byte or character of text may become. */
export const LONGEST = 6;

export class JsonWriter {
  #bytes: Buffer = Buffer.alloc(0);
  at = 0;

  /** Writes to `bytes` from `at`, where there is room for all that follows. */
  begin(bytes: Buffer, at: number): void {
    this.#bytes = bytes;
    this.at = at;
  }

  /** ASCII, as it is. */
  raw(text: string): void {
    const bytes = this.#bytes;
    let { at } = this;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.at = at;
  }

  /** `,"key":"text"`; nothing for an empty text. */
  member(key: string, text: string): void {
    if (text === "") return;
    this.raw(key);
    this.text(text);
  }

  /** A string of any text. */
  text(text: string): void {
    const start = this.at;
    const bytes = this.#bytes;
    let at = start;
    bytes[at++] = QUOTE;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 127 || KIND[code] !== 0) {
        this.at = start;
        this.#utf8(JSON.stringify(text));
        return;
      }
      bytes[at++] = code;
    }
    bytes[at++] = QUOTE;
    this.at = at;
  }

  #utf8(text: string): void {
    this.at += this.#bytes.write(text, this.at, "utf8");
  }

  /** `source[start, end)` as a string. */
  string(source: Uint8Array, start: number, end: number): void {
    const bytes = this.#bytes;
    let { at } = this;
    bytes[at++] = QUOTE;
    for (let i = start; i < end; i++) {
      const byte = source[i]!;
      if (KIND[byte] === 0) bytes[at++] = byte;
      else at = this.#escape(byte, at);
    }
    bytes[at++] = QUOTE;
    this.at = at;
  }

  /** The same in lower case. */
  name(source: Uint8Array, start: number, end: number): void {
    const bytes = this.#bytes;
    let { at } = this;
    bytes[at++] = QUOTE;
    for (let i = start; i < end; i++) {
      const byte = source[i]!;
      if (KIND[byte] === 0) bytes[at++] = LOWER[byte]!;
      else at = this.#escape(byte, at);
    }
    bytes[at++] = QUOTE;
    this.at = at;
  }

  /** Writes a byte that is not itself in JSON at `at`: where it ends. */
  #escape(byte: number, at: number): number {
    const bytes = this.#bytes;
    if (KIND[byte] === 2) {
      bytes[at] = 0xc0 | (byte >> 6);
      bytes[at + 1] = 0x80 | (byte & 0x3f);
      return at + 2;
    }
    bytes[at] = BACKSLASH;
    if (byte >= 32) {
      bytes[at + 1] = byte;
      return at + 2;
    }
    return at + 1 + bytes.write(`u00${HEX[byte >> 4]}${HEX[byte & 15]}`, at + 1, "latin1");
  }

  /** The decimal digits of a whole number. */
  number(value: number): void {
    this.raw(String(value));
  }

  comma(): void {
    this.#bytes[this.at++] = COMMA;
  }
}

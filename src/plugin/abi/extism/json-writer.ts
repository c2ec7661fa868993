/**
 * Writes JSON into a guest's memory without intermediate strings. Bytes of messages are written as the characters U+0000
 * to U+00FF, one per byte, so that values survive a round trip unchanged; names of the configuration as text.
 */

const QUOTE = 34;
const BACKSLASH = 92;
const COMMA = 44;
const HEX = "0123456789abcdef";

/** The encoding of each byte: 0 unchanged, 1 escaped, 2 two bytes of UTF-8. */
const KIND = new Uint8Array(256);
KIND.fill(1, 0, 32);
KIND[QUOTE] = 1;
KIND[BACKSLASH] = 1;
KIND.fill(2, 128);
const LOWER = Uint8Array.from({ length: 256 }, (_, byte) => (byte >= 65 && byte <= 90 ? byte + 32 : byte));

/** Most output bytes per byte or character. */
export const LONGEST = 6;

export class JsonWriter {
  #bytes: Buffer = Buffer.alloc(0);
  at = 0;

  /** Starts writing to `bytes` from `at`, which must have enough space. */
  begin(bytes: Buffer, at: number): void {
    this.#bytes = bytes;
    this.at = at;
  }

  /** Writes ASCII text without quotes. */
  raw(text: string): void {
    const bytes = this.#bytes;
    let { at } = this;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.at = at;
  }

  /** Writes `,"key":"text"`; nothing for an empty text. */
  member(key: string, text: string): void {
    if (text === "") return;
    this.raw(key);
    this.text(text);
  }

  /** Writes text as a string. */
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

  /** Writes the bytes `source[start, end)` as a string. */
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

  /** Like `bytes`, in lower case. */
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

  /** Writes a byte that must be encoded at `at`; returns its end. */
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

  /** Writes a non-negative integer in decimal. */
  number(value: number): void {
    this.raw(String(value));
  }

  comma(): void {
    this.#bytes[this.at++] = COMMA;
  }
}

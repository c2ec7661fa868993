import { Bytes, spell } from "./binary";

const PAD: i32 = 0x3d; // =

/**
 * Base64 (RFC 4648 section 4), with padding. Strict: `decode` takes what `encode` makes and nothing else; no spaces,
 * no missing padding, no bits left over. So no two texts are the same bytes.
 */
export namespace Base64 {
  /** The bytes as text. */
  export function encode(bytes: Bytes): string {
    return encodeWith(bytes, false);
  }

  /** The bytes of the text; null when it is not base64. */
  export function decode(text: string): Bytes | null {
    return decodeWith(text, false);
  }
}

/** Base64 with `-` and `_`, and without padding (RFC 4648 section 5), as JOSE uses it (RFC 7515 section 2). Strict as well. */
export namespace Base64Url {
  /** The bytes as text. */
  export function encode(bytes: Bytes): string {
    return encodeWith(bytes, true);
  }

  /** The bytes of the text; null when it is not base64url without padding. */
  export function decode(text: string): Bytes | null {
    return decodeWith(text, true);
  }
}

function encodeWith(bytes: Bytes, url: bool): string {
  const length = bytes.length;
  const rest = length % 3;
  const units = (length / 3) * 4 + (rest ? (url ? rest + 1 : 4) : 0);
  const out = __new(<usize>units << 1, idof<string>());
  let to = out;
  for (let i = 0; i < length; i += 3) {
    const left = min(length - i, 3);
    let bits: u32 = 0;
    for (let k = 0; k < 3; k++) bits = (bits << 8) | (k < left ? unchecked(bytes[i + k]) : 0);
    for (let k = 0; k < 4; k++) {
      if (k <= left) store<u16>(to, <u16>digit((bits >> <u32>(18 - 6 * k)) & 63, url));
      else if (url) break;
      else store<u16>(to, <u16>PAD);
      to += 2;
    }
  }
  return changetype<string>(out);
}

function digit(value: u32, url: bool): u32 {
  if (value < 26) return value + 65; // A-Z
  if (value < 52) return value + 71; // a-z
  if (value < 62) return value - 4; // 0-9
  if (value == 62) return url ? 0x2d : 0x2b;
  return url ? 0x5f : 0x2f;
}

function valueOf(unit: i32, url: bool): i32 {
  if (unit >= 65 && unit <= 90) return unit - 65;
  if (unit >= 97 && unit <= 122) return unit - 71;
  if (unit >= 48 && unit <= 57) return unit + 4;
  if (unit == (url ? 0x2d : 0x2b)) return 62;
  return unit == (url ? 0x5f : 0x2f) ? 63 : -1;
}

function decodeWith(text: string, url: bool): Bytes | null {
  let digits = text.length;
  if (!url) {
    if (digits & 3) return null;
    if (digits && text.charCodeAt(digits - 1) == PAD) digits--;
    if (digits && text.charCodeAt(digits - 1) == PAD) digits--;
  }
  // One digit alone spells no byte, so three pads are none either.
  const rest = digits & 3;
  if (rest == 1) return null;
  const bytes = new StaticArray<u8>((digits >> 2) * 3 + (rest ? rest - 1 : 0));
  let bits: u32 = 0;
  let to = 0;
  for (let i = 0; i < digits; i++) {
    const value = valueOf(text.charCodeAt(i), url);
    if (value < 0) return null;
    bits = (bits << 6) | value;
    if ((i & 3) == 0) continue;
    const shift = <u32>(6 - 2 * (i & 3));
    unchecked((bytes[to++] = <u8>(bits >> shift)));
    bits &= (1 << shift) - 1;
  }
  // What is left of the last digit says nothing and must be zero, or two texts would be the same bytes.
  return rest && bits ? null : bytes;
}

/** Hexadecimal (RFC 4648 section 8). */
export namespace Hex {
  /** Two lower-case digits a byte. */
  export function encode(bytes: Bytes): string {
    const text = new StaticArray<u8>(bytes.length << 1);
    for (let i = 0; i < bytes.length; i++) {
      const byte = unchecked(bytes[i]);
      unchecked((text[2 * i] = hexDigit(byte >> 4)));
      unchecked((text[2 * i + 1] = hexDigit(byte & 15)));
    }
    return spell(changetype<usize>(text), text.length);
  }

  /** The bytes of an even number of digits in either case; null for anything else. */
  export function decode(text: string): Bytes | null {
    if (text.length & 1) return null;
    const bytes = new StaticArray<u8>(text.length >> 1);
    for (let i = 0; i < bytes.length; i++) {
      const high = hexValue(text.charCodeAt(2 * i));
      const low = hexValue(text.charCodeAt(2 * i + 1));
      if (high < 0 || low < 0) return null;
      unchecked((bytes[i] = <u8>((high << 4) | low)));
    }
    return bytes;
  }
}

/** The lower-case digit of 0 to 15. */
export function hexDigit(value: u8): u8 {
  return value < 10 ? value + 48 : value + 87;
}

/** The value of a hexadecimal digit in either case, or -1. */
export function hexValue(unit: i32): i32 {
  if (unit >= 48 && unit <= 57) return unit - 48;
  const lower = unit | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

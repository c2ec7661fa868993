import { Bytes } from "./binary";
import { widen } from "./bytes";

const PAD: i32 = 0x3d; // =

/**
 * Base64 (RFC 4648 section 4), with padding. `decode` is strict: it accepts only the output of `encode`, without white space,
 * missing padding or unused bits that are set, so that every byte string has exactly one encoding.
 */
export namespace Base64 {
  /** Encodes bytes. */
  export function encode(bytes: Bytes): string {
    return encodeWith(bytes, false);
  }

  /** Decodes text; null if it is invalid. */
  export function decode(text: string): Bytes | null {
    return decodeWith(text, false);
  }
}

/** Base64url (RFC 4648 section 5) without padding, as in JWT (RFC 7515 section 2). Strict like `Base64`. */
export namespace Base64Url {
  /** Encodes bytes. */
  export function encode(bytes: Bytes): string {
    return encodeWith(bytes, true);
  }

  /** Decodes text; null if it is invalid or padded. */
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

/** Value of each ASCII character, 64 if invalid: for base64, then for base64url. */
const VALUES: usize = memory.data<u8>([
  64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
  64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 64, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64, 64,
  64, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64,
  64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64,
  64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64,
  64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 62, 64, 64, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64, 64,
  64, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 63,
  64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64,
]);

/** Four characters as 24 bits; u32.MAX_VALUE if one is invalid. */
// @ts-ignore: decorator
@inline
function group(from: usize, values: usize): u32 {
  const units = load<u64>(from);
  if (units & 0xff80ff80ff80ff80) return u32.MAX_VALUE;
  const first = <u32>load<u8>(values + <usize>(units & 0x7f));
  const second = <u32>load<u8>(values + <usize>((units >> 16) & 0x7f));
  const third = <u32>load<u8>(values + <usize>((units >> 32) & 0x7f));
  const fourth = <u32>load<u8>(values + <usize>(units >> 48));
  const bits = (first << 18) | (second << 12) | (third << 6) | fourth;
  return (first | second | third | fourth) > 63 ? u32.MAX_VALUE : bits;
}

function decodeWith(text: string, url: bool): Bytes | null {
  let digits = text.length;
  if (!url) {
    if (digits & 3) return null;
    if (digits && text.charCodeAt(digits - 1) == PAD) digits--;
    if (digits && text.charCodeAt(digits - 1) == PAD) digits--;
  }
  // A single digit has less than 8 bits, so three pads are invalid too.
  const rest = digits & 3;
  if (rest == 1) return null;
  const bytes = new StaticArray<u8>((digits >> 2) * 3 + (rest ? rest - 1 : 0));
  const values = VALUES + (url ? 128 : 0);
  let from = changetype<usize>(text);
  let to = changetype<usize>(bytes);
  for (const end = from + (<usize>(digits - rest) << 1); from < end; from += 8, to += 3) {
    const bits = group(from, values);
    if (bits == u32.MAX_VALUE) return null;
    store<u8>(to, <u8>(bits >> 16));
    store<u8>(to, <u8>(bits >> 8), 1);
    store<u8>(to, <u8>bits, 2);
  }
  let bits: u32 = 0;
  for (let i = 0; i < rest; i++) {
    const unit = <u32>load<u16>(from + (<usize>i << 1));
    const value = unit < 128 ? <u32>load<u8>(values + unit) : 64;
    if (value > 63) return null;
    bits = (bits << 6) | value;
  }
  // The unused bits of the last digit must be zero, so that the encoding is unique.
  if (rest == 2) {
    if (bits & 15) return null;
    store<u8>(to, <u8>(bits >> 4));
  } else if (rest == 3) {
    if (bits & 3) return null;
    store<u8>(to, <u8>(bits >> 10));
    store<u8>(to, <u8>(bits >> 2), 1);
  }
  return bytes;
}

/** Hexadecimal (RFC 4648 section 8). */
export namespace Hex {
  /** Encodes each byte as two lower-case digits. */
  export function encode(bytes: Bytes): string {
    const text = new StaticArray<u8>(bytes.length << 1);
    for (let i = 0; i < bytes.length; i++) {
      const byte = unchecked(bytes[i]);
      unchecked((text[2 * i] = hexDigit(byte >> 4)));
      unchecked((text[2 * i + 1] = hexDigit(byte & 15)));
    }
    return widen(changetype<usize>(text), text.length);
  }

  /** Decodes an even number of digits in either case; null if the text is invalid. */
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

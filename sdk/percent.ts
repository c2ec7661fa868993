import { hexValue } from "./base64";
import { ByteBuilder, decodeUtf8 } from "./binary";

/** Percent-encoding (RFC 3986 section 2.1) of text in UTF-8. */
export namespace Percent {
  /** Encodes everything except letters, digits and `-._~`: the result is safe in any part of a URL. */
  export function encode(text: string): string {
    const out = new ByteBuilder();
    const length = String.UTF8.byteLength(text);
    const bytes = new StaticArray<u8>(length);
    const from = changetype<usize>(bytes);
    String.UTF8.encodeUnsafe(changetype<usize>(text), text.length, from, false, String.UTF8.ErrorMode.REPLACE);
    for (let i = 0; i < length; i++) {
      const byte = load<u8>(from + i);
      if (isUnreserved(byte)) out.byte(byte);
      else {
        out.byte(0x25);
        out.byte(upperDigit(byte >> 4));
        out.byte(upperDigit(byte & 15));
      }
    }
    return out.toString();
  }

  /** Decodes text; null if a `%` is not followed by two hexadecimal digits or the bytes are not UTF-8. */
  export function decode(text: string): string | null {
    return decodePercent(text, 0, text.length, false, true);
  }
}

/** Whether the character is unreserved (RFC 3986 section 2.3): a letter, a digit or one of `-._~`. */
export function isUnreserved(unit: i32): bool {
  const lower = unit | 32;
  if ((lower >= 97 && lower <= 122) || (unit >= 48 && unit <= 57)) return true;
  return unit == 0x2d || unit == 0x2e || unit == 0x5f || unit == 0x7e;
}

function upperDigit(value: u8): i32 {
  return value < 10 ? value + 48 : value + 55;
}

/**
 * Decodes a part of a text. `form`: `+` is a space. `strict`: the result is null if something cannot be decoded; otherwise an
 * invalid `%` is literal, and invalid UTF-8 becomes U+FFFD.
 */
export function decodePercent(text: string, start: i32, end: i32, form: bool, strict: bool): string | null {
  if (isPlain(text, start, end, form)) return text.substring(start, end);
  // Upper bound: an escape becomes one byte, a character above U+00FF (never in a message head) at most three.
  const bytes = new StaticArray<u8>(3 * (end - start));
  const to = changetype<usize>(bytes);
  let length = 0;
  for (let i = start; i < end; i++) {
    const unit = text.charCodeAt(i);
    if (unit == 0x25) {
      const high = i + 2 < end ? hexValue(text.charCodeAt(i + 1)) : -1;
      const low = i + 2 < end ? hexValue(text.charCodeAt(i + 2)) : -1;
      if (high >= 0 && low >= 0) {
        store<u8>(to + length++, <u8>((high << 4) | low));
        i += 2;
        continue;
      }
      if (strict) return null;
    }
    if (unit > 255) length += <i32>String.UTF8.encodeUnsafe(changetype<usize>(text) + (<usize>i << 1), 1, to + length, false, String.UTF8.ErrorMode.REPLACE);
    else store<u8>(to + length++, unit == 0x2b && form ? 0x20 : <u8>unit);
  }
  return decodeUtf8(to, length, strict);
}

/** Whether the part contains only ASCII and nothing to decode. */
function isPlain(text: string, start: i32, end: i32, form: bool): bool {
  const from = changetype<usize>(text);
  for (let i = start; i < end; i++) {
    const unit = load<u16>(from + (<usize>i << 1));
    if (unit == 0x25 || unit > 0x7f || (unit == 0x2b && form)) return false;
  }
  return true;
}

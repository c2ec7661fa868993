// Conversions between strings and bytes. Message heads map one byte to one code unit (0 to 255) without loss; names,
// configuration, exchange values and log lines are UTF-8. Arguments of host calls are passed in two static buffers, so
// that host calls do not allocate.

/** Buffer for names, keys and paths. */
export const KEY: usize = memory.data(1024);
export const KEY_CAP: i32 = 1024;
/** Buffer for values, in both directions; the size of the longest value of a message head. */
export const VALUE: usize = memory.data(65536);
export const VALUE_CAP: i32 = 65536;

/** Throws for a value that exceeds its buffer, and so the limit of the host. */
function tooLong(what: string, length: i32, limit: i32): void {
  throw new Error(`${what} of ${length} is over the limit of ${limit}`);
}

/**
 * Writes each code unit as one byte to `out`; returns the number of bytes. Throws for a code unit above 255 and for a text
 * longer than `cap`.
 */
export function narrow(text: string, out: usize, cap: i32): i32 {
  const length = text.length;
  if (length > cap) tooLong("a text", length, cap);
  const from = changetype<usize>(text);
  let i: i32 = 0;
  // Objects and the end of memory are aligned to 16 bytes, so that a vector load never crosses the end of memory.
  for (; i + 8 <= length; i += 8) {
    const units = v128.load(from + (<usize>i << 1));
    if (v128.any_true(v128.and(units, i16x8.splat(<i16>0xff00)))) notBytes(text);
    v128.store64_lane(out + i, i8x16.narrow_i16x8_u(units, units), 0);
  }
  for (; i < length; i++) {
    const unit = load<u16>(from + (<usize>i << 1));
    if (unit > 255) notBytes(text);
    store<u8>(out + i, <u8>unit);
  }
  return length;
}

function notBytes(text: string): void {
  throw new Error(`"${text}" contains a character above U+00FF; headers are bytes: encode it first`);
}

/** Converts bytes to a string, one code unit per byte; empty for a negative length. */
export function widen(from: usize, length: i32): string {
  if (length <= 0) return "";
  const out = __new(<usize>length << 1, idof<string>());
  let i: i32 = 0;
  for (; i + 8 <= length; i += 8) v128.store(out + (<usize>i << 1), v128.load8x8_u(from + i));
  for (; i < length; i++) store<u16>(out + (<usize>i << 1), <u16>load<u8>(from + i));
  return changetype<string>(out);
}

/** Whether the bytes equal the code units of the text. */
export function equals(from: usize, length: i32, text: string): bool {
  return text.length == length && startsWith(from, length, text);
}

/** Whether the bytes start with the code units of the text. */
export function startsWith(from: usize, length: i32, text: string): bool {
  const units = text.length;
  if (units > length) return false;
  const ptr = changetype<usize>(text);
  for (let i: i32 = 0; i < units; i++) {
    if (<u16>load<u8>(from + i) != load<u16>(ptr + (<usize>i << 1))) return false;
  }
  return true;
}

/** Writes the string as UTF-8 to `out`; returns the number of bytes. Throws if it is longer than `cap`. */
export function encode(text: string, out: usize, cap: i32): i32 {
  const units = text.length;
  // A code unit has at most three bytes: only a long text has to be measured.
  if (units * 3 > cap) {
    const length = utf8Length(text);
    if (length > cap) tooLong("a text", length, cap);
  }
  return encodeUtf8(text, out);
}

/** Writes the string as UTF-8; returns the number of bytes. `replace`: writes a lone surrogate as U+FFFD. */
export function encodeUtf8(text: string, out: usize, replace: bool = false): i32 {
  const units = text.length;
  const from = changetype<usize>(text);
  let i: i32 = 0;
  // Fast path for an ASCII prefix: eight characters at once.
  for (; i + 8 <= units; i += 8) {
    const block = v128.load(from + (<usize>i << 1));
    if (v128.any_true(v128.and(block, i16x8.splat(<i16>0xff80)))) break;
    v128.store64_lane(out + i, i8x16.narrow_i16x8_u(block, block), 0);
  }
  const mode = replace ? String.UTF8.ErrorMode.REPLACE : String.UTF8.ErrorMode.WTF8;
  return i + <i32>String.UTF8.encodeUnsafe(from + (<usize>i << 1), units - i, out + i, false, mode);
}

/** Whether all bytes are ASCII. */
export function isAscii(from: usize, length: i32): bool {
  let i: i32 = 0;
  for (; i + 16 <= length; i += 16) {
    if (i8x16.bitmask(v128.load(from + i))) return false;
  }
  for (; i < length; i++) {
    if (load<u8>(from + i) > 0x7f) return false;
  }
  return true;
}

/** Length of the string in UTF-8, in bytes. */
export function utf8Length(text: string): i32 {
  const units = text.length;
  const from = changetype<usize>(text);
  for (let i: i32 = 0; i < units; ) {
    const block = i + 8 <= units;
    const high = block
      ? v128.any_true(v128.and(v128.load(from + (<usize>i << 1)), i16x8.splat(<i16>0xff80)))
      : load<u16>(from + (<usize>i << 1)) > 0x7f;
    if (high) return String.UTF8.byteLength(text);
    i += block ? 8 : 1;
  }
  return units;
}

/** Decodes UTF-8 to a string. */
export function decode(from: usize, length: i32): string {
  if (isAscii(from, length)) return widen(from, length);
  return String.UTF8.decodeUnsafe(from, length);
}

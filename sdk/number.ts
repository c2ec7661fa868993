/** Parses numbers in JSON format. */

/** The powers of ten that are exact in an f64. */
// @ts-ignore: decorator
@lazy const POWERS: StaticArray<f64> = [1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];

/** Further digits do not change an f64. */
const MOST_DIGITS: u64 = 1000000000000000000;

/**
 * Parses a number; NaN if it is invalid. Leading zeros are ignored. Exact for integers up to 2^53, correctly rounded for up to
 * 15 digits with an exponent within ±22, otherwise accurate to 15 digits.
 */
export function readNumber(from: usize, to: usize): f64 {
  let at = from;
  const negative = at < to && load<u8>(at) == 0x2d;
  if (negative) at++;
  let digits: u64 = 0;
  let exponent = 0;
  let point: usize = 0;
  const first = at;
  for (; at < to; at++) {
    const byte = <u32>load<u8>(at);
    if (byte == 0x2e) {
      if (point || at == first) return NaN;
      point = at;
    } else if (byte - 0x30 > 9) break;
    else if (digits < MOST_DIGITS) {
      digits = digits * 10 + (byte - 0x30);
      if (point) exponent--;
    } else if (!point) exponent++;
  }
  if (at == first || point == at - 1) return NaN;
  if (at < to) {
    const more = readExponent(at, to);
    if (more == i32.MIN_VALUE) return NaN;
    exponent += more;
  }
  const value = scale(<f64>digits, exponent);
  return negative ? -value : value;
}

/** The exponent, clamped to a value beyond the range of an f64; MIN_VALUE if it is invalid. */
function readExponent(from: usize, to: usize): i32 {
  let at = from + 1;
  if ((load<u8>(from) | 0x20) != 0x65 || at == to) return i32.MIN_VALUE;
  const sign = load<u8>(at);
  if ((sign == 0x2d || sign == 0x2b) && ++at == to) return i32.MIN_VALUE;
  let value = 0;
  for (; at < to; at++) {
    const digit = <i32>load<u8>(at) - 0x30;
    if (digit < 0 || digit > 9) return i32.MIN_VALUE;
    if (value < 100000000) value = value * 10 + digit;
  }
  return sign == 0x2d ? -value : value;
}

/**
 * `digits` × 10^`exponent`. A single step is rounded once, and so correctly rounded. (The conversion of AssemblyScript's library
 * is wrong by powers of ten for some numbers above 2^53.)
 */
function scale(digits: f64, exponent: i32): f64 {
  let value = digits;
  if (value == 0 || exponent > 400) return value == 0 ? 0 : Infinity;
  if (exponent < -400) return 0;
  let left = exponent;
  for (; left > 22; left -= 22) value *= 1e22;
  for (; left < -22; left += 22) value /= 1e22;
  return left < 0 ? value / POWERS[-left] : value * POWERS[left];
}

const DAY: i64 = 86400000;
const DAYS = "SunMonTueWedThuFriSat";
const MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec";
/** The range of four-digit years: 0000-01-01 to the last millisecond of 9999. */
const FIRST: f64 = -62167219200000;
const LAST: f64 = 253402300799999;

/** Formats and parses dates of protocols. Times are milliseconds since 1970, like `now()`; all dates are UTC. */
export namespace Time {
  /** `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7), for years 0 to 9999. */
  export function toHttpDate(time: f64): string {
    split(time);
    const weekday = <i32>((((days + 4) % 7) + 7) % 7);
    return `${DAYS.substr(3 * weekday, 3)}, ${two(day)} ${MONTHS.substr(3 * (month - 1), 3)} ${four(year)} ${clock()} GMT`;
  }

  /**
   * Parses an HTTP date in the IMF-fixdate format (RFC 9110 section 5.6.7); NaN for anything else, including the two obsolete
   * formats. The weekday is not compared with the date.
   */
  export function fromHttpDate(text: string): f64 {
    if (text.length != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") return NaN;
    if (nameAt(DAYS, text.substr(0, 3)) < 0 || text.charCodeAt(7) != 0x20 || text.charCodeAt(11) != 0x20) return NaN;
    return join(digits(text, 12, 4), nameAt(MONTHS, text.substr(8, 3)) + 1, digits(text, 5, 2), text, 16);
  }

  /** `1994-11-06T08:49:37.000Z` (RFC 3339), for years 0 to 9999. */
  export function toRfc3339(time: f64): string {
    split(time);
    return `${four(year)}-${two(month)}-${two(day)}T${clock()}.${three(millisecond)}Z`;
  }

  /** Parses an RFC 3339 date with any offset; NaN for anything else. Digits beyond milliseconds are truncated. */
  export function fromRfc3339(text: string): f64 {
    if (text.length < 20 || text.charCodeAt(4) != 0x2d || text.charCodeAt(7) != 0x2d) return NaN;
    if ((text.charCodeAt(10) | 32) != 0x74 || text.charCodeAt(19) > 0x7f) return NaN;
    let time = join(digits(text, 0, 4), digits(text, 5, 2), digits(text, 8, 2), text, 10);
    let at = 19;
    if (text.charCodeAt(at) == 0x2e) {
      let scale: f64 = 100;
      const from = ++at;
      for (; at < text.length && digits(text, at, 1) >= 0; at++) {
        if (scale >= 1) time += scale * <f64>digits(text, at, 1);
        scale /= 10;
      }
      if (at == from) return NaN;
    }
    return time - offset(text, at);
  }
}

// The result of the last `split`, in globals to avoid an allocation.
let days: i64 = 0;
let year: i32 = 0;
let month: i32 = 0;
let day: i32 = 0;
let millisecond: i32 = 0;
let second: i32 = 0;

function split(time: f64): void {
  if (!(time >= FIRST && time <= LAST)) throw new RangeError(`${time} is not a time in the years 0 to 9999`);
  const whole = <i64>Math.floor(time);
  days = whole / DAY;
  let rest = whole % DAY;
  if (rest < 0) {
    rest += DAY;
    days--;
  }
  millisecond = <i32>(rest % 1000);
  second = <i32>(rest / 1000);
  // The calendar repeats every 400 years (146097 days). Years are counted from March, so that the leap day is the last.
  const shifted = days + 719468;
  const era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
  const ofEra = <i32>(shifted - era * 146097);
  const yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36524 - ofEra / 146096) / 365;
  const ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100);
  const march = (5 * ofYear + 2) / 153;
  day = ofYear - (153 * march + 2) / 5 + 1;
  month = march < 10 ? march + 3 : march - 9;
  year = yearOfEra + <i32>era * 400 + (month <= 2 ? 1 : 0);
}

/** The time of a date and of `hh:mm:ss` after `at`; NaN if one is invalid. */
function join(y: i32, m: i32, d: i32, text: string, at: i32): f64 {
  const h = digits(text, at + 1, 2);
  const min = digits(text, at + 4, 2);
  const s = digits(text, at + 7, 2);
  if (text.charCodeAt(at + 3) != 0x3a || text.charCodeAt(at + 6) != 0x3a) return NaN;
  if (y < 0 || m < 1 || m > 12 || d < 1 || d > length(y, m)) return NaN;
  // A leap second (60) becomes the first second of the next minute.
  if (h < 0 || h > 23 || min < 0 || min > 59 || s < 0 || s > 60) return NaN;
  const from = m <= 2 ? y - 1 : y;
  const era = (from >= 0 ? from : from - 399) / 400;
  const yearOfEra = from - era * 400;
  const ofYear = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
  const count = <i64>era * 146097 + <i64>(yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + ofYear) - 719468;
  return <f64>(count * DAY + <i64>((h * 60 + min) * 60 + s) * 1000);
}

function length(y: i32, m: i32): i32 {
  if (m == 2) return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 29 : 28;
  return m == 4 || m == 6 || m == 9 || m == 11 ? 30 : 31;
}

/** The offset in milliseconds of `Z`, `+01:00` or `-01:00` from `at` to the end; NaN if it is invalid. */
function offset(text: string, at: i32): f64 {
  if (at >= text.length) return NaN;
  const sign = text.charCodeAt(at);
  if ((sign | 32) == 0x7a) return at + 1 == text.length ? 0 : NaN;
  if ((sign != 0x2b && sign != 0x2d) || at + 6 != text.length || text.charCodeAt(at + 3) != 0x3a) return NaN;
  const h = digits(text, at + 1, 2);
  const min = digits(text, at + 4, 2);
  if (h < 0 || h > 23 || min < 0 || min > 59) return NaN;
  return <f64>((h * 60 + min) * 60000 * (sign == 0x2d ? -1 : 1));
}

/** The decimal number of `count` digits, or -1. */
function digits(text: string, at: i32, count: i32): i32 {
  let value = 0;
  for (let i = at; i < at + count; i++) {
    const digit = i < text.length ? text.charCodeAt(i) - 48 : -1;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Index of a name of three letters in a list of such names; negative if it is unknown. */
function nameAt(names: string, name: string): i32 {
  const at = names.indexOf(name);
  return at >= 0 && at % 3 == 0 ? at / 3 : -2;
}

function clock(): string {
  return `${two(second / 3600)}:${two((second / 60) % 60)}:${two(second % 60)}`;
}

function two(value: i32): string {
  return value.toString().padStart(2, "0");
}

function three(value: i32): string {
  return value.toString().padStart(3, "0");
}

function four(value: i32): string {
  return value.toString().padStart(4, "0");
}

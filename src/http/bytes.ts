/** Byte classes as one table of bits: classifying a byte of a head takes one load and one test. */

export const HTAB = 9;
export const LF = 10;
export const CR = 13;
export const SPACE = 32;
export const QUOTE = 34;
export const PERCENT = 37;
export const STAR = 42;
export const COMMA = 44;
export const DOT = 46;
export const SLASH = 47;
export const COLON = 58;
export const SEMICOLON = 59;
export const EQUALS = 61;
export const QUERY = 63;
export const BACKSLASH = 92;

/** Bits of CLASS. */
export const IS = {
  /** RFC 9110 section 5.6.2: characters of names and methods. */
  token: 1,
  /** RFC 9110 section 5.5: HTAB, SP, visible ASCII and obs-text. No other control character is allowed in a value. */
  value: 2,
  /**
   * Allowed in a target: visible ASCII except `#` (a fragment is never sent) and `\`, which some servers read as `/` in a
   * path (it is allowed in a query). Browsers send `"<>^{|}` and the backtick unescaped, and every server accepts them.
   */
  target: 4,
  /** A target byte that neither ends a path nor takes part in normalisation: not `?`, `%`, `.`, `/` or `;`. */
  plain: 8,
  hex: 16,
  /** RFC 3986 unreserved: an escape of such a byte means the byte itself. */
  unreserved: 32,
  /** A registered name or IPv4 address, without commas and escapes, which would allow two spellings. */
  host: 64,
  digit: 128,
} as const;

export const CLASS = makeClasses();

function makeClasses(): Uint8Array {
  const table = new Uint8Array(256);
  const mark = (chars: string, bits: number): void => {
    for (let i = 0; i < chars.length; i++) table[chars.charCodeAt(i)]! |= bits;
  };
  const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const digits = "0123456789";
  mark(letters + digits, IS.token | IS.unreserved | IS.host);
  mark(digits, IS.digit | IS.hex);
  mark("abcdefABCDEF", IS.hex);
  mark("!#$%&'*+-.^_`|~", IS.token);
  mark("-._~", IS.unreserved | IS.host);
  mark("!$&'()*+;=", IS.host);
  for (let byte = 0x20; byte < 256; byte++) if (byte !== 0x7f) table[byte]! |= IS.value;
  table[HTAB]! |= IS.value;
  for (let byte = 0x21; byte < 0x7f; byte++) table[byte]! |= IS.target | IS.plain;
  for (const char of "#\\") table[char.charCodeAt(0)]! &= ~(IS.target | IS.plain);
  for (const char of "?%./;") table[char.charCodeAt(0)]! &= ~IS.plain;
  return table;
}

/** The value of one hexadecimal digit, or -1. */
export function hexValue(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 0x20;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** The lower case of an ASCII letter; any other byte itself. */
export function toLower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte + 32 : byte;
}

export function equalsBytes(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  return end - start === word.length && startsWith(bytes, start, end, word);
}

/** Whether `bytes[start, end)` begins with `word`. */
export function startsWith(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  const { length } = word;
  if (end - start < length) return false;
  for (let i = 0; i < length; i++) if (bytes[start + i] !== word[i]) return false;
  return true;
}

/** Compares without regard to case; `word` is in lower case. */
export function equalsWord(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) if (toLower(bytes[start + i]!) !== word[i]) return false;
  return true;
}

/** Whether a byte is optional white space between the parts of a field (RFC 9110 section 5.6.3). */
export function isBlank(byte: number): boolean {
  return byte === SPACE || byte === HTAB;
}

/** The offset of the first byte of `bytes[at, end)` that is not blank; `end` without one. */
export function skipBlanks(bytes: Uint8Array, at: number, end: number): number {
  let i = at;
  while (i < end && isBlank(bytes[i]!)) i++;
  return i;
}

/** The end of `bytes[start, end)` without the blanks at its end. */
export function trimBlanks(bytes: Uint8Array, start: number, end: number): number {
  let i = end;
  while (i > start && isBlank(bytes[i - 1]!)) i--;
  return i;
}

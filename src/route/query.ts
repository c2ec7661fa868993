/** Compares the query of a request, read as the SDK's `Query` reads it. */
import { EQUALS, hexValue, PERCENT, SPACE } from "../http/bytes.ts";
import { type Head, PART } from "../http/head.ts";
import { matchesValue, type NamedTest } from "./values.ts";

const AMPERSAND = 38;
const PLUS = 43;

/** Whether the first parameter of that name has such a value. */
export function hasParameter(test: NamedTest, head: Head): boolean {
  const { bytes, parts } = head;
  const end = parts[PART.query + 1]!;
  let start = parts[PART.query]!;
  while (start < end) {
    let stop = start;
    let split = -1;
    for (; stop < end && bytes[stop] !== AMPERSAND; stop++) if (split < 0 && bytes[stop] === EQUALS) split = stop;
    const nameEnd = split < 0 ? stop : split;
    if (equalsDecoded(test.name, bytes, start, nameEnd))
      return matchesDecoded(test, bytes, split < 0 ? stop : split + 1, stop);
    start = stop + 1;
  }
  return test.absent;
}

function matchesDecoded(test: NamedTest, bytes: Uint8Array, start: number, end: number): boolean {
  const { exact } = test;
  for (let i = 0; i < exact.length; i++) if (equalsDecoded(exact[i]!, bytes, start, end)) return true;
  if (test.present) return true;
  if (test.prefixes.length + test.regexes.length === 0) return false;
  const decoded = Buffer.allocUnsafe(end - start);
  let size = 0;
  for (let at = start; at < end; at = next(bytes, at, end)) decoded[size++] = byteAt(bytes, at, end);
  return matchesValue(test, decoded, 0, size);
}

function equalsDecoded(wanted: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  let k = 0;
  for (let at = start; at < end; at = next(bytes, at, end), k++) if (byteAt(bytes, at, end) !== wanted[k]) return false;
  return k === wanted.length;
}

/** The decoded byte at `at`. Form-encoded (WHATWG URL): `+` is a space, `%2B` a plus. */
function byteAt(bytes: Uint8Array, at: number, end: number): number {
  const byte = bytes[at]!;
  if (byte === PLUS) return SPACE;
  return isEscape(bytes, at, end) ? hexValue(bytes[at + 1]!) * 16 + hexValue(bytes[at + 2]!) : byte;
}

function next(bytes: Uint8Array, at: number, end: number): number {
  return at + (isEscape(bytes, at, end) ? 3 : 1);
}

/** A `%` that does not begin an escape is literal. */
function isEscape(bytes: Uint8Array, at: number, end: number): boolean {
  return bytes[at] === PERCENT && at + 2 < end && hexValue(bytes[at + 1]!) >= 0 && hexValue(bytes[at + 2]!) >= 0;
}

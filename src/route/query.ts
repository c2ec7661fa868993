/** Compares the query of a request, read as the SDK's `Query` reads it. */
import { EQUALS, hexValue, PERCENT, SPACE } from "../http/bytes.ts";
import { type Head, PART } from "../http/head.ts";
import type { Pair } from "./compile.ts";

const AMPERSAND = 38;
const PLUS = 43;

export function matchesQuery(pairs: readonly Pair[], head: Head): boolean {
  for (let i = 0; i < pairs.length; i++) if (!hasParameter(pairs[i]!, head)) return false;
  return true;
}

/** Whether the first parameter of that name has that value. */
function hasParameter(pair: Pair, head: Head): boolean {
  const { bytes, parts } = head;
  const end = parts[PART.query + 1]!;
  let start = parts[PART.query]!;
  while (start < end) {
    let stop = start;
    let split = -1;
    for (; stop < end && bytes[stop] !== AMPERSAND; stop++) if (split < 0 && bytes[stop] === EQUALS) split = stop;
    const nameEnd = split < 0 ? stop : split;
    if (equalsDecoded(pair.name, bytes, start, nameEnd))
      return equalsDecoded(pair.value, bytes, split < 0 ? stop : split + 1, stop);
    start = stop + 1;
  }
  return false;
}

/** Form-encoded (WHATWG URL): `+` is a space, `%2B` a plus. */
function equalsDecoded(wanted: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  let k = 0;
  for (let at = start; at < end; at++, k++) {
    let byte = bytes[at]!;
    if (byte === PLUS) byte = SPACE;
    else if (byte === PERCENT && at + 2 < end) {
      const high = hexValue(bytes[at + 1]!);
      const low = hexValue(bytes[at + 2]!);
      // A `%` that does not begin an escape is literal.
      if (high >= 0 && low >= 0) {
        byte = high * 16 + low;
        at += 2;
      }
    }
    if (byte !== wanted[k]) return false;
  }
  return k === wanted.length;
}

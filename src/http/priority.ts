/** Priorities of requests (RFC 9218 section 4): the parameters `u` (urgency) and `i` (incremental). */
import { COMMA, isBlank, skipBlanks } from "./bytes.ts";

/** From 0, the most urgent, to 7. */
export const DEFAULT_URGENCY = 3;
export const URGENCIES = 8;
/** Bit of a parsed priority, above the urgency. */
export const INCREMENTAL = 8;

const U = 0x75;
const I = 0x69;
const EQUALS = 0x3d;
const QUESTION = 0x3f;
const SEMICOLON = 0x3b;
const ZERO = 0x30;

/**
 * Parses the value of a Priority field or of a PRIORITY_UPDATE frame. Returns the urgency, and INCREMENTAL if it is set.
 * Parameters that are unknown or invalid are ignored; of equal ones the last applies (RFC 8941 section 4.2.2).
 */
export function parsePriority(bytes: Uint8Array, start: number, end: number): number {
  let urgency = DEFAULT_URGENCY;
  let incremental = 0;
  for (let at = start; at < end; ) {
    let stop = at;
    while (stop < end && bytes[stop] !== COMMA) stop++;
    const from = skipBlanks(bytes, at, stop);
    let to = from;
    while (to < stop && !isBlank(bytes[to]!) && bytes[to] !== SEMICOLON) to++;
    if (to - from === 3 && bytes[from] === U && bytes[from + 1] === EQUALS) {
      const digit = bytes[from + 2]! - ZERO;
      if (digit >= 0 && digit < URGENCIES) urgency = digit;
    } else if (bytes[from] === I && to - from === 1) incremental = INCREMENTAL;
    else if (bytes[from] === I && to - from === 4 && bytes[from + 1] === EQUALS && bytes[from + 2] === QUESTION) {
      if (bytes[from + 3] === ZERO + 1) incremental = INCREMENTAL;
      else if (bytes[from + 3] === ZERO) incremental = 0;
    }
    at = stop + 1;
  }
  return urgency | incremental;
}

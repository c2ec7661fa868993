/**
 * The request target: valid or not, and its one normal form. The path is normalised once, before routing, so that
 * routes, plugins and the upstream cannot disagree on what was asked for (RFC 3986 section 6.2.2).
 */

import { BACKSLASH, CLASS, DOT, hexValue, IS, PERCENT, QUERY, SLASH, STAR } from "./bytes.ts";
import { type Head, PART } from "./head.ts";
import { refuse } from "./scan-fields.ts";

// What an escape may be found to be. `keep` is normal already.
const ESCAPE = { keep: 0, change: 1, bad: 2 } as const;

/**
 * Normalises the path: dot segments resolved, unreserved characters decoded, escapes in upper case. `//` and `%2F` stay.
 * 0, or -400 when an escape is malformed or stands for NUL or a backslash. A normal path is not copied.
 */
export function normalizePath(head: Head): number {
  const { bytes, parts } = head;
  const start = parts[PART.path]!;
  const end = parts[PART.path + 1]!;
  let change = false;
  for (let i = start; i < end; i++) {
    const byte = bytes[i];
    if (byte === DOT) change ||= isDotSegment(bytes, i, end);
    else if (byte === BACKSLASH) return refuse(head, 400, "a backslash in the path");
    else if (byte === PERCENT) {
      const found = judgeEscape(bytes, i, end);
      if (found === ESCAPE.bad) return refuse(head, 400, "a malformed escape, %00 or %5C in the path");
      change ||= found === ESCAPE.change;
      i += 2;
    }
  }
  if (change) rewritePath(head, start, end);
  return 0;
}

// `.` and `..` between slashes or at the end; `at` is the first dot, which follows a slash only in a dot segment.
function isDotSegment(bytes: Uint8Array, at: number, end: number): boolean {
  if (bytes[at - 1] !== SLASH) return false;
  const after = at + 1 < end && bytes[at + 1] === DOT ? at + 2 : at + 1;
  return after >= end || bytes[after] === SLASH;
}

function judgeEscape(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 >= end) return ESCAPE.bad;
  const high = hexValue(bytes[at + 1]!);
  const low = hexValue(bytes[at + 2]!);
  const byte = high * 16 + low;
  if (high < 0 || low < 0 || byte === 0 || byte === BACKSLASH) return ESCAPE.bad;
  if ((CLASS[byte]! & IS.unreserved) !== 0) return ESCAPE.change;
  return bytes[at + 1]! >= 97 || bytes[at + 2]! >= 97 ? ESCAPE.change : ESCAPE.keep;
}

function rewritePath(head: Head, start: number, end: number): void {
  head.reserve(end - start);
  const bytes = head.bytes;
  const decodedAt = head.end;
  const decodedEnd = decodeUnreserved(bytes, start, end, decodedAt);
  head.end = removeDotSegments(bytes, decodedAt, decodedEnd);
  head.parts[PART.path] = decodedAt;
  head.parts[PART.path + 1] = head.end;
}

/** Copies the path to `to`, decoding what is unreserved and writing the other escapes in upper case. */
function decodeUnreserved(bytes: Uint8Array, start: number, end: number, to: number): number {
  let out = to;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    bytes[out++] = byte;
    if (byte !== PERCENT) continue;
    const decoded = hexValue(bytes[i + 1]!) * 16 + hexValue(bytes[i + 2]!);
    if ((CLASS[decoded]! & IS.unreserved) !== 0) bytes[out - 1] = decoded;
    else {
      bytes[out++] = upper(bytes[i + 1]!);
      bytes[out++] = upper(bytes[i + 2]!);
    }
    i += 2;
  }
  return out;
}

function upper(byte: number): number {
  return byte >= 97 ? byte - 32 : byte;
}

/** RFC 3986 section 5.2.4, in place; returns the new end. The path begins with a slash, before and after. */
function removeDotSegments(bytes: Uint8Array, start: number, end: number): number {
  let out = start;
  for (let i = start; i < end; ) {
    // `i` stands on the slash before a segment.
    let next = i + 1;
    while (next < end && bytes[next] !== SLASH) next++;
    const length = next - i - 1;
    const dots = bytes[i + 1] === DOT && (length === 1 || (length === 2 && bytes[i + 2] === DOT)) ? length : 0;
    if (dots === 0) for (; i < next; i++) bytes[out++] = bytes[i]!;
    else {
      if (dots === 2) {
        while (out > start && bytes[--out] !== SLASH);
      }
      // A dot segment at the end leaves the slash that stood before it.
      if (next === end) bytes[out++] = SLASH;
      i = next;
    }
  }
  return out;
}

/** Whether `bytes[start, end)` is a path that may be sent, with or without a query. */
export function checkTarget(bytes: Uint8Array, start: number, end: number): boolean {
  if (end <= start || bytes[start] !== SLASH) return false;
  const pathEnd = findQuery(bytes, start, end);
  return isPath(bytes, start, pathEnd) && isTargetText(bytes, pathEnd, end);
}

function findQuery(bytes: Uint8Array, start: number, end: number): number {
  let i = start;
  while (i < end && bytes[i] !== QUERY) i++;
  return i;
}

function isPath(bytes: Uint8Array, start: number, end: number): boolean {
  if (end <= start || bytes[start] !== SLASH || !isTargetText(bytes, start, end)) return false;
  for (let i = start; i < end; i++) {
    if (bytes[i] === QUERY) return false;
    if (bytes[i] === PERCENT && judgeEscape(bytes, i, end) === ESCAPE.bad) return false;
  }
  return true;
}

function isTargetText(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if ((CLASS[bytes[i]!]! & IS.target) === 0) return false;
  return true;
}

/** Sets path and query (`/path?query`, or `*`) and normalises the path. False, and nothing changed, if not valid. */
export function setTarget(head: Head, bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start === 1 && bytes[start] === STAR) {
    head.setPart(PART.path, bytes, start, end);
    return setQuery(head, bytes, end, end);
  }
  if (!checkTarget(bytes, start, end)) return false;
  const pathEnd = findQuery(bytes, start, end);
  return setPath(head, bytes, start, pathEnd) && setQuery(head, bytes, Math.min(pathEnd + 1, end), end);
}

/** Sets the path alone, normalised. False, and nothing changed, if it is not valid; a `?` in it is not. */
export function setPath(head: Head, bytes: Uint8Array, start: number, end: number): boolean {
  if (!isPath(bytes, start, end)) return false;
  head.setPart(PART.path, bytes, start, end);
  normalizePath(head);
  return true;
}

/** Sets the query alone, without its `?`; an empty one takes it away. False, and nothing changed, if not valid. */
export function setQuery(head: Head, bytes: Uint8Array, start: number, end: number): boolean {
  if (!isTargetText(bytes, start, end)) return false;
  head.setPart(PART.query, bytes, start, end);
  return true;
}

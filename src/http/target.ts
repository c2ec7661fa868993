/**
 * Validates and normalises the request target. The path is normalised once, before routing, so that routes, plugins and
 * the endpoint agree on it (RFC 3986 section 6.2.2).
 */

import { isUtf8 } from "node:buffer";

import { BACKSLASH, CLASS, DOT, hexValue, IS, PERCENT, QUERY, SEMICOLON, SLASH, STAR } from "./bytes.ts";
import { DOUBT, FORM, type Head, PART, reject } from "./head.ts";
import { isOptionsMethod } from "./method.ts";

/**
 * Normalises the path: dot segments resolved, unreserved characters decoded, bytes above ASCII encoded, escapes in upper
 * case; `//` and `%2F` as `head.form` says. Sets `head.doubts`. Returns 0, or -400 when an escape is malformed, overlong,
 * NUL or a backslash, or a slash that the form rejects, or when bytes above ASCII are not UTF-8. A path that is already
 * normal is not copied.
 */
export function normalizePath(head: Head): number {
  const { bytes, parts, form } = head;
  const start = parts[PART.path]!;
  const end = parts[PART.path + 1]!;
  let change = false;
  let raw = false;
  let doubts = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte === DOT) change ||= isDotSegment(bytes, i, end);
    else if (byte === SLASH) {
      if (i > start && bytes[i - 1] === SLASH) doubts |= DOUBT.slashes;
    } else if (byte === SEMICOLON) doubts |= DOUBT.parameter;
    else if (byte === BACKSLASH) return reject(head, 400, "a backslash in the path");
    else if (byte === PERCENT) {
      const decoded = readEscape(bytes, i, end);
      if (decoded < 0) return reject(head, 400, "a malformed or overlong escape, %00 or %5C in the path");
      if (decoded === SLASH) doubts |= DOUBT.encodedSlash;
      else if (isReserved(decoded)) doubts |= DOUBT.escape;
      change ||= isUnreserved(decoded) || bytes[i + 1]! >= 97 || bytes[i + 2]! >= 97;
      i += 2;
    } else if (byte >= 0x80) raw = true;
  }
  if (raw && !isUtf8(bytes.subarray(start, end))) return reject(head, 400, NOT_UTF8);
  if (form !== 0) {
    if ((form & FORM.rejectSlashes) !== 0 && (doubts & DOUBT.encodedSlash) !== 0)
      return reject(head, 400, "an encoded slash in the path");
    const remaining = remainingDoubts(form, doubts);
    change ||= remaining !== doubts;
    doubts = remaining;
  }
  head.doubts |= doubts;
  if (change || raw) rewritePath(head, start, end, raw);
  return 0;
}

const NOT_UTF8 = "bytes above ASCII in the target that are not UTF-8";

/** Percent-encodes bytes above ASCII in the query. Returns 0, or -400 when they are not UTF-8. */
export function encodeQuery(head: Head): number {
  const start = head.parts[PART.query]!;
  const end = head.parts[PART.query + 1]!;
  if (!isUtf8(head.bytes.subarray(start, end))) return reject(head, 400, NOT_UTF8);
  head.reserve(3 * (end - start));
  const { bytes } = head;
  const from = head.end;
  let at = from;
  for (let i = start; i < end; i++) {
    const byte = bytes[i]!;
    if (byte < 0x80) bytes[at++] = byte;
    else at = writeEscape(bytes, at, byte);
  }
  head.parts[PART.query] = from;
  head.parts[PART.query + 1] = head.end = at;
  return 0;
}

const DIGITS = Buffer.from("0123456789ABCDEF");

function writeEscape(bytes: Uint8Array, at: number, byte: number): number {
  bytes[at] = PERCENT;
  bytes[at + 1] = DIGITS[byte >> 4]!;
  bytes[at + 2] = DIGITS[byte & 15]!;
  return at + 3;
}

/** The doubts that remain after normalising by `form`. */
function remainingDoubts(form: number, doubts: number): number {
  let left = doubts;
  if ((form & FORM.decodeSlashes) !== 0 && (left & DOUBT.encodedSlash) !== 0)
    left = (left & ~DOUBT.encodedSlash) | DOUBT.slashes;
  return (form & FORM.mergeSlashes) !== 0 ? left & ~DOUBT.slashes : left;
}

// `.` and `..` between slashes or at the end; `at` is the first dot, which follows a slash only in a dot segment.
function isDotSegment(bytes: Uint8Array, at: number, end: number): boolean {
  if (bytes[at - 1] !== SLASH) return false;
  const after = at + 1 < end && bytes[at + 1] === DOT ? at + 2 : at + 1;
  return after >= end || bytes[after] === SLASH;
}

/** The byte that the escape at `at` decodes to; -1: malformed, NUL, a backslash or the start of an overlong form. */
function readEscape(bytes: Uint8Array, at: number, end: number): number {
  const byte = decodeEscape(bytes, at, end);
  if (byte <= 0 || byte === BACKSLASH) return -1;
  return byte >= 0xc0 && isOverlong(byte, decodeEscape(bytes, at + 3, end)) ? -1 : byte;
}

function decodeEscape(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 >= end || bytes[at] !== PERCENT) return -1;
  const high = hexValue(bytes[at + 1]!);
  const low = hexValue(bytes[at + 2]!);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/** For a first byte of UTF-8: the largest second byte that makes an overlong encoding. */
const OVERLONG = new Map([
  [0xc0, 0xbf],
  [0xc1, 0xbf],
  [0xe0, 0x9f],
  [0xf0, 0x8f],
  [0xf8, 0x87],
  [0xfc, 0x83],
]);

// A lax decoder reads `%C0%AF` as a slash.
function isOverlong(first: number, second: number): boolean {
  return second >= 0x80 && second <= (OVERLONG.get(first) ?? 0);
}

function isUnreserved(byte: number): boolean {
  return (CLASS[byte]! & IS.unreserved) !== 0;
}

/** Characters allowed in a path both literally and escaped, with the same meaning to nearly every server. */
export function isReserved(byte: number): boolean {
  return (CLASS[byte]! & IS.target) !== 0 && !isUnreserved(byte) && byte !== PERCENT && byte !== QUERY;
}

function rewritePath(head: Head, start: number, end: number, raw: boolean): void {
  head.reserve(raw ? 3 * (end - start) : end - start);
  const bytes = head.bytes;
  const decodedAt = head.end;
  const decodedEnd = decodePath(head, start, end, decodedAt);
  head.end = removeDotSegments(bytes, decodedAt, decodedEnd);
  head.parts[PART.path] = decodedAt;
  head.parts[PART.path + 1] = head.end;
}

/** Copies the path to `to`: unreserved characters decoded, others encoded in upper case, slashes as the form says. */
function decodePath({ bytes, form }: Head, start: number, end: number, to: number): number {
  const merges = (form & FORM.mergeSlashes) !== 0;
  let out = to;
  for (let i = start; i < end; i++) {
    let byte = bytes[i]!;
    if (byte === PERCENT) {
      const decoded = hexValue(bytes[i + 1]!) * 16 + hexValue(bytes[i + 2]!);
      if (isUnreserved(decoded) || (decoded === SLASH && (form & FORM.decodeSlashes) !== 0)) byte = decoded;
      else {
        bytes[out++] = PERCENT;
        bytes[out++] = upper(bytes[i + 1]!);
        byte = upper(bytes[i + 2]!);
      }
      i += 2;
    } else if (byte >= 0x80) {
      out = writeEscape(bytes, out, byte);
      continue;
    }
    // As nginx does, before dot segments are resolved.
    if (byte === SLASH && merges && out > to && bytes[out - 1] === SLASH) continue;
    bytes[out++] = byte;
  }
  return out;
}

function upper(byte: number): number {
  return byte >= 97 ? byte - 32 : byte;
}

/** RFC 3986 section 5.2.4, in place; returns the new end. The path begins with a slash, before and after. */
export function removeDotSegments(bytes: Uint8Array, start: number, end: number): number {
  let out = start;
  for (let i = start; i < end; ) {
    // `i` is at the slash before a segment.
    let next = i + 1;
    while (next < end && bytes[next] !== SLASH) next++;
    const length = next - i - 1;
    const dots = bytes[i + 1] === DOT && (length === 1 || (length === 2 && bytes[i + 2] === DOT)) ? length : 0;
    if (dots === 0) for (; i < next; i++) bytes[out++] = bytes[i]!;
    else {
      if (dots === 2) {
        while (out > start && bytes[--out] !== SLASH);
      }
      // A trailing dot segment leaves the slash before it.
      if (next === end) bytes[out++] = SLASH;
      i = next;
    }
  }
  return out;
}

/** Whether `bytes[start, end)` is a valid path, with or without a query. */
export function checkTarget(bytes: Uint8Array, start: number, end: number): boolean {
  if (end <= start || bytes[start] !== SLASH) return false;
  const pathEnd = findQuery(bytes, start, end);
  return isPath(bytes, start, pathEnd, 0) && isQuery(bytes, pathEnd, end);
}

function findQuery(bytes: Uint8Array, start: number, end: number): number {
  let i = start;
  while (i < end && bytes[i] !== QUERY) i++;
  return i;
}

function isPath(bytes: Uint8Array, start: number, end: number, form: number): boolean {
  if (end <= start || bytes[start] !== SLASH || !isTargetText(bytes, start, end)) return false;
  for (let i = start; i < end; i++) {
    if (bytes[i] === QUERY) return false;
    if (bytes[i] !== PERCENT) continue;
    const decoded = readEscape(bytes, i, end);
    if (decoded < 0 || (decoded === SLASH && (form & FORM.rejectSlashes) !== 0)) return false;
  }
  return true;
}

function isTargetText(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if ((CLASS[bytes[i]!]! & IS.target) === 0) return false;
  return true;
}

function isQuery(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if ((CLASS[bytes[i]!]! & IS.target) === 0 && bytes[i] !== BACKSLASH) return false;
  return true;
}

/** Sets path (`*` for OPTIONS) and query, and normalises the path. False, and nothing changed, if not valid. */
export function setTarget(head: Head, bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start === 1 && bytes[start] === STAR) {
    if (!isOptionsMethod(head)) return false;
    head.setPart(PART.path, bytes, start, end);
    return setQuery(head, bytes, end, end);
  }
  if (!checkTarget(bytes, start, end)) return false;
  const pathEnd = findQuery(bytes, start, end);
  return setPath(head, bytes, start, pathEnd) && setQuery(head, bytes, Math.min(pathEnd + 1, end), end);
}

/** Sets the path alone, normalised. False, and nothing changed, if it is not valid; a `?` in it is not. */
export function setPath(head: Head, bytes: Uint8Array, start: number, end: number): boolean {
  if (!isPath(bytes, start, end, head.form)) return false;
  head.setPart(PART.path, bytes, start, end);
  normalizePath(head);
  return true;
}

/** Sets the query alone, without its `?`; an empty one removes it. False, and nothing changed, if not valid. */
export function setQuery(head: Head, bytes: Uint8Array, start: number, end: number): boolean {
  if (!isQuery(bytes, start, end)) return false;
  head.setPart(PART.query, bytes, start, end);
  return true;
}

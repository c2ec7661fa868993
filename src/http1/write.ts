/** Writes heads and framing at `at`, and returns the offset after. The caller ensures the capacity (`fieldsBound`). */

import * as octets from "../http/bytes.ts";
import { isToken, mayTrail } from "../http/fields.ts";
import type { Head } from "../http/head.ts";
import * as layout from "../http/head.ts";
import { reasonOf } from "../http/status.ts";

// Constants of this module, since V8 folds those into the code but loads and checks an imported one at every use.
const { COLON, CR, LF, QUERY, SPACE } = octets;
const { FIELD_WORDS, NAME, NAME_END, NAME_ID, NAME_START, PART, PARTS, VALUE_END, VALUE_START } = layout;

/** Capacity for any status line. */
export const STATUS_LINE_BOUND = 64;
/** Capacity for a chunk's size line and the CRLF after its data. */
export const CHUNK_HEAD_BOUND = 18;
/** Capacity for a decimal number below 2^53. */
export const DECIMAL_BOUND = 16;

/** Hop-by-hop names by NAME id (RFC 9110 section 7.6.1), and those of framing, which each hop chooses itself. */
export const DROP_HOP_BY_HOP: Uint8Array = new Uint8Array(256);
for (const id of layout.HOP_BY_HOP) DROP_HOP_BY_HOP[id] = 1;

const VERSION_END = Buffer.from(" HTTP/1.1\r\n", "latin1");
// The version, the space after the method, and the question mark.
const REQUEST_LINE_EXTRA = VERSION_END.length + 2;
const TRAILER = Buffer.from("trailer: ", "latin1");
const COMMA = Buffer.from(",", "latin1");
const LAST_CHUNK = Buffer.from("0\r\n", "latin1");

const STATUS_LINES: Buffer[] = [];
for (let status = 100; status < 1000; status++)
  STATUS_LINES[status] = Buffer.from(`HTTP/1.1 ${status} ${reasonOf(status)}\r\n`, "latin1");

// Below this a loop is faster than the call of a native copy (about 24 ns at any length).
const SHORT = 32;

/** Copies `bytes[start, end)` to `out[at]`; returns the offset after it. */
export function writeBytes(out: Buffer, at: number, bytes: Buffer, start: number, end: number): number {
  if (end - start >= SHORT) {
    bytes.copy(out, at, start, end);
    return at + end - start;
  }
  let to = at;
  for (let i = start; i < end; i++) out[to++] = bytes[i]!;
  return to;
}

/** Writes `METHOD /path?query HTTP/1.1`. Method, path and query that are contiguous are copied together. */
export function writeRequestLine(out: Buffer, at: number, head: Head): number {
  const { bytes, parts } = head;
  const methodEnd = parts[PART.method + 1]!;
  const pathStart = parts[PART.path]!;
  let end = parts[PART.path + 1]!;
  const queryStart = parts[PART.query]!;
  const queryEnd = parts[PART.query + 1]!;
  const hasQuery = queryEnd !== 0;
  const queryFollows = hasQuery && queryStart === end + 1 && bytes[end] === QUERY;
  if (queryFollows) end = queryEnd;
  let to = at;
  if (pathStart === methodEnd + 1 && bytes[methodEnd] === SPACE)
    to = writeBytes(out, to, bytes, parts[PART.method]!, end);
  else {
    to = writeBytes(out, to, bytes, parts[PART.method]!, methodEnd);
    out[to++] = SPACE;
    to = writeBytes(out, to, bytes, pathStart, end);
  }
  if (hasQuery && !queryFollows) {
    out[to++] = QUERY;
    to = writeBytes(out, to, bytes, queryStart, queryEnd);
  }
  return writeBytes(out, to, VERSION_END, 0, VERSION_END.length);
}

/** Writes the status line; at most STATUS_LINE_BOUND bytes. The status is 100 to 999. */
export function writeStatusLine(out: Buffer, at: number, status: number): number {
  const line = STATUS_LINES[status];
  if (line === undefined) throw new RangeError(`status ${status} is outside 100 to 999`);
  return writeBytes(out, at, line, 0, line.length);
}

/** Capacity for the request line and all fields of `head`. */
export function fieldsBound(head: Head): number {
  const { parts, fields, count } = head;
  let sum = REQUEST_LINE_EXTRA + count * 4;
  for (let i = 0; i < PARTS; i += 2) sum += parts[i + 1]! - parts[i]!;
  for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS)
    sum += fields[at + NAME_END]! - fields[at]! + fields[at + VALUE_END]! - fields[at + VALUE_START]!;
  return sum;
}

/**
 * Writes the fields, each as `name: value`, except those whose NAME id is set in `drop` and removed, alias
 * and hop-by-hop ones. Writes no empty line.
 *
 * Fields that are adjacent in the area exactly as they are to be sent are copied as one run. This is checked on the bytes
 * that would be copied, so no edit can invalidate it.
 */
export function writeFields(out: Buffer, at: number, head: Head, drop: Uint8Array): number {
  const { bytes, fields, count } = head;
  let to = at;
  let runStart = 0;
  let runEnd = -1;
  for (let i = 0, word = 0; i < count; i++, word += FIELD_WORDS) {
    const id = fields[word + NAME_ID]!;
    if (id >= NAME.lookalike || drop[id] !== 0) continue;
    const nameStart = fields[word + NAME_START]!;
    const nameEnd = fields[word + NAME_END]!;
    const valueStart = fields[word + VALUE_START]!;
    const valueEnd = fields[word + VALUE_END]!;
    const isContiguous =
      valueStart === nameEnd + 2 &&
      bytes[nameEnd] === COLON &&
      bytes[nameEnd + 1] === SPACE &&
      bytes[valueEnd] === CR &&
      bytes[valueEnd + 1] === LF;
    if (isContiguous && nameStart === runEnd) {
      runEnd = valueEnd + 2;
      continue;
    }
    if (runEnd >= 0) to = writeBytes(out, to, bytes, runStart, runEnd);
    runStart = nameStart;
    runEnd = isContiguous ? valueEnd + 2 : -1;
    if (!isContiguous) to = writeParts(out, to, bytes, nameStart, nameEnd, valueStart, valueEnd);
  }
  return runEnd >= 0 ? writeBytes(out, to, bytes, runStart, runEnd) : to;
}

function writeParts(
  out: Buffer,
  at: number,
  bytes: Buffer,
  nameStart: number,
  nameEnd: number,
  valueStart: number,
  valueEnd: number,
): number {
  let to = writeBytes(out, at, bytes, nameStart, nameEnd);
  out[to++] = COLON;
  out[to++] = SPACE;
  to = writeBytes(out, to, bytes, valueStart, valueEnd);
  return writeLineEnd(out, to);
}

/** Names of headers. */
export type NameSet = { has(name: Uint8Array, start: number, end: number): boolean };

/**
 * Writes the Trailer fields as one, with the names that `writeLastChunk` forwards and that are not in `except`; nothing
 * without such a name. Takes no more space than the fields themselves.
 */
export function writeTrailerNames(out: Buffer, at: number, head: Head, except: NameSet | null): number {
  let to = at;
  for (let index = head.findKnown(NAME.trailer); index >= 0; index = head.findKnown(NAME.trailer, index + 1)) {
    for (const name of head.valueText(index).split(",")) {
      const bytes = Buffer.from(name.trim(), "latin1");
      if (!isToken(bytes, 0, bytes.length) || !mayTrail(bytes, 0, bytes.length)) continue;
      if (except?.has(bytes, 0, bytes.length)) continue;
      const before = to === at ? TRAILER : COMMA;
      to = writeBytes(out, to, before, 0, before.length);
      to = writeBytes(out, to, bytes, 0, bytes.length);
    }
  }
  return to === at ? at : writeLineEnd(out, to);
}

export function writeLineEnd(out: Buffer, at: number): number {
  out[at] = CR;
  out[at + 1] = LF;
  return at + 2;
}

/** Writes a whole number from 0 to 2^53 - 1. */
export function writeDecimal(out: Buffer, at: number, value: number): number {
  let end = at + 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) end++;
  let rest = value;
  for (let to = end - 1; to >= at; to--) {
    const next = Math.floor(rest / 10);
    out[to] = 48 + (rest - next * 10);
    rest = next;
  }
  return end;
}

/** Writes a chunk's size line; at most CHUNK_HEAD_BOUND bytes. The data and a CRLF follow it. */
export function writeChunkHead(out: Buffer, at: number, size: number): number {
  let end = at + 1;
  for (let rest = size; rest >= 16; rest = Math.floor(rest / 16)) end++;
  let rest = size;
  for (let to = end - 1; to >= at; to--) {
    const digit = rest % 16;
    out[to] = digit < 10 ? 48 + digit : 87 + digit;
    rest = (rest - digit) / 16;
  }
  return writeLineEnd(out, end);
}

/** Writes the last chunk, trailers that may be forwarded, and CRLF: at most 5 bytes and `fieldsBound(trailers)`. */
export function writeLastChunk(out: Buffer, at: number, trailers: Head | null): number {
  let to = writeBytes(out, at, LAST_CHUNK, 0, LAST_CHUNK.length);
  if (trailers !== null) to = writeTrailers(out, to, trailers);
  return writeLineEnd(out, to);
}

function writeTrailers(out: Buffer, at: number, trailers: Head): number {
  const { bytes, fields, count } = trailers;
  let to = at;
  for (let i = 0, word = 0; i < count; i++, word += FIELD_WORDS) {
    const nameStart = fields[word + NAME_START]!;
    const nameEnd = fields[word + NAME_END]!;
    if (fields[word + NAME_ID]! >= NAME.lookalike || !mayTrail(bytes, nameStart, nameEnd)) continue;
    to = writeParts(out, to, bytes, nameStart, nameEnd, fields[word + VALUE_START]!, fields[word + VALUE_END]!);
  }
  return to;
}

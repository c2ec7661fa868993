/** Writes the fields of responses as header blocks: drops hop-by-hop fields, sets Content-Length and Date. */

import { toLower } from "../../http/bytes.ts";
import { mayTrail } from "../../http/fields.ts";
import {
  FIELD_WORDS,
  FRAMING,
  type Head,
  HOP_BY_HOP,
  NAME,
  NAME_END,
  NAME_ID,
  VALUE_END,
  VALUE_START,
} from "../../http/head.ts";
import { VERSION } from "../../http/protocol.ts";
import { DECIMAL_BOUND, writeDecimal, writeTrailerNames } from "../../http1/write.ts";
import { BEGIN_BOUND, FIELD_BOUND, type HpackEncoder } from "../../http2/hpack-encoder.ts";
import { staticIndexOf } from "../../http2/static-table.ts";
import type { Exchange } from "../../proxy/exchange.ts";

const CONTENT_LENGTH = staticIndexOf("content-length");
const DATE = staticIndexOf("date");
const COLON = 0x3a;
const CR = 0x0d;
const digits = Buffer.alloc(DECIMAL_BOUND);
const PASSED = -1;
export const NONE = -2;

const DROPPED = new Uint8Array(256);
for (const id of HOP_BY_HOP) DROPPED[id] = 1;

/** The response has no body (RFC 9110 section 6.4.1). */
export function isBodiless({ isHead, response }: Exchange): boolean {
  return isHead || response.status === 204 || response.status === 304;
}

/** The value of Content-Length: a number, PASSED (that of the head) or NONE. */
export function lengthOf(x: Exchange): number {
  const head = x.response;
  const { status } = head;
  if (x.localStatus !== 0) return status === 204 || status === 304 ? NONE : (x.localBody?.length ?? NONE);
  const isFiltered = x.responseBody?.streaming === true;
  if (isBodiless(x)) return status !== 204 && !isFiltered ? PASSED : NONE;
  if (isFiltered)
    return x.attempt.bodyDone && x.responseTrailers === null ? x.attempt.bodyEnd - x.attempt.bodyStart : NONE;
  if (head.framing === FRAMING.none) return 0;
  return head.framing === FRAMING.length ? PASSED : NONE;
}

/** Upper bound of what `writeResponse` writes. */
export function responseBound(head: Head): number {
  const { fields, count } = head;
  let sum = BEGIN_BOUND + (count + 3) * FIELD_BOUND + 128;
  for (let i = 0, at = 0; i < count; i++, at += FIELD_WORDS)
    sum += fields[at + NAME_END]! - fields[at]! + fields[at + VALUE_END]! - fields[at + VALUE_START]!;
  return sum;
}

/**
 * Writes a response's header block at `out[at]`; `length` as of `lengthOf`; `ends`: it has neither body nor trailers.
 * Returns its end.
 */
export function writeResponse(
  encoder: HpackEncoder,
  out: Buffer,
  at: number,
  head: Head,
  length: number,
  date: Buffer,
  ends: boolean,
): number {
  encoder.begin(out, at);
  encoder.status(head.status);
  const { fields, count } = head;
  for (let i = 0, word = 0; i < count; i++, word += FIELD_WORDS) {
    const id = fields[word + NAME_ID]!;
    if (id >= NAME.lookalike || (DROPPED[id] === 1 && (id !== NAME["content-length"] || length !== PASSED))) continue;
    writeField(encoder, head, word);
  }
  if (!ends && (head.known & (1 << NAME.trailer)) !== 0 && hasTrailers(head)) writeTrailer(encoder, head);
  if (length >= 0) encoder.named(CONTENT_LENGTH, digits, 0, writeDecimal(digits, 0, length));
  if (head.status >= 200 && head.findKnown(NAME.date) < 0) encoder.named(DATE, date, 0, date.length);
  return encoder.end;
}

/** Whether trailers can follow the body. */
function hasTrailers({ framing, version }: Head): boolean {
  return framing === FRAMING.chunked || (framing === FRAMING.length && version === VERSION.http2);
}

/** Announces the trailers, as over HTTP/1. */
function writeTrailer(encoder: HpackEncoder, head: Head): void {
  const line = Buffer.allocUnsafe(responseBound(head));
  writeLines(encoder, line, writeTrailerNames(line, 0, head, null));
}

/** Writes the fields in `bytes[0, end)`, each a line of HTTP/1 with a name in lower case. */
export function writeLines(encoder: HpackEncoder, bytes: Buffer, end: number): void {
  for (let at = 0; at < end; ) {
    const colon = bytes.indexOf(COLON, at);
    const stop = bytes.indexOf(CR, colon);
    encoder.field(bytes, at, colon, colon + 2, stop);
    at = stop + 2;
  }
}

/** Writes the header block of a trailer section. Returns its end. */
export function writeTrailers(encoder: HpackEncoder, out: Buffer, at: number, head: Head): number {
  encoder.begin(out, at);
  const { bytes, fields, count } = head;
  for (let i = 0, word = 0; i < count; i++, word += FIELD_WORDS)
    if (fields[word + NAME_ID]! < NAME.lookalike && mayTrail(bytes, fields[word]!, fields[word + NAME_END]!))
      writeField(encoder, head, word);
  return encoder.end;
}

/** Names are in lower case in HTTP/2: those of the head become so. */
export function writeField(encoder: HpackEncoder, { bytes, fields }: Head, word: number): void {
  const nameStart = fields[word]!;
  const nameEnd = fields[word + NAME_END]!;
  for (let i = nameStart; i < nameEnd; i++) bytes[i] = toLower(bytes[i]!);
  encoder.field(bytes, nameStart, nameEnd, fields[word + VALUE_START]!, fields[word + VALUE_END]!);
}

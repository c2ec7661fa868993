/** Scans the field lines of a head or a trailer section, and interprets the fields that the core acts on. */

import * as octets from "../http/bytes.ts";
import { equalsWord, skipBlanks, trimBlanks } from "../http/bytes.ts";
import { isAuthority, nameId, resistsNomination } from "../http/fields.ts";
import type { Head } from "../http/head.ts";
import * as layout from "../http/head.ts";
import { reject } from "../http/head.ts";
import { VERSION } from "../http/protocol.ts";

// Constants of this module, since V8 folds those into the code but loads and checks an imported one at every use.
const { CLASS, COLON, COMMA, CR, HTAB, IS, LF, SEMICOLON, SPACE } = octets;
const { FIELD_WORDS, FLAG, NAME, NAME_END, NAME_ID, NAME_START, PART, VALUE_END, VALUE_START } = layout;
const { token: TOKEN, value: VALUE } = IS;

/** The section whose fields are scanned, which determines the fields that are interpreted. Responses are odd. */
export const KIND = { request: 0, response: 1, requestTrailers: 2, responseTrailers: 3 } as const;

// Bits of `flags` during a scan, until `finishConnection`: the options of the Connection fields.
const OPTION = { close: 1 << 17, keepAlive: 1 << 18, upgrade: 1 << 19, nominates: 1 << 20 } as const;
const PUBLIC_FLAGS = 0xffff;

// Each option is searched among all fields, so their number is bounded.
const MOST_OPTIONS = 32;
const MOST_LENGTH_DIGITS = 16;

const CLOSE = Buffer.from("close", "latin1");
const KEEP_ALIVE = Buffer.from("keep-alive", "latin1");
const UPGRADE = Buffer.from("upgrade", "latin1");
const CHUNKED = Buffer.from("chunked", "latin1");
const CONTINUE = Buffer.from("100-continue", "latin1");
const TRAILERS = Buffer.from("trailers", "latin1");

/**
 * Scans field lines from `buf[at]` up to the empty line; offsets go to the table relative to `base`. Returns the offset
 * past the empty line, 0 when it was not received yet, or -status.
 */
export function scanFields(
  buf: Buffer,
  at: number,
  stop: number,
  base: number,
  head: Head,
  maxFields: number,
  kind: number,
): number {
  // An int32 for the whole loop; V8 would keep a parameter's tag.
  let i = at | 0;
  while (i < stop) {
    const nameStart = i;
    while (i < stop && (CLASS[buf[i]!]! & TOKEN) !== 0) i++;
    if (i >= stop) return 0;
    const nameEnd = i;
    if (buf[i] !== COLON || i === nameStart) {
      // RFC 9112 section 5.1: a proxy removes white space before the colon from a response, and refuses it in a request.
      if ((kind & KIND.response) === 0 || i === nameStart) return endFields(buf, nameStart, i, stop, head);
      while (i < stop && (buf[i] === SPACE || buf[i] === HTAB)) i++;
      if (i >= stop) return 0;
      if (buf[i] !== COLON) return reject(head, 400, "a field name that is not a token");
    }
    const colon = i++;
    while (i < stop && (buf[i] === SPACE || buf[i] === HTAB)) i++;
    const valueStart = i;
    i = skipValue(buf, i, stop);
    if (i >= stop) return 0;
    if (buf[i] !== CR) return reject(head, 400, "a control character or bare LF in a field value");
    if (i + 1 >= stop) return 0;
    if (buf[i + 1] !== LF) return reject(head, 400, "a bare CR in a field value");
    let valueEnd = i;
    i += 2;
    while (valueEnd > valueStart && (buf[valueEnd - 1] === SPACE || buf[valueEnd - 1] === HTAB)) valueEnd--;
    if (head.count >= maxFields) return reject(head, 431, `more than ${maxFields} fields`);
    const id = nameId(buf, nameStart, nameEnd);
    if (colon !== nameEnd && (FRAMES & (1 << id)) !== 0)
      return reject(head, 400, "white space before the colon of a field that frames the message");
    if ((INTERPRETED & (1 << id)) !== 0) {
      const status = interpret(buf, id, valueStart, valueEnd, base, head, kind);
      if (status !== 0) return status;
    }
    head.push(nameStart - base, nameEnd - base, valueStart - base, valueEnd - base, id);
  }
  return 0;
}

// Four bytes at once while all are from SP to `~`: adding 1 carries DEL into the high bit, taking SP borrows a control
// character into it, and obs-text has it already. The remainder is classified byte by byte.
function skipValue(buf: Buffer, at: number, stop: number): number {
  const view = viewOf(buf);
  let i = at;
  for (; i + 3 < stop; i += 4) {
    const four = view.getInt32(i, true);
    if (((four | (four + 0x01010101) | (four - 0x20202020)) & 0x80808080) !== 0) break;
  }
  while (i < stop && (CLASS[buf[i]!]! & VALUE) !== 0) i++;
  return i;
}

// Nearly every head is read from the one buffer that a worker's sockets read into.
let viewed: Buffer | null = null;
let lastView = new DataView<ArrayBufferLike>(new ArrayBuffer(0));

function viewOf(buf: Buffer): DataView {
  if (buf !== viewed) {
    lastView = new DataView(buf.buffer, buf.byteOffset, buf.length);
    viewed = buf;
  }
  return lastView;
}

// A line that is not `name:`. It may be the empty line; anything else is malformed.
function endFields(buf: Buffer, lineStart: number, i: number, stop: number, head: Head): number {
  const byte = buf[i];
  if (i > lineStart) {
    const blank = byte === SPACE || byte === HTAB;
    return reject(head, 400, blank ? "white space before the colon of a field" : "a field name that is not a token");
  }
  if (byte === CR) {
    if (i + 1 >= stop) return 0;
    return buf[i + 1] === LF ? i + 2 : reject(head, 400, "a bare CR between fields");
  }
  if (byte === SPACE || byte === HTAB) return reject(head, 400, "a folded field line");
  return reject(head, 400, byte === COLON ? "a field without a name" : "a field name that is not a token");
}

const FRAMES = (1 << NAME["content-length"]) | (1 << NAME["transfer-encoding"]);

// The fields that `interpret` reads, so that the others cost no call.
const INTERPRETED =
  (1 << NAME["content-length"]) |
  (1 << NAME["transfer-encoding"]) |
  (1 << NAME.connection) |
  (1 << NAME.host) |
  (1 << NAME.te) |
  (1 << NAME.expect);

/** Interprets a field that the core acts on. Returns 0, or -status. Runs before the field is added to the table. */
function interpret(
  buf: Buffer,
  id: number,
  start: number,
  end: number,
  base: number,
  head: Head,
  kind: number,
): number {
  if (kind >= KIND.requestTrailers) return kind === KIND.requestTrailers ? checkTrailer(id, head) : 0;
  switch (id) {
    case NAME["content-length"]:
      return readLength(buf, start, end, head);
    case NAME["transfer-encoding"]:
      return readCoding(buf, start, end, head);
    case NAME.connection:
      return readConnection(buf, start, end, head);
    case NAME.host:
      return kind === KIND.request ? readHost(buf, start, end, base, head) : 0;
    case NAME.te:
      if (hasOption(buf, start, end, TRAILERS)) head.flags |= FLAG.teTrailers;
      return 0;
    case NAME.expect:
      return kind === KIND.request ? readExpect(buf, start, end, head) : 0;
    default:
      return 0;
  }
}

// RFC 9110 section 6.5.1. Other fields that are not allowed in trailers, and these in a response, are dropped when
// trailers are forwarded: the body has ended, so dropping them leaves no ambiguity.
function checkTrailer(id: number, head: Head): number {
  return (FRAMES & (1 << id)) !== 0 ? reject(head, 400, "a field that frames the message, after its body") : 0;
}

function readLength(buf: Buffer, start: number, end: number, head: Head): number {
  if ((head.known & (1 << NAME["content-length"])) !== 0) return reject(head, 400, "more than one Content-Length");
  if ((head.known & (1 << NAME["transfer-encoding"])) !== 0)
    return reject(head, 400, "both Transfer-Encoding and Content-Length");
  return parseLength(buf, start, end, head);
}

/** Reads the value of Content-Length into `head.length`. Returns 0, or -status. */
export function parseLength(buf: Buffer, start: number, end: number, head: Head): number {
  let length = 0;
  for (let i = start; i < end; i++) {
    if ((CLASS[buf[i]!]! & IS.digit) === 0) return reject(head, 400, "a Content-Length that is not a number");
    length = length * 10 + (buf[i]! - 48);
  }
  if (end === start) return reject(head, 400, "an empty Content-Length");
  if (end - start > MOST_LENGTH_DIGITS || length > Number.MAX_SAFE_INTEGER)
    return reject(head, 400, "a Content-Length beyond 2^53");
  head.length = length;
  return 0;
}

// RFC 9112 section 6.1 allows more codings; each is another way to disagree on where a message ends.
function readCoding(buf: Buffer, start: number, end: number, head: Head): number {
  if (head.version === VERSION.http10) return reject(head, 400, "Transfer-Encoding in an HTTP/1.0 message");
  if ((head.known & (1 << NAME["content-length"])) !== 0)
    return reject(head, 400, "both Transfer-Encoding and Content-Length");
  if ((head.known & (1 << NAME["transfer-encoding"])) !== 0)
    return reject(head, 501, "more than one Transfer-Encoding");
  // Blanks beyond the one space are used to hide it from the next parser; no legitimate sender writes them.
  const bare = buf[end] === CR && (buf[start - 1] === COLON || (buf[start - 1] === SPACE && buf[start - 2] === COLON));
  if (bare && equalsWord(buf, start, end, CHUNKED)) return 0;
  return reject(head, 501, "a Transfer-Encoding other than chunked");
}

function readHost(buf: Buffer, start: number, end: number, base: number, head: Head): number {
  if ((head.known & (1 << NAME.host)) !== 0) return reject(head, 400, "more than one Host");
  if (!isAuthority(buf, start, end)) return reject(head, 400, "a Host that is not host or host:port");
  if ((head.flags & FLAG.absolute) === 0) {
    head.parts[PART.authority] = start - base;
    head.parts[PART.authority + 1] = end - base;
  }
  return 0;
}

// RFC 9110 section 10.1.1: the only defined expectation; ignored from HTTP/1.0.
function readExpect(buf: Buffer, start: number, end: number, head: Head): number {
  if (!equalsWord(buf, start, end, CONTINUE)) return reject(head, 417, "an expectation other than 100-continue");
  if (head.version === VERSION.http11) head.flags |= FLAG.expectContinue;
  return 0;
}

function readConnection(buf: Buffer, start: number, end: number, head: Head): number {
  // The common case: a single option.
  if (equalsWord(buf, start, end, KEEP_ALIVE)) {
    head.flags |= OPTION.keepAlive;
    return 0;
  }
  let options = 0;
  for (let at = start; at < end; ) {
    const last = optionEnd(buf, at, end);
    const from = skipBlanks(buf, at, last);
    const to = trimBlanks(buf, from, last);
    if (to > from && ++options > MOST_OPTIONS) return reject(head, 400, `more than ${MOST_OPTIONS} Connection options`);
    if (equalsWord(buf, from, to, CLOSE)) head.flags |= OPTION.close;
    else if (equalsWord(buf, from, to, KEEP_ALIVE)) head.flags |= OPTION.keepAlive;
    else if (equalsWord(buf, from, to, UPGRADE)) head.flags |= OPTION.upgrade;
    else if (to > from) head.flags |= OPTION.nominates;
    at = last + 1;
  }
  return 0;
}

/** Applies the options of the Connection fields: sets the public flags, marks hop-by-hop fields. Runs after all fields. */
export function finishConnection(head: Head): void {
  const flags = head.flags;
  head.flags = flags & PUBLIC_FLAGS;
  if ((flags & OPTION.close) === 0 && (head.version === VERSION.http11 || (flags & OPTION.keepAlive) !== 0))
    head.flags |= FLAG.keepAlive;
  const upgrades = (flags & OPTION.upgrade) !== 0 && (head.known & (1 << NAME.upgrade)) !== 0;
  if (upgrades && head.version === VERSION.http11) head.flags |= FLAG.upgrade;
  if ((flags & OPTION.nominates) !== 0) nominateAll(head);
}

function nominateAll(head: Head): void {
  const { bytes, fields } = head;
  for (let i = head.findKnown(NAME.connection); i >= 0; i = head.findKnown(NAME.connection, i + 1)) {
    const end = fields[i * FIELD_WORDS + VALUE_END]!;
    for (let at = fields[i * FIELD_WORDS + VALUE_START]!; at < end; ) {
      const last = optionEnd(bytes, at, end);
      const from = skipBlanks(bytes, at, last);
      nominate(head, from, trimBlanks(bytes, from, last));
      at = last + 1;
    }
  }
}

function nominate(head: Head, start: number, end: number): void {
  const { bytes, fields } = head;
  for (let index = head.find(bytes, start, end); index >= 0; index = head.find(bytes, start, end)) {
    const at = index * FIELD_WORDS;
    if (resistsNomination(fields[at + NAME_ID]!, bytes, fields[at + NAME_START]!, fields[at + NAME_END]!)) return;
    fields[at + NAME_ID] = NAME.nominated;
  }
}

function hasOption(buf: Buffer, start: number, end: number, word: Uint8Array): boolean {
  for (let at = start; at < end; ) {
    const last = optionEnd(buf, at, end);
    const from = skipBlanks(buf, at, last);
    let to = from;
    while (to < last && buf[to] !== SEMICOLON) to++;
    if (equalsWord(buf, from, trimBlanks(buf, from, to), word)) return true;
    at = last + 1;
  }
  return false;
}

function optionEnd(buf: Buffer, at: number, end: number): number {
  let i = at;
  while (i < end && buf[i] !== COMMA) i++;
  return i;
}

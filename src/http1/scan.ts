/**
 * Scans one HTTP/1 head into a `Head`: one pass over the bytes, no strings, one copy at the end.
 *
 * An incomplete head is scanned again from its start when more bytes arrive. So that a message is rejected for the same
 * reason however it was split, every check reads the bytes in order, and errors that only the end shows (Host is missing,
 * the path cannot be normalised) are reported only there.
 */

import * as octets from "../http/bytes.ts";
import { equalsBytes } from "../http/bytes.ts";
import { isAuthority, writeHost } from "../http/fields.ts";
import type { Head } from "../http/head.ts";
import * as layout from "../http/head.ts";
import { reject } from "../http/head.ts";
import { VERSION } from "../http/protocol.ts";
import { encodeQuery, normalizePath } from "../http/target.ts";
import { finishConnection, KIND, scanFields } from "./scan-fields.ts";

// Constants of this module, since V8 folds those into the code but loads and checks an imported one at every use.
const { BACKSLASH, CLASS, COLON, CR, DOT, IS, LF, PERCENT, QUERY, SEMICOLON, SLASH, SPACE, STAR } = octets;
const { FLAG, FRAMING, NAME, PART } = layout;

/** Limits of a request head: total bytes, bytes of its target, number of fields. */
export type HeadLimits = { head: number; target: number; headers: number };

/** Limits of a response head: total bytes, number of fields. */
export type ResponseLimits = { readonly head: number; readonly headers: number };

/** For responses that belong to no cluster. */
export const RESPONSE_LIMITS: ResponseLimits = { head: 64 * 1024, headers: 256 };

const LONGEST_METHOD = 32;

/** The type of the record with which a TLS client begins. */
const TLS_HANDSHAKE = 22;
const NO_TLS = "a TLS handshake on a listener without TLS";
const NO_METHOD = "the request line does not begin with a method";
const CONNECT = Buffer.from("CONNECT", "latin1");
const TRACE = Buffer.from("TRACE", "latin1");
const OPTIONS = Buffer.from("OPTIONS", "latin1");
const HTTP_SLASH = Buffer.from("HTTP/", "latin1");
const HTTP = Buffer.from("http", "latin1");
const SLASH_BYTE = Buffer.from("/", "latin1");
const STAR_BYTE = Buffer.from("*", "latin1");

/** Bit of `flags` during the scan only: the path may need normalising, or may be ambiguous. */
const UNSURE = 1 << 16;
/** The same: the query has bytes above ASCII. */
const RAW_QUERY = 1 << 21;

/**
 * Scans the request head that begins at `buf[start]`, after at most one empty line. Returns the offset just past it;
 * 0 when it is not complete; or -status, with the reason in `head.problem`: 400 malformed, 405 CONNECT or TRACE,
 * 414, 417, 431, 501 an unknown transfer coding, 505. Malformed bytes and limits are reported as early as possible.
 * `form`: how its paths are normalised, bits of FORM.
 */
export function scanRequest(buf: Buffer, start: number, end: number, head: Head, limits: HeadLimits, form = 0): number {
  head.reset();
  head.form = form;
  let base = start;
  if (base < end && buf[base] === CR) {
    if (base + 1 >= end) return 0;
    if (buf[base + 1] !== LF) return reject(head, 400, "a bare CR before the request line");
    base += 2;
  }
  const stop = Math.min(end, base + limits.head);
  const fieldsAt = scanRequestLine(buf, base, stop, head, limits.target);
  const past = fieldsAt > 0 ? scanFields(buf, fieldsAt, stop, base, head, limits.headers, KIND.request) : fieldsAt;
  if (past === 0 && end - base < limits.head) return 0;
  const result =
    past > 0
      ? finishRequest(buf, base, past, head)
      : past < 0
        ? past
        : reject(head, 431, `a head over ${limits.head} bytes`);
  // The log of a rejected head must show its own bytes, not those of an earlier request in the area.
  if (result < 0 && head.end === 0) copyHead(buf, base, stop, head);
  return result;
}

/**
 * Scans the response head that begins at `buf[start]`; returns as `scanRequest` does, with -502 for anything invalid.
 * A 1xx head is returned like any other. When `framing` is `none` because there is no body (HEAD, 304), `length` is still
 * the value of Content-Length.
 */
export function scanResponse(
  buf: Buffer,
  start: number,
  end: number,
  head: Head,
  requestIsHead: boolean,
  limits: ResponseLimits = RESPONSE_LIMITS,
): number {
  head.reset();
  const stop = Math.min(end, start + limits.head);
  const fieldsAt = scanStatusLine(buf, start, stop, head);
  const past = fieldsAt > 0 ? scanFields(buf, fieldsAt, stop, start, head, limits.headers, KIND.response) : fieldsAt;
  if (past < 0) return -502;
  if (past === 0) return end - start >= limits.head ? reject(head, 502, `a head over ${limits.head} bytes`) : 0;
  copyHead(buf, start, past, head);
  finishConnection(head);
  const { status, known } = head;
  if (requestIsHead || status < 200 || status === 204 || status === 304) head.framing = FRAMING.none;
  else if ((known & (1 << NAME["transfer-encoding"])) !== 0) head.framing = FRAMING.chunked;
  else if ((known & (1 << NAME["content-length"])) !== 0) head.framing = FRAMING.length;
  else {
    head.framing = FRAMING.close;
    head.flags &= ~FLAG.keepAlive;
  }
  return past;
}

function copyHead(buf: Buffer, base: number, past: number, head: Head): void {
  const length = past - base;
  head.reserve(length);
  buf.copy(head.bytes, 0, base, past);
  head.end = length;
  head.received = length;
}

function finishRequest(buf: Buffer, base: number, past: number, head: Head): number {
  const hasHost = (head.known & (1 << NAME.host)) !== 0;
  if (!hasHost && head.version === VERSION.http11) return reject(head, 400, "no Host field");
  copyHead(buf, base, past, head);
  const { flags } = head;
  finishConnection(head);
  if ((head.known & (1 << NAME["transfer-encoding"])) !== 0) head.framing = FRAMING.chunked;
  else if ((head.known & (1 << NAME["content-length"])) !== 0) head.framing = FRAMING.length;
  if ((head.flags & FLAG.absolute) !== 0) finishAbsolute(head);
  if ((flags & UNSURE) !== 0 && normalizePath(head) < 0) return -400;
  if ((flags & RAW_QUERY) !== 0 && encodeQuery(head) < 0) return -400;
  return past;
}

// RFC 9112 section 3.2.2: the authority of the target replaces Host, which is forwarded with the same value.
function finishAbsolute(head: Head): void {
  const { parts, bytes } = head;
  if (parts[PART.path] === parts[PART.path + 1]) {
    const whole = parts[PART.query] === 0 && equalsBytes(bytes, parts[PART.method]!, parts[PART.method + 1]!, OPTIONS);
    head.setPart(PART.path, whole ? STAR_BYTE : SLASH_BYTE, 0, 1);
  }
  writeHost(head);
}

/** Returns the offset of the first field line, 0, or -status. */
function scanRequestLine(buf: Buffer, base: number, stop: number, head: Head, maxTarget: number): number {
  let i = base;
  const methodStop = Math.min(stop, base + LONGEST_METHOD);
  while (i < methodStop && (CLASS[buf[i]!]! & IS.token) !== 0) i++;
  if (i >= stop) return 0;
  if (buf[i] !== SPACE || i === base) return reject(head, 400, buf[base] === TLS_HANDSHAKE ? NO_TLS : NO_METHOD);
  if (equalsBytes(buf, base, i, CONNECT) || equalsBytes(buf, base, i, TRACE))
    return reject(head, 405, "CONNECT and TRACE are not served");
  const parts = head.parts;
  parts[PART.method + 1] = i - base;
  const targetAt = i + 1;
  const targetStop = Math.min(stop, targetAt + maxTarget + 1);
  i = scanTarget(buf, base, targetAt, targetStop, head);
  if (i <= 0) {
    if (i === 0 && targetStop - targetAt > maxTarget) return reject(head, 414, `a target over ${maxTarget} bytes`);
    return i;
  }
  if (buf[i] !== SPACE) return reject(head, 400, "a byte that is not allowed in a target");
  return scanVersion(buf, i + 1, stop, head, true);
}

/** Returns the offset of the byte that ends the target, 0, or -status. */
function scanTarget(buf: Buffer, base: number, at: number, stop: number, head: Head): number {
  if (at >= stop) return 0;
  const first = buf[at]!;
  if (first === SLASH) return scanPath(buf, base, at, stop, head);
  if (first !== STAR) return scanAbsolute(buf, base, at, stop, head);
  if (!equalsBytes(buf, base, at - 1, OPTIONS)) return reject(head, 400, "the target * without the method OPTIONS");
  head.parts[PART.path] = at - base;
  head.parts[PART.path + 1] = at + 1 - base;
  return at + 1 < stop ? at + 1 : 0;
}

function scanPath(buf: Buffer, base: number, at: number, stop: number, head: Head): number {
  let i = at;
  for (; i < stop; i++) {
    const byte = buf[i]!;
    if ((CLASS[byte]! & IS.plain) !== 0) continue;
    if (byte === SLASH && buf[i - 1] !== SLASH) continue;
    if (byte !== DOT && byte !== PERCENT && byte !== SLASH && byte !== SEMICOLON && byte < 0x80) break;
    head.flags |= UNSURE;
  }
  if (i >= stop) return 0;
  const parts = head.parts;
  parts[PART.path] = at - base;
  parts[PART.path + 1] = i - base;
  if (buf[i] !== QUERY) return i;
  parts[PART.query] = i + 1 - base;
  for (i++; i < stop; i++) {
    const byte = buf[i]!;
    // Browsers send a backslash in a query as it is; only in a path is it read as a slash.
    if ((CLASS[byte]! & IS.target) !== 0 || byte === BACKSLASH) continue;
    if (byte < 0x80) break;
    head.flags |= RAW_QUERY;
  }
  parts[PART.query + 1] = i - base;
  return i < stop ? i : 0;
}

function scanAbsolute(buf: Buffer, base: number, at: number, stop: number, head: Head): number {
  let i = at;
  for (let k = 0; k < HTTP.length; k++, i++) {
    if (i >= stop) return 0;
    if ((buf[i]! | 0x20) !== HTTP[k]) return reject(head, 400, "a target that is neither a path nor an http URI");
  }
  if (i < stop && (buf[i]! | 0x20) === 115 /* s */) i++;
  for (let k = 0; k < 3; k++, i++) {
    if (i >= stop) return 0;
    if (buf[i] !== (k === 0 ? COLON : SLASH))
      return reject(head, 400, "a target that is neither a path nor an http URI");
  }
  const authorityAt = i;
  while (i < stop && (CLASS[buf[i]!]! & IS.target) !== 0 && buf[i] !== SLASH && buf[i] !== QUERY) i++;
  if (i >= stop) return 0;
  if (!isAuthority(buf, authorityAt, i)) return reject(head, 400, "a target whose authority is not host or host:port");
  head.flags |= FLAG.absolute;
  const parts = head.parts;
  parts[PART.authority] = authorityAt - base;
  parts[PART.authority + 1] = i - base;
  return scanPath(buf, base, i, stop, head);
}

/** Reads `HTTP/1.x`, and CRLF when it `endsLine`; returns the offset past it, 0, or -status. */
function scanVersion(buf: Buffer, at: number, stop: number, head: Head, endsLine: boolean): number {
  for (let k = 0; k < 8; k++) {
    const i = at + k;
    if (i >= stop) return 0;
    const byte = buf[i]!;
    const right = k < 5 ? byte === HTTP_SLASH[k] : k === 6 ? byte === DOT : (CLASS[byte]! & IS.digit) !== 0;
    if (!right) return reject(head, 400, "the HTTP version is malformed");
  }
  const minor = buf[at + 7]! - 48;
  if (buf[at + 5] !== 49 || minor > 1) return reject(head, 505, "a version other than HTTP/1.0 and HTTP/1.1");
  head.version = minor;
  if (!endsLine) return at + 8;
  if (at + 8 < stop && buf[at + 8] !== CR) return reject(head, 400, "the request line does not end after the version");
  if (at + 9 >= stop) return 0;
  return buf[at + 9] === LF ? at + 10 : reject(head, 400, "a bare CR in the request line");
}

/** Whether the bytes are the header of a SETTINGS frame, with which endpoints that only speak HTTP/2 begin. */
function isSettings(buf: Buffer, at: number, stop: number): boolean {
  return at + 5 <= stop && buf[at] === 0 && buf[at + 1] === 0 && buf[at + 3] === 4 && buf[at + 4]! <= 1;
}

// The reason phrase is ignored (RFC 9112 section 4). Some servers omit the space before it.
function scanStatusLine(buf: Buffer, base: number, stop: number, head: Head): number {
  let i = scanVersion(buf, base, stop, head, false);
  if (i < 0 && isSettings(buf, base, stop))
    return reject(head, 502, "HTTP/2 instead of HTTP/1: the cluster needs protocol http2");
  if (i <= 0) return i;
  if (i < stop && buf[i] !== SPACE) return reject(head, 502, "the status line is malformed");
  let status = 0;
  for (let k = 0; k < 3; k++) {
    if (++i >= stop) return 0;
    const digit = buf[i]! - 48;
    if (digit < 0 || digit > 9 || (k === 0 && digit < 1)) return reject(head, 502, "a status outside 100 to 999");
    status = status * 10 + digit;
  }
  head.status = status;
  if (++i >= stop) return 0;
  if (buf[i] === SPACE) while (i < stop && (CLASS[buf[i]!]! & IS.value) !== 0) i++;
  if (i >= stop) return 0;
  if (buf[i] !== CR) return reject(head, 502, "the status line is malformed");
  if (i + 1 >= stop) return 0;
  return buf[i + 1] === LF ? i + 2 : reject(head, 502, "a bare CR in the status line");
}

/** Classifies fields: which known name a field has, and whether its name and value are valid. */

import { FOLD } from "./aliases.ts";
import * as octets from "./bytes.ts";
import { equalsWord } from "./bytes.ts";
import type { Head } from "./head.ts";
import * as layout from "./head.ts";

// Constants of this module, since V8 folds those into the code but loads and checks an imported one at every use.
const { CLASS, COLON, DOT, IS } = octets;
const { NAME, PART } = layout;

const HYPHEN = 45;
const LONGEST_NAME = 19;
// RFC 3986 section 3.2.2: a DNS name, with a port.
const LONGEST_AUTHORITY = 255 + 6;

// No two of these names share both length and first letter, so these select one name to compare. X-Forwarded-* are
// recognised by their prefix instead.
const BY_LENGTH_AND_LETTER = new Uint8Array((LONGEST_NAME + 1) * 32);
const NAME_STRIDE = 32;
const NAME_BYTES = new Uint8Array(NAME.lookalike * NAME_STRIDE);
for (const [name, id] of Object.entries(NAME)) {
  if (id === NAME.other || id >= NAME.lookalike) continue;
  NAME_BYTES.set(Buffer.from(name, "latin1"), id * NAME_STRIDE);
  if (id === NAME["x-forwarded-port"] || id === NAME["x-forwarded-other"]) continue;
  BY_LENGTH_AND_LETTER[name.length * 32 + (name.charCodeAt(0) & 31)] = id;
}

/** Names that only the core writes or interprets: no alias of them may reach an endpoint. */
const OWNED = new Uint8Array(NAME.lookalike);
for (const id of [...layout.HOP_BY_HOP, NAME["x-real-ip"]]) OWNED[id] = 1;

const X_FORWARDED = Buffer.from("x-forwarded-", "latin1");
const PORT_LENGTH = "x-forwarded-port".length;
const AUTHORIZATION = Buffer.from("authorization", "latin1");
const HOST = Buffer.from("Host", "latin1");

/** The NAME id of the name `bytes[start, end)`; 0 for an unknown name. */
export function nameId(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  const first = bytes[start]! & 31;
  if (length <= LONGEST_NAME) {
    const id = BY_LENGTH_AND_LETTER[length * 32 + first]!;
    if (id !== 0) {
      if (equalsName(bytes, start, length, id)) return id;
      if (OWNED[id] === 1 && foldsTo(bytes, start, length, id)) return NAME.lookalike;
    }
  }
  return first === 24 ? forwardedId(bytes, start, end) : NAME.other;
}

// OR-ing 0x20 lowers letters and leaves digits and hyphens; no other token byte becomes one of those by it.
function equalsName(bytes: Uint8Array, start: number, length: number, id: number): boolean {
  const at = id * NAME_STRIDE;
  for (let i = 0; i < length; i++) if ((bytes[start + i]! | 0x20) !== NAME_BYTES[at + i]) return false;
  return true;
}

function foldsTo(bytes: Uint8Array, start: number, length: number, id: number): boolean {
  const at = id * NAME_STRIDE;
  for (let i = 0; i < length; i++) if (FOLD[bytes[start + i]!] !== NAME_BYTES[at + i]) return false;
  return true;
}

/** Of a name that begins with `x`: one of X-Forwarded-*, an alias of one, or another name. */
function forwardedId(bytes: Uint8Array, start: number, end: number): number {
  const { length } = X_FORWARDED;
  for (let i = 0; i < length; i++)
    if (start + i >= end || FOLD[bytes[start + i]!] !== X_FORWARDED[i]) return NAME.other;
  if (end - start === length) return NAME.other;
  for (let i = start; i < end; i++) if (FOLD[bytes[i]!] === HYPHEN && bytes[i] !== HYPHEN) return NAME.lookalike;
  if (end - start !== PORT_LENGTH) return NAME["x-forwarded-other"];
  const isPort = equalsName(bytes, start, PORT_LENGTH, NAME["x-forwarded-port"]);
  return isPort ? NAME["x-forwarded-port"] : NAME["x-forwarded-other"];
}

const PROTECTED = new Uint8Array(256);
for (const id of [...layout.HOP_BY_HOP, NAME.expect, NAME.lookalike]) PROTECTED[id] = 1;

/**
 * Names that plugins may not set, add or remove: they control framing or one connection, which the core owns. Host is
 * not among them; it is set through `setAuthority`.
 */
export function isProtected(id: number): boolean {
  return PROTECTED[id] === 1;
}

/** Names that a Connection field cannot make hop-by-hop: those that protect or route the message. */
export function resistsNomination(id: number, bytes: Uint8Array, start: number, end: number): boolean {
  return id !== NAME.other || equalsWord(bytes, start, end, AUTHORIZATION);
}

export function isToken(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if ((CLASS[bytes[i]!]! & IS.token) === 0) return false;
  return end > start;
}

/** Whether the bytes are a valid field value: no CR, LF, NUL or other control except HTAB. Outer blanks are allowed. */
export function isFieldValue(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if ((CLASS[bytes[i]!]! & IS.value) === 0) return false;
  return true;
}

/** Whether the bytes are `host` or `host:port`: no userinfo, list, path, escape, empty host or empty port. */
export function isAuthority(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > LONGEST_AUTHORITY) return false;
  let i = start;
  if (bytes[i] === 91 /* [ */ && i < end) {
    while (i < end && bytes[i] !== 93 /* ] */) i++;
    if (i === end || !isIPv6(bytes, start + 1, i)) return false;
    i++;
  } else {
    while (i < end && (CLASS[bytes[i]!]! & IS.host) !== 0) i++;
    if (i === start) return false;
  }
  return i === end || (bytes[i] === COLON && isPort(bytes, i + 1, end));
}

// RFC 4291 section 2.2, without a zone: groups of up to four hex digits, one `::`, perhaps an IPv4 address at the end.
function isIPv6(bytes: Uint8Array, start: number, end: number): boolean {
  let groups = 0;
  let gap = end - start >= 2 && bytes[start] === COLON && bytes[start + 1] === COLON;
  for (let i = gap ? start + 2 : start; i < end; ) {
    const groupStart = i;
    while (i < end && (CLASS[bytes[i]!]! & IS.hex) !== 0) i++;
    if (i < end && bytes[i] === DOT) return isIPv4(bytes, groupStart, end) && (gap ? groups <= 5 : groups === 6);
    if (i === groupStart || i - groupStart > 4) return false;
    groups++;
    if (i === end) break;
    if (bytes[i++] !== COLON || i === end) return false;
    if (bytes[i] !== COLON) continue;
    if (gap) return false;
    gap = true;
    i++;
  }
  return gap ? groups <= 7 : groups === 8;
}

function isIPv4(bytes: Uint8Array, start: number, end: number): boolean {
  let i = start;
  for (let part = 0; part < 4; part++) {
    const from = i;
    let value = 0;
    while (i < end && (CLASS[bytes[i]!]! & IS.digit) !== 0) value = value * 10 + bytes[i++]! - 48;
    if (i === from || i - from > 3 || value > 255) return false;
    if (part < 3 && (i >= end || bytes[i++] !== DOT)) return false;
  }
  return i === end;
}

function isPort(bytes: Uint8Array, start: number, end: number): boolean {
  let port = 0;
  for (let i = start; i < end; i++) {
    if ((CLASS[bytes[i]!]! & IS.digit) === 0) return false;
    port = port * 10 + bytes[i]! - 48;
    if (port > 65535) return false;
  }
  return end > start && end - start <= 5;
}

/** The port that an authority names, or -1. */
export function portOf(bytes: Uint8Array, start: number, end: number): number {
  let port = 0;
  let i = end - 1;
  for (let scale = 1; i >= start && (CLASS[bytes[i]!]! & IS.digit) !== 0; i--, scale *= 10)
    port += (bytes[i]! - 48) * scale;
  return i >= start && i < end - 1 && bytes[i] === COLON ? port : -1;
}

/** Sets a request's authority, and its Host field with it. False, and nothing changed, when it is not valid. */
export function setAuthority(head: Head, bytes: Uint8Array, start: number, end: number): boolean {
  if (!isAuthority(bytes, start, end)) return false;
  head.setPart(PART.authority, bytes, start, end);
  writeHost(head);
  return true;
}

/** Sets the Host field to the authority part; adds the field if it is absent. */
export function writeHost(head: Head): void {
  const start = head.parts[PART.authority]!;
  const end = head.parts[PART.authority + 1]!;
  const index = head.findKnown(NAME.host);
  if (index >= 0) return head.setValue(index, start, end);
  const name = head.append(HOST, 0, HOST.length);
  head.push(name, name + HOST.length, start, end, NAME.host);
}

// RFC 9110 section 6.5.1: fields that frame, route, authenticate or modify a message are not allowed in trailers.
const NOT_IN_TRAILERS = new Set(
  (
    "age authorization cache-control content-encoding content-range content-location max-forwards pragma range " +
    "retry-after vary warning www-authenticate authentication-info proxy-authentication-info location " +
    "if-match if-none-match if-modified-since if-unmodified-since if-range"
  ).split(" "),
);

/** Whether a field of that name may be forwarded in a trailer section. Cold: trailers are rare. */
export function mayTrail(bytes: Buffer, start: number, end: number): boolean {
  if (nameId(bytes, start, end) !== NAME.other || resistsNomination(NAME.other, bytes, start, end)) return false;
  return !NOT_IN_TRAILERS.has(bytes.toString("latin1", start, end).toLowerCase());
}

const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;

/** The end of an authority's host: before the port, and before one trailing dot (`example.com.` is the same host). */
export function findHostEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  if (bytes[start] === OPEN_BRACKET) {
    while (at < end && bytes[at] !== CLOSE_BRACKET) at++;
    return at < end ? at + 1 : end;
  }
  while (at < end && bytes[at] !== COLON) at++;
  return at - 1 > start && bytes[at - 1] === DOT ? at - 1 : at;
}

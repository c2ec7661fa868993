/**
 * Parses a TLS ClientHello (RFC 8446 section 4.1.2), which may span several records and reads, as far as the choice of
 * the certificate needs it. A malformed hello has no server name; OpenSSL rejects it with an alert.
 */

/** Types and sizes of the record and of the handshake message. */
const RECORD_HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const RECORD_HEADER = 5;
const MAX_RECORD = 2 ** 14;
const MESSAGE_HEADER = 4;
const VERSION_AND_RANDOM = 34;
/** Extensions. */
const SERVER_NAME = 0;
const STATUS_REQUEST = 5;
const SUPPORTED_GROUPS = 10;
const SIGNATURE_ALGORITHMS = 13;
const PROTOCOL_NAMES = 16;
const SUPPORTED_VERSIONS = 43;
const SIGNATURE_ALGORITHMS_CERT = 50;
const TLS_1_3 = 0x0304;
/** The only protocol that a CA offers when it validates a name by TLS-ALPN-01 (RFC 8737 section 3). */
const ACME_ONLY = Buffer.from("\0\x0b\x0aacme-tls/1", "latin1");
/** Longer server names are rejected by OpenSSL. */
const MAX_NAME = 255;
/** Most protocols (ALPN) of a hello that are read; further ones are ignored. Clients offer two or three. */
const MAX_PROTOCOLS = 32;

/** Most bytes of a hello. Those with hybrid key shares have 2 KiB. */
export const MAX_HELLO = 32 * 1024;

export type ClientHello = {
  /** `more`: the hello is incomplete; `plain`: the input is not TLS; `oversize`: it has more than MAX_HELLO bytes. */
  readonly state: "complete" | "more" | "plain" | "oversize";
  /** In lower case, one character per byte; it may not be a valid name. Empty: none was sent. */
  readonly serverName: string;
  /**
   * The content of signature_algorithms of a client that supports TLS 1.3, asks for an OCSP response (status_request),
   * and does not limit the signatures of certificates further; otherwise empty.
   */
  readonly staplingSchemes: Buffer;
  /** Validates the server name for an ACME server (TLS-ALPN-01). */
  readonly isChallenge: boolean;
  /** The client supports TLS 1.3. */
  readonly offersTls13: boolean;
  /** `more`: the hello is incomplete without at least that many more bytes. */
  readonly missing: number;
};

const NO_BYTES = Buffer.alloc(0);
const NONE = { serverName: "", staplingSchemes: NO_BYTES, isChallenge: false, offersTls13: false };
const PLAIN: ClientHello = { state: "plain", ...NONE, missing: 0 };
const OVERSIZE: ClientHello = { state: "oversize", ...NONE, missing: 0 };
const NAMELESS: ClientHello = { state: "complete", ...NONE, missing: 0 };

/**
 * Parses the received bytes `[start, end)`. If the state is `more`, call again when `missing` further bytes were received:
 * a call parses all bytes, so a call after each tiny record or read would cost the square of their number.
 */
export function readClientHello(bytes: Buffer, start: number, end: number): ClientHello {
  if (start === end) return more(1);
  if (bytes[start] !== RECORD_HANDSHAKE) return PLAIN;
  const message = joinRecords(bytes, start, end);
  if (message === null) return NAMELESS;
  if (message.length < MESSAGE_HEADER) return more(MESSAGE_HEADER - message.length);
  if (message[0] !== CLIENT_HELLO) return NAMELESS;
  const length = MESSAGE_HEADER + message.readUIntBE(1, 3);
  if (length > MAX_HELLO) return OVERSIZE;
  if (message.length < length) return more(length - message.length);
  return { state: "complete", ...readExtensions(message.subarray(MESSAGE_HEADER, length)), missing: 0 };
}

/** The protocols that a complete hello offers (ALPN, RFC 7301), one character per byte; empty without that extension. */
export function readOfferedProtocols(bytes: Buffer, start: number, end: number): string[] {
  const message = joinRecords(bytes, start, end);
  if (message === null || message.length < MESSAGE_HEADER) return [];
  const hello = message.subarray(MESSAGE_HEADER, MESSAGE_HEADER + message.readUIntBE(1, 3));
  const names: string[] = [];
  const list = findExtension(hello, PROTOCOL_NAMES);
  if (list === null || list.length < 2 || list.readUInt16BE(0) !== list.length - 2) return names;
  for (let at = 2; at < list.length && names.length < MAX_PROTOCOLS; at += 1 + list[at]!) {
    if (at + 1 + list[at]! > list.length) return [];
    names.push(list.toString("latin1", at + 1, at + 1 + list[at]!));
  }
  return names;
}

/** What a client of TLS 1.2 offers: vectors of 16-bit numbers; those of extensions begin with their length. */
export type Tls12Offer = { readonly suites: Buffer; readonly schemes: Buffer; readonly groups: Buffer };

/**
 * Parses a complete hello of a client that asks for an OCSP response, names its groups and signatures, and does not limit
 * the signatures of certificates further; otherwise null.
 */
export function readTls12Offer(bytes: Buffer, start: number, end: number): Tls12Offer | null {
  const message = joinRecords(bytes, start, end);
  if (message === null || message.length < MESSAGE_HEADER) return null;
  const hello = message.subarray(MESSAGE_HEADER, MESSAGE_HEADER + message.readUIntBE(1, 3));
  const at = skip(hello, VERSION_AND_RANDOM, 1);
  const after = skip(hello, at, 2);
  const schemes = findExtension(hello, SIGNATURE_ALGORITHMS);
  const groups = findExtension(hello, SUPPORTED_GROUPS);
  if (after < 0 || after > hello.length || schemes === null || groups === null) return null;
  if (findExtension(hello, STATUS_REQUEST) === null) return null;
  if (findExtension(hello, SIGNATURE_ALGORITHMS_CERT) !== null) return null;
  return { suites: hello.subarray(at + 2, after), schemes, groups };
}

/** The content of the first extension of that type; null without one. */
function findExtension(hello: Buffer, type: number): Buffer | null {
  let at = findExtensions(hello);
  if (at < 0) return null;
  const end = at + 2 + hello.readUInt16BE(at);
  if (end > hello.length) return null;
  for (at += 2; at + 4 <= end; at += 4 + hello.readUInt16BE(at + 2))
    if (hello.readUInt16BE(at) === type)
      return hello.subarray(at + 4, Math.min(end, at + 4 + hello.readUInt16BE(at + 2)));
  return null;
}

/** The position of the length of the extensions; -1 if there are none. */
function findExtensions(hello: Buffer): number {
  let at = skip(hello, VERSION_AND_RANDOM, 1);
  at = skip(hello, at, 2);
  at = skip(hello, at, 1);
  return at < 0 || at + 2 > hello.length ? -1 : at;
}

const more = (missing: number): ClientHello => ({ state: "more", ...NONE, missing });

/** The content of the handshake records received so far; null: a record is empty, too long or of another type. */
function joinRecords(bytes: Buffer, start: number, end: number): Buffer | null {
  const parts: Buffer[] = [];
  for (let at = start; at < end; ) {
    if (bytes[at] !== RECORD_HANDSHAKE) return null;
    if (end - at < RECORD_HEADER) break;
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > MAX_RECORD) return null;
    parts.push(bytes.subarray(at + RECORD_HEADER, Math.min(end, at + RECORD_HEADER + length)));
    at += RECORD_HEADER + length;
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

type Extensions = Pick<ClientHello, "serverName" | "staplingSchemes" | "isChallenge" | "offersTls13">;
/** Of several extensions of a type the first counts; OpenSSL rejects such a hello. */
function readExtensions(hello: Buffer): Extensions {
  let at = findExtensions(hello);
  if (at < 0) return NONE;
  const end = at + 2 + hello.readUInt16BE(at);
  if (end > hello.length) return NONE;
  at += 2;
  let name: Buffer | null = null;
  let versions: Buffer | null = null;
  let schemes: Buffer | null = null;
  // A client with own rules for signatures of certificates may not accept what OpenSSL would not choose.
  let isLimited = false;
  let asksForStatus = false;
  let isChallenge = false;
  while (at + 4 <= end) {
    const type = hello.readUInt16BE(at);
    const next = at + 4 + hello.readUInt16BE(at + 2);
    if (type === SERVER_NAME) name ??= hello.subarray(at + 4, Math.min(end, next));
    else if (type === STATUS_REQUEST) asksForStatus = true;
    else if (type === SIGNATURE_ALGORITHMS) schemes ??= hello.subarray(at + 4, Math.min(end, next));
    else if (type === PROTOCOL_NAMES) isChallenge = ACME_ONLY.equals(hello.subarray(at + 4, Math.min(end, next)));
    else if (type === SUPPORTED_VERSIONS) versions ??= hello.subarray(at + 4, Math.min(end, next));
    else if (type === SIGNATURE_ALGORITHMS_CERT) isLimited = true;
    at = next;
  }
  const offersTls13 = versions !== null && hasNumber(versions, 1, TLS_1_3);
  const isKnown = asksForStatus && !isLimited && offersTls13 && schemes !== null;
  return {
    serverName: name === null ? "" : readServerName(name),
    staplingSchemes: isKnown ? schemes! : NO_BYTES,
    isChallenge,
    offersTls13,
  };
}

/** Whether `staplingSchemes` of a hello has this signature scheme. */
export function hasScheme(staplingSchemes: Buffer, scheme: number): boolean {
  return hasNumber(staplingSchemes, 2, scheme);
}

/** Whether a vector of 16-bit numbers, whose length field has `width` bytes, has this one. */
export function hasNumber(vector: Buffer, width: number, number: number): boolean {
  for (let at = width; at + 2 <= vector.length; at += 2) if (vector.readUInt16BE(at) === number) return true;
  return false;
}

/** Returns the end of a vector whose length field has `width` bytes; -1 if it is out of bounds. */
function skip(bytes: Buffer, at: number, width: number): number {
  return at < 0 || at + width > bytes.length ? -1 : at + width + bytes.readUIntBE(at, width);
}

/** Parses a server name list with one entry: type 0, length, name. */
function readServerName(list: Buffer): string {
  if (list.length < 5 || list[2] !== 0) return "";
  const length = list.readUInt16BE(3);
  const name = list.toString("latin1", 5, 5 + length);
  return length === list.length - 5 && length <= MAX_NAME ? name.toLowerCase() : "";
}

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
/** Those that are read; a hello may have thousands of others. */
const READ: readonly number[] = [
  SERVER_NAME,
  STATUS_REQUEST,
  SUPPORTED_GROUPS,
  SIGNATURE_ALGORITHMS,
  PROTOCOL_NAMES,
  SUPPORTED_VERSIONS,
  SIGNATURE_ALGORITHMS_CERT,
];
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
  const names: string[] = [];
  const list = extensionsOf(helloOf(bytes, start, end)).get(PROTOCOL_NAMES);
  if (list === undefined || list.length < 2 || list.readUInt16BE(0) !== list.length - 2) return names;
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
  const hello = helloOf(bytes, start, end);
  const at = skip(hello, VERSION_AND_RANDOM, 1);
  const after = skip(hello, at, 2);
  const extensions = extensionsOf(hello);
  const schemes = extensions.get(SIGNATURE_ALGORITHMS);
  const groups = extensions.get(SUPPORTED_GROUPS);
  if (after < 0 || after > hello.length || schemes === undefined || groups === undefined) return null;
  if (!extensions.has(STATUS_REQUEST) || extensions.has(SIGNATURE_ALGORITHMS_CERT)) return null;
  return { suites: hello.subarray(at + 2, after), schemes, groups };
}

/** The content of a complete hello; empty if it is malformed. */
function helloOf(bytes: Buffer, start: number, end: number): Buffer {
  const message = joinRecords(bytes, start, end);
  if (message === null || message.length < MESSAGE_HEADER) return NO_BYTES;
  return message.subarray(MESSAGE_HEADER, MESSAGE_HEADER + message.readUIntBE(1, 3));
}

/** The extensions in READ by type. Of several of a type the first counts; OpenSSL rejects such a hello. */
function extensionsOf(hello: Buffer): ReadonlyMap<number, Buffer> {
  const found = new Map<number, Buffer>();
  let at = VERSION_AND_RANDOM;
  for (const width of [1, 2, 1]) at = skip(hello, at, width);
  if (at < 0 || at + 2 > hello.length) return found;
  const end = at + 2 + hello.readUInt16BE(at);
  if (end > hello.length) return found;
  for (at += 2; at + 4 <= end; ) {
    const type = hello.readUInt16BE(at);
    const next = at + 4 + hello.readUInt16BE(at + 2);
    if (READ.includes(type)) found.getOrInsert(type, hello.subarray(at + 4, Math.min(end, next)));
    at = next;
  }
  return found;
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

function readExtensions(hello: Buffer): Extensions {
  const extensions = extensionsOf(hello);
  const versions = extensions.get(SUPPORTED_VERSIONS);
  const schemes = extensions.get(SIGNATURE_ALGORITHMS);
  const offersTls13 = versions !== undefined && hasNumber(versions, 1, TLS_1_3);
  // A client with own rules for signatures of certificates may not accept what OpenSSL would not choose.
  const isLimited = extensions.has(SIGNATURE_ALGORITHMS_CERT);
  const isKnown = offersTls13 && extensions.has(STATUS_REQUEST) && !isLimited;
  return {
    serverName: readServerName(extensions.get(SERVER_NAME) ?? NO_BYTES),
    staplingSchemes: (isKnown ? schemes : undefined) ?? NO_BYTES,
    isChallenge: ACME_ONLY.equals(extensions.get(PROTOCOL_NAMES) ?? NO_BYTES),
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

/**
 * Reads the server name of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), which may be spread over
 * several records and reads. What is not well-formed is left to OpenSSL, which sends the alert.
 */

/** A handshake record, and its message. */
const RECORD_HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const RECORD_HEADER = 5;
const MESSAGE_HEADER = 4;
const VERSION_AND_RANDOM = 34;
const SERVER_NAME = 0;

/** Hellos with hybrid keys have 2 KiB. */
export const MAX_HELLO = 32 * 1024;

export type ClientHello = {
  /** `more`: the hello is not complete; `plain`: the bytes are no TLS. */
  readonly state: "complete" | "more" | "plain";
  /** Empty: none was sent. */
  readonly serverName: string;
};

const MORE: ClientHello = { state: "more", serverName: "" };
const PLAIN: ClientHello = { state: "plain", serverName: "" };
const NAMELESS: ClientHello = { state: "complete", serverName: "" };

export function readClientHello(bytes: Buffer, start: number, end: number): ClientHello {
  if (start === end) return MORE;
  if (bytes[start] !== RECORD_HANDSHAKE) return PLAIN;
  const message = joinRecords(bytes, start, end);
  if (message === null) return NAMELESS;
  if (message.length < MESSAGE_HEADER) return MORE;
  if (message[0] !== CLIENT_HELLO) return NAMELESS;
  const length = MESSAGE_HEADER + message.readUIntBE(1, 3);
  // OpenSSL refuses it.
  if (length > MAX_HELLO) return NAMELESS;
  if (message.length < length) return MORE;
  return { state: "complete", serverName: findServerName(message.subarray(MESSAGE_HEADER, length)) };
}

/** The content of the handshake records so far; null: a record of another type stands between them, or is empty. */
function joinRecords(bytes: Buffer, start: number, end: number): Buffer | null {
  const parts: Buffer[] = [];
  for (let at = start; at < end; ) {
    if (bytes[at] !== RECORD_HANDSHAKE) return null;
    if (end - at < RECORD_HEADER) break;
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0) return null;
    parts.push(bytes.subarray(at + RECORD_HEADER, Math.min(end, at + RECORD_HEADER + length)));
    at += RECORD_HEADER + length;
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
}

/** Empty: none is sent, or the hello is not well-formed. */
function findServerName(hello: Buffer): string {
  let at = skip(hello, VERSION_AND_RANDOM, 1);
  at = skip(hello, at, 2);
  at = skip(hello, at, 1);
  if (at < 0 || at + 2 > hello.length) return "";
  const end = at + 2 + hello.readUInt16BE(at);
  at += 2;
  while (at + 4 <= end && end <= hello.length) {
    const type = hello.readUInt16BE(at);
    const length = hello.readUInt16BE(at + 2);
    if (type === SERVER_NAME) return readServerName(hello.subarray(at + 4, Math.min(end, at + 4 + length)));
    at += 4 + length;
  }
  return "";
}

/** Behind a vector whose length has so many bytes; -1: there is none. */
function skip(bytes: Buffer, at: number, width: number): number {
  return at < 0 || at + width > bytes.length ? -1 : at + width + bytes.readUIntBE(at, width);
}

/** A list of one host name: type 0, length, name. */
function readServerName(list: Buffer): string {
  if (list.length < 5 || list[2] !== 0) return "";
  const length = list.readUInt16BE(3);
  const name = list.toString("latin1", 5, 5 + length);
  return length === list.length - 5 && /^[\x21-\x7e]{1,255}$/.test(name) ? name.toLowerCase() : "";
}

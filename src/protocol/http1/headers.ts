/** Writes message heads: drops hop-by-hop fields, sets Via and X-Forwarded-* (RFC 9110 section 7.6). */
import { FLAG, FRAMING, type Head, NAME, PART } from "../../http/head.ts";
import { VERSION, VERSION_NUMBERS } from "../../http/protocol.ts";
import type { UpgradeProtocol } from "../../http/upgrade.ts";
import {
  DROP_HOP_BY_HOP,
  fieldsBound,
  writeBytes,
  writeDecimal,
  writeFields,
  writeRequestLine,
  writeStatusLine,
  writeTrailerNames,
} from "../../http1/write.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { PSEUDONYM } from "../../proxy/forwarded.ts";

const CRLF = Buffer.from("\r\n");
const CHUNKED = Buffer.from("transfer-encoding: chunked\r\n");
const UPGRADE = Buffer.from("connection: upgrade\r\nupgrade: ");
// RFC 9110 section 10.1.4: TE is hop-by-hop and listed in Connection.
const TE_TRAILERS = Buffer.from("connection: te\r\nte: trailers\r\n");
const FORWARDED_HOST = Buffer.from("x-forwarded-host: ");
const FORWARDED_FOR = Buffer.from("x-forwarded-for: ");
const FORWARDED_PROTO = Buffer.from("x-forwarded-proto: ");
const VIA = Buffer.from("via: ");
/** By the version of the message received. */
const VIA_OWN = VERSION_NUMBERS.map((number) => Buffer.from(`${number} ${PSEUDONYM}\r\n`));
const HOST = Buffer.from("host: ");
const COMMA = Buffer.from(", ");
const CLOSE = Buffer.from("connection: close\r\n");
const KEEP_ALIVE = Buffer.from("connection: keep-alive\r\n");
const CONTENT_LENGTH = Buffer.from("content-length: ");
const DATE = Buffer.from("date: ");
/** Bytes that this file may add to a head, the client's address and the endpoint's included. */
const SLACK = 1024;

/** Fields that a proxy before this one has set, or a plugin: ours are added to theirs. */
const FORWARDING =
  (1 << NAME.via) | (1 << NAME["x-forwarded-for"]) | (1 << NAME["x-forwarded-proto"]) | (1 << NAME["x-forwarded-host"]);

function dropSet(...more: number[]): Uint8Array {
  const set = new Uint8Array(DROP_HOP_BY_HOP);
  for (const id of more) set[id] = 1;
  return set;
}

function without(set: Uint8Array, id: number): Uint8Array {
  const rest = new Uint8Array(set);
  rest[id] = 0;
  return rest;
}

const dropRequest = dropSet(
  NAME.via,
  NAME["x-forwarded-for"],
  NAME["x-forwarded-proto"],
  NAME["x-forwarded-host"],
  NAME["content-length"],
);
const dropRequestSized = without(dropRequest, NAME["content-length"]);
const dropOwn = without(dropSet(NAME.via), NAME["content-length"]);
const dropResponse = dropSet(NAME["content-length"]);
const dropResponseSized = without(dropResponse, NAME["content-length"]);

function put(out: Buffer, at: number, bytes: Buffer): number {
  for (let i = 0; i < bytes.length; i++) out[at + i] = bytes[i]!;
  return at + bytes.length;
}

function putValue(out: Buffer, at: number, head: Head, field: number): number {
  const { bytes } = head;
  const end = head.valueEnd(field);
  for (let i = head.valueStart(field); i < end; i++) out[at++] = bytes[i]!;
  return at;
}

/** The host that the client sent, unaffected by plugins. */
function putOriginalHost(out: Buffer, at: number, { request, original }: Exchange): number {
  const { bytes } = request;
  const end = original[PART.authority + 1]!;
  for (let i = original[PART.authority]!; i < end; i++) out[at++] = bytes[i]!;
  return at;
}

export function requestHeadBound(x: Exchange): number {
  return fieldsBound(x.request) + x.client!.forwarded.length + SLACK;
}

/**
 * Writes the request's head for the endpoint, without hop-by-hop fields. `Via` is extended (RFC 9110 section 7.6.3).
 * X-Forwarded-* describe the client's connection, after the values of a trusted proxy; those of other peers were removed
 * when the exchange began.
 */
export function writeRequestHead(out: Buffer, x: Exchange): number {
  const head = x.request;
  let at = writeRequestLine(out, 0, head);
  if (head.findKnown(NAME.host) < 0) at = writeHost(out, at, x);
  at = writeFields(out, at, head, head.framing === FRAMING.length ? dropRequestSized : dropRequest);
  if (head.framing === FRAMING.chunked) at = writeTrailerNames(out, put(out, at, CHUNKED), head, x.ownedNames);
  if (x.upgrade !== null) at = writeUpgrade(out, at, x.upgrade);
  else if ((head.flags & FLAG.teTrailers) !== 0) at = put(out, at, TE_TRAILERS);
  return put(out, writeForwarding(out, at, x), CRLF);
}

/** Via and X-Forwarded-* of the request for the endpoint; at most `requestHeadBound`. */
export function writeForwarding(out: Buffer, at: number, x: Exchange): number {
  const head = x.request;
  if ((head.known & FORWARDING) === 0 && head.version !== VERSION.http10) {
    // Nothing to append to: all of it but the host is the same for every request of the connection.
    const { forwarded } = x.client!;
    at = writeBytes(out, at, forwarded, 0, forwarded.length);
    return put(out, putOriginalHost(out, at, x), CRLF);
  }
  at = put(out, at, VIA);
  for (let via = head.findKnown(NAME.via); via >= 0; via = head.findKnown(NAME.via, via + 1)) {
    at = putValue(out, at, head, via);
    at = put(out, at, COMMA);
  }
  return writeForwarded(out, put(out, at, VIA_OWN[head.version]!), x);
}

/** The same for a subrequest of a plugin, whose fields are sent unchanged. */
export function writeSubrequestHead(out: Buffer, { request }: Exchange): number {
  const at = writeFields(out, writeRequestLine(out, 0, request), request, dropOwn);
  return put(out, writeSubrequestVia(out, at, request), CRLF);
}

export function writeSubrequestVia(out: Buffer, at: number, { version }: Head): number {
  return put(out, put(out, at, VIA), VIA_OWN[version]!);
}

function writeUpgrade(out: Buffer, at: number, { text }: UpgradeProtocol): number {
  return put(out, put(out, put(out, at, UPGRADE), text), CRLF);
}

function writeHost(out: Buffer, at: number, x: Exchange): number {
  at = put(out, at, HOST);
  at += out.write(x.endpoint!.path === "" ? x.endpoint!.address : "localhost", at, "latin1");
  return put(out, at, CRLF);
}

function writeForwarded(out: Buffer, at: number, x: Exchange): number {
  const head = x.request;
  at = put(out, at, FORWARDED_FOR);
  for (let i = head.findKnown(NAME["x-forwarded-for"]); i >= 0; i = head.findKnown(NAME["x-forwarded-for"], i + 1)) {
    at = putValue(out, at, head, i);
    at = put(out, at, COMMA);
  }
  at += out.write(x.client!.peer, at, "latin1");
  at = put(out, at, CRLF);
  const proto = head.findKnown(NAME["x-forwarded-proto"]);
  at = put(out, at, FORWARDED_PROTO);
  at = proto < 0 ? at + out.write(x.scheme, at, "latin1") : putValue(out, at, head, proto);
  at = put(out, at, CRLF);
  const given = head.findKnown(NAME["x-forwarded-host"]);
  if (given < 0 && x.original[PART.authority] === x.original[PART.authority + 1]) return at;
  at = put(out, at, FORWARDED_HOST);
  return put(out, given < 0 ? putOriginalHost(out, at, x) : putValue(out, at, head, given), CRLF);
}

/** How a response is sent on its connection. */
export type ResponseFrame = {
  /** The length is that of `head`'s Content-Length field, which is passed. */
  sized: boolean;
  chunked: boolean;
  close: boolean;
  /** HTTP/1.0 client that asked for it. */
  keepAlive: boolean;
  /** Bytes of a body of our own, or -1: a Content-Length is written. */
  ownLength: number;
  /** The value of Date where the head has none. */
  date: Buffer;
};

export function responseHeadBound(head: Head): number {
  return fieldsBound(head) + SLACK;
}

export function writeResponseHead(out: Buffer, head: Head, frame: ResponseFrame): number {
  let at = writeStatusLine(out, 0, head.status);
  at = writeFields(out, at, head, frame.sized ? dropResponseSized : dropResponse);
  if (frame.ownLength >= 0) {
    at = put(out, at, CONTENT_LENGTH);
    at = writeDecimal(out, at, frame.ownLength);
    at = put(out, at, CRLF);
  }
  if (frame.chunked) at = writeTrailerNames(out, put(out, at, CHUNKED), head, null);
  if (frame.close) at = put(out, at, CLOSE);
  else if (frame.keepAlive) at = put(out, at, KEEP_ALIVE);
  if (head.findKnown(NAME.date) < 0) {
    at = put(out, at, DATE);
    at = put(out, at, frame.date);
    at = put(out, at, CRLF);
  }
  return put(out, at, CRLF);
}

/** A 1xx head (RFC 9110 section 15.2), passed on as it is. */
export function writeInterimHead(out: Buffer, head: Head): number {
  const at = writeStatusLine(out, 0, head.status);
  return put(out, writeFields(out, at, head, dropResponse), CRLF);
}

/** The head of a 101 (RFC 9110 section 15.2.2). */
export function writeUpgradeHead(out: Buffer, head: Head, protocol: UpgradeProtocol): number {
  const at = writeStatusLine(out, 0, head.status);
  return put(out, writeUpgrade(out, writeFields(out, at, head, dropResponse), protocol), CRLF);
}

/**
 * gRPC on HTTP/2 (PROTOCOL-HTTP2.md and the documents on status codes of gRPC): recognises its content type, reads
 * timeouts and statuses, maps statuses from and to those of HTTP. Pure.
 */

import { toLower } from "./bytes.ts";
import { type Head, NAME } from "./head.ts";

/** Status codes of gRPC. */
export const GRPC = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

/** Number of status codes. */
export const GRPC_STATUSES = 17;

export const GRPC_STATUS = Buffer.from("grpc-status");
export const GRPC_MESSAGE = Buffer.from("grpc-message");
export const GRPC_TIMEOUT = Buffer.from("grpc-timeout");
export const GRPC_PREVIOUS_ATTEMPTS = Buffer.from("grpc-previous-rpc-attempts");
export const GRPC_PUSHBACK = Buffer.from("grpc-retry-pushback-ms");
export const GRPC_TYPE = Buffer.from("application/grpc");

const PLUS = 0x2b;
const SEMICOLON = 0x3b;
const DIGIT_0 = 0x30;
const MAX_TIMEOUT_DIGITS = 8;

/** The index of the Content-Type field if it is `application/grpc`, with a message format or not; -1 otherwise. */
export function findGrpcType(head: Head): number {
  const index = head.findKnown(NAME["content-type"]);
  if (index < 0) return -1;
  const { bytes } = head;
  const start = head.valueStart(index);
  const end = head.valueEnd(index);
  const rest = start + GRPC_TYPE.length;
  if (rest > end || (rest < end && bytes[rest] !== PLUS && bytes[rest] !== SEMICOLON)) return -1;
  for (let i = 0; i < GRPC_TYPE.length; i++) if (toLower(bytes[start + i]!) !== GRPC_TYPE[i]) return -1;
  return index;
}

/** Nanoseconds of each unit of a timeout. */
const UNITS: Readonly<Record<string, number>> = { H: 3600e9, M: 60e9, S: 1e9, m: 1e6, u: 1e3, n: 1 };

/** The timeout in milliseconds; -1: there is none, -2: it is malformed (not one field of 1 to 8 digits and a unit). */
export function readTimeout(head: Head): number {
  const index = head.find(GRPC_TIMEOUT, 0, GRPC_TIMEOUT.length);
  if (index < 0) return -1;
  if (head.find(GRPC_TIMEOUT, 0, GRPC_TIMEOUT.length, 1) >= 0) return -2;
  const { bytes } = head;
  const start = head.valueStart(index);
  const last = head.valueEnd(index) - 1;
  if (last <= start || last - start > MAX_TIMEOUT_DIGITS) return -2;
  const value = readDigits(bytes, start, last);
  const unit = UNITS[String.fromCharCode(bytes[last]!)];
  return value < 0 || unit === undefined ? -2 : (value * unit) / 1e6;
}

/** The text of a timeout of so many milliseconds, rounded down; at least a nanosecond. */
export function formatTimeout(ms: number): string {
  const most = 10 ** MAX_TIMEOUT_DIGITS;
  if (ms * 1000 < most) return ms * 1000 >= 1 ? `${Math.floor(ms * 1000)}u` : "1n";
  if (ms < most) return `${Math.floor(ms)}m`;
  if (ms < 1000 * most) return `${Math.floor(ms / 1000)}S`;
  return ms < 60_000 * most ? `${Math.floor(ms / 60_000)}M` : `${Math.min(most - 1, Math.floor(ms / 3_600_000))}H`;
}

/** The value of a field that is a decimal number; -1: there is no such field, -2: it is no number. */
export function readNumber(head: Head, name: Buffer): number {
  const index = head.find(name, 0, name.length);
  if (index < 0) return -1;
  const value = readDigits(head.bytes, head.valueStart(index), head.valueEnd(index));
  return value < 0 ? -2 : value;
}

/** The status in headers or trailers; -1: there is none, GRPC_STATUSES: it is none of the defined ones. */
export function readStatus(head: Head): number {
  const status = readNumber(head, GRPC_STATUS);
  return status === -2 ? GRPC_STATUSES : Math.min(status, GRPC_STATUSES);
}

/** The number of up to 9 digits; -1 if it is none. */
function readDigits(bytes: Buffer, start: number, end: number): number {
  if (start === end || end - start > 9) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = bytes[i]! - DIGIT_0;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** The status of a call whose response has this HTTP status and no status of gRPC (http-grpc-status-mapping.md). */
export function grpcOfHttp(status: number): number {
  switch (status) {
    case 400:
      return GRPC.internal;
    case 401:
      return GRPC.unauthenticated;
    case 403:
      return GRPC.permissionDenied;
    case 404:
      return GRPC.unimplemented;
    case 429:
    case 502:
    case 503:
    case 504:
      return GRPC.unavailable;
    default:
      return GRPC.unknown;
  }
}

const HTTP_OF = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401] as const;

/** The HTTP status that says the same, for passive health; 500 for an undefined status. */
export function httpOfGrpc(status: number): number {
  return HTTP_OF[status] ?? 500;
}

/** Percent-encodes a message for `grpc-message`: all but printable ASCII, and the percent sign. `text`: UTF-8. */
export function encodeMessage(text: Buffer): Buffer {
  let encoded = "";
  for (const byte of text)
    encoded +=
      byte < 0x20 || byte > 0x7e || byte === 0x25
        ? `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
        : String.fromCharCode(byte);
  return Buffer.from(encoded, "latin1");
}

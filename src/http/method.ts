/** Methods (RFC 9110 section 9). Names are case-sensitive. */
import { equalsBytes, STAR } from "./bytes.ts";
import { isToken } from "./fields.ts";
import { type Head, PART } from "./head.ts";

/** Maximum bytes of a method. */
export const LONGEST_METHOD = 32;
const HEAD = Buffer.from("HEAD");
const OPTIONS = Buffer.from("OPTIONS");
const CONNECT = Buffer.from("CONNECT");
const TRACE = Buffer.from("TRACE");
const GET = Buffer.from("GET");
const IDEMPOTENT = ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].map((name) => Buffer.from(name));

function methodIs(head: Head, name: Buffer): boolean {
  return equalsBytes(head.bytes, head.parts[PART.method]!, head.parts[PART.method + 1]!, name);
}

export function isGetMethod(head: Head): boolean {
  return methodIs(head, GET);
}

export function isHeadMethod(head: Head): boolean {
  return methodIs(head, HEAD);
}

export function isOptionsMethod(head: Head): boolean {
  return methodIs(head, OPTIONS);
}

/** Section 9.2.2: repeating the request has the effect of one. */
export function isIdempotent(head: Head): boolean {
  if (methodIs(head, GET)) return true;
  for (const name of IDEMPOTENT) if (methodIs(head, name)) return true;
  return false;
}

/** Whether the method is allowed with that path: only OPTIONS may have `*` (RFC 9112 section 3.2.4). */
export function fitsPath(bytes: Uint8Array, start: number, end: number, { bytes: area, parts }: Head): boolean {
  return area[parts[PART.path]!] !== STAR || equalsBytes(bytes, start, end, OPTIONS);
}

/** Whether requests with the method are served: it is a token other than CONNECT and TRACE. */
export function isServedMethod(bytes: Uint8Array, start: number, end: number): boolean {
  return (
    isToken(bytes, start, end) && !equalsBytes(bytes, start, end, CONNECT) && !equalsBytes(bytes, start, end, TRACE)
  );
}

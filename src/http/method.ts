/** What the core must know of methods (RFC 9110 section 9). Names are case-sensitive. */
import { type Head, PART } from "./head.ts";

const HEAD = Buffer.from("HEAD");
const GET = Buffer.from("GET");
const IDEMPOTENT = ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"].map((name) => Buffer.from(name));

function methodIs(head: Head, name: Buffer): boolean {
  const start = head.parts[PART.method]!;
  if (head.parts[PART.method + 1]! - start !== name.length) return false;
  for (let i = 0; i < name.length; i++) if (head.bytes[start + i] !== name[i]) return false;
  return true;
}

export function isHeadMethod(head: Head): boolean {
  return methodIs(head, HEAD);
}

/** Section 9.2.2: repeating the request has the effect of one. */
export function isIdempotent(head: Head): boolean {
  if (methodIs(head, GET)) return true;
  for (const name of IDEMPOTENT) if (methodIs(head, name)) return true;
  return false;
}

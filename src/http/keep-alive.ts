/** The field Keep-Alive of HTTP/1 (RFC 2068 section 19.7.1.1). */
import { equalsWord } from "./bytes.ts";
import { type Head, NAME } from "./head.ts";

const TIMEOUT = Buffer.from("timeout=");

/** How long, in ms, the receiver of `timeout=N` reuses the connection: until a second before its sender closes it. */
export function keepAliveTimeout(head: Head): number {
  const index = head.findKnown(NAME["keep-alive"]);
  if (index < 0) return Number.POSITIVE_INFINITY;
  const { bytes } = head;
  const end = head.valueEnd(index);
  for (let at = head.valueStart(index) + TIMEOUT.length; at < end; at++) {
    if (!equalsWord(bytes, at - TIMEOUT.length, at, TIMEOUT)) continue;
    let seconds = 0;
    for (let digit = at; digit < end && bytes[digit]! >= 48 && bytes[digit]! <= 57; digit++)
      seconds = seconds * 10 + bytes[digit]! - 48;
    return Math.max(1, (seconds - 1) * 1000);
  }
  return Number.POSITIVE_INFINITY;
}

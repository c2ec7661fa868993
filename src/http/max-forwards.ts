/** Max-Forwards of OPTIONS (RFC 9110 section 7.6.2): the number of proxies that may still forward the request. */
import { CLASS, IS } from "./bytes.ts";
import type { Head } from "./head.ts";

const MAX_FORWARDS = Buffer.from("max-forwards");
/** Larger numbers are forwarded as this one. */
const MAX_VALUE = 2 ** 31 - 1;

export const HOP = { forward: 0, respond: 1, malformed: 2 } as const;

/** Decrements the field: `forward`, also without it; `respond` here at 0; `malformed` if several or no number. */
export function countHop(head: Head): number {
  const index = head.find(MAX_FORWARDS, 0, MAX_FORWARDS.length);
  if (index < 0) return HOP.forward;
  const { bytes } = head;
  const [start, end] = [head.valueStart(index), head.valueEnd(index)];
  if (start === end || head.find(MAX_FORWARDS, 0, MAX_FORWARDS.length, 1) >= 0) return HOP.malformed;
  let left = 0;
  for (let i = start; i < end; i++) {
    if ((CLASS[bytes[i]!]! & IS.digit) === 0) return HOP.malformed;
    left = Math.min(MAX_VALUE, left * 10 + bytes[i]! - 48);
  }
  if (left === 0) return HOP.respond;
  head.replaceValue(index, Buffer.from(String(left - 1)));
  return HOP.forward;
}

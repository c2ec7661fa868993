/** Max-Forwards of OPTIONS (RFC 9110 section 7.6.2): how many more proxies may pass the request on. */
import { CLASS, IS } from "./bytes.ts";
import { FIELD_WORDS, type Head, VALUE_END, VALUE_START } from "./head.ts";

const MAX_FORWARDS = Buffer.from("max-forwards");
/** A larger number is sent on as this one. */
const MOST = 2 ** 31 - 1;

export const HOP = { pass: 0, answer: 1, malformed: 2 } as const;

/**
 * Takes one off the field: the request may be passed on (`pass`, also without the field), must be answered here
 * (`answer`, at 0), or has more than one field or what is no number (`malformed`).
 */
export function countHop(head: Head): number {
  const index = head.find(MAX_FORWARDS, 0, MAX_FORWARDS.length);
  if (index < 0) return HOP.pass;
  const { bytes, fields } = head;
  const word = index * FIELD_WORDS;
  const [start, end] = [fields[word + VALUE_START]!, fields[word + VALUE_END]!];
  if (start === end || head.find(MAX_FORWARDS, 0, MAX_FORWARDS.length, 1) >= 0) return HOP.malformed;
  let left = 0;
  for (let i = start; i < end; i++) {
    if ((CLASS[bytes[i]!]! & IS.digit) === 0) return HOP.malformed;
    left = Math.min(MOST, left * 10 + bytes[i]! - 48);
  }
  if (left === 0) return HOP.answer;
  const value = Buffer.from(String(left - 1));
  fields[word + VALUE_START] = head.append(value, 0, value.length);
  fields[word + VALUE_END] = head.end;
  return HOP.pass;
}

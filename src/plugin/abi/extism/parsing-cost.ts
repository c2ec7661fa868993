/**
 * What parsing JSON of a guest's costs, as bytes of which 64 are a unit of fuel. A text takes 20 ns a byte; each value and
 * key up to 1.2 µs, and the memory of an object (measured: a list of 700,000 empty objects, an object of 200,000 keys).
 */
import type { CallContext } from "../call-context.ts";

const BYTE = 16;
const VALUE = 512;
/** Shorter texts are priced as if they were all values. */
const SHORT = 512;
const MOST_PER_BYTE = 128;

const COMMA = 44;
const COLON = 58;
const LIST = 91;
const OBJECT = 123;

/** Charges it for `bytes[start, end)`, which is not parsed where the fuel does not suffice. @throws Fault */
export function payForParsing(context: CallContext, bytes: Uint8Array, start: number, end: number): void {
  const length = end - start;
  if (length <= SHORT) return context.spend(MOST_PER_BYTE * length);
  context.spend(BYTE * length);
  let values = 1;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if (byte === COMMA || byte === COLON || byte === LIST || byte === OBJECT) values++;
  }
  context.spend(VALUE * values);
}

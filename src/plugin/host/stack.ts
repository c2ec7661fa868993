/**
 * Parses the WebAssembly frames in the stack text of V8, in one pass without regular expressions: names and messages are
 * chosen by the guest, and must neither take more than linear time nor be parsed as frames.
 */

/** A frame: `at name (wasm://wasm/1a2b:wasm-function[3]:0x264)`; `name` is empty if the module has none. */
export type StackLine = { readonly name: string; readonly index: number; readonly offset: number };

/** Most characters and lines that are parsed. V8 keeps ten frames, and metering shortens their names. */
const MOST_TEXT = 64 * 1024;
const MOST_LINES = 100;

const AT = "    at ";
const URL = "wasm://wasm/";
/** A module of the host, such as the kernel of Extism plugins: its frames are not the guest's. */
const HOST_MODULE = "wasm://wasm/sluice-";
const FUNCTION = "wasm-function[";
const OFFSET = "]:0x";

/** `message`: the error's message. It precedes the frames, is skipped, and may look like frames. */
export function readStack(stack: string, message: string): StackLine[] {
  const start = message === "" ? -1 : stack.indexOf(message);
  let at = start < 0 ? 0 : start + message.length;
  const end = Math.min(stack.length, at + MOST_TEXT);
  const lines: StackLine[] = [];
  for (let count = 0; at < end && count < MOST_LINES; count++) {
    let next = stack.indexOf("\n", at);
    if (next < 0 || next > end) next = end;
    const line = readLine(stack.slice(at, next));
    if (line !== null) lines.push(line);
    at = next + 1;
  }
  return lines;
}

/** Parsed from its end, which the guest cannot choose. */
function readLine(line: string): StackLine | null {
  if (!line.startsWith(AT)) return null;
  const isNamed = line.endsWith(")");
  const last = isNamed ? line.length - 1 : line.length;
  const offsetAt = line.lastIndexOf(OFFSET);
  const indexAt = offsetAt < 0 ? -1 : line.lastIndexOf(FUNCTION, offsetAt);
  const urlAt = indexAt < 0 ? -1 : line.lastIndexOf(URL, indexAt);
  if (urlAt < 0 || line.startsWith(HOST_MODULE, urlAt)) return null;
  const index = readNumber(line.slice(indexAt + FUNCTION.length, offsetAt), 10);
  const offset = readNumber(line.slice(offsetAt + OFFSET.length, last), 16);
  if (index < 0 || offset < 0) return null;
  return { name: isNamed ? line.slice(AT.length, Math.max(AT.length, urlAt - 2)) : "", index, offset };
}

/** Returns -1 if it is not a number of at most ten digits. */
function readNumber(digits: string, base: number): number {
  if (digits.length === 0 || digits.length > 10) return -1;
  let value = 0;
  for (const digit of digits) {
    const number = Number.parseInt(digit, base);
    if (Number.isNaN(number)) return -1;
    value = value * base + number;
  }
  return value;
}

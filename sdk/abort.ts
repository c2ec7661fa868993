import { abort as hostAbort } from "./imports";

const MESSAGE_CAP: i32 = 1024;
const FILE_CAP: i32 = 256;
const message: usize = memory.data(1024);
const file: usize = memory.data(256);

/** Replaces AssemblyScript's `abort`: reports message and position to the host, then traps. */
// @ts-ignore: decorator
@unsafe
export function abort(text: usize, source: usize, line: u32, column: u32): void {
  const textLength = encode(text, message, MESSAGE_CAP);
  // A position within the SDK does not help the author of a plugin.
  const own = source != 0 && changetype<string>(source).startsWith("~lib/sluice/");
  const fileLength = own ? 0 : encode(source, file, FILE_CAP);
  hostAbort(message, textLength, file, fileLength, <i32>line, <i32>column);
  unreachable();
}

/** Encodes as much of the string at `text` as is sure to fit, without allocating: memory may be exhausted. */
function encode(text: usize, out: usize, cap: i32): i32 {
  if (!text) return 0;
  const units = min(<i32>(load<u32>(text - 4) >> 1), cap / 3);
  return <i32>String.UTF8.encodeUnsafe(text, units, out);
}

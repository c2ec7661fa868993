/** Writes the function names of a metered module, which the engine includes in every stack. */

import { Reader, SECTION, type Section } from "./binary.ts";
import { PluginError } from "./error.ts";
import type { Writer } from "./writer.ts";

/** Most bytes of one name, since the module chooses it and a stack has up to ten. */
const LONGEST = 512;
const FUNCTION_NAMES = 1;
const QUESTION_MARK = 0x3f;
const DELETE = 0x7f;

/**
 * Writes the custom section `name` with the function names only. Each is truncated to 512 bytes and has no control
 * characters, so that it can neither extend a stack nor imitate a frame. A malformed section is truncated.
 */
export function writeNames(writer: Writer, bytes: Uint8Array, sections: readonly Section[]): void {
  const section = sections.find(({ id, start, end }) => id === SECTION.custom && isNamed(bytes, start, end));
  if (section === undefined) return;
  const names = readNames(bytes, section);
  if (names.length === 0) return;
  writer.section(SECTION.custom, () => {
    writer.name("name");
    writer.u8(FUNCTION_NAMES);
    writer.sized(() => {
      writer.u32(names.length / 3);
      for (let i = 0; i < names.length; i += 3) writeName(writer, bytes, names[i]!, names[i + 1]!, names[i + 2]!);
    });
  });
}

function isNamed(bytes: Uint8Array, start: number, end: number): boolean {
  return new Reader(bytes, start, end).name() === "name";
}

/** Returns three numbers per name: function index, start and end of its bytes. */
function readNames(bytes: Uint8Array, { start, end }: Section): number[] {
  const names: number[] = [];
  const reader = new Reader(bytes, start, end);
  try {
    reader.name();
    while (reader.at < reader.end) {
      const kind = reader.u8();
      const size = reader.u32();
      if (kind !== FUNCTION_NAMES) {
        reader.skip(size);
        continue;
      }
      for (let left = reader.u32(); left > 0; left--) {
        const index = reader.u32();
        const length = reader.u32();
        const at = reader.at;
        reader.skip(length);
        names.push(index, at, reader.at);
      }
      break;
    }
  } catch (error) {
    // The engine ignores malformed names too.
    if (!(error instanceof PluginError)) throw error;
  }
  return names;
}

function writeName(writer: Writer, bytes: Uint8Array, index: number, start: number, end: number): void {
  let cut = Math.min(end, start + LONGEST);
  // Not within a multi-byte character.
  while (cut < end && cut > start && (bytes[cut]! & 0xc0) === 0x80) cut--;
  writer.u32(index);
  writer.u32(cut - start);
  for (let at = start; at < cut; at++) {
    const byte = bytes[at]!;
    writer.u8(byte < 0x20 || byte === DELETE ? QUESTION_MARK : byte);
  }
}

/** Measures the size of a module by section and function, for `plugin inspect`. */

import { Reader, readSections, SECTION, type Section } from "./binary.ts";
import { readableName } from "./source-map.ts";

export type ModuleSize = {
  readonly total: number;
  readonly code: number;
  readonly data: number;
  /** Custom sections; `name` contains the function names. */
  readonly custom: readonly { readonly name: string; readonly bytes: number }[];
  /** Types, imports, exports, … */
  readonly rest: number;
  /** Sorted by size, largest first. */
  readonly functions: readonly { readonly name: string; readonly bytes: number }[];
};

/** Measures a valid module; `imports`: the number of imported functions. */
export function measureModule(bytes: Uint8Array, imports: number): ModuleSize {
  const sections = readSections(bytes);
  const sizeOf = (id: number) => sections.find((section) => section.id === id);
  const length = (section: Section | undefined) => (section === undefined ? 0 : section.end - section.start);
  const custom = sections
    .filter(({ id }) => id === SECTION.custom)
    .map(({ start, end }) => ({ name: new Reader(bytes, start, end).name(), bytes: end - start }));
  const [code, data] = [length(sizeOf(SECTION.code)), length(sizeOf(SECTION.data))];
  const spent = code + data + custom.reduce((sum, one) => sum + one.bytes, 0);
  const functions = measureFunctions(bytes, sizeOf(SECTION.code), { imports, names: readNames(bytes, sections) });
  return { total: bytes.length, code, data, custom, rest: bytes.length - spent, functions };
}

function measureFunctions(
  bytes: Uint8Array,
  code: Section | undefined,
  { imports, names }: { imports: number; names: ReadonlyMap<number, string> },
): ModuleSize["functions"] {
  if (code === undefined) return [];
  const reader = new Reader(bytes, code.start, code.end);
  const functions = Array.from({ length: reader.u32() }, (_, i) => {
    const size = reader.u32();
    reader.skip(size);
    const index = imports + i;
    return { name: readableName(names.get(index) ?? `function[${index}]`), bytes: size };
  });
  return functions.sort((a, b) => b.bytes - a.bytes);
}

/** The function names by index: subsection 1 of the custom section `name`. */
function readNames(bytes: Uint8Array, sections: readonly Section[]): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const { id, start, end } of sections) {
    if (id !== SECTION.custom) continue;
    const reader = new Reader(bytes, start, end);
    if (reader.name() !== "name") continue;
    while (reader.at < reader.end) {
      const kind = reader.u8();
      const size = reader.u32();
      if (kind !== FUNCTION_NAMES) reader.skip(size);
      else for (let left = reader.u32(); left > 0; left--) names.set(reader.u32(), reader.name());
    }
  }
  return names;
}

const FUNCTION_NAMES = 1;

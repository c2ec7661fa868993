/** The declarations of a module: parsed once, then used by checks, metering (`meter.ts`) and `plugin inspect`. */
import { LIMIT } from "../../abi/abi.ts";
import { KIND, KIND_NAMES, Reader, readSections, SECTION, type Section, TYPE } from "./binary.ts";
import { PluginError } from "./error.ts";
import { OP, skipImmediates } from "./instructions.ts";

export type Signature = { readonly params: readonly number[]; readonly results: readonly number[] };
export type ImportShape = {
  readonly module: string;
  readonly name: string;
  /** Index of its type, and the type. */
  readonly type: number;
  readonly signature: Signature;
};
export type ExportShape = { readonly name: string; readonly kind: number; readonly index: number };
export type Limits = { readonly initial: number; readonly maximum: number | null };

export type ModuleShape = {
  readonly sections: readonly Section[];
  readonly types: readonly Signature[];
  /** Imported functions; modules with other imports are rejected. */
  readonly imports: readonly ImportShape[];
  /** Type index of every function, imported ones first. */
  readonly functions: readonly number[];
  /** Null: the module defines none. */
  readonly memory: Limits | null;
  readonly globals: number;
  /** Entries of each element segment. */
  readonly segments: readonly number[];
  /** Type index of every tag of exceptions. */
  readonly tags: readonly number[];
  readonly exports: readonly ExportShape[];
  readonly start: number | null;
};

/** Parses a module's declarations. @throws PluginError for unsupported ones and above the limits */
export function readShape(bytes: Uint8Array): ModuleShape {
  const sections = readSections(bytes);
  checkCounts(bytes, sections);
  const open = (id: number): Reader | null => {
    const section = sections.find((candidate) => candidate.id === id);
    return section === undefined ? null : new Reader(bytes, section.start, section.end);
  };
  const types = readList(open(SECTION.type), readType);
  const imports = readList(open(SECTION.import), (reader) => readImport(reader, types));
  const functions = imports.map((declared) => declared.type);
  for (const type of readList(open(SECTION.function), (reader) => reader.u32())) functions.push(type);
  const memories = readList(open(SECTION.memory), (reader) => readLimits(reader, "memory"));
  if (memories.length > 1) throw new PluginError(`${memories.length} memories are declared, one is supported`);
  return {
    sections,
    types,
    imports,
    functions,
    memory: memories[0] ?? null,
    globals: open(SECTION.global)?.u32() ?? 0,
    segments: readList(open(SECTION.element), readSegment),
    tags: readList(open(SECTION.tag), (reader) => {
      reader.skip(1);
      return reader.u32();
    }),
    exports: readList(open(SECTION.export), (reader) => ({
      name: reader.name(),
      kind: reader.u8(),
      index: reader.u32(),
    })),
    start: open(SECTION.start)?.u32() ?? null,
  };
}

/** The constant that a function of type `() -> i32` returns, if it has no other code; otherwise null. */
export function readConstant(bytes: Uint8Array, shape: ModuleShape, functionIndex: number): number | null {
  const code = shape.sections.find((section) => section.id === SECTION.code);
  if (code === undefined) return null;
  const reader = new Reader(bytes, code.start, code.end);
  reader.u32();
  for (let index = shape.imports.length; index < functionIndex; index++) reader.skip(reader.u32());
  reader.u32();
  if (reader.u32() !== 0 || reader.u8() !== OP.i32Const) return null;
  let value = 0;
  let shift = 0;
  let byte: number;
  do {
    byte = reader.u8();
    value |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte >= 0x80);
  if (shift < 32 && (byte & 0x40) !== 0) value |= -1 << shift;
  const last = reader.u8();
  return last === OP.end || last === OP.return ? value : null;
}

/** Reads limits. Flags: 1 a maximum follows, 2 shared, 4 64-bit, 8 custom page size. @throws PluginError */
export function readLimits(reader: Reader, what: string): Limits {
  const flags = reader.u8();
  if ((flags & 2) !== 0) throw new PluginError(`a shared ${what} is not supported`);
  if ((flags & 4) !== 0) throw new PluginError(`a 64-bit ${what} is not supported`);
  if (flags > 1) reader.fail(`unknown limits 0x${flags.toString(16)} of a ${what}`);
  return { initial: reader.u32(), maximum: (flags & 1) !== 0 ? reader.u32() : null };
}

/** Skips a constant expression including its `end`. */
export function skipExpression(reader: Reader): void {
  for (let opcode = reader.u8(); opcode !== OP.end; opcode = reader.u8()) skipImmediates(reader, opcode);
}

function readList<T>(reader: Reader | null, read: (reader: Reader) => T): T[] {
  if (reader === null) return [];
  const list: T[] = [];
  for (let left = reader.u32(); left > 0; left--) list.push(read(reader));
  return list;
}

function readType(reader: Reader): Signature {
  const form = reader.u8();
  if (form !== TYPE.func) reader.fail("garbage-collected types are not supported", reader.at - 1);
  const list = () => readList(reader, (inner) => inner.valueType());
  return { params: list(), results: list() };
}

function readImport(reader: Reader, types: readonly Signature[]): ImportShape {
  const module = reader.name();
  const name = reader.name();
  const kind = reader.u8();
  if (kind !== KIND.function)
    throw new PluginError(
      `imports the ${KIND_NAMES[kind as 1] ?? kind} ${module}.${name}, but only functions of the host are offered`,
    );
  const type = reader.u32();
  const signature = types[type];
  if (signature === undefined) return reader.fail(`import ${module}.${name} names an unknown type`);
  return { module, name, type, signature };
}

/** Limits of sections that are lists: each entry takes time and memory in every worker. */
const COUNTED: ReadonlyMap<number, readonly [what: string, limit: number]> = new Map([
  [SECTION.type, ["types", LIMIT.types]],
  [SECTION.import, ["imports", LIMIT.imports]],
  [SECTION.function, ["functions", LIMIT.functions]],
  [SECTION.table, ["tables", LIMIT.tables]],
  [SECTION.global, ["globals", LIMIT.globals]],
  [SECTION.export, ["exports", LIMIT.exports]],
  [SECTION.tag, ["tags", LIMIT.tags]],
]);

function checkCounts(bytes: Uint8Array, sections: readonly Section[]): void {
  const check = (count: number, what: string, limit: number) => {
    if (count > limit) throw new PluginError(`${count} ${what} are declared, the limit is ${limit}`);
  };
  check(sections.filter(({ id }) => id === SECTION.custom).length, "custom sections", LIMIT.customSections);
  for (const { id, start, end } of sections) {
    const counted = COUNTED.get(id);
    const reader = new Reader(bytes, start, end);
    if (counted !== undefined) check(reader.u32(), ...counted);
    else if (id === SECTION.element) check(countElements(reader), "table elements", LIMIT.elements);
  }
}

/** Number of entries of all element segments: instantiation copies each of them. */
function countElements(reader: Reader): number {
  let count = 0;
  for (let left = reader.u32(); left > 0; left--) count += readSegment(reader);
  return count;
}

/** Number of entries of an element segment. */
function readSegment(reader: Reader): number {
  // Bits: 0 passive or declared, 1 a table or a kind is named, 2 entries are expressions.
  const flags = reader.u32();
  if ((flags & 1) === 0) {
    if ((flags & 2) !== 0) reader.skipLeb();
    skipExpression(reader);
  }
  if ((flags & 3) !== 0) reader.valueType();
  const entries = reader.u32();
  for (let i = 0; i < entries; i++) {
    if ((flags & 4) !== 0) skipExpression(reader);
    else reader.skipLeb();
  }
  return entries;
}

export function sameSignature(a: Signature, b: Signature): boolean {
  const same = (x: readonly number[], y: readonly number[]) =>
    x.length === y.length && x.every((type, i) => type === y[i]);
  return same(a.params, b.params) && same(a.results, b.results);
}

const TYPE_NAMES: Record<number, string> = {
  [TYPE.i32]: "i32",
  [TYPE.i64]: "i64",
  [TYPE.f32]: "f32",
  [TYPE.f64]: "f64",
  [TYPE.v128]: "v128",
};

/** Formats a signature for messages and `plugin inspect`: `(i32, i32) -> i32`. */
export function formatSignature(signature: Signature): string {
  const names = (types: readonly number[]) => types.map((type) => TYPE_NAMES[type] ?? "ref").join(", ");
  return `(${names(signature.params)}) -> ${signature.results.length === 0 ? "()" : names(signature.results)}`;
}

/** The modules that it imports from, sorted. */
export function importModules({ imports }: ModuleShape): string[] {
  return [...new Set(imports.map(({ module }) => module))].sort();
}

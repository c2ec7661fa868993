/**
 * Metering: rewrites a module so that its code subtracts fuel from a global and traps when it is used up.
 *
 * Each function entry and loop iteration charges the price of its code by the price list (`abi/prices.ts`); a price per
 * entry alone would let long straight code run for minutes. Bulk operations are charged by length before they run, throwing
 * and growing memory by fixed prices. Indices do not change: globals, types and functions are appended. The memory gets a
 * maximum, and becomes an import (`linear-memory.ts`). Custom sections except function names are dropped, because their
 * offsets are invalid.
 */
import { FUEL, LIMIT } from "../../abi/abi.ts";
import type { EntryPoint, EntryPoints } from "../abi/abi.ts";
import { KIND, Reader, SECTION, SECTION_ORDER, TYPE } from "./binary.ts";
import { PluginError } from "./error.ts";
import { OP } from "./instructions.ts";
import { MEMORY_IMPORT, type MemoryPages, PAGE } from "./linear-memory.ts";
import { type Appended, type Context, countAppended, type Entry, writeCode } from "./meter-code.ts";
import { type ModuleShape, readLimits, type Signature, skipExpression } from "./module-shape.ts";
import { writeNames } from "./name-section.ts";
import { Writer } from "./writer.ts";

/** Names of the appended exports; the module's own exports must not have this prefix. */
export const RESERVED = "sluice:";
export const METER = {
  /** `(units) -> units left`: subtracts fuel. */
  charge: "sluice:charge",
  /** A global, one of STOPPED: the probable cause of a trap. */
  stopped: "sluice:stopped",
  /** The start function: the host calls it after it has attached the memory. */
  start: "sluice:start",
  /** Prefix of wrappers: they have the arguments and the fuel budget, set it, and call the export. */
  hook: "sluice:hook:",
  /** Prefix of wrappers for suspendable calls. */
  suspendable: "sluice:suspendable:",
} as const;

export type Metered = {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Pairs (offset in the metered module, offset in the file) of copied code, ascending. */
  readonly offsets: Uint32Array;
  /** Offset in the file of each function without imports. */
  readonly starts: Uint32Array;
  /** The memory that it imports. */
  readonly pages: MemoryPages;
};

export function meterModule(
  bytes: Uint8Array,
  shape: ModuleShape,
  memory: number,
  { hooks, suspendable, suspending, notHere, importPrice }: EntryPoints,
): Metered {
  const next = shape.functions.length;
  const entryTypes: number[] = [];
  const entries = (points: readonly EntryPoint[]) => points.map((point) => findEntry(shape, point, entryTypes));
  const appended: Appended = {
    fuel: shape.globals,
    stopped: shape.globals + 1,
    unaryType: shape.types.length,
    entryTypes,
    charge: next,
    bulk: next + 1,
    entries: next + 2,
    grow: next + 3,
    maySuspend: shape.globals + 2,
    hooks: entries(hooks),
    suspendable: entries(suspendable),
    notHere,
    importPrice,
    guards: suspending.map((index) => ({ index, type: shape.functions[index]! })),
  };
  const writer = new Writer(bytes.length + (bytes.length >> 1) + 1024);
  const offsets: number[] = [];
  const starts: number[] = [];
  writer.op(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0);
  const pages = limitMemory(shape, memory);
  for (const id of SECTION_ORDER) {
    if (id === SECTION.start || id === SECTION.memory) continue;
    const section = shape.sections.find((candidate) => candidate.id === id);
    if (section === undefined && id !== SECTION.global && id !== SECTION.import) continue;
    const reader = new Reader(bytes, section?.start ?? 0, section?.end ?? 0);
    writer.section(id, () => writeSection(writer, id, reader, { shape, appended, memory, pages, offsets, starts }));
  }
  writeNames(writer, bytes, shape.sections);
  return { bytes: writer.done(), offsets: Uint32Array.from(offsets), starts: Uint32Array.from(starts), pages };
}

/** The entry of a wrapper for an export. `types`: types of wrapped functions, to which its type is added. */
function findEntry(
  { exports, functions, types: { length } }: ModuleShape,
  { hook, target: exported }: EntryPoint,
  types: number[],
): Entry {
  const target = exports.find(({ name }) => name === exported)!.index;
  const type = functions[target]!;
  if (!types.includes(type)) types.push(type);
  return { name: hook, target, type, wrapperType: length + 1 + types.indexOf(type) };
}

/** Converts an offset in the metered module, as in V8 stacks, to the offset in the file. */
export function originalOffset(offsets: Uint32Array, metered: number): number {
  let low = 0;
  let high = offsets.length / 2;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (offsets[2 * middle]! <= metered) low = middle + 1;
    else high = middle;
  }
  if (low === 0) return metered;
  const original = offsets[2 * low - 1]! + metered - offsets[2 * low - 2]!;
  // Within inserted code: the offset of the following instruction.
  return Math.min(original, offsets[2 * low + 1] ?? original);
}

function writeSection(writer: Writer, id: number, reader: Reader, context: Context): void {
  const { shape, appended } = context;
  switch (id) {
    case SECTION.type:
      copyList(writer, reader, 1 + appended.entryTypes.length);
      writeType(writer, UNARY);
      for (const type of appended.entryTypes) writeType(writer, withFuel(shape.types[type]!));
      return;
    case SECTION.import:
      copyList(writer, reader, 1);
      writeMemoryImport(writer, context.pages);
      return;
    case SECTION.function:
      copyList(writer, reader, countAppended(appended));
      for (let i = 0; i < 4; i++) writer.u32(appended.unaryType);
      for (const { wrapperType } of [...appended.hooks, ...appended.suspendable]) writer.u32(wrapperType);
      for (const { type } of appended.guards) writer.u32(type);
      return;
    case SECTION.table:
      writeTables(writer, reader, context.memory);
      return;
    case SECTION.global:
      copyList(writer, reader, 3);
      writeGlobal(writer, FUEL.start);
      writeGlobal(writer, 0);
      writeGlobal(writer, 0);
      return;
    case SECTION.export:
      writeExports(writer, reader, shape, appended);
      return;
    case SECTION.code:
      writeCode(writer, reader, context);
      return;
    default:
      writer.copy(reader.bytes, reader.at, reader.end);
  }
}

/** Copies a list with a count increased by `more` entries, which the caller appends. */
function copyList(writer: Writer, reader: Reader, more: number): void {
  writer.u32((reader.at < reader.end ? reader.u32() : 0) + more);
  writer.copy(reader.bytes, reader.at, reader.end);
}

const UNARY: Signature = { params: [TYPE.i32], results: [TYPE.i32] };

function withFuel({ params, results }: Signature): Signature {
  return { params: [...params, TYPE.i32], results };
}

function writeType(writer: Writer, { params, results }: Signature): void {
  writer.u8(TYPE.func);
  for (const types of [params, results]) {
    writer.u32(types.length);
    writer.op(...types);
  }
}

function writeGlobal(writer: Writer, value: number): void {
  writer.op(TYPE.i32, 1).constant(value).op(OP.end);
}

/**
 * Limits tables, which use memory outside of the linear memory, up to hundreds of megabytes: the entries of all tables must
 * fit into `limits.memory`. Space that is left for growth is given to the tables in their order.
 */
function writeTables(writer: Writer, reader: Reader, limit: number): void {
  const tables = readTables(reader);
  const entries = Math.floor(limit / ENTRY_BYTES);
  const declared = tables.reduce((sum, { limits }) => sum + limits.initial, 0);
  if (declared > entries)
    throw new PluginError(
      `tables of ${declared} entries are declared, which take ${declared * ENTRY_BYTES} bytes, the limit is ${limit} (limits.memory)`,
    );
  let left = entries - declared;
  writer.u32(tables.length);
  for (const { start, limitsAt, limits, expression, end } of tables) {
    writer.copy(reader.bytes, start, limitsAt);
    const most = Math.min(limits.maximum ?? LIMIT.tableEntries, LIMIT.tableEntries, limits.initial + left);
    left -= most - limits.initial;
    writeLimits(writer, limits.initial, most);
    writer.copy(reader.bytes, expression, end);
  }
}

/** Measured bytes of a table entry with a function. */
const ENTRY_BYTES = 24;

function readTables(reader: Reader) {
  const count = reader.u32();
  return Array.from({ length: count }, () => {
    const start = reader.at;
    const initialised = reader.bytes[reader.at] === 0x40;
    if (initialised) reader.skip(2);
    reader.valueType();
    const limitsAt = reader.at;
    const limits = readLimits(reader, "table");
    if (limits.initial > LIMIT.tableEntries)
      throw new PluginError(`a table of ${limits.initial} entries is declared, the limit is ${LIMIT.tableEntries}`);
    const expression = reader.at;
    if (initialised) skipExpression(reader);
    return { start, limitsAt, limits, expression, end: reader.at };
  });
}

function limitMemory(shape: ModuleShape, limit: number): MemoryPages {
  // Appended code contains `memory.grow`: a module without a memory gets an empty one.
  const { initial, maximum } = shape.memory ?? { initial: 0, maximum: 0 };
  const pages = Math.min(Math.floor(limit / PAGE), 65_536);
  if (initial > pages)
    throw new PluginError(`memory begins with ${initial * PAGE} bytes, the plugin's limit is ${limit} (limits.memory)`);
  return { initial, maximum: Math.min(maximum ?? pages, pages) };
}

function writeMemoryImport(writer: Writer, { initial, maximum }: MemoryPages): void {
  writer.name(MEMORY_IMPORT.module);
  writer.name(MEMORY_IMPORT.name);
  writer.u8(KIND.memory);
  writeLimits(writer, initial, maximum);
}

function writeLimits(writer: Writer, initial: number, maximum: number): void {
  writer.u8(1);
  writer.u32(initial);
  writer.u32(maximum);
}

function writeExports(writer: Writer, reader: Reader, shape: ModuleShape, appended: Appended): void {
  const entry = (name: string, kind: number, index: number) => {
    writer.name(name);
    writer.u8(kind);
    writer.u32(index);
  };
  const { hooks, suspendable } = appended;
  copyList(writer, reader, 2 + hooks.length + suspendable.length + (shape.start === null ? 0 : 1));
  entry(METER.charge, KIND.function, appended.charge);
  entry(METER.stopped, KIND.global, appended.stopped);
  let index = appended.grow + 1;
  for (const { name } of hooks) entry(METER.hook + name, KIND.function, index++);
  for (const { name } of suspendable) entry(METER.suspendable + name, KIND.function, index++);
  if (shape.start !== null) entry(METER.start, KIND.function, shape.start);
}

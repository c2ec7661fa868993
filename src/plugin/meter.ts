/**
 * Rewrites a module so that everything it does is paid for from a global of its own, and traps when that is used up.
 *
 * At each function entry and loop header `1 + bytes of code to the end of that function or loop / 64` is taken (a flat
 * price would let a long straight line of divisions run for minutes). Bulk operations pay for their length before they
 * run, throwing and growing a fixed price. Indices never move: a global, types and functions are appended. The memory
 * gets a maximum. Custom sections are dropped but for `name`, since their offsets no longer hold.
 */
import { FUEL, HOOKS, LIMIT } from "./abi.ts";
import { PluginError } from "./error.ts";
import { type ModuleShape, readLimits, skipExpression } from "./module-shape.ts";
import { KIND, OP, Reader, SECTION, SECTION_ORDER, type Section, skipImmediates, TYPE, Writer } from "./wasm-binary.ts";

/** Names of the appended exports; a module's own may not begin with this. */
export const RESERVED = "sluice:";
export const METER = {
  /** `(units) -> units left`: takes fuel away. */
  charge: "sluice:charge",
  /** A global: 1 once the memory could not be grown. */
  growFailed: "sluice:grow-failed",
  /** + hook: `(instance, exchange, fuel) -> result`: sets the fuel, then calls the hook. One crossing, not two. */
  hook: "sluice:hook:",
} as const;

export const PAGE = 65_536;
const THROW_UNITS = 256;
const GROW_UNITS = 1000;

export type Metered = {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Pairs (offset in the metered module, offset in the file) where copied code begins, ascending. */
  readonly offsets: Uint32Array;
};

/** Indices of what is appended. */
type Appended = {
  readonly fuel: number;
  readonly growFailed: number;
  readonly unaryType: number;
  readonly hookType: number;
  readonly charge: number;
  readonly bulk: number;
  readonly grow: number;
  readonly hooks: readonly { readonly name: string; readonly target: number }[];
};

export function meterModule(bytes: Uint8Array, shape: ModuleShape, memory: number): Metered {
  const next = shape.functions.length;
  const appended: Appended = {
    fuel: shape.globals,
    growFailed: shape.globals + 1,
    unaryType: shape.types.length,
    hookType: shape.types.length + 1,
    charge: next,
    bulk: next + 1,
    grow: next + 2,
    hooks: shape.exports
      .filter((exported) => (HOOKS as readonly string[]).includes(exported.name))
      .map((exported) => ({ name: exported.name, target: exported.index })),
  };
  const writer = new Writer(bytes.length + (bytes.length >> 1) + 1024);
  const offsets: number[] = [];
  for (const byte of [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) writer.u8(byte);
  for (const id of SECTION_ORDER) {
    if (id === SECTION.start) continue;
    const section = shape.sections.find((candidate) => candidate.id === id);
    if (section === undefined && id !== SECTION.global) continue;
    const reader = new Reader(bytes, section?.start ?? 0, section?.end ?? 0);
    writer.section(id, () => writeSection(writer, id, reader, { shape, appended, memory, offsets }));
  }
  copyNames(writer, bytes, shape.sections);
  return { bytes: writer.done(), offsets: Uint32Array.from(offsets) };
}

/** The offset in the file of an offset in the metered module, as V8 prints it in a stack. */
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
  // Inside inserted code the answer is the instruction that it was put before.
  return Math.min(original, offsets[2 * low + 1] ?? original);
}

type Context = {
  readonly shape: ModuleShape;
  readonly appended: Appended;
  readonly memory: number;
  readonly offsets: number[];
};

function writeSection(writer: Writer, id: number, reader: Reader, context: Context): void {
  const { shape, appended } = context;
  switch (id) {
    case SECTION.type:
      copyList(writer, reader, 2);
      writeType(writer, 1);
      writeType(writer, 3);
      return;
    case SECTION.function:
      copyList(writer, reader, 3 + appended.hooks.length);
      for (let i = 0; i < 3; i++) writer.u32(appended.unaryType);
      for (let i = 0; i < appended.hooks.length; i++) writer.u32(appended.hookType);
      return;
    case SECTION.table:
      writeTables(writer, reader);
      return;
    case SECTION.memory:
      writeMemory(writer, shape, context.memory);
      return;
    case SECTION.global:
      copyList(writer, reader, 2);
      writeGlobal(writer, FUEL.start);
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

/** A list as it is, announcing `more` entries that the caller appends. */
function copyList(writer: Writer, reader: Reader, more: number): void {
  writer.u32((reader.at < reader.end ? reader.u32() : 0) + more);
  writer.copy(reader.bytes, reader.at, reader.end);
}

function writeType(writer: Writer, params: number): void {
  writer.u8(TYPE.func);
  writer.u32(params);
  for (let i = 0; i < params; i++) writer.u8(TYPE.i32);
  writer.u32(1);
  writer.u8(TYPE.i32);
}

function writeGlobal(writer: Writer, value: number): void {
  writer.u8(TYPE.i32);
  writer.u8(1);
  writer.u8(OP.i32Const);
  writer.s32(value);
  writer.u8(OP.end);
}

/** A table without a maximum could take hundreds of megabytes outside of the memory's limit. */
function writeTables(writer: Writer, reader: Reader): void {
  const count = reader.u32();
  if (count > LIMIT.tables) throw new PluginError(`${count} tables are declared, the limit is ${LIMIT.tables}`);
  writer.u32(count);
  for (let i = 0; i < count; i++) {
    const start = reader.at;
    const initialised = reader.bytes[reader.at] === 0x40;
    if (initialised) reader.skip(2);
    reader.valueType();
    writer.copy(reader.bytes, start, reader.at);
    const limits = readLimits(reader, "table");
    if (limits.initial > LIMIT.tableEntries)
      throw new PluginError(`a table of ${limits.initial} entries is declared, the limit is ${LIMIT.tableEntries}`);
    writeLimits(writer, limits.initial, Math.min(limits.maximum ?? LIMIT.tableEntries, LIMIT.tableEntries));
    const expression = reader.at;
    if (initialised) skipExpression(reader);
    writer.copy(reader.bytes, expression, reader.at);
  }
}

function writeMemory(writer: Writer, shape: ModuleShape, limit: number): void {
  const { initial, maximum } = shape.memory;
  const pages = Math.min(Math.floor(limit / PAGE), 65_536);
  if (initial > pages)
    throw new PluginError(`memory begins with ${initial * PAGE} bytes, the plugin's limit is ${limit} (limits.memory)`);
  writer.u32(1);
  writeLimits(writer, initial, Math.min(maximum ?? pages, pages));
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
  copyList(writer, reader, 2 + appended.hooks.length + (shape.start === null ? 0 : 1));
  entry(METER.charge, KIND.function, appended.charge);
  entry(METER.growFailed, KIND.global, appended.growFailed);
  for (const [i, hook] of appended.hooks.entries()) entry(METER.hook + hook.name, KIND.function, appended.grow + 1 + i);
  // A start function would run before the host holds the memory.
  if (shape.start !== null) entry("_initialize", KIND.function, shape.start);
}

function writeCode(writer: Writer, reader: Reader, context: Context): void {
  const { appended, shape, offsets } = context;
  const count = reader.u32();
  const sites = new Sites();
  writer.u32(count + 3 + appended.hooks.length);
  for (let i = 0; i < count; i++) {
    const size = reader.u32();
    const end = reader.at + size;
    if (size > LIMIT.functionBytes)
      throw new PluginError(
        `function ${shape.imports.length + i} is ${size} bytes of code, the limit is ${LIMIT.functionBytes}`,
      );
    writer.sized(() => {
      const start = reader.at;
      findSites(new Reader(reader.bytes, start, end), sites);
      writeBody(writer, { bytes: reader.bytes, start, end, sites, appended, offsets });
    });
    reader.skip(size);
  }
  writer.sized(() => writeCharge(writer, appended));
  writer.sized(() => writeBulk(writer, appended));
  writer.sized(() => writeGrow(writer, appended));
  for (const hook of appended.hooks) writer.sized(() => writeHook(writer, appended, hook.target));
}

/** Where something is put into one function's code: parallel arrays, used again for the next function. */
class Sites {
  readonly at: number[] = [];
  /** Units to take; or one of SITE. */
  readonly units: number[] = [];

  clear(): void {
    this.at.length = 0;
    this.units.length = 0;
  }

  add(at: number, units: number): number {
    this.units.push(units);
    return this.at.push(at) - 1;
  }
}

const SITE = { bulk: -1, grow: -2 } as const;

/** memory.init, copy and fill; table.init, copy, grow and fill: each has its length on top of the stack. */
const isBulk = (sub: number) => (sub >= 8 && sub !== 9 && sub <= 12) || (sub >= 14 && sub <= 17 && sub !== 16);

function findSites(reader: Reader, sites: Sites): void {
  sites.clear();
  let locals = 0;
  for (let left = reader.u32(); left > 0; left--) {
    locals += reader.u32();
    reader.valueType();
  }
  const code = reader.end - reader.at;
  // Locals are cleared at each entry: they are paid for like code.
  sites.add(reader.at, 1 + ((code + 8 * locals) >>> 6));
  // Sites of the loops that are open, -1 for other blocks.
  const open: number[] = [];
  while (reader.at < reader.end) {
    const at = reader.at;
    const opcode = reader.u8();
    const sub = skipImmediates(reader, opcode);
    switch (opcode) {
      case OP.block:
      case OP.if:
      case OP.try:
      case OP.tryTable:
        open.push(-1);
        break;
      case OP.loop:
        open.push(sites.add(reader.at, 0));
        break;
      case OP.end:
      case OP.delegate: {
        const site = open.pop() ?? -1;
        if (site >= 0) sites.units[site] = 1 + ((reader.at - sites.at[site]!) >>> 6);
        break;
      }
      case OP.throw:
      case OP.rethrow:
      case OP.throwRef:
        sites.add(at, THROW_UNITS);
        break;
      case OP.memoryGrow:
        sites.add(at, SITE.grow);
        break;
      case OP.bulk:
        if (isBulk(sub)) sites.add(at, SITE.bulk);
        break;
    }
  }
}

type Body = {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly sites: Sites;
  readonly appended: Appended;
  readonly offsets: number[];
};

function writeBody(writer: Writer, { bytes, start, end, sites, appended, offsets }: Body): void {
  let from = start;
  offsets.push(writer.at, from);
  for (let i = 0; i < sites.at.length; i++) {
    const at = sites.at[i]!;
    const units = sites.units[i]!;
    writer.copy(bytes, from, at);
    from = at;
    if (units === SITE.grow) {
      writeCall(writer, appended.grow);
      from += 2;
    } else if (units === SITE.bulk) writeCall(writer, appended.bulk);
    else {
      writeGet(writer, appended.fuel);
      writer.u8(OP.i32Const);
      writer.s32(units);
      writeTake(writer, appended.fuel);
    }
    offsets.push(writer.at, from);
  }
  writer.copy(bytes, from, end);
}

const I32 = { eq: 0x46, ltS: 0x48, ltU: 0x49, add: 0x6a, sub: 0x6b, shl: 0x74, shrU: 0x76 } as const;
const SELECT = 0x1b;
const EMPTY = 0x40;

function writeGet(writer: Writer, global: number): void {
  writer.u8(OP.globalGet);
  writer.u32(global);
}

function writeCall(writer: Writer, index: number): void {
  writer.u8(OP.call);
  writer.u32(index);
}

function writeConst(writer: Writer, value: number): void {
  writer.u8(OP.i32Const);
  writer.s32(value);
}

function writeLocal(writer: Writer, local: number): void {
  writer.u8(OP.localGet);
  writer.u32(local);
}

/** Takes the units on the stack from the fuel under them; traps below zero. */
function writeTake(writer: Writer, fuel: number): void {
  writer.u8(I32.sub);
  writer.u8(OP.globalSet);
  writer.u32(fuel);
  writeGet(writer, fuel);
  writeConst(writer, 0);
  writer.u8(I32.ltS);
  writer.u8(OP.if);
  writer.u8(EMPTY);
  writer.u8(OP.unreachable);
  writer.u8(OP.end);
}

/** (units) -> left. It does not trap: the host that calls it decides. */
function writeCharge(writer: Writer, { fuel }: Appended): void {
  writer.u32(0);
  writeGet(writer, fuel);
  writeLocal(writer, 0);
  writer.u8(I32.sub);
  writer.u8(OP.globalSet);
  writer.u32(fuel);
  writeGet(writer, fuel);
  writer.u8(OP.end);
}

/** (length) -> length, paid for. */
function writeBulk(writer: Writer, { fuel }: Appended): void {
  writer.u32(0);
  writeGet(writer, fuel);
  writeLocal(writer, 0);
  writeConst(writer, Math.log2(FUEL.bytesPerUnit));
  writer.u8(I32.shrU);
  writeTake(writer, fuel);
  writeLocal(writer, 0);
  writer.u8(OP.end);
}

/** (pages) -> pages before, or -1: memory.grow, paid for, noting when it fails. */
function writeGrow(writer: Writer, { fuel, growFailed }: Appended): void {
  writer.u32(0);
  writeGet(writer, fuel);
  // At most 65,536 pages are charged, so that the subtraction cannot wrap.
  writeLocal(writer, 0);
  writeConst(writer, PAGE);
  writeLocal(writer, 0);
  writeConst(writer, PAGE);
  writer.u8(I32.ltU);
  writer.u8(SELECT);
  writeConst(writer, Math.log2(PAGE / FUEL.bytesPerUnit));
  writer.u8(I32.shl);
  writeConst(writer, GROW_UNITS);
  writer.u8(I32.add);
  writeTake(writer, fuel);
  writeLocal(writer, 0);
  writer.u8(OP.memoryGrow);
  writer.u8(0);
  writer.u8(0x22);
  writer.u32(0);
  writeConst(writer, -1);
  writer.u8(I32.eq);
  writer.u8(OP.if);
  writer.u8(EMPTY);
  writeConst(writer, 1);
  writer.u8(OP.globalSet);
  writer.u32(growFailed);
  writer.u8(OP.end);
  writeLocal(writer, 0);
  writer.u8(OP.end);
}

function writeHook(writer: Writer, { fuel }: Appended, target: number): void {
  writer.u32(0);
  writeLocal(writer, 2);
  writer.u8(OP.globalSet);
  writer.u32(fuel);
  writeLocal(writer, 0);
  writeLocal(writer, 1);
  writeCall(writer, target);
  writer.u8(OP.end);
}

/** Function names make stacks readable. */
function copyNames(writer: Writer, bytes: Uint8Array, sections: readonly Section[]): void {
  for (const section of sections) {
    if (section.id !== SECTION.custom) continue;
    const reader = new Reader(bytes, section.start, section.end);
    if (reader.name() === "name") writer.section(SECTION.custom, () => writer.copy(bytes, section.start, section.end));
  }
}

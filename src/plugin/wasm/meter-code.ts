/** Writes the code section of a metered module: the original functions with inserted code, and appended functions. */
import { LIMIT } from "../../abi/abi.ts";
import { PRICE } from "../../abi/prices.ts";
import { Reader } from "./binary.ts";
import { OP } from "./instructions.ts";
import { findSites, type Guards, SITE, Sites } from "./meter-sites.ts";
import type { ModuleShape, Signature } from "./module-shape.ts";
import type { Writer } from "./writer.ts";

export const PAGE = 65_536;

/** Why a guest was stopped: its memory could not be grown, or an import would suspend it where that is not possible. */
export const STOPPED = { memory: 1, suspension: 2 } as const;

/** Indices of the globals, types and functions that metering appends. */
export type Appended = {
  readonly fuel: number;
  /** A global: one of STOPPED. */
  readonly stopped: number;
  readonly unaryType: number;
  readonly charge: number;
  readonly bulk: number;
  readonly entries: number;
  readonly grow: number;
  /** A global: 1 during a call that can be suspended. */
  readonly maySuspend: number;
  /** Types of the wrapped functions; wrappers have one more parameter, the fuel. */
  readonly entryTypes: readonly number[];
  readonly hooks: readonly Entry[];
  /** Wrappers for suspendable calls. */
  readonly suspendable: readonly Entry[];
  /** What a call that suspends returns elsewhere; null: it ends the guest. */
  readonly notHere: number | null;
  readonly importPrice: number;
  readonly guards: Guards;
};

/** A wrapped function, its type and that of its wrapper. */
export type Entry = {
  readonly name: string;
  readonly target: number;
  readonly type: number;
  readonly wrapperType: number;
};

/** Number of appended functions. */
export function countAppended({ hooks, suspendable, guards }: Appended): number {
  return 4 + hooks.length + suspendable.length + guards.length;
}

export type Context = {
  readonly shape: ModuleShape;
  readonly appended: Appended;
  readonly memory: number;
  readonly offsets: number[];
  readonly starts: number[];
};

export function writeCode(writer: Writer, reader: Reader, context: Context): void {
  const { appended, shape, offsets, starts } = context;
  const count = reader.u32();
  const sites = new Sites();
  const guards = new Map(appended.guards.map(({ index }, guard) => [index, guard]));
  const { importPrice } = appended;
  const around = { guards, segments: shape.segments, imports: shape.imports.length, importPrice };
  writer.u32(count + countAppended(appended));
  for (let i = 0; i < count; i++) {
    const size = reader.u32();
    const end = reader.at + size;
    starts.push(reader.at);
    writer.sized(() => {
      const start = reader.at;
      findSites(new Reader(reader.bytes, start, end), sites, around);
      writeBody(writer, { bytes: reader.bytes, start, end, sites, appended, offsets });
    });
    reader.skip(size);
  }
  writer.sized(() => writeCharge(writer, appended));
  writer.sized(() => writeBulk(writer, appended));
  writer.sized(() => writeEntries(writer, appended));
  writer.sized(() => writeGrow(writer, appended));
  for (const hook of appended.hooks)
    writer.sized(() => writeHook(writer, appended, hook, { shape, isSuspendable: false }));
  for (const hook of appended.suspendable)
    writer.sized(() => writeHook(writer, appended, hook, { shape, isSuspendable: true }));
  for (const { index, type } of appended.guards)
    writer.sized(() => writeGuard(writer, appended, index, shape.types[type]!));
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
    if (units === 0) continue;
    writer.copy(bytes, from, at);
    from = at;
    if (units === SITE.grow) {
      writeCall(writer, appended.grow);
      from += 2;
    } else if (units === SITE.bulk) writeCall(writer, appended.bulk);
    else if (units === SITE.entries) writeCall(writer, appended.entries);
    else if (units <= SITE.call) {
      const { grow, hooks, suspendable } = appended;
      writer.u8(bytes[at]!);
      writer.u32(grow + 1 + hooks.length + suspendable.length + SITE.call - units);
      from = sites.ends[i]!;
    } else {
      writeGet(writer, appended.fuel);
      writer.u8(OP.i32Const);
      writer.s32(units);
      writeTake(writer, appended.fuel);
    }
    offsets.push(writer.at, from);
  }
  writer.copy(bytes, from, end);
}

const I32 = { eq: 0x46, ltS: 0x48, ltU: 0x49, add: 0x6a, sub: 0x6b, mul: 0x6c, shrU: 0x76 } as const;
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

/** Subtracts the units on top of the stack from the fuel below them, and traps if the result is negative. */
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

/** `(units) -> left`: subtracts fuel without a trap; called by the host. */
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

/** `(length) -> length`: charges a bulk memory operation. */
function writeBulk(writer: Writer, { fuel }: Appended): void {
  writer.u32(0);
  writeGet(writer, fuel);
  writeLocal(writer, 0);
  writeConst(writer, Math.log2(PRICE.bulkBytes));
  writer.u8(I32.shrU);
  writeTake(writer, fuel);
  writeLocal(writer, 0);
  writer.u8(OP.end);
}

/** `(length) -> length`: charges a bulk table operation. */
function writeEntries(writer: Writer, { fuel }: Appended): void {
  writer.u32(0);
  writeGet(writer, fuel);
  // Larger lengths make the instruction itself trap.
  writeLowest(writer, LIMIT.tableEntries);
  writeConst(writer, PRICE.tableEntry);
  writer.u8(I32.mul);
  writeTake(writer, fuel);
  writeLocal(writer, 0);
  writer.u8(OP.end);
}

/** The unsigned minimum of the parameter and `most`, so that the price cannot overflow. */
function writeLowest(writer: Writer, most: number): void {
  writeLocal(writer, 0);
  writeConst(writer, most);
  writeLocal(writer, 0);
  writeConst(writer, most);
  writer.u8(I32.ltU);
  writer.u8(SELECT);
}

/** `(pages) -> previous pages or -1`: charges and executes `memory.grow`, and records a failure in `stopped`. */
function writeGrow(writer: Writer, { fuel, stopped }: Appended): void {
  writer.u32(0);
  writeGet(writer, fuel);
  // The maximum number of pages.
  writeLowest(writer, PAGE);
  writeConst(writer, PRICE.growPage);
  writer.u8(I32.mul);
  writeConst(writer, PRICE.grow);
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
  writeSet(writer, stopped, STOPPED.memory);
  writer.u8(OP.end);
  writeLocal(writer, 0);
  writer.u8(OP.end);
}

/**
 * Sets the fuel and calls a hook. In a suspendable call `maySuspend` is set. It is not reset if the guest traps, since
 * such a guest is discarded.
 */
function writeHook(
  writer: Writer,
  { fuel, maySuspend }: Appended,
  { target, type }: Entry,
  { shape: { types }, isSuspendable }: { readonly shape: ModuleShape; readonly isSuspendable: boolean },
): void {
  const params = types[type]!.params.length;
  writer.u32(0);
  writeLocal(writer, params);
  writer.u8(OP.globalSet);
  writer.u32(fuel);
  if (isSuspendable) writeSet(writer, maySuspend, 1);
  for (let i = 0; i < params; i++) writeLocal(writer, i);
  writeCall(writer, target);
  if (isSuspendable) writeSet(writer, maySuspend, 0);
  writer.u8(OP.end);
}

function writeSet(writer: Writer, global: number, value: number): void {
  writeConst(writer, value);
  writer.u8(OP.globalSet);
  writer.u32(global);
}

/**
 * The import, where the hook may be suspended; elsewhere `notHere`, since suspending there would be a trap without
 * cause.
 */
function writeGuard(
  writer: Writer,
  { maySuspend, notHere, stopped }: Appended,
  target: number,
  { params, results }: Signature,
): void {
  writer.u32(0);
  writeGet(writer, maySuspend);
  writer.u8(OP.if);
  writer.u8(results[0] ?? EMPTY);
  for (let i = 0; i < params.length; i++) writeLocal(writer, i);
  writeCall(writer, target);
  writer.u8(OP.else);
  if (notHere === null) {
    writeSet(writer, stopped, STOPPED.suspension);
    writer.u8(OP.unreachable);
  } else writeConst(writer, notHere);
  writer.u8(OP.end);
  writer.u8(OP.end);
}

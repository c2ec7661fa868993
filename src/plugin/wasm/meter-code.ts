/** Writes the code section of a metered module: the original functions with inserted code, and appended functions. */
import { LIMIT } from "../../abi/abi.ts";
import { PRICE } from "../../abi/prices.ts";
import { Reader } from "./binary.ts";
import { OP } from "./instructions.ts";
import { type MemoryPages, PAGE } from "./linear-memory.ts";
import { findSites, type Guards, SITE, Sites } from "./meter-sites.ts";
import type { ModuleShape, Signature } from "./module-shape.ts";
import type { Writer } from "./writer.ts";

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
  readonly pages: MemoryPages;
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
  const { fuel, grow, hooks, suspendable } = appended;
  let from = start;
  offsets.push(writer.at, from);
  for (let i = 0; i < sites.at.length; i++) {
    const at = sites.at[i]!;
    const units = sites.units[i]!;
    if (units === 0) continue;
    writer.copy(bytes, from, at);
    from = at;
    if (units === SITE.grow) {
      writer.call(grow);
      from += 2;
    } else if (units === SITE.bulk) writer.call(appended.bulk);
    else if (units === SITE.entries) writer.call(appended.entries);
    else if (units <= SITE.call) {
      writer.u8(bytes[at]!);
      writer.u32(grow + 1 + hooks.length + suspendable.length + SITE.call - units);
      from = sites.ends[i]!;
    } else take(writer.get(fuel).constant(units), fuel);
    offsets.push(writer.at, from);
  }
  writer.copy(bytes, from, end);
}

const I32 = { eq: 0x46, ltS: 0x48, ltU: 0x49, add: 0x6a, sub: 0x6b, mul: 0x6c, shrU: 0x76 } as const;
const SELECT = 0x1b;
const LOCAL_TEE = 0x22;
const EMPTY = 0x40;

/** Subtracts the units on top of the stack from the fuel below them, and traps if the result is negative. */
function take(code: Writer, fuel: number): Writer {
  return code.op(I32.sub).set(fuel).get(fuel).constant(0).op(I32.ltS, OP.if, EMPTY, OP.unreachable, OP.end);
}

/** The unsigned minimum of the parameter and `most`, so that a price cannot overflow. */
function lowest(code: Writer, most: number): Writer {
  return code.local(0).constant(most).local(0).constant(most).op(I32.ltU, SELECT);
}

// Appended functions. Each begins with the number of its locals, and ends with `end`.

/** `(units) -> left`: subtracts fuel without a trap; called by the host. */
function writeCharge(code: Writer, { fuel }: Appended): void {
  code.op(0).get(fuel).local(0).op(I32.sub).set(fuel).get(fuel).op(OP.end);
}

/** `(length) -> length`: charges a bulk memory operation. */
function writeBulk(code: Writer, { fuel }: Appended): void {
  code.op(0).get(fuel).local(0).constant(Math.log2(PRICE.bulkBytes)).op(I32.shrU);
  take(code, fuel).local(0).op(OP.end);
}

/** `(length) -> length`: charges a bulk table operation; larger lengths make the instruction itself trap. */
function writeEntries(code: Writer, { fuel }: Appended): void {
  lowest(code.op(0).get(fuel), LIMIT.tableEntries).constant(PRICE.tableEntry).op(I32.mul);
  take(code, fuel).local(0).op(OP.end);
}

/** `(pages) -> previous pages or -1`: charges and executes `memory.grow`, and records a failure in `stopped`. */
function writeGrow(code: Writer, { fuel, stopped }: Appended): void {
  // At most the maximum number of pages.
  lowest(code.op(0).get(fuel), PAGE).constant(PRICE.growPage).op(I32.mul).constant(PRICE.grow).op(I32.add);
  take(code, fuel).local(0).op(OP.memoryGrow, 0, LOCAL_TEE, 0).constant(-1).op(I32.eq, OP.if, EMPTY);
  code.constant(STOPPED.memory).set(stopped).op(OP.end).local(0).op(OP.end);
}

/**
 * Sets the fuel and calls a hook. In a suspendable call `maySuspend` is set. It is not reset if the guest traps, since
 * such a guest is discarded.
 */
function writeHook(
  code: Writer,
  { fuel, maySuspend }: Appended,
  { target, type }: Entry,
  { shape: { types }, isSuspendable }: { readonly shape: ModuleShape; readonly isSuspendable: boolean },
): void {
  const params = types[type]!.params.length;
  code.op(0).local(params).set(fuel);
  if (isSuspendable) code.constant(1).set(maySuspend);
  for (let i = 0; i < params; i++) code.local(i);
  code.call(target);
  if (isSuspendable) code.constant(0).set(maySuspend);
  code.op(OP.end);
}

/**
 * The import, where the hook may be suspended; elsewhere `notHere`, since suspending there would be a trap without
 * cause.
 */
function writeGuard(
  code: Writer,
  { maySuspend, notHere, stopped }: Appended,
  target: number,
  { params, results }: Signature,
): void {
  code
    .op(0)
    .get(maySuspend)
    .op(OP.if, results[0] ?? EMPTY);
  for (let i = 0; i < params.length; i++) code.local(i);
  code.call(target).op(OP.else);
  if (notHere === null) code.constant(STOPPED.suspension).set(stopped).op(OP.unreachable);
  else code.constant(notHere);
  code.op(OP.end, OP.end);
}

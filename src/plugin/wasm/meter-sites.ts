/**
 * Finds the sites of a function where metering inserts code: to charge fuel, to charge a bulk operation, or to replace the
 * call of an import.
 *
 * Fuel is charged per stretch: code that runs from its first to its last instruction or not at all. A stretch begins at the
 * function's start, at each loop iteration, after a branch, and at each arm of an `if` and handler. A cheap stretch is
 * charged together with the one that always runs before it, which leaves few sites.
 */

import { PRICE, surchargeOf } from "../../abi/prices.ts";
import { Reader } from "./binary.ts";
import { OP, skipImmediates } from "./instructions.ts";

/**
 * Imports that suspend, and their types. Calls of each are replaced by a guard, which returns `notHere` outside of
 * suspendable calls.
 */
export type Guards = readonly { readonly index: number; readonly type: number }[];

/** Kinds of sites, as negative `units`. From `call` down: a call of the import of guard `call - units`. */
export const SITE = { bulk: -1, grow: -2, entries: -3, call: -4 } as const;

/** The sites of one function, as parallel arrays that are reused for the next one. */
export class Sites {
  readonly at: number[] = [];
  /** Units to charge, or one of SITE. */
  readonly units: number[] = [];
  /** End of a replaced instruction. */
  readonly ends: number[] = [];
  /** Price of a stretch, in 1/64 of a unit. */
  readonly price: number[] = [];
  /** The stretch that always runs before a stretch; -1: it is charged by itself. */
  readonly before: number[] = [];

  clear(): void {
    for (const list of [this.at, this.units, this.ends, this.price, this.before]) list.length = 0;
  }

  /** Adds a site before an instruction, or in place of one. */
  add(at: number, units: number, end = at): void {
    this.#push(at, units, end, 0, -1);
  }

  /** Begins a stretch and returns its number. `units`: in addition to the price of its code. */
  begin(at: number, units: number, before: number): number {
    return this.#push(at, units, at, 0, before);
  }

  #push(at: number, units: number, end: number, price: number, before: number): number {
    this.units.push(units);
    this.ends.push(end);
    this.price.push(price);
    this.before.push(before);
    return this.at.push(at) - 1;
  }

  /** Adds the price of cheap stretches to their predecessors (which have lower numbers), whether or not they run. */
  settle(): void {
    for (let i = this.at.length - 1; i >= 0; i--) {
      const before = this.before[i]!;
      const price = this.price[i]!;
      if (before >= 0 && price < PRICE.shortest) this.price[before]! += price;
      else if (before >= 0) this.units[i] = Math.ceil(price / PRICE.perUnit);
      else if (this.units[i]! > 0) this.units[i]! += Math.floor(price / PRICE.perUnit);
    }
  }
}

/** `memory.init`, `memory.copy`, `memory.fill`: the length is on top of the stack. */
const isBulk = (sub: number) => sub === 8 || sub === 10 || sub === 11;
const TABLE_INIT = 12;
/** `table.init`, `table.copy`, `table.grow`, `table.fill`: the length is on top of the stack. */
const isTable = (sub: number) => sub === 12 || sub === 14 || sub === 15 || sub === 17;

/** Number of the guard by import. */
export type GuardsByImport = ReadonlyMap<number, number>;

/** The facts about the module that finding sites uses. */
export type SiteContext = {
  readonly guards: GuardsByImport;
  /** Entries of each element segment. */
  readonly segments: readonly number[];
  /** Number of imported functions. */
  readonly imports: number;
  /** Price of a call of an imported function, in addition to its own charges: 64ths of a unit. */
  readonly importPrice: number;
};

/** Finds the sites of one function. `reader` is at its locals and ends with it. */
export function findSites(reader: Reader, sites: Sites, context: SiteContext): void {
  new SiteFinder(reader, sites, context).find();
}

/** Parses one function and divides it into stretches. */
class SiteFinder {
  readonly #reader: Reader;
  readonly #sites: Sites;
  readonly #context: SiteContext;
  /** The current stretch. */
  #stretch = 0;
  /** By open block: the stretch that contains it, which always runs before the code after its end. */
  readonly #open: number[] = [];

  constructor(reader: Reader, sites: Sites, context: SiteContext) {
    this.#reader = reader;
    this.#sites = sites;
    this.#context = context;
  }

  find(): void {
    const reader = this.#reader;
    const sites = this.#sites;
    sites.clear();
    let locals = 0;
    for (let left = reader.u32(); left > 0; left--) {
      locals += reader.u32();
      reader.valueType();
    }
    this.#begin(PRICE.entry, -1);
    sites.price[this.#stretch] = PRICE.local * locals;
    while (reader.at < reader.end) {
      const at = reader.at;
      const opcode = reader.u8();
      const sub = skipImmediates(reader, opcode);
      sites.price[this.#stretch]! += reader.at - at + surchargeOf(opcode, sub);
      this.#follow(opcode);
      this.#replace(at, opcode, sub);
    }
    sites.settle();
  }

  #begin(units: number, before: number): void {
    this.#stretch = this.#sites.begin(this.#reader.at, units, before);
  }

  /** Begins a new stretch where control flow splits or joins. */
  #follow(opcode: number): void {
    const open = this.#open;
    switch (opcode) {
      case OP.block:
      case OP.try:
      case OP.tryTable:
        open.push(this.#stretch);
        break;
      case OP.if:
        open.push(this.#stretch);
        this.#begin(0, this.#stretch);
        break;
      case OP.loop:
        open.push(this.#stretch);
        this.#begin(PRICE.turn, -1);
        break;
      case OP.else:
      case OP.catch:
      case OP.catchAll:
        this.#begin(0, open.at(-1)!);
        break;
      case OP.end:
      case OP.delegate:
        if (open.length > 0) this.#begin(0, open.pop()!);
        break;
      case OP.br:
      case OP.brIf:
      case OP.brTable:
      case OP.return:
        this.#begin(0, this.#stretch);
        break;
    }
  }

  /** Adds sites for instructions that are replaced or charged separately. */
  #replace(at: number, opcode: number, sub: number): void {
    const sites = this.#sites;
    switch (opcode) {
      case OP.throw:
      case OP.rethrow:
      case OP.throwRef:
        sites.add(at, PRICE.throw);
        break;
      case OP.memoryGrow:
        sites.add(at, SITE.grow);
        break;
      case OP.call:
      case OP.returnCall: {
        const { guards, imports, importPrice } = this.#context;
        if (guards.size === 0 && importPrice === 0) break;
        const target = new Reader(this.#reader.bytes, at + 1, this.#reader.at).u32();
        if (target < imports) sites.price[this.#stretch]! += importPrice;
        const guard = guards.get(target);
        if (guard !== undefined) sites.add(at, SITE.call - guard, this.#reader.at);
        break;
      }
      case OP.bulk:
        if (isBulk(sub)) sites.add(at, SITE.bulk);
        else if (isTable(sub)) sites.add(at, SITE.entries);
        if (sub === TABLE_INIT) sites.add(at, PRICE.tableEntry * this.#segmentOf(at));
        break;
    }
  }

  /** Entries of the segment of a `table.init`: the engine makes all of them at the first use, however few are copied. */
  #segmentOf(at: number): number {
    const immediates = new Reader(this.#reader.bytes, at + 1, this.#reader.at);
    immediates.u32();
    return this.#context.segments[immediates.u32()]!;
  }
}

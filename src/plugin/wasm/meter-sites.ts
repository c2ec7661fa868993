/**
 * Where something is put into the code of a function: fuel is taken, a bulk operation is paid for, an import is replaced.
 *
 * A site that takes fuel pays for a stretch: code that runs from its first instruction to its last, or not at all. The
 * function and each turn of a loop begin one; so does what follows a branch, the arm of an `if`, a handler. A stretch
 * that costs little is paid for with the one that always ran before it, so that few sites are left.
 */

import { PRICE, surchargeOf } from "../../abi/prices.ts";
import { Reader } from "./binary.ts";
import { OP, skipImmediates } from "./instructions.ts";

/** Imports that wait, and the type of each: a function stands before each, that answers where nothing may wait. */
export type Guards = readonly { readonly index: number; readonly type: number }[];

/** From `call` down: a call of the import at index `call - units` of the guards. */
export const SITE = { bulk: -1, grow: -2, entries: -3, call: -4 } as const;

/** Parallel arrays, used again for the next function. */
export class Sites {
  readonly at: number[] = [];
  /** Units to take; or one of SITE. */
  readonly units: number[] = [];
  /** Where the instruction that is replaced ends. */
  readonly ends: number[] = [];
  /** Of a stretch: its price so far, in 64ths of a unit. */
  readonly price: number[] = [];
  /** Of a stretch: the one that always ran before it; -1 where it must be paid for by itself. */
  readonly before: number[] = [];

  clear(): void {
    for (const list of [this.at, this.units, this.ends, this.price, this.before]) list.length = 0;
  }

  /** Something put before or in the place of one instruction. */
  add(at: number, units: number, end = at): void {
    this.#push(at, units, end, 0, -1);
  }

  /** A stretch begins; its number. `units` beside the price of its code. */
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

  /** Short stretches are paid for with the one before, whether or not they run. A stretch comes after the one before. */
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

/** `memory.init`, `memory.copy`, `memory.fill`: each has its length on top of the stack. */
const isBulk = (sub: number) => sub === 8 || sub === 10 || sub === 11;
const TABLE_INIT = 12;
/** `table.init`, `table.copy`, `table.grow`, `table.fill`: the same. */
const isTable = (sub: number) => sub === 12 || sub === 14 || sub === 15 || sub === 17;

/** The number of the guard of each import that has one. */
export type GuardOf = ReadonlyMap<number, number>;

/** What the module says of the instructions in a function. */
export type Around = {
  readonly guards: GuardOf;
  /** Entries of each element segment. */
  readonly segments: readonly number[];
  /** How many functions are imported, and what each call of one costs beside what it takes itself: 64ths of a unit. */
  readonly imports: number;
  readonly importPrice: number;
};

/** The sites of one function. `reader` stands at its locals and ends with it. */
export function findSites(reader: Reader, sites: Sites, around: Around): void {
  new SiteFinder(reader, sites, around).find();
}

/** Steps through one function, and finds out which code runs together. */
class SiteFinder {
  readonly #reader: Reader;
  readonly #sites: Sites;
  readonly #around: Around;
  /** The stretch at hand. */
  #stretch = 0;
  /** Of each open block: the stretch that it stands in, which always ran before what follows its end. */
  readonly #open: number[] = [];

  constructor(reader: Reader, sites: Sites, around: Around) {
    this.#reader = reader;
    this.#sites = sites;
    this.#around = around;
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

  /** Ends the stretch where what follows may run without it, or not after it. */
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

  /** Instructions that are replaced, or that something is put before. */
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
        const { guards, imports, importPrice } = this.#around;
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
    return this.#around.segments[immediates.u32()]!;
  }
}

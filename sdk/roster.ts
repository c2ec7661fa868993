// Which endpoints there are, each in a row of its own for as long as it stays: re-ordering and reload move no row.
// Tables grow only between calls, when memory is kept (runtime/arena.ts), and never shrink.

import { COLUMN } from "./abi";
import { column_read } from "./imports";

/** A value for each row; `PerEndpoint` for any type. */
export abstract class Kept {
  next: Kept | null = null;

  abstract grow(capacity: i32): void;
  abstract clear(row: i32): void;
}

let kept: Kept | null = null;

/** A hash table from id to row + 1 (0: free place), at most half full. */
let tableIds: StaticArray<i32> = new StaticArray<i32>(0);
let tableRows: StaticArray<i32> = new StaticArray<i32>(0);
/** Row of each index: of the list at the last update, and of a shorter list in a pick. */
let allRows: StaticArray<i32> = new StaticArray<i32>(0);
let someRows: StaticArray<i32> = new StaticArray<i32>(0);
let used: StaticArray<bool> = new StaticArray<bool>(0);
let scratch: StaticArray<i32> = new StaticArray<i32>(0);

export class Roster {
  static capacity: i32 = 0;
  /** Endpoints at the last update, and in this call. */
  static known: i32 = 0;
  static count: i32 = 0;
  static ids: StaticArray<i32> = new StaticArray<i32>(0);
  static weights: StaticArray<i32> = new StaticArray<i32>(0);
  static hashes: StaticArray<i32> = new StaticArray<i32>(0);
  static zones: StaticArray<i32> = new StaticArray<i32>(0);
  private static rows: StaticArray<i32> = new StaticArray<i32>(0);

  /** Indices below this have their row in `rows`; 0 while a shorter list was not looked at. */
  static reach: i32 = 0;

  /** The row of the endpoint at `index` of this call's list. */
  // @ts-ignore: decorator
  @inline
  static row(index: i32): i32 {
    if (<u32>index >= <u32>Roster.reach) Roster.reachOut(index);
    return unchecked(Roster.rows[index]);
  }

  private static reachOut(index: i32): void {
    if (<u32>index >= <u32>Roster.count) throw new RangeError(`endpoint ${index} of ${Roster.count}`);
    Roster.mapSome();
  }

  /** The row of the endpoint with this id, or -1. */
  static find(id: i32): i32 {
    const size = tableIds.length;
    if (!size) return -1;
    let at = place(id, size);
    while (true) {
      const row = unchecked(tableRows[at]);
      if (!row) return -1;
      if (unchecked(tableIds[at]) == id) return row - 1;
      at = (at + 1) & (size - 1);
    }
  }

  static register(values: Kept): void {
    values.next = kept;
    kept = values;
    if (Roster.capacity) values.grow(Roster.capacity);
  }

  /** Makes room for `count` endpoints; true when the tables grew. */
  static reserve(count: i32): bool {
    if (count <= Roster.capacity) return false;
    let capacity = max(Roster.capacity, 16);
    while (capacity < count) capacity <<= 1;
    Roster.capacity = capacity;
    allRows = new StaticArray<i32>(capacity);
    someRows = new StaticArray<i32>(capacity);
    scratch = new StaticArray<i32>(capacity);
    used = new StaticArray<bool>(capacity);
    Roster.ids = grown<i32>(Roster.ids, capacity);
    Roster.weights = new StaticArray<i32>(capacity);
    Roster.hashes = new StaticArray<i32>(capacity);
    Roster.zones = new StaticArray<i32>(capacity);
    let values = kept;
    while (values) {
      values.grow(capacity);
      values = values.next;
    }
    return true;
  }

  /** Takes over the host's list: who was here keeps the row, who is new gets a free one. Room was reserved. */
  static refresh(count: i32): void {
    memory.fill(changetype<usize>(used), 0, Roster.capacity);
    read(COLUMN.id, count);
    for (let i = 0; i < count; i++) {
      const row = Roster.find(unchecked(scratch[i]));
      unchecked((allRows[i] = row));
      if (row >= 0) unchecked((used[row] = true));
    }
    for (let i = 0, free = 0; i < count; i++) {
      if (unchecked(allRows[i]) >= 0) continue;
      while (unchecked(used[free])) free++;
      unchecked((used[free] = true));
      unchecked((allRows[i] = free));
      unchecked((Roster.ids[free] = scratch[i]));
      let values = kept;
      while (values) {
        values.clear(free);
        values = values.next;
      }
    }
    Roster.known = count;
    Roster.present(count);
    index(count);
    scatter(COLUMN.weight, Roster.weights, count);
    scatter(COLUMN.hash, Roster.hashes, count);
    scatter(COLUMN.zone, Roster.zones, count);
  }

  /** This call's list has `count` endpoints. A list as long as the last update's is that list; a shorter one is a part. */
  static present(count: i32): void {
    Roster.count = count;
    const whole = count == Roster.known;
    Roster.reach = whole ? count : 0;
    Roster.rows = whole ? allRows : someRows;
  }

  private static mapSome(): void {
    const count = Roster.count;
    read(COLUMN.id, count);
    for (let i = 0; i < count; i++) {
      const row = Roster.find(unchecked(scratch[i]));
      if (row < 0) throw new Error(`endpoint ${i} was not in the last update`);
      unchecked((someRows[i] = row));
    }
    Roster.reach = count;
  }
}

// @ts-ignore: decorator
@inline
function place(id: i32, size: i32): i32 {
  return (id * 0x9e3779b1) >>> 7 & (size - 1);
}

/** Writes the table of ids anew, of those that are here. */
function index(count: i32): void {
  const size = Roster.capacity << 1;
  if (tableIds.length != size) {
    tableIds = new StaticArray<i32>(size);
    tableRows = new StaticArray<i32>(size);
  } else memory.fill(changetype<usize>(tableRows), 0, <usize>size << 2);
  for (let i = 0; i < count; i++) {
    const row = unchecked(allRows[i]);
    const id = unchecked(Roster.ids[row]);
    let at = place(id, size);
    while (unchecked(tableRows[at])) at = (at + 1) & (size - 1);
    unchecked((tableIds[at] = id));
    unchecked((tableRows[at] = row + 1));
  }
}

function read(column: i32, count: i32): void {
  column_read(column, changetype<usize>(scratch), count << 2);
}

function scatter(column: i32, values: StaticArray<i32>, count: i32): void {
  read(column, count);
  for (let i = 0; i < count; i++) unchecked((values[allRows[i]] = scratch[i]));
}

/** A longer copy. */
export function grown<T>(values: StaticArray<T>, capacity: i32): StaticArray<T> {
  const longer = new StaticArray<T>(capacity);
  memory.copy(changetype<usize>(longer), changetype<usize>(values), <usize>values.length << alignof<T>());
  return longer;
}

// The endpoints of a cluster, one row each. An endpoint keeps its row across reordering and reloads.
// Tables grow only between calls, outside of the arena (runtime/arena.ts), and never shrink.

import { COLUMN } from "./abi";
import { column_read } from "./imports";

/** A value per row; base of `PerEndpoint`. */
export abstract class RowValues {
  next: RowValues | null = null;

  abstract grow(capacity: i32): void;
  abstract clear(row: i32): void;
}

let allValues: RowValues | null = null;

/** A hash table from id to row + 1 (0: free slot), at most half full. */
let tableIds: StaticArray<i32> = new StaticArray<i32>(0);
let tableRows: StaticArray<i32> = new StaticArray<i32>(0);
/** Row of each index: for the list of the last update, and for a shorter list in a pick. */
let allRows: StaticArray<i32> = new StaticArray<i32>(0);
let someRows: StaticArray<i32> = new StaticArray<i32>(0);
let used: StaticArray<bool> = new StaticArray<bool>(0);
let scratch: StaticArray<i32> = new StaticArray<i32>(0);

export class EndpointTable {
  static capacity: i32 = 0;
  /** Number of endpoints at the last update, and in this call. */
  static known: i32 = 0;
  static count: i32 = 0;
  static ids: StaticArray<i32> = new StaticArray<i32>(0);
  static weights: StaticArray<i32> = new StaticArray<i32>(0);
  static hashes: StaticArray<i32> = new StaticArray<i32>(0);
  static zones: StaticArray<i32> = new StaticArray<i32>(0);
  private static rows: StaticArray<i32> = new StaticArray<i32>(0);

  /** Indices below this have their row in `rows`; 0 until a shorter list is mapped. */
  static reach: i32 = 0;

  /** The row of the endpoint at `index` of this call's list. */
  // @ts-ignore: decorator
  @inline
  static row(index: i32): i32 {
    if (<u32>index >= <u32>EndpointTable.reach) EndpointTable.reachOut(index);
    return unchecked(EndpointTable.rows[index]);
  }

  private static reachOut(index: i32): void {
    if (<u32>index >= <u32>EndpointTable.count) throw new RangeError(`endpoint ${index} of ${EndpointTable.count}`);
    EndpointTable.mapSome();
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

  static register(values: RowValues): void {
    values.next = allValues;
    allValues = values;
    if (EndpointTable.capacity) values.grow(EndpointTable.capacity);
  }

  /** Reserves capacity for `count` endpoints; true if the tables grew. */
  static reserve(count: i32): bool {
    if (count <= EndpointTable.capacity) return false;
    let capacity = max(EndpointTable.capacity, 16);
    while (capacity < count) capacity <<= 1;
    EndpointTable.capacity = capacity;
    allRows = new StaticArray<i32>(capacity);
    someRows = new StaticArray<i32>(capacity);
    scratch = new StaticArray<i32>(capacity);
    used = new StaticArray<bool>(capacity);
    EndpointTable.ids = grown<i32>(EndpointTable.ids, capacity);
    EndpointTable.weights = new StaticArray<i32>(capacity);
    EndpointTable.hashes = new StaticArray<i32>(capacity);
    EndpointTable.zones = new StaticArray<i32>(capacity);
    let values = allValues;
    while (values) {
      values.grow(capacity);
      values = values.next;
    }
    return true;
  }

  /** Reads the host's list: known endpoints keep their row, new ones get a free row. The capacity was reserved. */
  static refresh(count: i32): void {
    memory.fill(changetype<usize>(used), 0, EndpointTable.capacity);
    read(COLUMN.id, count);
    for (let i = 0; i < count; i++) {
      const row = EndpointTable.find(unchecked(scratch[i]));
      unchecked((allRows[i] = row));
      if (row >= 0) unchecked((used[row] = true));
    }
    for (let i = 0, free = 0; i < count; i++) {
      if (unchecked(allRows[i]) >= 0) continue;
      while (unchecked(used[free])) free++;
      unchecked((used[free] = true));
      unchecked((allRows[i] = free));
      unchecked((EndpointTable.ids[free] = scratch[i]));
      let values = allValues;
      while (values) {
        values.clear(free);
        values = values.next;
      }
    }
    EndpointTable.known = count;
    EndpointTable.present(count);
    index(count);
    scatter(COLUMN.weight, EndpointTable.weights, count);
    scatter(COLUMN.hash, EndpointTable.hashes, count);
    scatter(COLUMN.zone, EndpointTable.zones, count);
  }

  /** Sets the list of this call, of `count` endpoints: the list of the last update, or a part of it if shorter. */
  static present(count: i32): void {
    EndpointTable.count = count;
    const whole = count == EndpointTable.known;
    EndpointTable.reach = whole ? count : 0;
    EndpointTable.rows = whole ? allRows : someRows;
  }

  private static mapSome(): void {
    const count = EndpointTable.count;
    read(COLUMN.id, count);
    for (let i = 0; i < count; i++) {
      const row = EndpointTable.find(unchecked(scratch[i]));
      if (row < 0) throw new Error(`endpoint ${i} was not in the last update`);
      unchecked((someRows[i] = row));
    }
    EndpointTable.reach = count;
  }
}

// @ts-ignore: decorator
@inline
function place(id: i32, size: i32): i32 {
  return (id * 0x9e3779b1) >>> 7 & (size - 1);
}

/** Rebuilds the hash table from the rows in use. */
function index(count: i32): void {
  const size = EndpointTable.capacity << 1;
  if (tableIds.length != size) {
    tableIds = new StaticArray<i32>(size);
    tableRows = new StaticArray<i32>(size);
  } else memory.fill(changetype<usize>(tableRows), 0, <usize>size << 2);
  for (let i = 0; i < count; i++) {
    const row = unchecked(allRows[i]);
    const id = unchecked(EndpointTable.ids[row]);
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

/**
 * Token buckets of clients and of named objects, shared by all workers: rates of connections and of bytes. A row is the
 * time at which its bucket is full again (GCRA), in nanoseconds of the system's monotonic clock, and is charged by one
 * atomic operation, so a rate is exact over all workers. Rows are of fixed number and belong to clients as described in
 * `client-rows.ts`; nothing is to be freed, since an unused bucket is full.
 */
import { randomBytes } from "node:crypto";
import { type ClientRows, rowsOf } from "./client-rows.ts";

const ROWS = 16_384;

/** Shared by all workers. */
export type Rates = { readonly buffer: SharedArrayBuffer; readonly key: Uint8Array };

/** `rate`: units per second. `burst`: units that a full bucket has. */
export type Rate = { readonly rate: number; readonly burst: number };

const SECOND = 1e9;

export class RateTable {
  readonly #rows: BigInt64Array;
  readonly #key: Uint8Array;
  readonly #now: () => bigint;

  static allocate(): Rates {
    return { buffer: new SharedArrayBuffer(8 * ROWS), key: randomBytes(32) };
  }

  /** `now`: nanoseconds, the same clock in all workers. */
  constructor({ buffer, key }: Rates, now: () => bigint = () => process.hrtime.bigint()) {
    this.#rows = new BigInt64Array(buffer);
    this.#key = key;
    this.#now = now;
  }

  rowsOf(name: string): ClientRows {
    return rowsOf(this.#key, name, ROWS);
  }

  /** Takes one unit; returns false, and takes nothing, if the bucket is empty. */
  take(rows: ClientRows, rate: Rate): boolean {
    const { first, second } = rows;
    const cost = timeOf(1, rate);
    const now = this.#now();
    const full = now + timeOf(rate.burst, rate);
    // This order makes it exact: who is over in the first row finds in the second one all that were before.
    if (second !== first) this.#chargeRow(second, cost, now);
    if (this.#chargeRow(first, cost, now) <= full || Atomics.load(this.#rows, second) <= full) return true;
    this.#giveBack(rows, cost);
    return false;
  }

  /** Takes `units`, also beyond what the bucket has. Returns after how many ms it is no longer in debt; 0: it is not. */
  debit(rows: ClientRows, units: number, rate: Rate): number {
    const debt = this.#charge(rows, timeOf(units, rate)) - timeOf(rate.burst, rate);
    return debt > 0n ? Number(debt) / 1e6 : 0;
  }

  /** Adds `cost` to both rows; returns how far the lesser one is ahead of the clock. */
  #charge({ first, second }: ClientRows, cost: bigint): bigint {
    const now = this.#now();
    const one = this.#chargeRow(first, cost, now);
    if (first === second) return one - now;
    const other = this.#chargeRow(second, cost, now);
    if (other < one) return other - now;
    return one - now;
  }

  #chargeRow(row: number, cost: bigint, now: bigint): bigint {
    for (let before = Atomics.load(this.#rows, row); ; ) {
      const after = (before > now ? before : now) + cost;
      const found = Atomics.compareExchange(this.#rows, row, before, after);
      if (found === before) return after;
      before = found;
    }
  }

  #giveBack({ first, second }: ClientRows, cost: bigint): void {
    Atomics.sub(this.#rows, first, cost);
    if (second !== first) Atomics.sub(this.#rows, second, cost);
  }
}

function timeOf(units: number, { rate }: Rate): bigint {
  return BigInt(Math.round((units * SECOND) / rate));
}

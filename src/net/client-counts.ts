/** Counts each client's connections at each listener over all workers, for `limits.connectionsPerClient`. */
import { randomBytes } from "node:crypto";
import { type ClientRows, networkOf, rowsOf } from "./client-rows.ts";
import { ConnectionCounts } from "./connection-counts.ts";

const ROWS = 16_384;

/** Shared by all workers. */
export type ClientTable = { readonly buffer: SharedArrayBuffer; readonly key: Uint8Array };

export class ClientCounts {
  readonly #counts: ConnectionCounts;
  readonly #key: Uint8Array;

  static allocate(workers: number): ClientTable {
    return { buffer: ConnectionCounts.allocate(workers, ROWS), key: randomBytes(32) };
  }

  constructor({ buffer, key }: ClientTable, worker: number) {
    this.#counts = new ConnectionCounts(buffer, worker);
    this.#key = key;
  }

  /** Counts a connection; returns null without counting if the client has `limit` connections. */
  enter(listener: number, address: string, limit: number): ClientRows | null {
    const rows = rowsOf(this.#key, `${listener} ${networkOf(address)}`, ROWS);
    const { first, second } = rows;
    this.#counts.enter(first, 0);
    this.#counts.enter(second, 0);
    // Both rows can be the same one.
    const each = first === second ? 2 : 1;
    if (Math.min(this.#counts.open(first), this.#counts.open(second)) <= limit * each) return rows;
    this.leave(rows);
    return null;
  }

  leave({ first, second }: ClientRows): void {
    this.#counts.leave(first);
    this.#counts.leave(second);
  }

  /** Subtracts the connections of a worker that has exited. */
  forgetWorker(worker: number): void {
    this.#counts.forgetWorker(worker);
  }
}

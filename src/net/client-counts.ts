/**
 * Counts the open connections of each client at each listener over all workers, for `limits.connectionsPerClient`. The
 * table has a fixed size: a client is counted in two of its rows, chosen by a keyed hash, and is over the limit when both
 * are. So the limit is never exceeded, and a client is refused by mistake only if the connections of others fill both
 * rows; the key keeps a client from choosing addresses that share rows with another.
 */
import { createHmac, randomBytes } from "node:crypto";
import { ConnectionCounts } from "./connection-counts.ts";

const ROWS = 16_384;

/** Shared by all workers. */
export type ClientTable = { readonly buffer: SharedArrayBuffer; readonly key: Uint8Array };

/** What `leave` needs: the two rows of a counted client. */
export type ClientRows = { readonly first: number; readonly second: number };

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
    const hash = createHmac("sha256", this.#key)
      .update(`${listener} ${networkOf(address)}`)
      .digest();
    const rows = { first: hash.readUInt32LE(0) % ROWS, second: hash.readUInt32LE(4) % ROWS };
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

/** The addresses that count as one client: an IPv4 address, or the /64 network of an IPv6 address in the form of RFC 5952. */
function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const last = tail === undefined || tail === "" ? [] : tail.split(":");
  while (groups.length + last.length < 8) groups.push("0");
  return [...groups, ...last].slice(0, 4).join(":");
}

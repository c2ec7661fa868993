/**
 * Counts the open client connections of each listener over all workers, for `limits.connections`. A shared buffer has a
 * row per listener: a sum and a column per worker. The limit is checked against the sum by one atomic addition, so it is
 * never exceeded. A worker writes only its own column, which the supervisor subtracts when the worker has exited.
 */
export const MAX_LISTENERS = 4096;
/** The row of the UDP sessions of all listeners. */
export const UDP_SESSIONS = MAX_LISTENERS;

/** The first word is the number of columns. */
const HEADER = 1;

export class ConnectionCounts {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #width: number;
  readonly #worker: number;

  static allocate(workers: number, rows = MAX_LISTENERS + 1): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(4 * (HEADER + rows * (1 + workers)));
    new Int32Array(buffer)[0] = workers;
    return buffer;
  }

  /** The counts for the worker with that number. */
  constructor(buffer: SharedArrayBuffer, worker: number) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#width = 1 + this.#words[0]!;
    this.#worker = worker;
  }

  /** Counts a connection of this worker; returns false without counting if `limit` is reached. 0: no limit. */
  enter(listener: number, limit: number): boolean {
    const row = this.#row(listener);
    if (Atomics.add(this.#words, row, 1) >= limit && limit > 0) {
      Atomics.sub(this.#words, row, 1);
      return false;
    }
    this.#words[row + 1 + this.#worker]!++;
    return true;
  }

  leave(listener: number): void {
    const row = this.#row(listener);
    this.#words[row + 1 + this.#worker]!--;
    Atomics.sub(this.#words, row, 1);
  }

  /** The sum over all workers. */
  open(listener: number): number {
    return Atomics.load(this.#words, this.#row(listener));
  }

  /** Subtracts the connections of a worker that has exited. */
  forgetWorker(worker: number): void {
    for (let row = HEADER; row < this.#words.length; row += this.#width) {
      const open = this.#words[row + 1 + worker]!;
      if (open === 0) continue;
      this.#words[row + 1 + worker] = 0;
      Atomics.sub(this.#words, row, open);
    }
  }

  /** Clears a row for reuse by another listener. */
  clear(listener: number): void {
    const row = this.#row(listener);
    this.#words.fill(0, row, row + this.#width);
  }

  #row(listener: number): number {
    return HEADER + listener * this.#width;
  }
}

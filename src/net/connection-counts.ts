/**
 * Open client connections of each listener over all workers, for `limits.connections`: in one shared buffer a row for
 * each listener, with its sum and a column for each worker. The sum decides, by one atomic addition, so that a limit is
 * never passed; a worker writes its own column alone, from which the supervisor takes back what a worker had open that
 * has ended.
 */
export const MAX_LISTENERS = 4096;

/** The first word is the number of columns. */
const HEADER = 1;

export class ConnectionCounts {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #width: number;
  readonly #worker: number;

  static allocate(workers: number, listeners = MAX_LISTENERS): SharedArrayBuffer {
    const buffer = new SharedArrayBuffer(4 * (HEADER + listeners * (1 + workers)));
    new Int32Array(buffer)[0] = workers;
    return buffer;
  }

  /** As the worker with that number sees it. */
  constructor(buffer: SharedArrayBuffer, worker: number) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#width = 1 + this.#words[0]!;
    this.#worker = worker;
  }

  /** Counts one more connection of this worker; false, and nothing counted, when there are `limit` already. 0: no limit. */
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

  /** Of all workers. */
  open(listener: number): number {
    return Atomics.load(this.#words, this.#row(listener));
  }

  /** That worker has ended, and its connections with it. */
  forgetWorker(worker: number): void {
    for (let row = HEADER; row < this.#words.length; row += this.#width) {
      const open = this.#words[row + 1 + worker]!;
      if (open === 0) continue;
      this.#words[row + 1 + worker] = 0;
      Atomics.sub(this.#words, row, open);
    }
  }

  /** The row is another listener's from now on. */
  clear(listener: number): void {
    const row = this.#row(listener);
    this.#words.fill(0, row, row + this.#width);
  }

  #row(listener: number): number {
    return HEADER + listener * this.#width;
  }
}

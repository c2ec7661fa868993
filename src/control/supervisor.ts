/**
 * Finds stuck workers. Stuck means: the heartbeat stood still over 5 s or more of the supervisor's own running time, in
 * which the worker has used more than 2.5 s of a processor. A worker that waits, or a whole process that was stopped for
 * a while, is not stuck; one that spins on a machine short of processors is found when it has used as much.
 */
const STUCK_AFTER = 5000;
/** How often it looks, for each time that is long enough. */
const LOOKS = 10;

export type Watched = {
  /** Processor time used by the worker so far, in milliseconds; null when it runs no more. */
  cpuTime(): Promise<number | null>;
};

type Stand = { beat: number; stood: number; cpu: number };

export class Supervisor {
  readonly #beats: Int32Array;
  readonly #watched = new Map<number, { worker: Watched; stand: Stand }>();
  readonly #onStuck: (worker: number) => void;
  readonly #stuckAfter: number;
  readonly #timer: NodeJS.Timeout;
  #last = performance.now();
  #checking = false;

  constructor(heartbeat: SharedArrayBuffer, onStuck: (worker: number) => void, stuckAfter = STUCK_AFTER) {
    this.#beats = new Int32Array(heartbeat);
    this.#onStuck = onStuck;
    this.#stuckAfter = stuckAfter;
    this.#timer = setInterval(() => void this.#check(), stuckAfter / LOOKS);
    this.#timer.unref();
  }

  watch(worker: number, watched: Watched): void {
    this.#watched.set(worker, { worker: watched, stand: { beat: this.#beat(worker), stood: 0, cpu: -1 } });
  }

  forget(worker: number): void {
    this.#watched.delete(worker);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watched.clear();
  }

  #beat(worker: number): number {
    return Atomics.load(this.#beats, worker);
  }

  async #check(): Promise<void> {
    const now = performance.now();
    // A longer gap is time in which this worker did not run itself, and cannot speak for others.
    const ran = Math.min(now - this.#last, (2 * this.#stuckAfter) / LOOKS);
    this.#last = now;
    if (this.#checking) return;
    this.#checking = true;
    try {
      for (const [number, { worker, stand }] of [...this.#watched])
        if (await this.#isStuck(number, worker, stand, ran)) this.#onStuck(number);
    } finally {
      this.#checking = false;
    }
  }

  async #isStuck(number: number, worker: Watched, stand: Stand, ran: number): Promise<boolean> {
    const beat = this.#beat(number);
    if (beat !== stand.beat) {
      stand.beat = beat;
      stand.stood = 0;
      stand.cpu = -1;
      return false;
    }
    if (stand.cpu < 0) {
      stand.cpu = (await worker.cpuTime()) ?? -1;
      return false;
    }
    stand.stood += ran;
    if (stand.stood < this.#stuckAfter) return false;
    const used = ((await worker.cpuTime()) ?? stand.cpu) - stand.cpu;
    if (used <= this.#stuckAfter / 2 || this.#beat(number) !== stand.beat) return false;
    // It is told of once; should it stand as long again, once more.
    stand.stood = 0;
    stand.cpu = -1;
    return this.#watched.get(number)?.worker === worker;
  }
}

/**
 * Finds stuck threads. Stuck means: the heartbeat stood still over 5 s or more of the supervisor's own running time, in
 * which the thread has used more than 2.5 s of a processor. A thread that waits, or a whole process that was stopped for
 * a while, is not stuck; one that spins on a machine short of processors is found when it has used as much.
 */
const STUCK_AFTER = 5000;
/** How often it looks, for each time that is long enough. */
const LOOKS = 10;

export type Watched = {
  /** Processor time used by the thread so far, in milliseconds; null when it runs no more. */
  cpuTime(): Promise<number | null>;
};

type Stand = { beat: number; stood: number; cpu: number };

export class Supervisor {
  readonly #beats: Int32Array;
  readonly #watched = new Map<number, { thread: Watched; stand: Stand }>();
  readonly #onStuck: (thread: number) => void;
  readonly #stuckAfter: number;
  readonly #timer: NodeJS.Timeout;
  #last = performance.now();
  #checking = false;

  constructor(heartbeat: SharedArrayBuffer, onStuck: (thread: number) => void, stuckAfter = STUCK_AFTER) {
    this.#beats = new Int32Array(heartbeat);
    this.#onStuck = onStuck;
    this.#stuckAfter = stuckAfter;
    this.#timer = setInterval(() => void this.#check(), stuckAfter / LOOKS);
    this.#timer.unref();
  }

  watch(thread: number, watched: Watched): void {
    this.#watched.set(thread, { thread: watched, stand: { beat: this.#beat(thread), stood: 0, cpu: -1 } });
  }

  forget(thread: number): void {
    this.#watched.delete(thread);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#watched.clear();
  }

  #beat(thread: number): number {
    return Atomics.load(this.#beats, thread);
  }

  async #check(): Promise<void> {
    const now = performance.now();
    // A longer gap is time in which this thread did not run itself, and cannot speak for others.
    const ran = Math.min(now - this.#last, (2 * this.#stuckAfter) / LOOKS);
    this.#last = now;
    if (this.#checking) return;
    this.#checking = true;
    try {
      for (const [number, { thread, stand }] of [...this.#watched])
        if (await this.#isStuck(number, thread, stand, ran)) this.#onStuck(number);
    } finally {
      this.#checking = false;
    }
  }

  async #isStuck(number: number, thread: Watched, stand: Stand, ran: number): Promise<boolean> {
    const beat = this.#beat(number);
    if (beat !== stand.beat) {
      stand.beat = beat;
      stand.stood = 0;
      stand.cpu = -1;
      return false;
    }
    if (stand.cpu < 0) {
      stand.cpu = (await thread.cpuTime()) ?? -1;
      return false;
    }
    stand.stood += ran;
    if (stand.stood < this.#stuckAfter) return false;
    const used = ((await thread.cpuTime()) ?? stand.cpu) - stand.cpu;
    if (used <= this.#stuckAfter / 2 || this.#beat(number) !== stand.beat) return false;
    // It is told of once; should it stand as long again, once more.
    stand.stood = 0;
    stand.cpu = -1;
    return this.#watched.get(number)?.thread === thread;
  }
}

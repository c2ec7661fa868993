/**
 * Detects stuck workers. A worker is stuck if its heartbeat has not changed during 5 s of the supervisor's own running
 * time, in which the worker has used more than 2.5 s of processor time. An idle worker, or a process that was suspended,
 * is therefore not stuck; a busy loop on an overloaded machine is detected when it has used that much.
 */
const STUCK_AFTER = 5000;
/** Checks in that time. */
const CHECKS = 10;

export type Watched = {
  /** Total processor time of the worker in milliseconds; null if it has ended. */
  cpuTime(): Promise<number | null>;
};

/** `stalled`: milliseconds since the heartbeat changed; `cpu`: processor time at that moment, -1 if unknown. */
type Progress = { beat: number; stalled: number; cpu: number };

export class Supervisor {
  readonly #beats: Int32Array;
  readonly #watched = new Map<number, { worker: Watched; progress: Progress }>();
  readonly #onStuck: (worker: number) => void;
  readonly #stuckAfter: number;
  readonly #timer: NodeJS.Timeout;
  #last = performance.now();
  #checking = false;

  constructor(heartbeat: SharedArrayBuffer, onStuck: (worker: number) => void, stuckAfter = STUCK_AFTER) {
    this.#beats = new Int32Array(heartbeat);
    this.#onStuck = onStuck;
    this.#stuckAfter = stuckAfter;
    this.#timer = setInterval(() => void this.#check(), stuckAfter / CHECKS);
    this.#timer.unref();
  }

  watch(worker: number, watched: Watched): void {
    this.#watched.set(worker, { worker: watched, progress: { beat: this.#beat(worker), stalled: 0, cpu: -1 } });
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
    // During a longer gap the supervisor itself did not run: that time does not count against the workers.
    const ran = Math.min(now - this.#last, (2 * this.#stuckAfter) / CHECKS);
    this.#last = now;
    if (this.#checking) return;
    this.#checking = true;
    try {
      for (const [number, { worker, progress }] of [...this.#watched])
        if (await this.#isStuck(number, worker, progress, ran)) this.#onStuck(number);
    } finally {
      this.#checking = false;
    }
  }

  async #isStuck(number: number, worker: Watched, progress: Progress, ran: number): Promise<boolean> {
    const beat = this.#beat(number);
    if (beat !== progress.beat) {
      progress.beat = beat;
      progress.stalled = 0;
      progress.cpu = -1;
      return false;
    }
    if (progress.cpu < 0) {
      progress.cpu = (await worker.cpuTime()) ?? -1;
      return false;
    }
    progress.stalled += ran;
    if (progress.stalled < this.#stuckAfter) return false;
    const used = ((await worker.cpuTime()) ?? progress.cpu) - progress.cpu;
    if (used <= this.#stuckAfter / 2 || this.#beat(number) !== progress.beat) return false;
    // Reported once, and again after the same time.
    progress.stalled = 0;
    progress.cpu = -1;
    return this.#watched.get(number)?.worker === worker;
  }
}

/**
 * The coarse clock of a worker: one timer updates `now` every 50 ms and checks the deadlines. A deadline is a field of
 * its owner, so setting it is one store. It never fires early, and at most 100 ms late.
 */
export const TICK = 50;

export interface Timed {
  /** Clock time in ms after which `expire` is called; 0: none. */
  deadline: number;
  /** Index in the clock's list; managed by the clock. */
  sweepIndex: number;
  expire(): void;
}

export class Clock {
  /** Monotonic time of the last tick, ms. */
  now = performance.now();
  /** Wall-clock time of the last tick, ms since 1970. */
  wall = Date.now();
  #date = Buffer.alloc(0);
  #dateSecond = 0;
  readonly #timed: Timed[] = [];
  #timer: NodeJS.Timeout | null = null;

  /** Starts the timer; `onTick` runs after each check of the deadlines, `onError` for each `expire` that throws. */
  start(onTick: () => void, onError: (error: unknown) => void): void {
    const sweep = (): void => {
      if (this.#timer === null) return;
      this.#sweep(onError);
      onTick();
    };
    this.#timer = setInterval(() => {
      this.now = performance.now();
      this.wall = Date.now();
      // After received bytes are read: a delayed worker must not time out peers that responded in time.
      setImmediate(sweep);
    }, TICK);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** The deadline `ms` from now, plus one tick because `now` may lag by one. 0: none. */
  after(ms: number): number {
    return ms === 0 ? 0 : this.now + TICK + ms;
  }

  /** The current time as a Date field value (RFC 9110 section 6.6.1), formatted once a second. */
  date(): Buffer {
    const second = Math.floor(this.wall / 1000);
    if (second !== this.#dateSecond) {
      this.#dateSecond = second;
      this.#date = Buffer.from(new Date(second * 1000).toUTCString());
    }
    return this.#date;
  }

  add(timed: Timed): void {
    timed.sweepIndex = this.#timed.length;
    this.#timed.push(timed);
  }

  remove(timed: Timed): void {
    if (timed.sweepIndex < 0) return;
    const last = this.#timed.pop()!;
    if (last !== timed) {
      this.#timed[timed.sweepIndex] = last;
      last.sweepIndex = timed.sweepIndex;
    }
    timed.sweepIndex = -1;
  }

  #sweep(onError: (error: unknown) => void): void {
    // Backwards, because expire() may remove its owner, which moves the last entry into its slot.
    for (let i = this.#timed.length - 1; i >= 0; i--) {
      const timed = this.#timed[i];
      if (timed === undefined || timed.deadline === 0 || timed.deadline > this.now) continue;
      timed.deadline = 0;
      try {
        timed.expire();
      } catch (error) {
        // It must not delay the others, or end the worker.
        onError(error);
      }
    }
  }
}

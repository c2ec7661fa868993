/**
 * The thread's coarse clock: one timer moves `now` every 50 ms and sweeps the deadlines. A deadline is a field of its
 * owner, so setting one costs a store. It never fires early, and at most 100 ms late.
 */
export const TICK = 50;

export interface Timed {
  /** Clock time in ms after which `expire` is called; 0: none. */
  deadline: number;
  /** Where it stands in the clock's list; the clock's own. */
  sweepIndex: number;
  expire(): void;
}

export class Clock {
  /** Milliseconds of a monotonic clock, as of the last tick. */
  now = performance.now();
  /** The same moment as milliseconds since 1970. */
  wall = Date.now();
  #date = Buffer.alloc(0);
  #dateSecond = 0;
  readonly #timed: Timed[] = [];
  #timer: NodeJS.Timeout | null = null;

  /** Begins to tick; `onTick` runs after each sweep. */
  start(onTick: () => void): void {
    const sweep = (): void => {
      if (this.#timer === null) return;
      this.#sweep();
      onTick();
    };
    this.#timer = setInterval(() => {
      this.now = performance.now();
      this.wall = Date.now();
      // Once what has arrived is read: a thread that was held up must not blame those who answered it in time.
      setImmediate(sweep);
    }, TICK);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** The deadline for something that may take `ms`: `now` may lag by one tick, so one is added. 0 stays none. */
  after(ms: number): number {
    return ms === 0 ? 0 : this.now + TICK + ms;
  }

  /** The present moment as the value of a Date field (RFC 9110 section 6.6.1), made once a second. */
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

  #sweep(): void {
    // Backwards, because expire() may remove its owner, which moves the last one into the hole.
    for (let i = this.#timed.length - 1; i >= 0; i--) {
      const timed = this.#timed[i];
      if (timed === undefined || timed.deadline === 0 || timed.deadline > this.now) continue;
      timed.deadline = 0;
      timed.expire();
    }
  }
}

/**
 * Limits the time that a plugin's calls take beyond what their fuel accounts for, on one worker. Fuel is an upper bound for
 * the worst code: 75 ns a unit, where ordinary code takes 1 or 2. Calls that approach this bound delay all other requests.
 *
 * Time is not read for ordinary calls: only for a plugin's first calls, and after one of much fuel. The thread's processor
 * time is slow to read, and read only for the first calls and after one that took long. The smaller of the two counts, so
 * that waiting for a busy processor does not.
 */
export const SLOW = {
  /** Least fuel of a call that can take `least` milliseconds. */
  fuel: 50_000,
  /** Milliseconds that every call may take, and per unit of fuel. */
  least: 5,
  unit: 1e-5,
  /** The budget at first, and the largest that time alone restores, milliseconds of slow calls. */
  saved: 15,
  /** Largest budget, restored by `credit`. */
  burst: 50,
  /** Share of its permitted time that a fast call adds to the budget: rare slow calls (garbage collection) are tolerated. */
  credit: 0.01,
  /** Calls that are timed at first, and after one of much fuel. */
  calls: 1000,
} as const;

export class SlowCalls {
  readonly #share: number;
  readonly #now: () => number;
  /** The next call is timed; its processor time is read as well. */
  isTimed: boolean;
  readsProcessorTime: boolean;
  /** Calls may have to be refused (`refuses`). A field, because every call reads it. */
  hasExceeded = false;
  /** Of the last slow call. */
  milliseconds = 0;
  fuel = 0;
  #left: number = SLOW.calls;
  #processorLeft: number = SLOW.calls;
  #budget: number = SLOW.saved;
  #filledAt: number;

  /** `share`: of the worker's time, 1 for no limit; `now`: a monotonic clock, milliseconds. */
  constructor(share: number, now: () => number) {
    this.#share = share;
    this.#now = now;
    this.isTimed = share < 1;
    this.readsProcessorTime = this.isTimed;
    this.#filledAt = now();
  }

  /** A call has used at least SLOW.fuel: further ones are timed. */
  usedMuch(): void {
    if (this.#share === 1) return;
    this.isTimed = true;
    this.#left = SLOW.calls;
  }

  /** A timed call has ended. `processor`: its processor time in ms; negative: it was not read. */
  ended(elapsed: number, processor: number, fuel: number): void {
    const permitted = Math.max(SLOW.least, fuel * SLOW.unit);
    if (processor >= 0) this.#charge(Math.min(elapsed, processor), permitted, fuel);
    if (elapsed > permitted) {
      this.readsProcessorTime = true;
      this.#processorLeft = SLOW.calls;
    } else if (--this.#processorLeft === 0) this.readsProcessorTime = false;
    if (--this.#left === 0) this.isTimed = false;
  }

  #charge(time: number, permitted: number, fuel: number): void {
    this.#fill();
    if (time <= permitted) {
      if (fuel >= SLOW.fuel) this.#budget = Math.min(SLOW.burst, this.#budget + permitted * SLOW.credit);
      return;
    }
    this.milliseconds = time;
    this.fuel = fuel;
    this.#budget -= time - permitted;
    this.hasExceeded = this.#budget < 0;
  }

  /** Whether calls are refused now. */
  refuses(): boolean {
    this.#fill();
    this.hasExceeded = this.#budget < 0;
    return this.hasExceeded;
  }

  #fill(): void {
    const now = this.#now();
    if (this.#budget < SLOW.saved)
      this.#budget = Math.min(SLOW.saved, this.#budget + (now - this.#filledAt) * this.#share);
    this.#filledAt = now;
  }
}

/** The processor time of this thread, milliseconds. */
export function processorTime(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

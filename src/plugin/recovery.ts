/**
 * When a guest that failed may be made again.
 *
 * What a failing plugin costs the others is the time that its restarts take, so that is what is limited: a tenth of the
 * thread's time, a fiftieth when no call succeeds in between, after a second's worth at once. Nothing else refuses a
 * call: whoever may send a request that a plugin fails on could otherwise put that plugin out of service for everyone.
 */
export const RECOVERY = {
  /** Of the thread's time, that restarts may take; and when the last calls all failed. */
  share: 0.1,
  fruitlessShare: 0.02,
  /** Milliseconds of restarts that may have been saved up. */
  burst: 1000,
  /** What a restart costs at least: what it leaves to the garbage collector cannot be measured here. */
  leastCost: 0.5,
  /** Milliseconds for each MiB of a lost guest's memory above the first: it is held until the collector comes by. */
  memoryCost: 8,
  /** Failures in a row, with no success of that hook between them, that begin a quarantine. */
  failures: 20,
  /** Successes of that hook in a row that end one, or no failure for so long. */
  passes: 20,
  quiet: 10_000,
  /** A start that fails does so by itself, whatever clients send: pauses grow between these. */
  firstPause: 100,
  longestPause: 60_000,
} as const;

const MEBIBYTE = 1024 * 1024;

export class Recovery {
  readonly #now: () => number;
  readonly #random: () => number;
  /** Milliseconds; below 0 is owed. */
  #budget: number = RECOVERY.burst;
  #filledAt: number;
  #failedAt = Number.NEGATIVE_INFINITY;
  #until = Number.NEGATIVE_INFINITY;
  /** Failures since any call succeeded: they decide what restarts may cost. */
  #fruitless = 0;
  #failedStarts = 0;
  /** Failures since a call of the hook that fails succeeded, and its successes since the last one: they are the state. */
  #failures = 0;
  #passes = 0;
  #quarantined = false;

  /** `now`: a monotonic clock, milliseconds. */
  constructor(now: () => number, random: () => number = Math.random) {
    this.#now = now;
    this.#random = random;
    this.#filledAt = now();
  }

  /** From the failure after which a call may be refused, to the proof that calls succeed again. */
  get quarantined(): boolean {
    return this.#quarantined;
  }

  mayStart(): boolean {
    return this.#now() >= this.#until;
  }

  /** A restart took so long, whether or not it succeeded. */
  spend(cost: number): void {
    this.#fill();
    this.#budget -= Math.max(cost, RECOVERY.leastCost);
  }

  /** A guest with so many bytes of memory is gone. */
  lose(memory: number): void {
    this.#fill();
    this.#budget -= Math.max(0, memory / MEBIBYTE - 1) * RECOVERY.memoryCost;
  }

  /** A call failed, and its guest is gone. True when this begins a quarantine. */
  failCall(): boolean {
    return this.#fail(0);
  }

  /** The guest could not be made. True when this begins a quarantine. */
  failStart(): boolean {
    const pause = Math.min(RECOVERY.longestPause, RECOVERY.firstPause * 2 ** this.#failedStarts);
    this.#failedStarts++;
    // Up to a fifth less, so that threads that failed together try apart.
    return this.#fail(pause * (1 - this.#random() / 5));
  }

  /**
   * A call succeeded; needs telling after a failure only. `same`: of the hook that failed last. A plugin whose every
   * request fails is not well for its ticks' sake. True when it ends a quarantine.
   */
  pass(same: boolean): boolean {
    this.#fill();
    this.#fruitless = 0;
    this.#failedStarts = 0;
    if (same) {
      this.#failures = 0;
      this.#passes++;
    }
    if (!this.#quarantined) return false;
    if (this.#passes < RECOVERY.passes && this.#now() - this.#failedAt < RECOVERY.quiet) return false;
    this.#quarantined = false;
    return true;
  }

  #fail(least: number): boolean {
    this.#fill();
    this.#passes = 0;
    this.#failedAt = this.#now();
    this.#failures++;
    // What was saved up is for plugins that mostly work.
    if (++this.#fruitless === RECOVERY.failures) this.#budget = Math.min(this.#budget, 0);
    const owed = this.#budget < 0 ? -this.#budget / this.#share : 0;
    const pause = Math.max(owed, least);
    this.#until = this.#now() + pause;
    const begins = !this.#quarantined && (pause > 0 || this.#failures >= RECOVERY.failures);
    if (begins) this.#quarantined = true;
    return begins;
  }

  get #share(): number {
    return this.#fruitless >= RECOVERY.failures ? RECOVERY.fruitlessShare : RECOVERY.share;
  }

  #fill(): void {
    const now = this.#now();
    this.#budget = Math.min(RECOVERY.burst, this.#budget + (now - this.#filledAt) * this.#share);
    this.#filledAt = now;
  }
}

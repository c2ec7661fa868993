/**
 * Limits the frames of a connection without payload for a request: PING, SETTINGS, resets, small WINDOW_UPDATE and the
 * like. Floods of these cost a server far more than the client (CVE-2019-9512 to 9518, CVE-2023-44487, CVE-2025-8671).
 */
const MOST = 1000;
const PER_SECOND = 100;

export class FrameBudget {
  #left = MOST;
  #at: number;

  /** `now`: ms. */
  constructor(now: number) {
    this.#at = now;
  }

  /** Charges a frame; returns false if the budget is exceeded. */
  spend(cost: number, now: number): boolean {
    this.#left = Math.min(MOST, this.#left + ((now - this.#at) / 1000) * PER_SECOND) - cost;
    this.#at = now;
    return this.#left >= 0;
  }

  /** Adds to the budget for frames that carry a response. */
  earn(gain: number): void {
    this.#left += gain;
  }
}

/**
 * Limits the frames of a connection without payload for a request: PING, SETTINGS, resets, small WINDOW_UPDATE and the
 * like. Floods of these cost a server far more than the client (CVE-2019-9512 to 9518, CVE-2023-44487, CVE-2025-8671).
 * A token bucket; frames that carry a response add to it, so that a busy client may send more of them than an idle one.
 */

/** Costs and gains, in ordinary control frames. */
export const COST = {
  control: 1,
  /** A fault of the client that makes us reset a stream. */
  fault: 5,
  /** A request that was cancelled before it can have done work. */
  rapidReset: 2,
  /** Another cancelled request: one with a response, or older than SHORT_LIFE. */
  cancel: 0.25,
  /** Gain of a complete response: half of the requests of a connection may be rapid resets. */
  response: 2,
} as const;

/** Age from which a cancelled request counts as work, ms: how many there can be is limited by the concurrent streams. */
const SHORT_LIFE = 50;

/** The cost of a stream that the client has cancelled; `life`: its age, ms. */
export function costOfCancel(hasResponse: boolean, life: number): number {
  return hasResponse || life >= SHORT_LIFE ? COST.cancel : COST.rapidReset;
}

export class FrameBudget {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #at: number;

  /** `now`: ms. */
  constructor({ burst, perSecond }: { readonly burst: number; readonly perSecond: number }, now: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#left = burst;
    this.#at = now;
  }

  /** Charges a frame; returns false if the budget is exceeded. */
  spend(cost: number, now: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + ((now - this.#at) / 1000) * this.#perSecond) - cost;
    this.#at = now;
    return this.#left >= 0;
  }

  /** Adds to the budget, up to the burst, for frames that carry a response. */
  earn(gain: number): void {
    this.#left = Math.min(this.#burst, this.#left + gain);
  }
}

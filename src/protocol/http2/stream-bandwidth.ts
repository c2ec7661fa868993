/** The bandwidth limit of a route on a stream to an endpoint: pauses each direction for the time that its bytes exceed. */
import { type Bandwidth, RECEIVED, SENT } from "../../net/bandwidth.ts";

export interface BandwidthOwner {
  /** The credit for received bytes can be granted again. */
  creditResumed(): void;
  /** More bytes can be sent again. */
  sendingResumed(): void;
}

export class StreamBandwidth {
  readonly #bandwidth: Bandwidth;
  readonly #owner: BandwidthOwner;
  #credit: NodeJS.Timeout | null = null;
  #sending: NodeJS.Timeout | null = null;

  constructor(bandwidth: Bandwidth, owner: BandwidthOwner) {
    this.#bandwidth = bandwidth;
    this.#owner = owner;
  }

  get delaysCredit(): boolean {
    return this.#credit !== null;
  }

  get delaysSending(): boolean {
    return this.#sending !== null;
  }

  /** Charges received bytes; returns for how many ms no credit is granted: the endpoint can send the rest of its window. */
  received(size: number): number {
    const ms = this.#bandwidth.debit(RECEIVED, size);
    if (ms === 0) return 0;
    if (this.#credit !== null) clearTimeout(this.#credit);
    this.#credit = setTimeout(() => {
      this.#credit = null;
      this.#owner.creditResumed();
    }, ms);
    return ms;
  }

  /** Charges bytes to send, and pauses their source unless they are the last. */
  sent(size: number, isLast: boolean): void {
    const ms = this.#bandwidth.debit(SENT, size);
    if (ms === 0 || isLast) return;
    if (this.#sending !== null) clearTimeout(this.#sending);
    this.#sending = setTimeout(() => {
      this.#sending = null;
      this.#owner.sendingResumed();
    }, ms);
  }

  close(): void {
    if (this.#credit !== null) clearTimeout(this.#credit);
    if (this.#sending !== null) clearTimeout(this.#sending);
  }
}

/** Flow control of what the peer sends (RFC 9113 section 5.2), on the connection or on a stream. */
export class ReceiveWindow {
  readonly #size: number;
  /** Bytes that the peer may send. */
  #left: number;
  /** Bytes consumed, but not yet returned to the peer. */
  #uncredited = 0;

  constructor(size: number) {
    this.#size = size;
    this.#left = size;
  }

  get left(): number {
    return this.#left;
  }

  /** Charges received bytes; returns false if they exceed the window. */
  take(size: number): boolean {
    this.#left -= size;
    return this.#left >= 0;
  }

  /** Credits consumed bytes. Returns the increment for WINDOW_UPDATE: 0 until it is half of the window. */
  credit(size: number): number {
    this.#uncredited += size;
    const increment = this.#uncredited;
    if (increment < this.#size / 2) return 0;
    this.#uncredited = 0;
    this.#left += increment;
    return increment;
  }
}

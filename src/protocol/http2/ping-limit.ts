/**
 * How often a PING may verify a silent connection to an endpoint. Servers of gRPC count a PING as a fault if it follows
 * another one within five minutes, end the connection at the third fault, and forget them when they send HEADERS or DATA.
 */

/** PINGs until the endpoint sends HEADERS or DATA. */
const MAX_PINGS = 2;
/** Silence before each further one, ms. A network may bring two of them closer together. */
const INTERVAL = 6 * 60_000;

export class PingLimit {
  /** PINGs since the endpoint has sent HEADERS or DATA. */
  #sent = 0;
  #max = MAX_PINGS;
  #isExtended = false;
  /** HEADERS and DATA frames that the endpoint may have sent before it received the last PING. */
  #received = 0;

  /** A PING may be sent now. `received`: HEADERS and DATA frames received so far. */
  allows(received: number): boolean {
    if (received !== this.#received) {
      this.#received = received;
      this.#sent = 0;
      this.#max = MAX_PINGS;
      this.#isExtended = false;
    }
    return this.#sent < this.#max;
  }

  /** The silence after which the next PING is sent, ms; `timeout`: if it is not limited. */
  wait(timeout: number, received: number): number {
    return this.allows(received) ? timeout : Math.max(timeout, INTERVAL);
  }

  sent(): void {
    this.#sent++;
  }

  /** Something was received after a PING. */
  responded(received: number): void {
    this.#received = received;
  }

  /** A request is sent on a connection with others: allows one more PING for all of them. Returns true if it did. */
  extend(): boolean {
    if (this.#isExtended || this.#sent < this.#max) return false;
    this.#isExtended = true;
    this.#max = this.#sent + 1;
    return true;
  }
}

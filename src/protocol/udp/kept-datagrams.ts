/**
 * The datagrams of a session that are kept until its endpoint has sent the first one, to be sent to another endpoint.
 * Bounded for each session, and for all sessions of a listener together, since sources can be forged.
 */
const MAX_DATAGRAMS = 8;
const MAX_BYTES = 64 * 1024;
/** Of all sessions. Those without a socket yet may have as much again: what is not kept of them is lost. */
const MAX_TOTAL = 32 * 1024 * 1024;

/** Bytes of all sessions of a listener on this worker. */
export type KeptTotal = { bytes: number };

export class KeptDatagrams implements Iterable<Buffer> {
  readonly #total: KeptTotal;
  #datagrams: Buffer[] = [];
  #bytes = 0;
  #isSent = false;

  constructor(total: KeptTotal) {
    this.#total = total;
  }

  /** Returns false if it is not kept: a limit is reached. */
  add(datagram: Buffer): boolean {
    const { length } = datagram;
    if (this.#datagrams.length === MAX_DATAGRAMS || this.#bytes + length > MAX_BYTES) return false;
    if (this.#total.bytes + length > (this.#isSent ? MAX_TOTAL : 2 * MAX_TOTAL)) return false;
    this.#datagrams.push(datagram);
    this.#bytes += length;
    this.#total.bytes += length;
    return true;
  }

  /** They were sent to an endpoint: from now on they are kept only for another one. */
  sent(): void {
    this.#isSent = true;
    if (this.#total.bytes > MAX_TOTAL) this.drop();
  }

  [Symbol.iterator](): Iterator<Buffer> {
    return this.#datagrams[Symbol.iterator]();
  }

  drop(): void {
    this.#total.bytes -= this.#bytes;
    this.#bytes = 0;
    this.#datagrams = [];
  }
}

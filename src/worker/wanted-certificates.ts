/**
 * Handshakes that wait for a certificate that the main thread obtains on demand. What clients can cause is bounded: at
 * most MAX_WAITING handshakes of a worker wait, and for as many names, each within its `timeouts.handshake`; a name is
 * requested once at a time; a name that was denied is not requested again for a time. Beyond the bounds a handshake
 * fails at once.
 */
import { DeniedNames } from "../net/denied-names.ts";

/** A hello of a waiting handshake has up to 64 KiB, usually 2. */
const MAX_WAITING = 128;

export type Waiting = { readonly resume: () => void };

export class WantedCertificates {
  readonly #request: (name: string) => void;
  readonly #denied = new DeniedNames();
  readonly #waiting = new Map<string, Set<Waiting>>();
  #count = 0;

  constructor(request: (name: string) => void) {
    this.#request = request;
  }

  /** Calls `waiting.resume` when the certificate of a name was obtained or denied; false: it is denied, or too many wait. */
  wait(name: string, waiting: Waiting): boolean {
    if (this.#count === MAX_WAITING || this.#denied.until(name, Date.now()) !== null) return false;
    const others = this.#waiting.get(name);
    if (others === undefined && this.#waiting.size === MAX_WAITING) return false;
    if (others !== undefined) others.add(waiting);
    else {
      this.#waiting.set(name, new Set([waiting]));
      this.#request(name);
    }
    this.#count++;
    return true;
  }

  /** The request of a name continues without its handshakes: its result is used later. */
  cancel(name: string, waiting: Waiting): void {
    if (this.#waiting.get(name)?.delete(waiting)) this.#count--;
  }

  /** The main thread has decided; `deniedUntil` null: the certificate was obtained. */
  decided(name: string, deniedUntil: number | null): void {
    if (deniedUntil !== null) this.#denied.add(name, deniedUntil);
    const waiting = this.#waiting.get(name);
    this.#waiting.delete(name);
    this.#count -= waiting?.size ?? 0;
    for (const one of waiting ?? []) one.resume();
  }
}

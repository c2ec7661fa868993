/** A guest that may be suspended in a host call: what it is suspended for, and how long it has run. */
import type { Fault } from "../host/fault.ts";

export class GuestSuspension {
  /** Milliseconds that the guest ran in the present call, and since when it does (0: it is suspended). */
  ran = 0;
  #since = 0;
  #cancel: ((fault: Fault) => void) | null = null;

  /**
   * Suspends the guest until `begin`'s argument is called with what the host call answers; `begin` returns what gives it
   * up. The fuel that was not used, and the exchange, stay the call's.
   */
  suspend(begin: (answer: (result: number) => void) => () => void): Promise<number> {
    return new Promise((resolve, reject) => {
      this.paused();
      const cancel = begin((result) => {
        this.#cancel = null;
        this.resumed();
        resolve(result);
      });
      this.#cancel = (fault) => {
        this.#cancel = null;
        this.resumed();
        cancel();
        reject(fault);
      };
    });
  }

  /** The guest runs from now on. */
  resumed(): void {
    this.#since = performance.now();
  }

  /** It is suspended, or has ended. */
  paused(): void {
    if (this.#since > 0) this.ran += performance.now() - this.#since;
    this.#since = 0;
  }

  /** Ends the suspended host call by an error; nothing where the guest is not suspended. */
  cancel(fault: Fault): void {
    this.#cancel?.(fault);
  }
}

/** The suspension of a guest in an asynchronous host call, and the time that the guest has run. */
import type { Fault } from "../host/fault.ts";
import { processorTime } from "../host/slow-calls.ts";

export class GuestSuspension {
  /** Milliseconds that the guest has run in the current call, and the time since when it runs (0: suspended). */
  ran = 0;
  #since = 0;
  /** Processor time likewise, if it is read. */
  readsProcessorTime = false;
  processor = 0;
  #processorSince = 0;
  #cancel: ((fault: Fault) => void) | null = null;

  /**
   * Suspends the guest until `begin`'s argument is called with the result of the host call. `begin` returns a function
   * that cancels the operation. Fuel and scope of the hook call are unchanged.
   */
  suspend(begin: (complete: (result: number) => void) => () => void): Promise<number> {
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

  /** The guest runs again. */
  resumed(): void {
    this.#since = performance.now();
    if (this.readsProcessorTime) this.#processorSince = processorTime();
  }

  /** The guest is suspended, or has ended. */
  paused(): void {
    if (this.#since > 0) {
      this.ran += performance.now() - this.#since;
      if (this.readsProcessorTime) this.processor += processorTime() - this.#processorSince;
    }
    this.#since = 0;
  }

  /** Rejects the suspended host call; does nothing if there is none. */
  cancel(fault: Fault): void {
    this.#cancel?.(fault);
  }
}

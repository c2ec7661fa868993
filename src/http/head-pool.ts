/** A pool of heads for responses: a worker needs one for each response in progress, not for each waiting request. */
import { Head } from "./head.ts";

const MAX_FREE = 1024;
/** Bytes. Larger heads are not kept. */
const MAX_AREA = 16 * 1024;

export class HeadPool {
  readonly #free: Head[] = [];

  /** Returns an empty head. */
  take(): Head {
    return this.#free.pop() ?? new Head();
  }

  give(head: Head): void {
    if (this.#free.length >= MAX_FREE || head.bytes.length > MAX_AREA) return;
    head.reset();
    this.#free.push(head);
  }
}

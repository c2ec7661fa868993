/** Heads that serve again: a worker has as many as responses are under way at once, not one for each request that waits. */
import { Head } from "./head.ts";

const MAX_FREE = 1024;
/** Memory of one that is kept: what a large head took is not held for ever. */
const MAX_AREA = 16 * 1024;

export class HeadPool {
  readonly #free: Head[] = [];

  /** An empty one. */
  take(): Head {
    return this.#free.pop() ?? new Head();
  }

  give(head: Head): void {
    if (this.#free.length >= MAX_FREE || head.bytes.length > MAX_AREA) return;
    head.reset();
    this.#free.push(head);
  }
}

import type { Log } from "../observe/log.ts";

const INTERVAL = 10_000;

/** Counts rejected requests to the admin interface; logs at most one every ten seconds. */
export class Denials {
  readonly #log: Log;
  #count = 0;
  #logged = 0;
  #next = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  get count(): number {
    return this.#count;
  }

  add(client: string, reason: string): void {
    this.#count++;
    const now = performance.now();
    if (now < this.#next) return;
    const suppressed = this.#count - this.#logged - 1;
    this.#log.warn({ client, reason, suppressed }, "admin request denied");
    this.#logged = this.#count;
    this.#next = now + INTERVAL;
  }
}

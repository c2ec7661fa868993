/**
 * The idle connections of this thread to one endpoint, last in first out, so that the rest grow old and close. The
 * connections themselves are the proxy's; the pool only keeps them.
 */
export interface Poolable {
  readonly alive: boolean;
  /** Ends it. */
  close(): void;
}

export class Pool<Connection extends Poolable> {
  #closed = false;
  readonly #idle: Connection[] = [];
  readonly #keep: number;
  readonly #now: () => number;
  /** Until then none is kept; 0: it is not suspended. */
  #suspendedUntil = 0;

  /** `now`: a monotonic clock, ms. */
  constructor(keep: number, now: () => number = () => performance.now()) {
    this.#keep = keep;
    this.#now = now;
  }

  take(): Connection | null {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) return null;
      if (connection.alive) return connection;
    }
  }

  /** Keeps a connection that may serve again; false: there is no room, and the caller closes it. */
  give(connection: Connection): boolean {
    if (this.#closed || this.#idle.length >= this.#keep) return false;
    if (this.#suspendedUntil > 0 && this.#isSuspended()) return false;
    this.#idle.push(connection);
    return true;
  }

  /** An idle connection ended by itself. */
  drop(connection: Connection): void {
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Keeps none for so many ms, and closes those that it has: each serves one request. */
  suspend(ms: number): void {
    this.#suspendedUntil = this.#now() + ms;
    this.#closeIdle();
  }

  #isSuspended(): boolean {
    if (this.#now() < this.#suspendedUntil) return true;
    this.#suspendedUntil = 0;
    return false;
  }

  close(): void {
    this.#closed = true;
    this.#closeIdle();
  }

  #closeIdle(): void {
    for (const connection of this.#idle.splice(0)) connection.close();
  }
}

/**
 * The idle connections of this worker to one endpoint, last in first out, so that surplus connections become idle and are
 * closed.
 */
export interface Poolable {
  readonly alive: boolean;
  /** Closes the connection. */
  close(): void;
}

export class Pool<Connection extends Poolable> {
  #closed = false;
  readonly #idle: Connection[] = [];
  /** Most idle connections. */
  readonly keep: number;
  readonly #now: () => number;
  /** No connections are pooled until then; 0: pooling is not suspended. */
  #suspendedUntil = 0;

  /** `now`: a monotonic clock, ms. */
  constructor(keep: number, now: () => number = () => performance.now()) {
    this.keep = keep;
    this.#now = now;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  take(): Connection | null {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) return null;
      if (connection.alive) return connection;
    }
  }

  /** Pools a reusable connection; returns false if the pool is full, and the caller closes it. */
  give(connection: Connection): boolean {
    if (this.#closed || this.#idle.length >= this.keep) return false;
    if (this.#suspendedUntil > 0 && this.#isSuspended()) return false;
    this.#idle.push(connection);
    return true;
  }

  /** Removes an idle connection that was closed by the peer. */
  drop(connection: Connection): void {
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Suspends pooling for that many ms and closes the idle connections, so that each new one serves one request. */
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

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
  /** How many more idle connections it takes, with those of its divisions. */
  readonly #room: { left: number };
  readonly #now: () => number;
  /** No connections are pooled until then; 0: pooling is not suspended. */
  #suspendedUntil = 0;

  /** `now`: a monotonic clock, ms. */
  constructor(keep: number, now: () => number = () => performance.now(), room = { left: keep }) {
    this.#room = room;
    this.#now = now;
  }

  /** An empty pool, whose connections count in this one's number too. */
  divide(): Pool<Connection> {
    return new Pool(0, this.#now, this.#room);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  take(): Connection | null {
    for (;;) {
      const connection = this.#idle.pop();
      if (connection === undefined) return null;
      this.#room.left++;
      if (connection.alive) return connection;
    }
  }

  /** Pools a reusable connection; returns false if the pool is full, and the caller closes it. */
  give(connection: Connection): boolean {
    if (this.#closed || this.#room.left <= 0) return false;
    if (this.#suspendedUntil > 0 && this.#isSuspended()) return false;
    this.#idle.push(connection);
    this.#room.left--;
    return true;
  }

  /** Removes an idle connection that was closed by the peer. */
  drop(connection: Connection): void {
    const at = this.#idle.indexOf(connection);
    if (at < 0) return;
    this.#idle.splice(at, 1);
    this.#room.left++;
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
    const closed = this.#idle.splice(0);
    this.#room.left += closed.length;
    for (const connection of closed) connection.close();
  }
}

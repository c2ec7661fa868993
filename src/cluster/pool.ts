/**
 * The idle connections of this worker to one endpoint, last in first out, so that surplus connections become idle and are
 * closed.
 *
 * Bounds: those that it keeps, and for SURPLUS_TIME those above, which are at most the requests that were in flight
 * within that time. Without them a load with more requests in flight than that would open connections all the time.
 */

/** How long a connection above the number of those to keep may be idle, ms. */
export const SURPLUS_TIME = 5000;

export interface Poolable {
  readonly alive: boolean;
  /** Closes the connection. */
  close(): void;
}

export class Pool<Connection extends Poolable> {
  #closed = false;
  readonly #idle: Connection[] = [];
  /** How many more idle connections it keeps, with those of its divisions; negative: it has a surplus. */
  readonly #room: { left: number };
  /** The most that `#room.left` may fall short of 0: a surplus is for connections that any client can reuse. */
  readonly #surplus: number;
  readonly #now: () => number;
  /** No connections are pooled until then; 0: pooling is not suspended. */
  #suspendedUntil = 0;

  /** `now`: a monotonic clock, ms. */
  constructor(keep: number, now: () => number = () => performance.now(), room = { left: keep }) {
    this.#room = room;
    this.#surplus = keep > 0 ? Number.POSITIVE_INFINITY : 0;
    this.#now = now;
  }

  /** An empty pool without a surplus, whose connections count in this one's number too. */
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

  /** It has more idle connections than it keeps. */
  get hasSurplus(): boolean {
    return this.#room.left < 0;
  }

  /** Pools a reusable connection, a surplus one for SURPLUS_TIME; returns false if it takes none. */
  give(connection: Connection): boolean {
    if (this.#closed || this.#room.left <= -this.#surplus) return false;
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

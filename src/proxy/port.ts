/**
 * A listening address of this worker, as its connections see it: what is served there now, whether it drains, and what is
 * counted for it. It knows no protocol.
 */
import type { Connection, ConnectionHandler, ConnectionOwner } from "../net/connection.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import type { ListenerState } from "./snapshot.ts";

/** The protocol of an accepted connection. */
export interface ServerHandler extends ConnectionHandler {
  /** `port.draining` is set: it ends with its next response, or after `port.patience` without a request. */
  drain(): void;
}

export type AcceptedConnection = Connection<ServerHandler>;

export class Port implements ConnectionOwner {
  /** Moves with each version; null until the first serves. */
  state: ListenerState | null = null;
  /** The listener was removed or the worker drains. */
  draining = false;
  /** Once draining: how long a connection may be idle before it is closed, ms. */
  patience = 0;
  readonly connections = new Set<AcceptedConnection>();
  readonly #cells: Float64Array;
  readonly #onClosed: (port: Port) => void;

  constructor(cells: Float64Array, onClosed: (port: Port) => void) {
    this.#cells = cells;
    this.#onClosed = onClosed;
  }

  received(size: number): void {
    this.#cells[this.state!.plan.cells + LISTENER_CELLS.bytesReceived]! += size;
  }

  sent(size: number): void {
    this.#cells[this.state!.plan.cells + LISTENER_CELLS.bytesSent]! += size;
  }

  closed(connection: AcceptedConnection): void {
    this.connections.delete(connection);
    this.#onClosed(this);
  }
}

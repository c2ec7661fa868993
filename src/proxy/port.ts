/** A listening address of this worker, of any protocol: its configuration, connections, counters and drain. */
import type { Connection, ConnectionHandler, ConnectionOwner } from "../net/connection.ts";
import { TUNNEL_ENDS, type TunnelEnd } from "../net/tunnel.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import type { ConnectionChoice } from "./connection-choice.ts";
import type { ListenerState } from "./snapshot.ts";

/** The protocol of an accepted connection. */
export interface ServerHandler extends ConnectionHandler {
  /** `port.draining` is set: it ends with its next response, or after `port.drainIdle` without a request. */
  drain(): void;
}

export type AcceptedConnection = Connection<ServerHandler>;

/** An admitted connection, for the handler of its protocol. `choice`: the initial cluster of its requests. */
export type Accepted = {
  readonly connection: AcceptedConnection;
  readonly port: Port;
  readonly choice: ConnectionChoice | null;
  /** Its first bytes were read and it is to be relayed as they are; `hello`: what they say, null if they are not TLS. */
  readonly passed: { readonly hello: HelloFacts | null } | null;
};

/** What a ClientHello says. `serverName`: in lower case, empty without one; `offered`: protocols (ALPN). */
export type HelloFacts = { readonly serverName: string; readonly offered: readonly string[] };

/** `openedAt`: ms since 1970. */
type PortTunnel = { readonly openedAt: number };

export class Port implements ConnectionOwner {
  #state: ListenerState | null = null;
  /** The listener was removed or the worker drains. */
  draining = false;
  /** Once draining: how long a connection may be idle before it is closed, ms. */
  drainIdle = 0;
  readonly connections = new Set<AcceptedConnection>();
  /** In the order in which they were opened. */
  readonly #tunnels = new Set<PortTunnel>();
  readonly #cells: Float64Array;
  readonly #onClosed: (port: Port, connection: AcceptedConnection) => void;

  constructor(cells: Float64Array, onClosed: (port: Port, connection: AcceptedConnection) => void) {
    this.#cells = cells;
    this.#onClosed = onClosed;
  }

  /** Each connection ends after its next response, or after `idle` ms without a request. */
  drain(idle: number): void {
    this.draining = true;
    this.drainIdle = Math.max(1, idle);
    for (const connection of [...this.connections]) connection.handler.drain();
  }

  /** How long a connection may be idle, ms: `limit`, or less once draining. 0: no limit. */
  idleLimit(limit: number): number {
    return this.draining && (limit === 0 || limit > this.drainIdle) ? this.drainIdle : limit;
  }

  /** What is served here; null until the first version serves. */
  get state(): ListenerState | null {
    return this.#state;
  }

  /** Moves with each version. */
  serve(state: ListenerState): void {
    if (this.#state !== null) this.#addTunnels(-this.#tunnels.size, 0);
    this.#state = state;
    this.#addTunnels(this.#tunnels.size, this.#oldestTunnel());
  }

  tunnelOpened(tunnel: PortTunnel): void {
    this.#tunnels.add(tunnel);
    this.#addTunnels(1, this.#oldestTunnel());
  }

  /** `duration`: ms. */
  tunnelEnded(tunnel: PortTunnel, reason: TunnelEnd, duration: number): void {
    this.#tunnels.delete(tunnel);
    this.#addTunnels(-1, this.#oldestTunnel());
    this.#cells[this.state!.plan.cells + LISTENER_CELLS.tunnelEnds + TUNNEL_ENDS.indexOf(reason)]!++;
    this.#cells[this.state!.plan.cells + LISTENER_CELLS.tunnelSeconds]! += duration / 1000;
  }

  /** Counts bytes that tunnels have forwarded. */
  relayed(fromClients: number, fromEndpoints: number): void {
    const { cells } = this.state!.plan;
    this.#cells[cells + LISTENER_CELLS.tunnelReceived]! += fromClients;
    this.#cells[cells + LISTENER_CELLS.tunnelSent]! += fromEndpoints;
  }

  #oldestTunnel(): number {
    for (const { openedAt } of this.#tunnels) return openedAt;
    return 0;
  }

  #addTunnels(more: number, oldest: number): void {
    const { cells } = this.#state!.plan;
    this.#cells[cells + LISTENER_CELLS.tunnels]! += more;
    this.#cells[cells + LISTENER_CELLS.oldestTunnel] = oldest;
  }

  received(size: number): void {
    this.#cells[this.state!.plan.cells + LISTENER_CELLS.bytesReceived]! += size;
  }

  sent(size: number): void {
    this.#cells[this.state!.plan.cells + LISTENER_CELLS.bytesSent]! += size;
  }

  closed(connection: AcceptedConnection): void {
    this.connections.delete(connection);
    this.#onClosed(this, connection);
  }
}

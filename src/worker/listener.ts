/** A listening address of this worker. It outlives snapshots: connections reach the current one through its port. */
import { BoundSocket, createServer, type Server, type Socket } from "node:net";
import { type Acceptor, takeConnection, takeConnections } from "../net/accept.ts";
import { Connection, type NetContext } from "../net/connection.ts";
import { type AcceptedConnection, Port } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";

const BACKLOG = 1024;
/** Most turns of the event loop for which a draining listener accepts connections that the kernel has queued. */
const LAST_TURNS = 50;

export type ListenerOptions = {
  readonly context: NetContext & { readonly cells: Float64Array };
  /** Counts a new connection; returns false if the limit is reached. */
  readonly admit: (port: Port) => boolean;
  /** Sets the handler of an accepted connection. */
  readonly opened: (connection: AcceptedConnection, port: Port) => void;
  /** A counted connection was closed. */
  readonly closed: (port: Port, connection: AcceptedConnection) => void;
  /** Transfers a new connection to the next worker in turn; returns false if this worker keeps it. */
  readonly dispatch: (address: string, socket: Socket) => boolean;
  readonly failed: (address: string, problem: string) => void;
  /** Called for each failed accept. */
  readonly acceptFailed: (port: Port, problem: string) => void;
};

export class Listener implements Acceptor {
  readonly address: string;
  readonly #options: ListenerOptions;
  #port: Port;
  /** Ports of another protocol that the address had before, until their connections are closed. */
  readonly #former = new Set<Port>();
  /** Servers of this worker alone (`reusePort`). */
  readonly #servers: Server[] = [];
  /** Servers whose connections all workers share: the only one of its address, or of a worker that has left. */
  readonly #shared: Server[] = [];
  /** Bound sockets. They listen from the first `serve` on: earlier connections could only be closed. */
  readonly #bound: { socket: BoundSocket; shared: boolean }[] = [];
  /** Connections transferred by a worker that committed the snapshot with this listener earlier. */
  readonly #early: Socket[] = [];
  #accepted = 0;
  #closed = false;

  constructor(address: string, options: ListenerOptions) {
    this.address = address;
    this.#options = options;
    this.#port = this.#makePort();
  }

  /** The current one: a change of the protocol replaces it. */
  get port(): Port {
    return this.#port;
  }

  #makePort(): Port {
    return new Port(this.#options.context.cells, (port, connection) => {
      const isLast = port.connections.size === 0 && this.#former.delete(port);
      this.#options.closed(port, connection);
      if (isLast) port.state!.snapshot.leave();
    });
  }

  /** Adds a socket bound by the main thread; null: binds the path of a Unix socket. @throws Error */
  addSocket(socket: BoundSocket | null, shared = false): void {
    this.#bound.push({ socket: socket ?? bindPath(this.address.slice("unix:".length)), shared });
  }

  /** Adds a listening server transferred by another worker, with its queued connections. */
  addServer(server: Server, shared: boolean): void {
    if (this.port.state === null || this.port.draining) server.close();
    else this.#accept(server, shared);
  }

  /** Removes and returns a shared server; undefined if there is none. */
  detachShared(): Server | undefined {
    return this.#shared.pop();
  }

  /** Removes and returns all servers, to be transferred or closed. */
  detachServers(): Server[] {
    return [...this.#servers.splice(0), ...this.#shared.splice(0)];
  }

  /** Adds a connection that another worker accepted; nothing was read from it yet. */
  addConnection(socket: Socket): void {
    if (this.port.state === null) this.#early.push(socket);
    else takeConnection(socket, this);
  }

  #listen({ socket, shared }: { socket: BoundSocket; shared: boolean }): void {
    // Paused: bytes that were read could not be transferred to another worker.
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(socket as unknown as object, BACKLOG);
    this.#accept(server, shared);
  }

  #accept(server: Server, shared: boolean): void {
    server.on("error", (error) => this.#options.failed(this.address, error.message));
    (shared ? this.#shared : this.#servers).push(server);
    if (shared)
      server.on("connection", (socket) => {
        if (this.port.draining || !this.#options.dispatch(this.address, socket)) this.addConnection(socket);
      });
    else takeConnections(server, this);
  }

  failed(problem: string): void {
    this.#options.acceptFailed(this.port, problem);
  }

  accept(): AcceptedConnection | null {
    if (this.port.state === null || this.#closed) return null;
    this.#accepted++;
    return this.#options.admit(this.port) ? new Connection(this.#options.context, this.port) : null;
  }

  opened(connection: AcceptedConnection): void {
    this.port.connections.add(connection);
    this.#options.opened(connection, this.port);
  }

  /**
   * Sets the state that connections use from now on, and listens on the bound sockets. Connections of another protocol are
   * drained: `drainIdle` as of `drain`.
   */
  serve(state: ListenerState, drainIdle: number): void {
    if (changesProtocol(this.port, state)) this.#replacePort(drainIdle);
    this.port.serve(state);
    for (const bound of this.#bound.splice(0)) this.#listen(bound);
    for (const socket of this.#early.splice(0)) this.addConnection(socket);
  }

  /** The former state's snapshot is retained until its last connection closes: they are counted in its cells. */
  #replacePort(drainIdle: number): void {
    const former = this.#port;
    this.#port = this.#makePort();
    if (former.connections.size === 0) return;
    former.state!.snapshot.enter();
    this.#former.add(former);
    former.drain(drainIdle);
  }

  /** Connections of all ports. */
  *#connections(): Iterable<AcceptedConnection> {
    for (const port of [this.#port, ...this.#former]) yield* [...port.connections];
  }

  /** No server listens, and no client is connected. */
  get isDrained(): boolean {
    const isUnused = this.port.connections.size === 0 && this.#former.size === 0;
    return isUnused && this.#servers.length === 0 && this.#shared.length === 0;
  }

  /**
   * Accepts the connections that the kernel has queued, then stops listening and calls `stopped`. Each connection ends
   * after its next response, or after `drainIdle` ms without a request.
   */
  drain(drainIdle: number, stopped: () => void): void {
    if (this.port.draining) return;
    this.#closeBound();
    this.port.drain(drainIdle);
    this.#stopAccepting(LAST_TURNS, stopped);
  }

  /** Closing a listening socket resets its queued connections, so it stays open until none arrived in a whole turn. */
  #stopAccepting(turns: number, stopped: () => void): void {
    const before = this.#accepted;
    // The first callback runs in this turn of the event loop, the second in the next.
    setImmediate(() =>
      setImmediate(() => {
        if (this.#accepted > before && turns > 0 && !this.#closed) return this.#stopAccepting(turns - 1, stopped);
        this.#closeServers();
        stopped();
      }),
    );
  }

  /** Stops listening and resets all connections. */
  close(): void {
    this.port.draining = true;
    this.#closed = true;
    this.#closeBound();
    this.#closeServers();
    for (const connection of this.#connections()) connection.reset();
  }

  #closeBound(): void {
    for (const { socket } of this.#bound.splice(0)) socket.close();
    for (const socket of this.#early.splice(0)) socket.destroy();
  }

  #closeServers(): void {
    for (const server of this.detachServers()) server.close();
  }
}

/** Whether a state has another protocol than the connections of the port. */
export function changesProtocol({ state }: Port, next: ListenerState): boolean {
  return state !== null && state.plan.protocol !== next.plan.protocol;
}

/** @throws Error if the path cannot be bound; the configuration is then rejected. */
function bindPath(path: string): BoundSocket {
  const options: ConstructorParameters<typeof BoundSocket>[0] & { path: string } = { path };
  return new BoundSocket(options);
}

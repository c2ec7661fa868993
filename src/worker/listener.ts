/** A listening address of this thread. It outlives versions; connections see each new one through its port. */
import { BoundSocket, createServer, type Server, type Socket } from "node:net";
import { type Acceptor, takeConnection, takeConnections } from "../net/accept.ts";
import { Connection, type NetContext } from "../net/connection.ts";
import { type AcceptedConnection, Port } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";

const BACKLOG = 1024;
/** Turns of the event loop for which a listener that is closed accepts on, while connections arrive. */
const LAST_TURNS = 50;

export type ListenerOptions = {
  readonly context: NetContext & { readonly cells: Float64Array };
  /** Counts one more connection; false: there are as many as there may be. */
  readonly admit: (port: Port) => boolean;
  /** Gives a connection its handler. */
  readonly opened: (connection: AcceptedConnection, port: Port) => void;
  /** A connection that was admitted has ended. */
  readonly closed: (port: Port) => void;
  /** Passes a fresh connection on to the thread whose turn it is; false when it is this one's. */
  readonly dispatch: (address: string, socket: Socket) => boolean;
  readonly failed: (address: string, problem: string) => void;
  /** An accept failed; called for each failure. */
  readonly acceptFailed: (port: Port, problem: string) => void;
};

export class Listener implements Acceptor {
  readonly address: string;
  readonly port: Port;
  readonly #options: ListenerOptions;
  /** Of this thread alone. */
  readonly #servers: Server[] = [];
  /** Their connections are dealt out among all threads: the only one of its address, or that of a thread which left. */
  readonly #shared: Server[] = [];
  /** Bound, and not listened at before a version serves there: who connects earlier could only be turned away. */
  readonly #bound: { socket: BoundSocket; shared: boolean }[] = [];
  /** Accepted by a thread that took the version in which this listener is new a moment earlier. */
  readonly #early: Socket[] = [];
  #accepted = 0;
  #closed = false;

  constructor(address: string, options: ListenerOptions) {
    this.address = address;
    this.#options = options;
    this.port = new Port(options.context.cells, options.closed);
  }

  /** Takes a socket that the main thread bound; null: binds the path of a Unix socket. */
  addSocket(socket: BoundSocket | null, shared = false): void {
    this.#bound.push({ socket: socket ?? bindPath(this.address.slice("unix:".length)), shared });
  }

  /** Takes over a listening server of another thread, with whoever waits in its queue. */
  addServer(server: Server, shared: boolean): void {
    if (this.port.state === null || this.port.draining) server.close();
    else this.#take(server, shared);
  }

  /** Gives up a server that was taken over; undefined when there is none. */
  detachShared(): Server | undefined {
    return this.#shared.pop();
  }

  /** Gives up its servers, so that another thread goes on with them. */
  detachServers(): Server[] {
    return [...this.#servers.splice(0), ...this.#shared.splice(0)];
  }

  /** A connection that was accepted by another thread; nothing was read from it. */
  addConnection(socket: Socket): void {
    if (this.port.state === null) this.#early.push(socket);
    else takeConnection(socket, this);
  }

  #listen({ socket, shared }: { socket: BoundSocket; shared: boolean }): void {
    // Nothing is read before a connection is where it stays: what was read could not move to another thread.
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.listen(socket as unknown as object, BACKLOG);
    this.#take(server, shared);
  }

  #take(server: Server, shared: boolean): void {
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

  /** Connections see this state from now on; on sockets held until now they are accepted. */
  serve(state: ListenerState): void {
    this.port.state = state;
    for (const held of this.#bound.splice(0)) this.#listen(held);
    for (const socket of this.#early.splice(0)) this.addConnection(socket);
  }

  /** Nothing listens here, and no client is connected. */
  get isDrained(): boolean {
    return this.port.connections.size === 0 && this.#servers.length === 0 && this.#shared.length === 0;
  }

  /**
   * Accepts what the kernel has queued, and then no more. Each connection ends after its next response, or when it was
   * silent for `patience` ms. `stopped` runs once nothing listens any more; whether this is over may change later only
   * with its clients.
   */
  drain(patience: number, stopped: () => void): void {
    if (this.port.draining) return;
    this.port.draining = true;
    this.port.patience = Math.max(1, patience);
    this.#closeBound();
    for (const connection of [...this.port.connections]) connection.handler.drain();
    this.#stopAccepting(LAST_TURNS, stopped);
  }

  /** Closing a listening socket resets those that wait in its queue: it is left open until a whole turn brought none. */
  #stopAccepting(turns: number, stopped: () => void): void {
    const before = this.#accepted;
    // The first ends this turn, the second the next one.
    setImmediate(() =>
      setImmediate(() => {
        if (this.#accepted > before && turns > 0 && !this.#closed) return this.#stopAccepting(turns - 1, stopped);
        this.#closeServers();
        stopped();
      }),
    );
  }

  /** Ends what is left. */
  close(): void {
    this.port.draining = true;
    this.#closed = true;
    this.#closeBound();
    this.#closeServers();
    for (const connection of [...this.port.connections]) connection.reset();
  }

  #closeBound(): void {
    for (const { socket } of this.#bound.splice(0)) socket.close();
    for (const socket of this.#early.splice(0)) socket.destroy();
  }

  #closeServers(): void {
    for (const server of this.detachServers()) server.close();
  }
}

/** @throws Error when the path cannot be had: the version that names it is then refused. */
function bindPath(path: string): BoundSocket {
  const options: ConstructorParameters<typeof BoundSocket>[0] & { path: string } = { path };
  return new BoundSocket(options);
}

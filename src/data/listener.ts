/** A listening address of this thread. It outlives versions; connections see each new one through its port. */
import { BoundSocket, createServer, type Server } from "node:net";
import type { Client, Port } from "../proxy/client.ts";
import type { ListenerState } from "../proxy/snapshot.ts";
import { takeConnections } from "./accept.ts";

const BACKLOG = 1024;

export type ListenerOptions = {
  /** Makes a connection's reader and writer. */
  readonly open: (port: Port) => Client;
  readonly failed: (address: string, problem: string) => void;
};

export class Listener {
  readonly address: string;
  readonly port: Port = { state: null, retired: false, clients: new Set() };
  readonly #options: ListenerOptions;
  readonly #servers: Server[] = [];
  /** Bound, and not listened at before a version serves there: who connects earlier could only be turned away. */
  readonly #held: BoundSocket[] = [];
  #failedAt = Number.NEGATIVE_INFINITY;

  constructor(address: string, options: ListenerOptions) {
    this.address = address;
    this.#options = options;
  }

  /** Takes a socket that the main thread bound; null: binds the path of a Unix socket. */
  hold(socket: BoundSocket | null): void {
    this.#held.push(socket ?? bindPath(this.address.slice("unix:".length)));
  }

  #listen(socket: BoundSocket): void {
    const server = createServer({ allowHalfOpen: true });
    server.on("error", (error) => this.#options.failed(this.address, error.message));
    server.listen(socket as unknown as object, BACKLOG);
    this.#servers.push(server);
    takeConnections(
      server,
      () => this.#accept(),
      (problem) => this.#fail(problem),
    );
  }

  /** Says so once a second: without a free descriptor every connection that comes fails. */
  #fail(problem: string): void {
    const now = performance.now();
    if (now - this.#failedAt < 1000) return;
    this.#failedAt = now;
    this.#options.failed(this.address, problem);
  }

  #accept(): Client | null {
    const { state, clients, retired } = this.port;
    if (state === null || retired) return null;
    const limit = state.plan.limits.connections;
    if (limit > 0 && clients.size >= limit) return null;
    return this.#options.open(this.port);
  }

  /** Connections see this state from now on; on sockets held until now they are accepted. */
  serve(state: ListenerState): void {
    this.port.state = state;
    for (const socket of this.#held.splice(0)) this.#listen(socket);
  }

  /** Accepts no more; idle connections end, the others after their present answer. */
  drain(): void {
    this.port.retired = true;
    for (const socket of this.#held.splice(0)) socket.close();
    for (const server of this.#servers.splice(0)) server.close();
    for (const client of [...this.port.clients]) client.retire();
  }

  /** Ends what is left. */
  close(): void {
    this.drain();
    for (const client of [...this.port.clients]) client.break();
  }
}

/** @throws Error when the path cannot be had: the version that names it is then refused. */
function bindPath(path: string): BoundSocket {
  const options: ConstructorParameters<typeof BoundSocket>[0] & { path: string } = { path };
  return new BoundSocket(options);
}

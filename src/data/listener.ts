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

  constructor(address: string, options: ListenerOptions) {
    this.address = address;
    this.#options = options;
  }

  /** Begins to accept on a socket that the main thread bound; null: at the path of a Unix socket. */
  listen(socket: BoundSocket | null): void {
    const bound = socket ?? bindPath(this.address.slice("unix:".length));
    const server = createServer({ allowHalfOpen: true });
    server.on("error", (error) => this.#options.failed(this.address, error.message));
    server.listen(bound as unknown as object, BACKLOG);
    this.#take(server);
  }

  /** Takes over a server that another thread listened with, its queue included. */
  adopt(server: Server): void {
    server.on("error", (error) => this.#options.failed(this.address, error.message));
    this.#take(server);
  }

  #take(server: Server): void {
    this.#servers.push(server);
    takeConnections(
      server,
      () => this.#accept(),
      (error) => this.#options.failed(this.address, `accept failed with ${error}`),
    );
  }

  #accept(): Client | null {
    const { state, clients, retired } = this.port;
    if (state === null || retired) return null;
    const limit = state.plan.limits.connections;
    if (limit > 0 && clients.size >= limit) return null;
    return this.#options.open(this.port);
  }

  get listening(): boolean {
    return this.#servers.length > 0;
  }

  serve(state: ListenerState): void {
    this.port.state = state;
  }

  /** Accepts no more; idle connections end, the others after their present answer. */
  drain(): void {
    this.port.retired = true;
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

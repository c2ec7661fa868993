/**
 * Message ports between workers: worker 0 has one to every other. They transfer new connections where only one worker
 * can accept, and listening sockets with their queues when a worker leaves or is started again.
 */
import type { Server, Socket } from "node:net";
import type { MessagePort } from "node:worker_threads";
import type { Listener } from "./listener.ts";

type LinkMessage =
  | { type: "connection"; address: string; socket: Socket }
  | { type: "server"; address: string; server: Server }
  /** The sender leaves and has transferred all its servers. The port is closed after the last connection for it. */
  | { type: "bye" };

export type LinksOptions = {
  /** This worker's number. */
  readonly worker: number;
  /** All listeners of this worker. */
  readonly listeners: () => Iterable<Listener>;
  /** The listener at an address of the current or a prepared snapshot; undefined without one. */
  readonly find: (address: string) => Listener | undefined;
  /** A server at that address was transferred to this worker. */
  readonly transferred: (address: string) => void;
  readonly failed: (problem: string) => void;
};

export class Links {
  readonly #options: LinksOptions;
  readonly #ports = new Map<number, MessagePort>();
  /** The ports, for round-robin distribution of connections. */
  #ring: readonly MessagePort[] = [];
  #turn = 0;
  #onLeft: (() => void) | null = null;

  constructor(options: LinksOptions) {
    this.#options = options;
  }

  /** Adds the port to a worker; a shared server of each address in `transfer` is sent to it. */
  add(worker: number, port: MessagePort, transfer: readonly string[]): void {
    this.#ports.get(worker)?.close();
    this.#ports.set(worker, port);
    this.#ring = [...this.#ports.values()];
    port.on("message", (message: LinkMessage) => this.#guard(() => this.#receive(worker, port, message)));
    port.on("messageerror", (error) => this.#options.failed(`from worker ${worker}: ${String(error)}`));
    port.on("close", () => this.#guard(() => this.#closed(worker, port)));
    for (const address of transfer) {
      const server = this.#options.find(address)?.detachShared();
      if (server !== undefined) this.#post(port, { type: "server", address, server }, server);
    }
    if (this.#onLeft !== null) this.#transferAll(port);
  }

  /** Transfers a connection to the next worker in turn; returns false if that is this one, or the transfer fails. */
  dispatch(address: string, socket: Socket): boolean {
    this.#turn = (this.#turn + 1) % (this.#ring.length + 1);
    const port = this.#ring[this.#turn - 1];
    if (port === undefined) return false;
    try {
      this.#post(port, { type: "connection", address, socket }, socket);
      return true;
    } catch (error) {
      // The failed transfer has not changed the socket.
      this.#options.failed(`a connection could not be transferred to another worker: ${String(error)}`);
      return false;
    }
  }

  /** Transfers all servers; calls `done` once no further connection can be transferred to this worker. */
  leave(done: () => void): void {
    this.#onLeft = done;
    // Without a port, while worker 0 is being replaced, this worker accepts until `add`.
    for (const port of this.#ring) this.#transferAll(port);
  }

  #transferAll(port: MessagePort): void {
    for (const listener of this.#options.listeners())
      for (const server of listener.detachServers()) {
        if (server.listening) this.#post(port, { type: "server", address: listener.address, server }, server);
      }
    this.#post(port, { type: "bye" });
  }

  #receive(worker: number, port: MessagePort, message: LinkMessage): void {
    switch (message.type) {
      case "connection": {
        const listener = this.#options.find(message.address);
        if (listener === undefined) message.socket.destroy();
        else listener.addConnection(message.socket);
        return;
      }
      case "server":
        return this.#addServer(message.address, message.server);
      case "bye":
        this.#closed(worker, port);
        port.close();
    }
  }

  #addServer(address: string, server: Server): void {
    const listener = this.#options.find(address);
    if (listener === undefined) {
      server.close();
      return;
    }
    const shared = this.#options.worker === 0;
    listener.addServer(server, shared);
    if (shared) this.#options.transferred(address);
  }

  #closed(worker: number, port: MessagePort): void {
    if (this.#ports.get(worker) !== port) return;
    this.#ports.delete(worker);
    this.#ring = [...this.#ports.values()];
    const left = this.#onLeft;
    this.#onLeft = null;
    left?.();
  }

  #post(port: MessagePort, message: LinkMessage, moved?: Socket | Server): void {
    port.postMessage(message, moved === undefined ? [] : [moved as never]);
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#options.failed(String(error));
    }
  }
}

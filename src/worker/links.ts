/**
 * Ports between the workers: thread 0 has one to every other. Fresh connections go through them where only one
 * thread can accept, and listening sockets, with whoever waits in their queue, when a thread leaves or comes back.
 */
import type { Server, Socket } from "node:net";
import type { MessagePort } from "node:worker_threads";
import type { Listener } from "./listener.ts";

type LinkMessage =
  | { type: "connection"; address: string; socket: Socket }
  | { type: "server"; address: string; server: Server }
  /** The sender leaves and has handed over what it listened with. The port closes behind the last connection dealt to it. */
  | { type: "bye" };

export type LinksOptions = {
  /** This thread's number. */
  readonly thread: number;
  /** All listeners of this thread. */
  readonly listeners: () => Iterable<Listener>;
  /** The listener at an address that a version names, in service or about to be; undefined when none does. */
  readonly find: (address: string) => Listener | undefined;
  readonly transferred: (address: string) => void;
  readonly failed: (problem: string) => void;
};

export class Links {
  readonly #options: LinksOptions;
  readonly #ports = new Map<number, MessagePort>();
  /** Those of `#ports`, to be dealt to in turn. */
  #ring: readonly MessagePort[] = [];
  #turn = 0;
  #onLeft: (() => void) | null = null;

  constructor(options: LinksOptions) {
    this.#options = options;
  }

  add(thread: number, port: MessagePort, give: readonly string[]): void {
    this.#ports.get(thread)?.close();
    this.#ports.set(thread, port);
    this.#ring = [...this.#ports.values()];
    port.on("message", (message: LinkMessage) => this.#guard(() => this.#receive(thread, port, message)));
    port.on("messageerror", (error) => this.#options.failed(`from thread ${thread}: ${String(error)}`));
    port.on("close", () => this.#guard(() => this.#closed(thread, port)));
    for (const address of give) {
      const server = this.#options.find(address)?.detachShared();
      if (server !== undefined) this.#post(port, { type: "server", address, server }, server);
    }
    if (this.#onLeft !== null) this.#transferAll(port);
  }

  /** Passes a connection on to the thread whose turn it is; false when that is this one, or it cannot be passed on. */
  dispatch(address: string, socket: Socket): boolean {
    this.#turn = (this.#turn + 1) % (this.#ring.length + 1);
    const port = this.#ring[this.#turn - 1];
    if (port === undefined) return false;
    try {
      this.#post(port, { type: "connection", address, socket }, socket);
      return true;
    } catch (error) {
      // Untouched: what refuses to be moved is refused before anything happens to it.
      this.#options.failed(`a connection stays where it was accepted: ${String(error)}`);
      return false;
    }
  }

  /** Hands over all that this thread listens with; `done` once no connection can reach it any more. */
  leave(done: () => void): void {
    this.#onLeft = done;
    // While thread 0 is being replaced there is nobody to hand it to: until the next link this one goes on accepting.
    for (const port of this.#ring) this.#transferAll(port);
  }

  #transferAll(port: MessagePort): void {
    for (const listener of this.#options.listeners())
      for (const server of listener.detachServers()) {
        if (server.listening) this.#post(port, { type: "server", address: listener.address, server }, server);
      }
    this.#post(port, { type: "bye" });
  }

  #receive(thread: number, port: MessagePort, message: LinkMessage): void {
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
        this.#closed(thread, port);
        port.close();
    }
  }

  #addServer(address: string, server: Server): void {
    const listener = this.#options.find(address);
    if (listener === undefined) {
      server.close();
      return;
    }
    const shared = this.#options.thread === 0;
    listener.addServer(server, shared);
    if (shared) this.#options.transferred(address);
  }

  #closed(thread: number, port: MessagePort): void {
    if (this.#ports.get(thread) !== port) return;
    this.#ports.delete(thread);
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

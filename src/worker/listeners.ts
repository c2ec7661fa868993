/** The listeners of this worker, those in service and those that drain, and the counts of their connections. */
import type { BoundSocket } from "node:net";
import type { ConnectionCounts } from "../net/connection-counts.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { AcceptedConnection, Port } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";
import type { ClientAdmission } from "./client-admission.ts";
import { Incoming, type IncomingOptions } from "./incoming.ts";
import { Links, type LinksOptions } from "./links.ts";
import { changesProtocol, Listener } from "./listener.ts";

/** Milliseconds that an idle connection is kept while its listener or worker drains; its next response ends it. */
const LAST_REQUEST = 2000;

export type ListenersOptions = {
  readonly context: WorkerContext;
  readonly counts: ConnectionCounts;
  readonly clients: ClientAdmission;
  readonly incoming: IncomingOptions;
  readonly transferred: LinksOptions["transferred"];
  /** Whether a prepared version has a listener at an address. */
  readonly isPrepared: (address: string) => boolean;
  /** Whether nothing else of the worker drains. */
  readonly isDrained: () => boolean;
  /** All connections have closed after `drain`. Called once. */
  readonly drained: () => void;
};

export class Listeners {
  readonly links: Links;
  readonly #options: ListenersOptions;
  readonly #listeners = new Map<string, Listener>();
  /** Removed listeners whose connections are not closed yet. */
  readonly #leaving = new Set<Listener>();
  #draining = false;
  #drained = false;

  constructor(options: ListenersOptions) {
    this.#options = options;
    const { context, transferred } = options;
    this.links = new Links({
      worker: context.worker,
      listeners: () => this.#listeners.values(),
      find: (address) => this.#find(address),
      transferred,
      failed: (problem) => context.report("error", "a transfer between workers failed", { problem }),
    });
  }

  /** Adds a socket bound by the main thread; null: binds the path of a Unix socket. @throws Error */
  addSocket(address: string, socket: BoundSocket | null, shared: boolean): void {
    this.#at(address).addSocket(socket, shared);
  }

  /** Serves these states; drains the listeners without one. */
  serve(states: ReadonlyMap<string, ListenerState>): void {
    for (const [address, state] of states) this.#serve(this.#at(address), state);
    for (const [address, listener] of this.#listeners) {
      if (states.has(address)) continue;
      this.#listeners.delete(address);
      this.#leave(listener);
    }
  }

  /** Closes the listeners of a version that was not committed. */
  dropUnserved(): void {
    for (const [address, listener] of this.#listeners) {
      if (listener.port.state !== null) continue;
      listener.close();
      this.#listeners.delete(address);
    }
  }

  /** Stops accepting; calls `drained` after the last connection has closed; after `grace` ms resets the rest. */
  drain(grace: number): void {
    this.#draining = true;
    const drainIdle = Math.min(LAST_REQUEST, grace / 2);
    for (const listener of this.#listeners.values()) listener.drain(drainIdle, () => this.checkDrained());
    this.checkDrained();
    setTimeout(() => {
      for (const listener of [...this.#listeners.values(), ...this.#leaving]) listener.close();
    }, grace).unref();
  }

  #at(address: string): Listener {
    let listener = this.#listeners.get(address);
    if (listener === undefined) {
      const { context, incoming } = this.#options;
      listener = new Listener(address, {
        context,
        admit: (port) => this.#admit(port),
        opened: (connection, port) => {
          new Incoming(connection, port, incoming).begin();
        },
        closed: (port, connection) => this.#connectionClosed(port, connection),
        dispatch: (at, socket) => this.links.dispatch(at, socket),
        failed: (at, problem) => context.report("error", "listener failed", { address: at, problem }),
        acceptFailed: (port, problem) => this.#acceptFailed(address, port, problem),
      });
      this.#listeners.set(address, listener);
    }
    return listener;
  }

  /** The listener for a transferred socket: the sender may have committed a version that is only prepared here. */
  #find(address: string): Listener | undefined {
    return this.#listeners.get(address) ?? (this.#options.isPrepared(address) ? this.#at(address) : undefined);
  }

  /** Applies a listener's new state. Its connections are counted in the new state's cells: its name may have changed. */
  #serve(listener: Listener, state: ListenerState): void {
    const { state: before, connections } = listener.port;
    if (!changesProtocol(listener.port, state)) {
      if (before !== null) this.#countConnections(before, -connections.size);
      this.#countConnections(state, connections.size);
    }
    listener.serve(state, LAST_REQUEST);
  }

  /** Drains a removed listener. The snapshot is retained until its last connection closes: it is counted in its cells. */
  #leave(listener: Listener): void {
    listener.port.state!.snapshot.enter();
    this.#leaving.add(listener);
    listener.drain(LAST_REQUEST, () => this.#checkLeaving());
  }

  #checkLeaving(): void {
    for (const listener of this.#leaving) {
      if (!listener.isDrained) continue;
      this.#leaving.delete(listener);
      listener.port.state!.snapshot.leave();
    }
    if (this.#draining) this.checkDrained();
  }

  /** Calls `drained` once nothing drains any more. */
  checkDrained(): void {
    if (!this.#draining || this.#drained || this.#leaving.size > 0 || !this.#options.isDrained()) return;
    for (const listener of this.#listeners.values()) if (!listener.isDrained) return;
    this.#drained = true;
    this.#options.drained();
  }

  /** Counts a new connection; returns false if the listener's `limits.connections` is reached. */
  #admit(port: Port): boolean {
    const { slot, limits } = port.state!.plan;
    const { counts, clients } = this.#options;
    const { connections: limit } = limits;
    if (!counts.enter(slot, limit)) return clients.refuse(port, "connections", { limit });
    this.#countConnections(port.state!, 1);
    return true;
  }

  #connectionClosed(port: Port, connection: AcceptedConnection): void {
    this.#options.clients.closed(connection);
    this.#countConnections(port.state!, -1);
    this.#options.counts.leave(port.state!.plan.slot);
    this.#checkLeaving();
  }

  #countConnections(state: ListenerState, by: number): void {
    this.#options.context.cells[state.plan.cells + LISTENER_CELLS.connections]! += by;
  }

  /** Counts and logs a failed accept; logging is rate-limited, because without memory every accept fails. */
  #acceptFailed(address: string, { state }: Port, cause: string): void {
    const { cells, warnings } = this.#options.context;
    if (state !== null) cells[state.plan.cells + LISTENER_CELLS.acceptFailed]!++;
    const listener = state?.plan.name ?? address;
    if (warnings.admits("accept_failed", listener))
      warnings.write("client connection could not be accepted", { listener, address, cause });
  }
}

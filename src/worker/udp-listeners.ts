/** The UDP addresses of this worker, those in service and those that drain, and the counts of their sessions. */
import { type ConnectionCounts, UDP_SESSIONS } from "../net/connection-counts.ts";
import { bindUdp, openFilesLimit, type UdpPlace } from "../net/udp.ts";
import { LISTENER_CELLS } from "../observe/series.ts";
import { UdpListener } from "../protocol/udp/udp-listener.ts";
import type { UdpSession } from "../protocol/udp/udp-session.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { Pipeline } from "../proxy/pipeline.ts";
import type { Port } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";
import { type ClientAdmission, refusingList } from "./client-admission.ts";

/** Milliseconds without a datagram after which a session ends while its listener or worker drains. */
const LAST_DATAGRAM = 2000;

export type UdpListenersOptions = {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly counts: ConnectionCounts;
  readonly clients: ClientAdmission;
  /** A drained listener has closed. */
  readonly closed: () => void;
};

export class UdpListeners {
  readonly #options: UdpListenersOptions;
  readonly #listeners = new Map<string, UdpListener>();
  /** Removed listeners whose sessions have not ended yet. */
  readonly #leaving = new Set<UdpListener>();
  /**
   * Most sessions of all workers, each of which has a socket: half of what the process may open, since sources can be
   * forged, and TCP must be served meanwhile. Read with the first listener.
   */
  #most = 0;

  constructor(options: UdpListenersOptions) {
    this.#options = options;
  }

  /** Binds an address. Until it is served, its datagrams are for the listener that has the address, or kept. @throws Error */
  async bind(address: string, place: UdpPlace): Promise<void> {
    if (this.#most === 0) this.#most = openFilesLimit() / 2;
    const socket = await bindUdp(place);
    const { context, pipeline } = this.#options;
    const listener = new UdpListener(socket, {
      context,
      pipeline,
      place,
      address,
      current: (at) => this.#currentAt(at),
      leaving: this.#leaving,
      hasRoom: () => this.#options.counts.open(UDP_SESSIONS) < this.#most,
      admit: (port, session) => this.#admit(port, session),
      isAllowed: ({ state }, client) => refusingList(state!, client) === null,
      ended: (port, session) => this.#ended(port, session),
    });
    this.#listeners.set(address, listener);
  }

  /** A listener that leaves still gets some of the datagrams: the system distributes them over both sockets. */
  #currentAt({ host, port }: UdpPlace): UdpListener | undefined {
    for (const listener of this.#listeners.values()) {
      const { place, port: state } = listener;
      if (place.host === host && place.port === port && state.state !== null && !state.draining) return listener;
    }
    return undefined;
  }

  /** Serves these states; drains the listeners without one. */
  serve(states: ReadonlyMap<string, ListenerState>): void {
    for (const [address, listener] of this.#listeners) {
      if (states.has(address)) continue;
      this.#listeners.delete(address);
      this.#leave(listener);
    }
    // On this worker `#currentAt` has the successor, unless the address is served by another one only (`udp.quic`).
    const places = new Set(
      [...states].flatMap(([address, { plan }]) => (plan.protocol === "udp" ? placeOf(address) : [])),
    );
    for (const listener of this.#leaving) listener.hasSuccessor = places.has(placeOf(listener.address));
    for (const [address, listener] of this.#listeners) {
      const state = states.get(address)!;
      const { state: before } = listener.port;
      if (before !== null) this.#count(before, -listener.size);
      this.#count(state, listener.size);
      listener.serve(state);
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

  /**
   * The sessions end when they are idle, at the latest after `grace` ms. `hasSuccessor`: other workers serve on.
   */
  drain(grace: number, hasSuccessor: boolean): void {
    const all = [...this.#listeners.values(), ...this.#leaving];
    const drainIdle = Math.min(LAST_DATAGRAM, grace / 2);
    for (const listener of all) {
      // Those that leave know it already.
      if (!hasSuccessor || !listener.port.draining) listener.hasSuccessor = hasSuccessor;
      listener.drain(drainIdle, this.#options.closed);
    }
    setTimeout(() => {
      for (const listener of all) listener.close();
    }, grace).unref();
  }

  get isDrained(): boolean {
    return this.#leaving.size === 0 && [...this.#listeners.values()].every((listener) => listener.isClosed);
  }

  tick(): void {
    const { now } = this.#options.context.clock;
    for (const listener of this.#listeners.values()) listener.tick(now);
    for (const listener of this.#leaving) listener.tick(now);
  }

  /** Drains a removed listener, for the grace period at most. Its snapshot is retained until its last session has ended. */
  #leave(listener: UdpListener): void {
    const { snapshot } = listener.port.state!;
    snapshot.enter();
    this.#leaving.add(listener);
    const timer = setTimeout(() => listener.close(), this.#options.pipeline.tunnels.grace).unref();
    listener.drain(LAST_DATAGRAM, () => {
      clearTimeout(timer);
      this.#leaving.delete(listener);
      snapshot.leave();
      this.#options.closed();
    });
  }

  /** Counts a session; returns false if it is refused. */
  #admit(port: Port, session: UdpSession): boolean {
    const { counts, clients } = this.#options;
    const { slot, limits } = port.state!.plan;
    const { connections: limit } = limits;
    if (!counts.enter(slot, limit)) return clients.refuse(port, "connections", { limit });
    if (!clients.admit(session, port)) {
      counts.leave(slot);
      return false;
    }
    counts.enter(UDP_SESSIONS, 0);
    this.#count(port.state!, 1);
    return true;
  }

  #ended({ state }: Port, session: UdpSession): void {
    this.#options.clients.closed(session);
    this.#options.counts.leave(state!.plan.slot);
    this.#options.counts.leave(UDP_SESSIONS);
    this.#count(state!, -1);
  }

  #count({ plan }: ListenerState, by: number): void {
    this.#options.context.cells[plan.cells + LISTENER_CELLS.connections]! += by;
  }
}

/** Host and port of an address such as `udp:127.0.0.1:53`. */
function placeOf(address: string): string {
  return address.slice(address.indexOf(":") + 1);
}

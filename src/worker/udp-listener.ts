/** A UDP address of this worker. It outlives snapshots: sessions reach the current one through its port. */
import type { RemoteInfo, Socket } from "node:dgram";
import type { UdpPlace } from "../net/udp.ts";
import type { UdpSession } from "../protocol/udp/udp-session.ts";
import { UdpSessions, type UdpSessionsOptions } from "../protocol/udp/udp-sessions.ts";
import { Port } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";
import { refusingList } from "./client-admission.ts";

export type UdpListenerOptions = Omit<
  UdpSessionsOptions,
  "port" | "admit" | "isAllowed" | "passBack" | "passOn" | "opensDraining" | "ended"
> & {
  readonly place: UdpPlace;
  /** As in the plan. */
  readonly address: string;
  /** The listener in service at the address; undefined: there is none. */
  readonly current: (place: UdpPlace) => UdpListener | undefined;
  /** The listeners that drain. */
  readonly leaving: Iterable<UdpListener>;
  /** Counts a new session; returns false if it is refused. */
  readonly admit: (port: Port, session: UdpSession) => boolean;
  /** A counted session has ended. */
  readonly ended: (port: Port, session: UdpSession) => void;
};

/** Milliseconds between two searches for sessions whose time is over. */
const SWEEP = 1000;

export class UdpListener {
  readonly port: Port;
  readonly place: UdpPlace;
  readonly address: string;
  readonly #socket: Socket;
  readonly #sessions: UdpSessions;
  /** Whether other workers serve the address while this listener drains. */
  hasSuccessor = false;
  #stopped: () => void = () => {};
  #sweptAt = 0;
  #isClosed = false;

  constructor(socket: Socket, options: UdpListenerOptions) {
    this.#socket = socket;
    this.place = options.place;
    this.address = options.address;
    this.port = new Port(options.context.cells, () => {});
    const { port } = this;
    this.#sessions = new UdpSessions(socket, {
      context: options.context,
      pipeline: options.pipeline,
      hasRoom: options.hasRoom,
      port,
      admit: (session) => options.admit(port, session),
      passOn: (bytes, from) => {
        const current = options.current(this.place);
        current?.receive(bytes, from);
        return current !== undefined;
      },
      opensDraining: () => this.hasSuccessor,
      passBack: (bytes, from) => this.#passBack(options.leaving, bytes, from),
      isAllowed: (client) => refusingList(port.state!, client) === null,
      ended: (session) => {
        options.ended(port, session);
        this.#checkDrained();
      },
    });
    socket.on("message", (bytes: Buffer, from: RemoteInfo) => this.receive(bytes, from));
    // A datagram could not be sent to its client.
    socket.on("error", () => this.#sessions.dropped("failed"));
  }

  receive(bytes: Buffer, from: RemoteInfo): void {
    this.#sessions.receive(bytes, from);
  }

  #passBack(leaving: Iterable<UdpListener>, bytes: Buffer, from: RemoteInfo): boolean {
    for (const listener of leaving) {
      const { host, port } = listener.place;
      const isSame = host === this.place.host && port === this.place.port;
      if (isSame && listener.#sessions.receiveKnown(bytes, from)) return true;
    }
    return false;
  }

  serve(state: ListenerState): void {
    this.port.serve(state);
    this.#sessions.begin();
  }

  tick(now: number): void {
    if (now - this.#sweptAt < SWEEP && !this.port.draining) return;
    this.#sweptAt = now;
    this.#sessions.sweep();
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Opens no new sessions unless it `hasSuccessor`, and ends each one after `drainIdle` ms without a datagram; after the
   * last one has ended, closes the socket and calls `stopped`.
   */
  drain(drainIdle: number, stopped: () => void): void {
    if (this.port.draining) return;
    this.port.draining = true;
    this.port.drainIdle = Math.max(1, drainIdle);
    this.#stopped = stopped;
    this.#checkDrained();
  }

  #checkDrained(): void {
    if (this.port.draining && !this.#isClosed && this.#sessions.size === 0) this.close();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#sessions.close();
    this.#socket.close();
    this.#stopped();
  }
}

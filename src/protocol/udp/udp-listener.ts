/**
 * A UDP address of this worker with its sessions. It outlives snapshots: sessions reach the current one through its port.
 *
 * Sessions are found by the client's address and port; with `udp.quic` also by connection ID (RFC 9000 section 5.1),
 * because a NAT may give a client another address during a connection. At most MAX_SESSIONS are open, and not more than
 * the process has sockets for: each has one, and source addresses can be forged. Beyond that, the oldest session whose
 * client has sent nothing since its endpoint's first datagram is ended; if there is none, the datagram is dropped.
 */
import type { RemoteInfo, Socket } from "node:dgram";
import { readPeer } from "../../net/address.ts";
import { hasLongHeader, readLongHeader, readShortHeader } from "../../net/quic-ids.ts";
import type { UdpPlace } from "../../net/udp.ts";
import { DATAGRAM_DROPS, LISTENER_CELLS } from "../../observe/series.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import { Port } from "../../proxy/port.ts";
import type { ListenerState } from "../../proxy/snapshot.ts";
import { type DatagramDrop, type SessionOwner, UdpSession } from "./udp-session.ts";

const MAX_SESSIONS = 16_384;
/** Datagrams queued for clients; beyond it they are dropped. */
const MAX_QUEUED = 4 * 1024 * 1024;
/** Bytes of datagrams kept until the listener serves, and what each costs in addition; further ones are lost. */
const MAX_EARLY = 1024 * 1024;
const EARLY_COST = 256;
/** Idle timeout unless the listener has one, ms. */
const IDLE = 60_000;
/** Connection IDs of one session: an endpoint chooses one in its handshake, and a second one after a retry. */
const MAX_IDS = 4;
/** How long a client must have been silent at its address before its session follows it to another one, ms. */
const REBIND_AFTER = 1000;

/** Milliseconds between two searches for sessions whose time is over. */
const SWEEP = 1000;

export type UdpListenerOptions = {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly place: UdpPlace;
  /** As in the plan. */
  readonly address: string;
  /** The listener in service at the address; undefined: there is none. */
  readonly current: (place: UdpPlace) => UdpListener | undefined;
  /** The listeners that drain. */
  readonly leaving: Iterable<UdpListener>;
  /** Whether the process has sockets left for another session. */
  readonly hasRoom: () => boolean;
  /** Counts a new session; returns false if it is refused. */
  readonly admit: (port: Port, session: UdpSession) => boolean;
  /** Whether `allow` and `deny` admit the address. */
  readonly isAllowed: (port: Port, client: string) => boolean;
  /** A counted session has ended. */
  readonly ended: (port: Port, session: UdpSession) => void;
};

export class UdpListener implements SessionOwner {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly port: Port;
  readonly place: UdpPlace;
  readonly address: string;
  /** Other workers serve the address while it drains, but the system still assigns new clients to this socket. */
  hasSuccessor = false;
  isClosed = false;
  readonly kept = { bytes: 0 };
  readonly #options: UdpListenerOptions;
  readonly #socket: Socket;
  readonly #byClient = new Map<string, UdpSession>();
  readonly #byId = new Map<string, UdpSession>();
  /** The lengths of connection IDs that endpoints use. */
  readonly #idLengths = new Set<number>();
  /** Sessions whose client has sent nothing since its endpoint's first datagram, oldest first. */
  readonly #unconfirmed = new Set<UdpSession>();
  readonly #sessions = new Set<UdpSession>();
  /** Received before the port had a state. */
  readonly #early: { readonly bytes: Buffer; readonly from: RemoteInfo }[] = [];
  #earlyBytes = 0;
  /** Datagrams that were lost before the port had a state: they are counted then. */
  #earlyDrops = 0;
  #sweptAt = 0;
  #stopped: () => void = () => {};

  constructor(socket: Socket, options: UdpListenerOptions) {
    this.#options = options;
    this.#socket = socket;
    this.context = options.context;
    this.pipeline = options.pipeline;
    this.place = options.place;
    this.address = options.address;
    this.port = new Port(this.context.cells, () => {});
    socket.on("message", (bytes: Buffer, from: RemoteInfo) => this.receive(bytes, from));
    // A datagram could not be sent to its client.
    socket.on("error", () => this.dropped("failed"));
  }

  /** Number of sessions. */
  get size(): number {
    return this.#sessions.size;
  }

  /** A datagram of a client. */
  receive(bytes: Buffer, from: RemoteInfo): void {
    if (this.port.state === null) return this.#receiveEarly(bytes, from);
    if (this.#receiveKnown(bytes, from)) return;
    if (this.port.draining ? this.#passOn(bytes, from) : this.#passBack(bytes, from)) return;
    this.port.received(bytes.length);
    const session = this.#open(keyOf(from), from);
    session?.guard(() => session.send(bytes));
  }

  /** Receives a datagram of an open session; returns false if there is none for it. */
  #receiveKnown(bytes: Buffer, from: RemoteInfo): boolean {
    const key = keyOf(from);
    const session = this.#byClient.get(key) ?? this.#findById(bytes, from, key);
    if (session === undefined) return false;
    this.port.received(bytes.length);
    session.guard(() => session.send(bytes));
    return true;
  }

  /** Passes the datagram of a new client to the listener that has the address now; returns false if there is none. */
  #passOn(bytes: Buffer, from: RemoteInfo): boolean {
    const current = this.#options.current(this.place);
    current?.receive(bytes, from);
    return current !== undefined;
  }

  /** Passes the datagram to a listener of this address that drains, if it has a session for it; returns whether one has. */
  #passBack(bytes: Buffer, from: RemoteInfo): boolean {
    const { host, port } = this.place;
    for (const listener of this.#options.leaving)
      if (listener.place.host === host && listener.place.port === port && listener.#receiveKnown(bytes, from))
        return true;
    return false;
  }

  /** The system distributes clients over this socket from the moment it is bound. */
  #receiveEarly(bytes: Buffer, from: RemoteInfo): void {
    if (this.#passOn(bytes, from)) return;
    // Of empty ones, too.
    const cost = bytes.length + EARLY_COST;
    if (this.#earlyBytes + cost > MAX_EARLY) return void this.#earlyDrops++;
    this.#early.push({ bytes, from });
    this.#earlyBytes += cost;
  }

  serve(state: ListenerState): void {
    this.port.serve(state);
    for (const { bytes, from } of this.#early.splice(0)) this.receive(bytes, from);
    if (this.#earlyDrops > 0) this.dropped("queue", this.#earlyDrops);
    this.#earlyDrops = 0;
  }

  #open(key: string, from: RemoteInfo): UdpSession | null {
    if (this.port.draining && !this.hasSuccessor) return this.#refuse("draining");
    if (this.#isFull) this.#evict();
    if (this.#isFull) return this.#refuse("limit");
    const session = new UdpSession(this, from, readPeer(from.address));
    if (!this.#options.admit(this.port, session)) return this.#refuse("limit");
    this.#byClient.set(key, session);
    this.#unconfirmed.add(session);
    this.#sessions.add(session);
    session.guard(() => session.begin());
    // A plugin may have denied it at once.
    return session.alive ? session : null;
  }

  #refuse(reason: DatagramDrop): null {
    this.dropped(reason);
    return null;
  }

  get #isFull(): boolean {
    return this.size >= MAX_SESSIONS || !this.#options.hasRoom();
  }

  #evict(): void {
    for (const session of this.#unconfirmed) return session.end("evicted");
  }

  /** The session of a client whose address has changed. */
  #findById(bytes: Buffer, from: RemoteInfo, key: string): UdpSession | undefined {
    if (this.#byId.size === 0) return undefined;
    const session = this.#sessionOf(bytes);
    if (session === undefined || this.context.clock.now - session.receivedAt < REBIND_AFTER) return undefined;
    if (!this.#options.isAllowed(this.port, readPeer(from.address))) return undefined;
    this.#byClient.delete(keyOf(session.from));
    this.#byClient.set(key, session);
    session.from = from;
    return session;
  }

  #sessionOf(packet: Buffer): UdpSession | undefined {
    if (hasLongHeader(packet)) return this.#byId.get(readLongHeader(packet)?.destination ?? "");
    for (const length of this.#idLengths) {
      const id = readShortHeader(packet, length);
      const session = id === null ? undefined : this.#byId.get(id);
      if (session !== undefined) return session;
    }
    return undefined;
  }

  /** An endpoint chooses the ID of the packets that it receives, and states it as source in the handshake. */
  #learnId(session: UdpSession, packet: Buffer): void {
    const id = readLongHeader(packet)?.source ?? "";
    if (id === "" || session.ids.length >= MAX_IDS || this.#byId.has(id)) return;
    session.ids.push(id);
    this.#byId.set(id, session);
    this.#idLengths.add(id.length);
  }

  sendToClient(session: UdpSession, bytes: Buffer): void {
    const { plan } = this.port.state!;
    if (plan.udp.quic && hasLongHeader(bytes)) this.#learnId(session, bytes);
    if (this.#socket.getSendQueueSize() > MAX_QUEUED) return this.dropped("queue");
    this.port.sent(bytes.length);
    this.#socket.send(bytes, session.from.port, session.from.address);
  }

  confirmed(session: UdpSession): void {
    this.#unconfirmed.delete(session);
  }

  ended(session: UdpSession): void {
    if (!this.#sessions.delete(session)) return;
    this.#unconfirmed.delete(session);
    const key = keyOf(session.from);
    if (this.#byClient.get(key) === session) this.#byClient.delete(key);
    for (const id of session.ids) this.#byId.delete(id);
    this.#options.ended(this.port, session);
    this.#checkDrained();
  }

  dropped(reason: DatagramDrop, count = 1): void {
    const { state } = this.port;
    if (state === null) return;
    const { cells, warnings } = this.context;
    cells[state.plan.cells + LISTENER_CELLS.datagramDrops + DATAGRAM_DROPS.indexOf(reason)]! += count;
    if (warnings.admits("datagram_dropped", `${state.plan.name} ${reason}`))
      warnings.write("UDP datagram dropped", { listener: state.plan.name, reason });
  }

  /** Ends the sessions whose time is over. */
  tick(now: number): void {
    if ((now - this.#sweptAt < SWEEP && !this.port.draining) || this.size === 0) return;
    this.#sweptAt = now;
    const { idle, lifetime } = this.port.state!.plan.relay!;
    const limit = this.port.idleLimit(idle === 0 ? IDLE : idle);
    for (const session of this.#sessions) session.guard(() => session.sweep(now, limit, lifetime));
  }

  /**
   * Opens no new sessions unless it `hasSuccessor`, and ends each one after `drainIdle` ms without a datagram; after the
   * last one has ended, closes the socket and calls `stopped`.
   */
  drain(drainIdle: number, stopped: () => void): void {
    if (this.port.draining) return;
    this.port.drain(drainIdle);
    this.#stopped = stopped;
    this.#checkDrained();
  }

  #checkDrained(): void {
    if (this.port.draining && this.size === 0) this.close();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    for (const session of [...this.#sessions]) session.end("drained");
    this.#socket.close();
    this.#stopped();
  }
}

function keyOf({ address, port }: RemoteInfo): string {
  return `${address} ${port}`;
}

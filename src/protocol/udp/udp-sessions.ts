/**
 * The UDP sessions of one listening address on this worker, by the client's address and port; with `udp.quic` also by
 * connection ID (RFC 9000 section 5.1), because a NAT may give a client another address during a connection. At
 * most MAX_SESSIONS are open, and not more than the process has sockets for: each has one, and source addresses can be
 * forged. Beyond that, the oldest session whose client has sent nothing since its endpoint's first datagram is ended; if
 * there is none, the datagram is dropped.
 */
import type { RemoteInfo, Socket } from "node:dgram";
import { readPeer } from "../../net/address.ts";
import { hasLongHeader, readLongHeader, readShortHeader } from "../../net/quic-ids.ts";
import { DATAGRAM_DROPS, LISTENER_CELLS } from "../../observe/series.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { Port } from "../../proxy/port.ts";
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

export type UdpSessionsOptions = {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly port: Port;
  /** Whether the process has sockets left for another session. */
  readonly hasRoom: () => boolean;
  /** Passes the datagram to a listener of this address that drains, if it has a session for it; returns whether one has. */
  readonly passBack: (bytes: Buffer, from: RemoteInfo) => boolean;
  /** The listener drains or does not serve yet: passes a new client's datagram to the one in service; false: none. */
  readonly passOn: (bytes: Buffer, from: RemoteInfo) => boolean;
  /**
   * Whether the listener opens sessions while it drains: the address is served on by other workers, and the system goes on
   * to assign new clients to this socket until it is closed.
   */
  readonly opensDraining: () => boolean;
  /** Counts a new session; returns false if it is refused. */
  readonly admit: (session: UdpSession) => boolean;
  /** Whether `allow` and `deny` admit the address. */
  readonly isAllowed: (client: string) => boolean;
  /** A counted session has ended. */
  readonly ended: (session: UdpSession) => void;
};

export class UdpSessions implements SessionOwner {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly port: Port;
  readonly kept = { bytes: 0 };
  readonly #options: UdpSessionsOptions;
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

  constructor(socket: Socket, options: UdpSessionsOptions) {
    this.#options = options;
    this.#socket = socket;
    this.context = options.context;
    this.pipeline = options.pipeline;
    this.port = options.port;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** A datagram of a client. */
  receive(bytes: Buffer, from: RemoteInfo): void {
    if (this.port.state === null) return this.#receiveEarly(bytes, from);
    if (this.receiveKnown(bytes, from)) return;
    if (this.port.draining ? this.#options.passOn(bytes, from) : this.#options.passBack(bytes, from)) return;
    this.port.received(bytes.length);
    const session = this.#open(keyOf(from), from);
    session?.guard(() => session.send(bytes));
  }

  /** Receives a datagram of an open session; returns false if there is none for it. */
  receiveKnown(bytes: Buffer, from: RemoteInfo): boolean {
    const key = keyOf(from);
    const session = this.#byClient.get(key) ?? this.#findById(bytes, from, key);
    if (session === undefined) return false;
    this.port.received(bytes.length);
    session.guard(() => session.send(bytes));
    return true;
  }

  /** The system distributes clients over this socket from the moment it is bound. */
  #receiveEarly(bytes: Buffer, from: RemoteInfo): void {
    if (this.#options.passOn(bytes, from) || this.#earlyBytes + bytes.length > MAX_EARLY) return;
    this.#early.push({ bytes, from });
    // Of empty ones, too.
    this.#earlyBytes += bytes.length + EARLY_COST;
  }

  /** The port has a state now. */
  begin(): void {
    for (const { bytes, from } of this.#early.splice(0)) this.receive(bytes, from);
  }

  #open(key: string, from: RemoteInfo): UdpSession | null {
    if (this.port.draining && !this.#options.opensDraining()) return this.#refuse("draining");
    if (this.#isFull) this.#evict();
    if (this.#isFull) return this.#refuse("limit");
    const session = new UdpSession(this, from, readPeer(from.address));
    if (!this.#options.admit(session)) return this.#refuse("limit");
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
    if (!this.#options.isAllowed(readPeer(from.address))) return undefined;
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
    this.#options.ended(session);
  }

  dropped(reason: DatagramDrop): void {
    const { state } = this.port;
    if (state === null) return;
    const { cells, warnings } = this.context;
    cells[state.plan.cells + LISTENER_CELLS.datagramDrops + DATAGRAM_DROPS.indexOf(reason)]!++;
    if (warnings.admits("datagram_dropped", `${state.plan.name} ${reason}`))
      warnings.write("UDP datagram dropped", { listener: state.plan.name, reason });
  }

  /** Ends the sessions whose time is over. */
  sweep(): void {
    if (this.size === 0) return;
    const { idle, lifetime } = this.port.state!.plan.relay!;
    const limit = this.port.idleLimit(idle === 0 ? IDLE : idle);
    for (const session of this.#sessions) session.guard(() => session.sweep(this.context.clock.now, limit, lifetime));
  }

  close(): void {
    for (const session of [...this.#sessions]) session.end("drained");
  }
}

function keyOf({ address, port }: RemoteInfo): string {
  return `${address} ${port}`;
}

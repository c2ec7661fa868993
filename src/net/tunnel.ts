/**
 * A relay between a client's connection and an endpoint's: an upgraded HTTP connection, or any protocol that is not
 * interpreted. Each direction has back-pressure and ends by itself (half-close). Bytes are read into the worker's shared
 * buffer and copied; only a direction whose reads fill that buffer uses blocks of its own, so an idle tunnel holds none.
 */
import { BLOCK_SIZE, type Buffers } from "./buffers.ts";
import type { Connection, ConnectionHandler } from "./connection.ts";

/** Follows the frames of one direction of a protocol that has a farewell, which may be sent between two frames. */
export interface Frames {
  /** The last frame is complete. */
  readonly isWhole: boolean;
  /** The last frame was the protocol's own farewell: nothing may follow it. */
  readonly isOver: boolean;
  /** Follows `bytes[start, end)`, up to the end of the present frame if that is in it. Returns where it stopped. */
  follow(bytes: Buffer, start: number, end: number): number;
  /** Announces to the receiver of this direction that the connection ends. */
  farewell(): Buffer;
}

/** Why a tunnel ended: what happened first, or the reset that cut it later. */
export const TUNNEL_ENDS = [
  "client_closed",
  "endpoint_closed",
  "client_reset",
  "endpoint_reset",
  "idle_timeout",
  "drained",
  "internal",
] as const;
export type TunnelEnd = (typeof TUNNEL_ENDS)[number];

/** `bytes[start, end)`. */
export type Received = { readonly bytes: Buffer; readonly start: number; readonly end: number };

export interface TunnelOwner {
  /** How long a tunnel may take to end after `drain`, ms. */
  readonly grace: number;
  /** So many bytes were received from the client, and from the endpoint, and forwarded. */
  relayed(fromClient: number, fromEndpoint: number): void;
  /** The client's connection is closed, and the endpoint's is or will be. `cause`: the socket's error, or empty. */
  ended(reason: TunnelEnd, cause: string): void;
  /** An exception was thrown in the relay; both connections are reset. */
  broken(error: unknown): void;
}

export type TunnelOptions = {
  readonly client: Connection;
  readonly endpoint: Connection;
  readonly owner: TunnelOwner;
  readonly buffers: Buffers;
  /** After so long without a byte in either direction it is ended, ms. */
  readonly idle: number;
  /** For the bytes from the client, and from the endpoint; null: the protocol has no farewell. */
  readonly frames: { readonly fromClient: Frames; readonly fromEndpoint: Frames } | null;
};

/** Once one direction has ended the other may be silent for so long at most, ms. */
const HALF_CLOSED = 30_000;
/** How long the rest of a connection is read or written whose other end is gone already, ms. */
const LINGER = 2000;

/** A tunnel ends so much before the grace is over, at which its connections are reset, ms. */
const MARGIN = 200;

const NOTHING_TO_DO = (): void => {};

export class Tunnel {
  readonly client: TunnelSide;
  readonly endpoint: TunnelSide;
  readonly owner: TunnelOwner;
  readonly buffers: Buffers;
  #idle: number;
  #reason: TunnelEnd | null = null;
  #cause = "";
  #isDraining = false;
  /** One connection is closed: the deadline of the other is that of its rest. */
  #isClosing = false;

  /** Becomes the handler of both connections; `begin` follows. */
  constructor({ client, endpoint, owner, buffers, idle, frames }: TunnelOptions) {
    this.owner = owner;
    this.buffers = buffers;
    this.#idle = idle;
    this.client = new TunnelSide(this, client, frames?.fromClient ?? null);
    this.endpoint = new TunnelSide(this, endpoint, frames?.fromEndpoint ?? null);
    this.client.other = this.endpoint;
    this.endpoint.other = this.client;
    client.handler = this.client;
    endpoint.handler = this.endpoint;
  }

  /** Relays from now on. What was received before is forwarded first. */
  begin(fromClient: Received, fromEndpoint: Received): void {
    this.endpoint.connection.deadline = 0;
    this.active();
    this.endpoint.begin(fromEndpoint);
    this.client.begin(fromClient);
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** The connection is to end within the owner's grace: announces it to the client where the protocol can. */
  drain(): void {
    if (this.#isDraining || this.#isClosing) return;
    this.#isDraining = true;
    this.note("drained");
    this.endpoint.connection.arm(Math.max(1, this.owner.grace - MARGIN));
    this.endpoint.announce();
  }

  /** Something was received or sent: the idle time begins anew. */
  active(): void {
    if (!this.#isClosing) this.client.connection.arm(this.#idle);
  }

  /** The first reason is that of the end, but for a reset in the middle of what ended in order. */
  note(reason: TunnelEnd, cause = ""): void {
    const cutLater = cause !== "" && (this.#reason === "client_closed" || this.#reason === "endpoint_closed");
    if (this.#reason !== null && !cutLater) return;
    this.#reason = reason;
    this.#cause = cause;
  }

  halfClosed(side: TunnelSide): void {
    this.note(side === this.client ? "client_closed" : "endpoint_closed");
    this.#idle = Math.min(this.#idle, HALF_CLOSED);
    this.active();
  }

  /** The deadline of a side's connection has passed: the client's is the idle time, the endpoint's that of a drain. */
  timedOut(side: TunnelSide): void {
    if (this.#isClosing || side.isWriteBroken) side.connection.reset();
    else this.#end(side === this.client ? "idle_timeout" : "drained");
  }

  closed(side: TunnelSide, error: Error | null): void {
    const { other } = side;
    const orderly = error === null && side.hasEnded;
    if (!orderly) this.note(side === this.client ? "client_reset" : "endpoint_reset", error?.message ?? "closed");
    this.#isClosing = true;
    if (orderly) other.linger();
    else if (this.#isDraining) other.takeLeave();
    else if (other.connection.alive) other.connection.reset();
    if (side === this.client) this.owner.ended(this.#reason ?? "client_reset", this.#cause);
  }

  relayed(side: TunnelSide, size: number): void {
    if (side === this.client) this.owner.relayed(size, 0);
    else this.owner.relayed(0, size);
  }

  broken(error: unknown): void {
    this.note("internal");
    this.#isClosing = true;
    for (const { connection } of [this.client, this.endpoint]) if (connection.alive) connection.reset();
    this.owner.broken(error);
  }

  #end(reason: TunnelEnd): void {
    this.note(reason);
    this.#isClosing = true;
    this.endpoint.takeLeave();
    this.client.takeLeave();
  }
}

/** One of the two connections. Implements what handlers of accepted and of dialled connections need. */
export class TunnelSide implements ConnectionHandler {
  readonly tunnel: Tunnel;
  readonly connection: Connection;
  /** Of the bytes that its peer sends; null: they are not followed. */
  readonly frames: Frames | null;
  other!: TunnelSide;
  /** Its peer has ended its direction. */
  hasEnded = false;
  /** Its peer takes no more bytes, but what it has sent may still be read. */
  isWriteBroken = false;
  /** Our direction is ended. */
  #hasFinished = false;
  /** What its peer sends is not forwarded any more. */
  #discards = false;
  /** The farewell was sent to its peer. */
  #hasLeft = false;

  constructor(tunnel: Tunnel, connection: Connection, frames: Frames | null) {
    this.tunnel = tunnel;
    this.connection = connection;
    this.frames = frames;
  }

  begin({ bytes, start, end }: Received): void {
    this.connection.resume();
    if (end > start) this.receive(bytes, start, end);
    if (this.connection.hasEnded) this.ended();
  }

  receive(bytes: Buffer, start: number, end: number): void {
    const { connection, frames, tunnel } = this;
    tunnel.active();
    connection.stream(end - start === BLOCK_SIZE);
    if (this.#discards) return;
    let stop = end;
    if (frames !== null) {
      if (tunnel.isDraining && this === tunnel.endpoint) stop = this.#followToBoundary(frames, bytes, start, end);
      else for (let at = start; at < end; ) at = frames.follow(bytes, at, end);
    }
    if (!this.#forward(bytes, start, stop)) connection.pause();
    if (stop < end || tunnel.isDraining) this.announce();
  }

  /** Returns the end of the first frame that is complete and not the last one; `end` if none is. */
  #followToBoundary(frames: Frames, bytes: Buffer, start: number, end: number): number {
    const at = frames.follow(bytes, start, end);
    if (!frames.isOver) return at;
    for (let rest = at; rest < end; ) rest = frames.follow(bytes, rest, end);
    return end;
  }

  #forward(bytes: Buffer, start: number, end: number): boolean {
    const { connection } = this.other;
    if (!connection.alive) return true;
    this.tunnel.relayed(this, end - start);
    if (this.connection.lends(bytes)) return connection.sendLent(this.connection, bytes, start, end);
    const out = this.tunnel.buffers.outFor(end - start);
    return connection.send(out, bytes.copy(out, 0, start, end));
  }

  /** Sends the farewell to the other side's peer, once a frame is complete; what this one's sends is discarded then. */
  announce(): void {
    const { frames, tunnel } = this;
    if (this !== tunnel.endpoint || frames === null || this.#discards || !frames.isWhole || frames.isOver) return;
    this.#discard();
    this.other.#sendFarewell(frames);
  }

  #sendFarewell(frames: Frames): void {
    this.#hasLeft = true;
    const bytes = frames.farewell();
    this.connection.send(bytes, bytes.length);
  }

  #discard(): void {
    this.#discards = true;
    this.connection.stream(false);
    this.connection.resume();
  }

  flushed(): void {
    this.tunnel.active();
    this.other.connection.resume();
  }

  ended(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.tunnel.halfClosed(this);
    this.other.#finish();
    if (this.isWriteBroken) this.connection.destroy();
    else if (this.#hasFinished) this.connection.endBoth();
  }

  #finish(): void {
    if (this.#hasFinished || !this.connection.alive) return;
    this.#hasFinished = true;
    if (this.hasEnded) this.connection.endBoth();
    else this.connection.end(NOTHING_TO_DO);
  }

  /** The other connection is closed and was complete: sends what is left, and has its peer see the end. */
  linger(): void {
    const { connection } = this;
    if (!connection.alive) return;
    this.#finish();
    this.#discard();
    connection.arm(connection.unsent > 0 ? HALF_CLOSED : LINGER);
  }

  /** Ends the connection by the protocol's farewell; by a reset where that is not possible. */
  takeLeave(): void {
    const { connection, other } = this;
    if (!connection.alive) return;
    const { frames } = other;
    if (frames === null || !frames.isWhole || this.isWriteBroken || connection.unsent > 0) return connection.reset();
    if (!frames.isOver && !this.#hasLeft && !this.#hasFinished) this.#sendFarewell(frames);
    this.#discard();
    this.#hasFinished = true;
    connection.arm(LINGER);
    connection.endBoth();
  }

  closed(error: Error | null): void {
    this.tunnel.closed(this, error);
  }

  timedOut(): void {
    this.tunnel.timedOut(this);
  }

  broken(error: unknown): void {
    this.tunnel.broken(error);
  }

  drain(): void {
    this.tunnel.drain();
  }

  connected(): void {}

  /** A dialled connection: the endpoint takes no more. What it has sent is read to its end. */
  writeFailed(error: Error): void {
    this.isWriteBroken = true;
    this.other.#discard();
    if (this.hasEnded) return this.connection.destroy();
    this.tunnel.note("endpoint_reset", error.message);
    this.connection.arm(LINGER);
  }
}

/**
 * A relay between a client's connection and an endpoint's: an upgraded HTTP connection, or any protocol that is not
 * interpreted. Each direction has back-pressure and ends independently (half-close). Bytes are read into the worker's
 * shared buffer and copied; a direction gets separate blocks only when its reads fill that buffer, so an idle tunnel has
 * none.
 */
import { BLOCK_SIZE, type Buffers } from "./buffers.ts";
import type { ConnectionHandler } from "./connection.ts";

/** Tracks the frames of one direction, for a protocol with a close frame, which may be sent at a frame boundary. */
export interface FrameTracker {
  /** At a frame boundary: no frame is incomplete. */
  readonly atBoundary: boolean;
  /** A close frame was seen: no frame may follow it. */
  readonly isClosed: boolean;
  /** Consumes `bytes[start, end)` up to the end of the current frame. Returns the end of what was consumed. */
  advance(bytes: Buffer, start: number, end: number): number;
  /** A close frame for the receiver of this direction: the proxy is going away. */
  closeFrame(): Buffer;
}

/** Why a tunnel ended: the first event, or a later reset. */
export const TUNNEL_ENDS = [
  "client_closed",
  "endpoint_closed",
  "client_reset",
  "endpoint_reset",
  "idle_timeout",
  "lifetime",
  "complete",
  "evicted",
  "drained",
  "internal",
] as const;
export type TunnelEnd = (typeof TUNNEL_ENDS)[number];

/** `bytes[start, end)`. */
export type Received = { readonly bytes: Buffer; readonly start: number; readonly end: number };

export interface TunnelOwner {
  /** Time limit for a tunnel to end after `drain`, ms. */
  readonly grace: number;
  /** Reports bytes received from the client and from the endpoint, and forwarded. */
  relayed(fromClient: number, fromEndpoint: number): void;
  /** The client's connection is closed; the endpoint's is closed or closing. `cause`: the socket's error, or empty. */
  ended(reason: TunnelEnd, cause: string): void;
  /** An exception was thrown in the relay; both connections are reset. */
  broken(error: unknown): void;
}

/** What a tunnel uses of a connection, or of a stream within one. */
export interface TunnelConnection {
  handler: ConnectionHandler;
  deadline: number;
  readonly alive: boolean;
  readonly hasEnded: boolean;
  readonly unsent: number;
  arm(ms: number): void;
  pause(): void;
  resume(): void;
  stream(on: boolean): void;
  lends(bytes: Buffer): boolean;
  send(out: Buffer, size: number): boolean;
  sendLent(lender: TunnelConnection, bytes: Buffer, start: number, end: number): boolean;
  end(finished: () => void): void;
  endBoth(): void;
  reset(): void;
  destroy(): void;
}

export type TunnelOptions = {
  readonly client: TunnelConnection;
  readonly endpoint: TunnelConnection;
  readonly owner: TunnelOwner;
  readonly buffers: Buffers;
  /** Idle timeout: time without a byte in either direction, ms. */
  readonly idle: number;
  /** Idle timeout after one side has ended its direction, at most `idle`, ms. */
  readonly halfClosedIdle: number;
  /** How long it may last, ms; 0: no limit. */
  readonly lifetime: number;
  /** For the bytes from the client, and from the endpoint; null: the protocol has no close frame. */
  readonly frames: { readonly fromClient: FrameTracker; readonly fromEndpoint: FrameTracker } | null;
};

/** How long the rest is sent after the other connection has closed, ms. */
const REST_TIME = 30_000;
/** Lingering close: how long a connection is still read or written after the other one is closed, ms. */
const LINGER = 2000;
/** A draining tunnel is closed this long before the end of the grace period, when connections are reset, ms. */
const DRAIN_MARGIN = 200;

const NO_OP = (): void => {};

export class Tunnel {
  readonly client: TunnelSide;
  readonly endpoint: TunnelSide;
  readonly owner: TunnelOwner;
  readonly buffers: Buffers;
  #idle: number;
  readonly #halfClosedIdle: number;
  readonly #lifetime: number;
  #reason: TunnelEnd | null = null;
  #cause = "";
  #isDraining = false;
  /** One connection is closed: the other's deadline is that of its lingering close. */
  #isClosing = false;

  /** Becomes the handler of both connections; call `begin` next. */
  constructor(options: TunnelOptions) {
    const { client, endpoint, frames } = options;
    this.owner = options.owner;
    this.buffers = options.buffers;
    this.#idle = options.idle;
    this.#halfClosedIdle = options.halfClosedIdle;
    this.#lifetime = options.lifetime;
    this.client = new TunnelSide(this, client, frames?.fromClient ?? null);
    this.endpoint = new TunnelSide(this, endpoint, frames?.fromEndpoint ?? null);
    this.client.other = this.endpoint;
    this.endpoint.other = this.client;
    client.handler = this.client;
    endpoint.handler = this.endpoint;
  }

  /** Starts to relay; forwards the bytes received before first. */
  begin(fromClient: Received, fromEndpoint: Received): void {
    this.endpoint.connection.arm(this.#lifetime);
    this.restartIdleTimer();
    this.endpoint.begin(fromEndpoint);
    this.client.begin(fromClient);
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Ends the tunnel within the owner's grace period; sends the client a close frame if the protocol has one. */
  drain(): void {
    if (this.#isDraining || this.#isClosing) return;
    this.#isDraining = true;
    this.setReason("drained");
    const { connection } = this.endpoint;
    const { deadline } = connection;
    connection.arm(Math.max(1, this.owner.grace - DRAIN_MARGIN));
    if (deadline > 0 && deadline < connection.deadline) connection.deadline = deadline;
    this.endpoint.closeAtBoundary();
  }

  /** Bytes were received or sent. */
  restartIdleTimer(): void {
    if (!this.#isClosing) this.client.connection.arm(this.#idle);
  }

  /** Keeps the first reason, except that a reset replaces an orderly close. */
  setReason(reason: TunnelEnd, cause = ""): void {
    const wasReset = cause !== "" && (this.#reason === "client_closed" || this.#reason === "endpoint_closed");
    if (this.#reason !== null && !wasReset) return;
    this.#reason = reason;
    this.#cause = cause;
  }

  halfClosed(side: TunnelSide): void {
    this.setReason(side === this.client ? "client_closed" : "endpoint_closed");
    this.#idle = Math.min(this.#idle, this.#halfClosedIdle);
    this.restartIdleTimer();
  }

  /** The client's connection has the deadline of the idle timeout, the endpoint's that of the lifetime or a drain. */
  timedOut(side: TunnelSide): void {
    if (this.#isClosing || side.isWriteBroken) side.connection.reset();
    else this.#end(side === this.client ? "idle_timeout" : this.#isDraining ? "drained" : "lifetime");
  }

  closed(side: TunnelSide, error: Error | null): void {
    const { other } = side;
    const orderly = error === null && side.hasEnded;
    if (!orderly) this.setReason(side === this.client ? "client_reset" : "endpoint_reset", error?.message ?? "closed");
    this.#isClosing = true;
    if (orderly) other.linger();
    else if (this.#isDraining) other.closeGracefully();
    else if (other.connection.alive) other.connection.reset();
    if (side === this.client) this.owner.ended(this.#reason ?? "client_reset", this.#cause);
  }

  relayed(side: TunnelSide, size: number): void {
    if (side === this.client) this.owner.relayed(size, 0);
    else this.owner.relayed(0, size);
  }

  broken(error: unknown): void {
    this.setReason("internal");
    this.#isClosing = true;
    for (const { connection } of [this.client, this.endpoint]) if (connection.alive) connection.reset();
    this.owner.broken(error);
  }

  #end(reason: TunnelEnd): void {
    this.setReason(reason);
    this.#isClosing = true;
    this.endpoint.closeGracefully();
    this.client.closeGracefully();
  }
}

/** One of the two connections. Implements what handlers of accepted and of dialled connections need. */
class TunnelSide implements ConnectionHandler {
  readonly tunnel: Tunnel;
  readonly connection: TunnelConnection;
  /** Of the bytes that its peer sends; null: they are not tracked. */
  readonly frames: FrameTracker | null;
  other!: TunnelSide;
  /** Its peer has ended its direction. */
  hasEnded = false;
  /** Its peer accepts no more bytes, but sent bytes may still be read. */
  isWriteBroken = false;
  /** The write direction to its peer is ended. */
  #writesEnded = false;
  /** Further bytes from its peer are discarded. */
  #discards = false;
  /** A close frame was sent to its peer. */
  #closeFrameSent = false;

  constructor(tunnel: Tunnel, connection: TunnelConnection, frames: FrameTracker | null) {
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
    tunnel.restartIdleTimer();
    connection.stream(end - start === BLOCK_SIZE);
    if (this.#discards) return;
    let stop = end;
    if (frames !== null) {
      if (tunnel.isDraining && this === tunnel.endpoint) stop = this.#advanceToBoundary(frames, bytes, start, end);
      else for (let at = start; at < end; ) at = frames.advance(bytes, at, end);
    }
    if (!this.#forward(bytes, start, stop)) connection.pause();
    if (stop < end || tunnel.isDraining) this.closeAtBoundary();
  }

  /** Returns the first frame boundary; `end` if there is none, or if a close frame was seen. */
  #advanceToBoundary(frames: FrameTracker, bytes: Buffer, start: number, end: number): number {
    const at = frames.advance(bytes, start, end);
    if (!frames.isClosed) return at;
    for (let rest = at; rest < end; ) rest = frames.advance(bytes, rest, end);
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

  /** At a frame boundary, sends a close frame to the client, and discards what the endpoint sends from then on. */
  closeAtBoundary(): void {
    const { frames, tunnel } = this;
    if (this !== tunnel.endpoint || frames === null || this.#discards || !frames.atBoundary || frames.isClosed) return;
    this.#discard();
    this.other.#sendCloseFrame(frames);
  }

  #sendCloseFrame(frames: FrameTracker): void {
    if (this.#writesEnded) return;
    this.#closeFrameSent = true;
    const bytes = frames.closeFrame();
    this.connection.send(bytes, bytes.length);
  }

  #discard(): void {
    this.#discards = true;
    this.connection.stream(false);
    this.connection.resume();
  }

  flushed(): void {
    this.tunnel.restartIdleTimer();
    this.other.connection.resume();
  }

  ended(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.tunnel.halfClosed(this);
    this.other.#endWrites();
    if (this.isWriteBroken) this.connection.destroy();
    else if (this.#writesEnded) this.connection.endBoth();
  }

  #endWrites(): void {
    if (this.#writesEnded || !this.connection.alive) return;
    this.#writesEnded = true;
    if (this.hasEnded) this.connection.endBoth();
    else this.connection.end(NO_OP);
  }

  /** The other connection closed in order: sends the pending bytes, then ends this one. */
  linger(): void {
    const { connection } = this;
    if (!connection.alive) return;
    this.#endWrites();
    this.#discard();
    connection.arm(connection.unsent > 0 ? REST_TIME : LINGER);
  }

  /** Closes with a close frame, or by a reset where that is not possible. */
  closeGracefully(): void {
    const { connection, other } = this;
    if (!connection.alive) return;
    const { frames } = other;
    if (frames === null || !frames.atBoundary || this.isWriteBroken || connection.unsent > 0) return connection.reset();
    if (!frames.isClosed && !this.#closeFrameSent) this.#sendCloseFrame(frames);
    this.#discard();
    this.#writesEnded = true;
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

  /** Of a dialled connection: the endpoint accepts no more bytes; those that it has sent are still read. */
  writeFailed(error: Error): void {
    this.isWriteBroken = true;
    this.other.#discard();
    if (this.hasEnded) return this.connection.destroy();
    this.tunnel.setReason("endpoint_reset", error.message);
    this.connection.arm(LINGER);
  }
}

/** The attempt of an extended CONNECT that the endpoint has accepted (RFC 8441), until its tunnel is open. */
import type { Clock } from "../../net/clock.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR } from "../../proxy/error.ts";
import type { UpstreamEvents, UpstreamStream } from "../../proxy/upstream-stream.ts";
import { type Directions, StreamTunnel, type StreamTunnelOwner } from "./stream-tunnel.ts";

/** What it uses of its connection. */
export interface TunnelSession {
  /** The tunnel takes the place of the stream with its number. */
  becameTunnel(tunnel: StreamTunnel): void;
  /** The stream is closed in both directions (-1), or to be reset with `code`. */
  streamClosed(tunnel: StreamTunnel, code: number): void;
}

export class ClientTunnel implements UpstreamStream, StreamTunnelOwner {
  readonly clock: Clock;
  readonly tunnel: StreamTunnel;
  readonly #events: UpstreamEvents;
  readonly #session: TunnelSession;
  /** Null once the tunnel is open, or the attempt has ended. */
  #attempt: Attempt | null;

  /** Replaces `stream` in the session. */
  constructor(
    { clock }: WorkerContext,
    events: UpstreamEvents,
    session: TunnelSession,
    stream: Directions,
    attempt: Attempt,
  ) {
    this.clock = clock;
    this.#events = events;
    this.#session = session;
    this.#attempt = attempt;
    this.tunnel = new StreamTunnel(this, stream, attempt.exchange.route!.bandwidth);
    session.becameTunnel(this.tunnel);
  }

  openTunnel(attempt: Attempt): void {
    const { early } = this.tunnel;
    attempt.body = early.bytes;
    attempt.bodyStart = early.start;
    attempt.bodyEnd = early.end;
    early.drop();
    this.tunnel.open();
    this.#attempt = null;
  }

  cancel(): void {
    this.#attempt = null;
    this.tunnel.reset();
  }

  streamClosed(tunnel: StreamTunnel, code: number, problem: string): void {
    const attempt = this.#attempt;
    this.#attempt = null;
    this.#session.streamClosed(tunnel, code);
    if (attempt !== null) this.#events.failed(attempt, ERROR.upstreamBroken, problem);
  }

  sendBody(): boolean {
    return true;
  }

  pauseBody(): void {}
  resumeBody(): void {}
}

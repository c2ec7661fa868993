/**
 * A tunnel to an endpoint (RFC 8441): the stream of an extended CONNECT that the endpoint has accepted. It takes the place
 * of the `ClientStream` that sent the request.
 *
 * Bounds: of what the endpoint sends, at most a window is kept until the tunnel is open or its client reads; of what the
 * client sends, at most one read and a Close frame, since it is not read further meanwhile.
 */
import type { Head } from "../../http/head.ts";
import { CODE } from "../../http2/frames.ts";
import type { Timed } from "../../net/clock.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR } from "../../proxy/error.ts";
import type { UpstreamEvents, UpstreamStream } from "../../proxy/upstream-stream.ts";
import type { ReceiveConnection, ReceiveStream } from "./receive-stream.ts";
import type { SendConnection, SendOwner, SendStream } from "./send-stream.ts";
import { type BandwidthOwner, StreamBandwidth } from "./stream-bandwidth.ts";
import { TunnelStream } from "./tunnel-stream.ts";

/** What a tunnel uses of its connection. */
export interface TunnelSession extends ReceiveConnection, SendConnection {
  /** The tunnel takes the place of the stream with its number. */
  becameTunnel(tunnel: ClientTunnel): void;
  /** The stream is closed in both directions (-1), or to be reset with `code`. */
  streamClosed(stream: { readonly id: number; readonly input: ReceiveStream }, code: number): void;
}

/** The stream that becomes a tunnel. */
type Accepted = { readonly id: number; readonly input: ReceiveStream; readonly output: SendStream };

export class ClientTunnel implements UpstreamStream, SendOwner, BandwidthOwner, Timed {
  deadline = 0;
  sweepIndex = -1;
  readonly id: number;
  readonly input: ReceiveStream;
  readonly output: SendStream;
  /** A further header block has no head. */
  readonly nextHead = null;
  /** The tunnel as a connection. */
  readonly connection: TunnelStream;
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  readonly #session: TunnelSession;
  /** Null once the tunnel is open, or the attempt has ended. */
  #attempt: Attempt | null;
  /** The limit of the route; null: unlimited. */
  readonly #bandwidth: StreamBandwidth | null;
  #closed = false;

  constructor(
    context: WorkerContext,
    events: UpstreamEvents,
    session: TunnelSession,
    { id, input, output }: Accepted,
    attempt: Attempt,
  ) {
    this.#context = context;
    this.#events = events;
    this.#session = session;
    this.id = id;
    this.input = input;
    this.output = output;
    output.owner = this;
    this.#attempt = attempt;
    const { bandwidth } = attempt.exchange.route!;
    this.#bandwidth = bandwidth === null ? null : new StreamBandwidth(bandwidth, this);
    this.connection = new TunnelStream(this);
    context.clock.add(this);
    session.becameTunnel(this);
  }

  // ── As the stream of its attempt, until it is open ──────────────────────────────────────────────────────────────

  get attempt(): Attempt | null {
    return this.#attempt;
  }

  openTunnel(attempt: Attempt): void {
    const { connection } = this;
    const { early } = connection;
    attempt.body = early.bytes;
    attempt.bodyStart = early.start;
    attempt.bodyEnd = early.end;
    early.drop();
    connection.isOpen = true;
    this.#attempt = null;
  }

  sendBody(): boolean {
    return true;
  }

  pauseBody(): void {}

  resumeBody(): void {}

  cancel(): void {
    this.#attempt = null;
    this.abort(CODE.cancel);
  }

  // ── Frames of the endpoint ──────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number, ends: boolean): void {
    if (this.input.hasEnded) return this.resetByFault(CODE.streamClosed, "DATA after the end of the stream");
    if (ends) this.input.hasEnded = true;
    else if (start === end) return;
    this.input.withhold(end - start);
    this.#bandwidth?.received(end - start);
    this.connection.received(bytes, start, end);
    if (!this.input.isPaused) this.#releaseCredit();
  }

  /** RFC 9113 section 8.5. */
  receiveTrailers(_trailers: Head, _isTooLarge: boolean, _ends: boolean): void {
    this.resetByFault(CODE.protocolError, "HEADERS in a tunnel");
  }

  openWindow(change: number): boolean {
    return this.output.openWindow(change);
  }

  wasReset(code: number): void {
    // After the end of its direction it only stops to read.
    if (this.connection.isOpen && this.input.hasEnded && code === CODE.noError) this.closeTunnel();
    else this.lost(`the endpoint reset the stream with code ${code}`);
  }

  /** The connection has ended. */
  lost(problem: string): void {
    this.#fail(-1, problem);
  }

  /** The endpoint has violated the protocol on this stream. */
  resetByFault(code: number, problem: string): void {
    this.#fail(code, problem);
  }

  #fail(code: number, problem: string): void {
    const attempt = this.#attempt;
    this.#attempt = null;
    this.#close(code);
    this.connection.closed(new Error(problem));
    if (attempt !== null) this.#events.failed(attempt, ERROR.upstreamBroken, problem);
  }

  creditResumed(): void {
    if (!this.input.isPaused) this.#releaseCredit();
  }

  #releaseCredit(): void {
    if (this.#bandwidth === null || !this.#bandwidth.delaysCredit) this.input.release();
  }

  // ── What the tunnel uses ────────────────────────────────────────────────────────────────────────────────────────

  get alive(): boolean {
    return !this.#closed;
  }

  get peerEnded(): boolean {
    return this.input.hasEnded;
  }

  get unsent(): number {
    return this.output.unsent;
  }

  after(ms: number): number {
    return this.#context.clock.after(ms);
  }

  sendBytes(bytes: Buffer, start: number, end: number, ends: boolean): boolean {
    if (this.output.hasSentEnd || this.#closed) return true;
    this.#bandwidth?.sent(end - start, ends);
    const isSent = this.output.send(bytes, start, end, ends, null);
    if (this.output.hasSentEnd) this.connection.sentEnd();
    return isSent && !this.#isSendingDelayed;
  }

  get #isSendingDelayed(): boolean {
    return this.#bandwidth?.delaysSending ?? false;
  }

  sendingResumed(): void {
    if (!this.#closed && this.output.unsent === 0) this.connection.drained();
  }

  progressed(): void {}

  drained(): void {
    if (this.output.hasSentEnd) this.connection.sentEnd();
    else if (!this.#isSendingDelayed) this.connection.drained();
  }

  pauseBytes(paused: boolean): void {
    this.input.isPaused = paused;
    if (!paused) this.#releaseCredit();
  }

  closeTunnel(): void {
    this.#close(-1);
    this.connection.closed(null);
  }

  abort(code: number): void {
    this.#close(code);
    this.connection.closed(null);
  }

  /** Closes the stream, by a reset with `code`; -1: without one. */
  #close(code: number): void {
    if (this.#closed) return;
    this.#closed = true;
    this.deadline = 0;
    this.#context.clock.remove(this);
    this.#bandwidth?.close();
    this.input.close();
    this.output.close();
    this.#session.streamClosed(this, code);
  }

  expire(): void {
    if (this.connection.isOpen) this.connection.expired();
  }
}

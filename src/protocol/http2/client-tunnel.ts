/**
 * A tunnel to an endpoint (RFC 8441): the stream of an extended CONNECT that the endpoint has accepted. It takes the place
 * of the `ClientStream` that sent the request.
 *
 * Bounds: of what the endpoint sends, at most a window is kept until the tunnel is open or its client reads; of what the
 * client sends, at most one read and a Close frame, since it is not read further meanwhile.
 */
import type { Head } from "../../http/head.ts";
import { DEFAULT_URGENCY } from "../../http/priority.ts";
import { CODE, MAX_WINDOW } from "../../http2/frames.ts";
import { type Bandwidth, RECEIVED, SENT } from "../../net/bandwidth.ts";
import { BlockBuffer } from "../../net/block-buffer.ts";
import type { Timed } from "../../net/clock.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR } from "../../proxy/error.ts";
import type { UpstreamEvents, UpstreamStream } from "../../proxy/upstream-stream.ts";
import type { FrameWriter } from "./frame-writer.ts";
import type { ReceiveWindow } from "./receive-window.ts";
import type { SendingStream, SendScheduler } from "./send-scheduler.ts";
import { TunnelStream } from "./tunnel-stream.ts";

/** What a tunnel uses of its connection. */
export interface TunnelSession {
  readonly writer: FrameWriter;
  readonly scheduler: SendScheduler;
  /** The tunnel takes the place of the stream with its number. */
  becameTunnel(tunnel: ClientTunnel): void;
  /** The stream is closed in both directions (-1), or to be reset with `code`. */
  streamClosed(stream: SendingStream & { readonly receiveWindow: ReceiveWindow }, code: number): void;
}

/** The stream that becomes a tunnel. */
type Accepted = { readonly id: number; readonly window: number; readonly receiveWindow: ReceiveWindow };

export class ClientTunnel implements UpstreamStream, SendingStream, Timed {
  deadline = 0;
  sweepIndex = -1;
  readonly id: number;
  window: number;
  readonly priority = DEFAULT_URGENCY;
  readonly receiveWindow: ReceiveWindow;
  /** A further header block has no head. */
  readonly nextHead = null;
  /** The tunnel as a connection. */
  readonly connection: TunnelStream;
  /** The endpoint has ended its direction. */
  peerEnded = false;
  readonly #context: WorkerContext;
  readonly #events: UpstreamEvents;
  readonly #session: TunnelSession;
  /** Null once the tunnel is open, or the attempt has ended. */
  #attempt: Attempt | null;
  /** Bytes of the client that exceed the windows, and whether the end of the stream follows them. */
  readonly #pending: BlockBuffer;
  #ends = false;
  #paused = false;
  /** Bytes whose credit is withheld. */
  #uncredited = 0;
  /** The limit of the route; null: unlimited. While a direction pauses, it gives no credit, or takes no more bytes. */
  readonly #bandwidth: Bandwidth | null;
  #creditPause: NodeJS.Timeout | null = null;
  #sendPause: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(
    context: WorkerContext,
    events: UpstreamEvents,
    session: TunnelSession,
    { id, window, receiveWindow }: Accepted,
    attempt: Attempt,
  ) {
    this.#context = context;
    this.#events = events;
    this.#session = session;
    this.id = id;
    this.window = window;
    this.receiveWindow = receiveWindow;
    this.#attempt = attempt;
    this.#bandwidth = attempt.exchange.route!.bandwidth;
    this.#pending = new BlockBuffer(context.buffers);
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
    if (this.peerEnded) return this.resetByFault(CODE.streamClosed, "DATA after the end of the stream");
    if (ends) this.peerEnded = true;
    else if (start === end) return;
    this.#uncredited += end - start;
    if (this.#bandwidth !== null) this.#pauseCredit(this.#bandwidth.debit(RECEIVED, end - start));
    this.connection.received(bytes, start, end);
    if (!this.#paused) this.#releaseCredit();
  }

  /** RFC 9113 section 8.5. */
  receiveTrailers(_trailers: Head, _isTooLarge: boolean, _ends: boolean): void {
    this.resetByFault(CODE.protocolError, "HEADERS in a tunnel");
  }

  /** Changes the window for sending; false if it exceeds the largest window. */
  openWindow(change: number): boolean {
    this.window += change;
    if (this.window > MAX_WINDOW) return false;
    if (this.window > 0) this.sendMore();
    return true;
  }

  wasReset(code: number): void {
    // After the end of its direction it only stops to read.
    if (this.connection.isOpen && this.peerEnded && code === CODE.noError) this.closeTunnel();
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

  #pauseCredit(ms: number): void {
    if (ms === 0) return;
    if (this.#creditPause !== null) clearTimeout(this.#creditPause);
    this.#creditPause = setTimeout(() => {
      this.#creditPause = null;
      if (!this.#paused) this.#releaseCredit();
    }, ms);
  }

  #releaseCredit(): void {
    if (this.#creditPause !== null) return;
    const size = this.#uncredited;
    this.#uncredited = 0;
    if (size > 0) this.credit(size);
  }

  /** Lets the endpoint send `size` more bytes on the stream. */
  credit(size: number): void {
    if (!this.#closed && !this.peerEnded) this.#session.writer.windowUpdate(this.id, this.receiveWindow.credit(size));
  }

  // ── What the tunnel uses ────────────────────────────────────────────────────────────────────────────────────────

  get alive(): boolean {
    return !this.#closed;
  }

  get unsent(): number {
    return this.#pending.length;
  }

  after(ms: number): number {
    return this.#context.clock.after(ms);
  }

  sendBytes(bytes: Buffer, start: number, end: number, ends: boolean): boolean {
    if (this.#ends || this.#closed) return true;
    this.#ends = ends;
    if (this.#bandwidth !== null) this.#pauseSending(this.#bandwidth.debit(SENT, end - start));
    const pending = this.#pending;
    const sent = pending.length > 0 ? start : start + this.#session.scheduler.send(this, bytes, start, end, ends);
    if (pending.length === 0 && sent === end) {
      if (ends) this.connection.sentEnd();
      return this.#sendPause === null;
    }
    pending.append(bytes, sent, end);
    if (this.window > 0) this.#session.scheduler.wait(this);
    return false;
  }

  sendMore(): void {
    const pending = this.#pending;
    if (this.#closed || pending.length === 0) return;
    const { bytes, start, end } = pending;
    pending.start += this.#session.scheduler.send(this, bytes, start, end, this.#ends);
    if (pending.length > 0) {
      if (this.window > 0) this.#session.scheduler.wait(this);
      return;
    }
    pending.drop();
    if (this.#ends) this.connection.sentEnd();
    else if (this.#sendPause === null) this.connection.drained();
  }

  #pauseSending(ms: number): void {
    if (ms === 0) return;
    if (this.#sendPause !== null) clearTimeout(this.#sendPause);
    this.#sendPause = setTimeout(() => {
      this.#sendPause = null;
      if (!this.#closed && this.#pending.length === 0) this.connection.drained();
    }, ms);
  }

  pauseBytes(paused: boolean): void {
    this.#paused = paused;
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
    this.#pending.drop();
    if (this.#creditPause !== null) clearTimeout(this.#creditPause);
    if (this.#sendPause !== null) clearTimeout(this.#sendPause);
    this.#session.streamClosed(this, code);
  }

  expire(): void {
    if (this.connection.isOpen) this.connection.expired();
  }
}

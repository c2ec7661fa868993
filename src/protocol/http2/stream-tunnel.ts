/**
 * A stream, of a client or to an endpoint, that carries a tunnel (RFC 8441). It takes the place of the stream of the
 * extended CONNECT, and is a connection for `net/tunnel.ts`: half-close, back-pressure, reset.
 *
 * Bounds: of what the peer sends, at most a window is kept until the tunnel is open or the other side reads; of what is
 * sent to it, at most one read and a Close frame, since the other side is not read further meanwhile.
 */
import type { Head } from "../../http/head.ts";
import { CODE } from "../../http2/frames.ts";
import type { Bandwidth } from "../../net/bandwidth.ts";
import type { Clock, Timed } from "../../net/clock.ts";
import type { ConnectionHandler } from "../../net/connection.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import type { TunnelConnection } from "../../net/tunnel.ts";
import { atTurnEnd } from "../../net/turn-end.ts";
import { costOfCancel } from "./frame-budget.ts";
import type { ReceiveStream } from "./receive-stream.ts";
import type { SendOwner, SendStream } from "./send-stream.ts";
import { type BandwidthOwner, StreamBandwidth } from "./stream-bandwidth.ts";

const EMPTY = Buffer.alloc(0);

export interface StreamTunnelOwner {
  readonly clock: Clock;
  /** Closed in both directions, by its peer (-1), or to be reset with `code`. `problem`: why incomplete; or empty. */
  streamClosed(tunnel: StreamTunnel, code: number, problem: string): void;
}

/** Both directions of the stream that becomes a tunnel. */
export type Directions = { readonly input: ReceiveStream; readonly output: SendStream };

export class StreamTunnel implements TunnelConnection, SendOwner, BandwidthOwner, Timed {
  deadline = 0;
  sweepIndex = -1;
  handler!: ConnectionHandler & { drain(): void };
  readonly input: ReceiveStream;
  readonly output: SendStream;
  /** What the peer sent before the tunnel was open. */
  readonly early = new PendingBuffer();
  readonly #owner: StreamTunnelOwner;
  /** The limit of the route; null: unlimited. */
  readonly #bandwidth: StreamBandwidth | null;
  #isOpen = false;
  #isClosed = false;
  /** Called when all bytes were sent. */
  #finished: (() => void) | null = null;
  #closesAtEnd = false;

  constructor(owner: StreamTunnelOwner, { input, output }: Directions, bandwidth: Bandwidth | null) {
    this.#owner = owner;
    this.input = input;
    this.output = output;
    this.#bandwidth = bandwidth === null ? null : new StreamBandwidth(bandwidth, this);
    input.isPaused = true;
  }

  get id(): number {
    return this.output.id;
  }

  /** Events are for the handler from now on; what was received before is in `early`. */
  open(): void {
    this.output.owner = this;
    this.#owner.clock.add(this);
    this.#isOpen = true;
  }

  // ── Frames of the peer ──────────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number, ends: boolean): void {
    if (ends) this.input.hasEnded = true;
    else if (start === end) return;
    this.input.withhold(end - start);
    this.#bandwidth?.received(end - start);
    if (this.#isOpen) this.#guard(() => this.#deliver(bytes, start, end));
    else this.early.append(bytes, start, end);
    this.creditResumed();
  }

  #deliver(bytes: Buffer, start: number, end: number): void {
    if (end > start) this.handler.receive(bytes, start, end);
    if (!this.input.hasEnded) return;
    this.handler.ended();
    this.#closeIfDone();
  }

  /** RFC 9113 section 8.5. */
  receiveTrailers(_trailers: Head): void {
    this.resetByFault(CODE.protocolError, "HEADERS in a tunnel");
  }

  openWindow(change: number): boolean {
    return this.output.openWindow(change);
  }

  reprioritize(priority: number): void {
    this.output.reprioritize(priority);
  }

  costOfCancel(): number {
    return costOfCancel(true, 0);
  }

  /** The peer has reset the stream. */
  wasReset(code: number): void {
    // After the end of its direction it only stops to read.
    const isEnd = this.#isOpen && this.input.hasEnded && code === CODE.noError;
    this.#close(-1, isEnd ? "" : `the peer reset the stream with code ${code}`);
  }

  /** The connection has ended. */
  lost(problem: string): void {
    this.#close(-1, problem);
  }

  /** The peer has violated the protocol on this stream. */
  resetByFault(code: number, problem: string): void {
    this.#close(code, problem);
  }

  // ── Flow control and time ───────────────────────────────────────────────────────────────────────────────────────

  creditResumed(): void {
    if (!this.input.isPaused && !this.#bandwidth?.delaysCredit) this.input.release();
  }

  sendingResumed(): void {
    if (!this.#isClosed && this.output.unsent === 0) this.#guard(() => this.handler.flushed());
  }

  progressed(): void {}

  drained(): void {
    if (this.output.hasSentEnd) this.#sentEnd();
    else if (!this.#bandwidth?.delaysSending) this.#guard(() => this.handler.flushed());
  }

  expire(): void {
    this.#guard(() => this.handler.timedOut());
  }

  /** The listener drains. */
  drain(): void {
    this.handler.drain();
  }

  /** The end of our direction was sent. */
  #sentEnd(): void {
    this.#finished?.();
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (this.#closesAtEnd && this.output.hasSentEnd && this.input.hasEnded) this.#close(-1, "");
  }

  #close(code: number, problem: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.deadline = 0;
    this.#owner.clock.remove(this);
    this.#bandwidth?.close();
    this.input.close();
    this.output.close();
    this.#owner.streamClosed(this, code, problem);
    this.early.drop();
    // Later, as by a socket.
    if (this.#isOpen)
      atTurnEnd(() => this.#guard(() => this.handler.closed(problem === "" ? null : new Error(problem))));
  }

  /** An exception ends this tunnel, not the connection. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.handler.broken(error);
    }
  }

  // ── As a connection ─────────────────────────────────────────────────────────────────────────────────────────────

  arm(ms: number): void {
    this.deadline = this.#owner.clock.after(ms);
  }

  get alive(): boolean {
    return !this.#isClosed;
  }

  get hasEnded(): boolean {
    return this.input.hasEnded;
  }

  get unsent(): number {
    return this.output.unsent;
  }

  pause(): void {
    this.input.isPaused = true;
  }

  resume(): void {
    this.input.isPaused = false;
    this.creditResumed();
  }

  stream(): void {}

  lends(): boolean {
    return false;
  }

  send(out: Buffer, size: number): boolean {
    return this.#send(out, 0, size, false);
  }

  sendLent(_lender: TunnelConnection, bytes: Buffer, start: number, end: number): boolean {
    return this.#send(bytes, start, end, false);
  }

  /** Returns false if the bytes were not all sent. */
  #send(bytes: Buffer, start: number, end: number, ends: boolean): boolean {
    if (this.output.hasSentEnd || this.#isClosed) return true;
    this.#bandwidth?.sent(end - start, ends);
    const isSent = this.output.send(bytes, start, end, ends, null);
    if (this.output.hasSentEnd) this.#sentEnd();
    return isSent && !this.#bandwidth?.delaysSending;
  }

  end(finished: () => void): void {
    if (this.output.hasSentEnd || this.#finished !== null) return;
    this.#finished = finished;
    this.#send(EMPTY, 0, 0, true);
  }

  /** Closes when the peer has ended its direction too, which its handler limits in time. */
  endBoth(): void {
    this.#closesAtEnd = true;
    this.end(() => {});
    this.#closeIfDone();
  }

  /** RFC 8441 section 5: CANCEL corresponds to a TCP reset. */
  reset(): void {
    this.#close(CODE.cancel, "");
  }

  destroy(): void {
    this.reset();
  }
}

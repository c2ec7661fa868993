/**
 * A tunnel of a client (RFC 8441): the stream of an extended CONNECT whose endpoint has switched protocols. It takes the
 * place of the `ServerStream` that received the request.
 *
 * Bounds: of what the client sends, at most a window is kept until the tunnel is open or the endpoint reads; of what the
 * endpoint sends, at most one read and a Close frame, since it is not read further meanwhile.
 */
import type { Head } from "../../http/head.ts";
import { CODE } from "../../http2/frames.ts";
import type { Timed } from "../../net/clock.ts";
import { costOfCancel } from "./frame-budget.ts";
import type { ReceiveStream } from "./receive-stream.ts";
import type { SendOwner, SendStream } from "./send-stream.ts";
import { TunnelStream } from "./tunnel-stream.ts";

/** What a tunnel uses of its connection. */
export interface TunnelOwner {
  readonly alive: boolean;
  /** The deadline `ms` from now. */
  after(ms: number): number;
  /** Sends RST_STREAM. */
  resetStream(id: number, code: number): void;
  /** The stream is closed in both directions, or reset. */
  streamClosed(stream: Timed & { readonly output: SendStream }): void;
}

export class ServerTunnel implements SendOwner, Timed {
  deadline = 0;
  sweepIndex = -1;
  readonly id: number;
  readonly input: ReceiveStream;
  readonly output: SendStream;
  /** The tunnel as a connection. */
  readonly connection: TunnelStream;
  readonly #owner: TunnelOwner;
  #isClosed = false;

  /** `input`, `output`: of the stream of the request. */
  constructor(owner: TunnelOwner, input: ReceiveStream, output: SendStream) {
    this.id = output.id;
    this.input = input;
    this.output = output;
    this.#owner = owner;
    this.connection = new TunnelStream(this);
  }

  /** Replaces the stream of the request; what the client has sent before is in `connection.early`. */
  open(): void {
    this.output.owner = this;
    this.connection.isOpen = true;
  }

  // ── Frames of the client ────────────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number, ends: boolean): void {
    if (ends) this.input.hasEnded = true;
    else if (start === end) return;
    this.input.withhold(end - start);
    this.connection.received(bytes, start, end);
    if (!this.input.isPaused) this.input.release();
  }

  /** RFC 9113 section 8.5. */
  receiveTrailers(_trailers: Head): void {
    this.abort(CODE.protocolError);
  }

  resetByClient(code: number): void {
    // After the end of its direction it only stops to read.
    if (this.input.hasEnded && code === CODE.noError) this.closeTunnel();
    else this.gone("the client reset the stream");
  }

  costOfCancel(): number {
    return costOfCancel(true, 0);
  }

  openWindow(change: number): boolean {
    return this.output.openWindow(change);
  }

  reprioritize(priority: number): void {
    this.output.reprioritize(priority);
  }

  progressed(): void {}

  drained(): void {
    if (this.output.hasSentEnd) this.connection.sentEnd();
    else this.connection.drained();
  }

  // ── What the tunnel uses ────────────────────────────────────────────────────────────────────────────────────────

  get alive(): boolean {
    return !this.#isClosed && this.#owner.alive;
  }

  get peerEnded(): boolean {
    return this.input.hasEnded;
  }

  get unsent(): number {
    return this.output.unsent;
  }

  after(ms: number): number {
    return this.#owner.after(ms);
  }

  sendBytes(bytes: Buffer, start: number, end: number, ends: boolean): boolean {
    if (this.output.hasSentEnd) return true;
    const isSent = this.output.send(bytes, start, end, ends, null);
    if (this.output.hasSentEnd) this.connection.sentEnd();
    return isSent;
  }

  pauseBytes(paused: boolean): void {
    this.input.pause(paused);
  }

  // ── Ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends the tunnel in order: the listener drains. */
  drain(): void {
    this.connection.handler.drain();
  }

  expire(): void {
    this.connection.expired();
  }

  /** The stream or its connection has ended. */
  gone(problem: string): void {
    this.#close();
    this.connection.closed(new Error(problem));
  }

  closeTunnel(): void {
    this.#close();
    this.connection.closed(null);
  }

  /** Resets the stream. */
  abort(code: number): void {
    if (this.#isClosed) return;
    this.#owner.resetStream(this.id, code);
    this.closeTunnel();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.output.close();
    this.input.close();
    this.#owner.streamClosed(this);
  }
}

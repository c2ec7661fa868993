/**
 * A stream, of a client or to an endpoint, that carries a tunnel (RFC 8441), as a connection of `net/tunnel.ts`:
 * half-close, back-pressure, reset.
 */
import { CODE } from "../../http2/frames.ts";
import type { ConnectionHandler } from "../../net/connection.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import type { TunnelConnection } from "../../net/tunnel.ts";
import { atTurnEnd } from "../../net/turn-end.ts";

const EMPTY = Buffer.alloc(0);

/** What it uses of its stream. */
interface CarryingStream {
  deadline: number;
  readonly alive: boolean;
  /** The peer has ended its direction. */
  readonly peerEnded: boolean;
  /** Bytes that the windows did not allow to be sent yet. */
  readonly unsent: number;
  after(ms: number): number;
  /** Returns false if the bytes were not all sent. */
  sendBytes(bytes: Buffer, start: number, end: number, ends: boolean): boolean;
  /** Withholds the credit for what the peer has sent, or grants it. */
  pauseBytes(paused: boolean): void;
  /** The stream has ended in both directions. */
  closeTunnel(): void;
  abort(code: number): void;
}

export class TunnelStream implements TunnelConnection {
  handler!: ConnectionHandler & { drain(): void };
  isOpen = false;
  /** What the peer sent before the tunnel was open, at most the window of the stream. */
  readonly early = new PendingBuffer();
  readonly #stream: CarryingStream;
  /** Called when all bytes were sent. */
  #finished: (() => void) | null = null;
  #hasSentEnd = false;
  #closesAtEnd = false;
  #isClosed = false;

  constructor(stream: CarryingStream) {
    this.#stream = stream;
    stream.pauseBytes(true);
  }

  // ── Events of the stream ────────────────────────────────────────────────────────────────────────────────────────

  /** The stream's `peerEnded` is set with the last bytes. */
  received(bytes: Buffer, start: number, end: number): void {
    if (!this.isOpen) return this.early.append(bytes, start, end);
    this.#guard(() => {
      if (end > start) this.handler.receive(bytes, start, end);
      if (!this.#stream.peerEnded) return;
      this.handler.ended();
      this.#closeIfDone();
    });
  }

  drained(): void {
    this.#guard(() => this.handler.flushed());
  }

  /** The end of our direction was sent. */
  sentEnd(): void {
    this.#hasSentEnd = true;
    this.#finished?.();
    this.#closeIfDone();
  }

  expired(): void {
    this.#guard(() => this.handler.timedOut());
  }

  /** The stream is closed. The handler is notified later, as by a socket. */
  closed(error: Error | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.early.drop();
    if (this.isOpen) atTurnEnd(() => this.#guard(() => this.handler.closed(error)));
  }

  #closeIfDone(): void {
    if (this.#closesAtEnd && this.#hasSentEnd && this.#stream.peerEnded) this.#stream.closeTunnel();
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

  get deadline(): number {
    return this.#stream.deadline;
  }

  set deadline(at: number) {
    this.#stream.deadline = at;
  }

  arm(ms: number): void {
    this.deadline = this.#stream.after(ms);
  }

  get alive(): boolean {
    return this.#stream.alive;
  }

  get hasEnded(): boolean {
    return this.#stream.peerEnded;
  }

  get unsent(): number {
    return this.#stream.unsent;
  }

  pause(): void {
    this.#stream.pauseBytes(true);
  }

  resume(): void {
    this.#stream.pauseBytes(false);
  }

  stream(): void {}

  lends(): boolean {
    return false;
  }

  send(out: Buffer, size: number): boolean {
    return this.#stream.sendBytes(out, 0, size, false);
  }

  sendLent(_lender: TunnelConnection, bytes: Buffer, start: number, end: number): boolean {
    return this.#stream.sendBytes(bytes, start, end, false);
  }

  end(finished: () => void): void {
    if (this.#hasSentEnd || this.#finished !== null) return;
    this.#finished = finished;
    this.#stream.sendBytes(EMPTY, 0, 0, true);
  }

  /** Closes when the peer has ended its direction too, which its handler limits in time. */
  endBoth(): void {
    this.#closesAtEnd = true;
    this.end(() => {});
    this.#closeIfDone();
  }

  /** RFC 8441 section 5: CANCEL corresponds to a TCP reset. */
  reset(): void {
    this.#stream.abort(CODE.cancel);
  }

  destroy(): void {
    this.#stream.abort(CODE.cancel);
  }
}

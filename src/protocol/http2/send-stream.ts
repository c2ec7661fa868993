/** The sending direction of a stream: what windows and socket do not allow yet is kept, at most one read. */
import type { Head } from "../../http/head.ts";
import { DEFAULT_URGENCY } from "../../http/priority.ts";
import { MAX_WINDOW } from "../../http2/frames.ts";
import { BlockBuffer } from "../../net/block-buffer.ts";
import type { Buffers } from "../../net/buffers.ts";
import type { SendingStream, SendScheduler } from "./send-scheduler.ts";

export interface SendConnection {
  readonly buffers: Buffers;
  readonly scheduler: SendScheduler;
  /** Writes a trailer section, which ends the stream. */
  writeTrailers(id: number, trailers: Head): void;
}

export interface SendOwner {
  /** Some of the kept bytes were sent, not all. */
  progressed(): void;
  /** All kept bytes were sent, with the end of the stream if it was given. */
  drained(): void;
}

export class SendStream implements SendingStream {
  readonly id: number;
  /** Bytes that the peer allows; negative after it has reduced its initial window. */
  window: number;
  priority: number = DEFAULT_URGENCY;
  /** The end of the stream was sent. */
  hasSentEnd = false;
  /** The bytes given to `send` are a whole body, and do not change: they are kept without a copy. */
  isConstant = false;
  /** A tunnel takes the place of the stream. */
  owner: SendOwner;
  readonly #connection: SendConnection;
  /** What is kept. Most responses are sent at once and need none. */
  #rest: BlockBuffer | null = null;
  /** Nothing follows the kept bytes but the trailers, if there are any. */
  #ends = false;
  #trailers: Head | null = null;
  #isClosed = false;

  constructor(connection: SendConnection, owner: SendOwner, id: number, window: number) {
    this.#connection = connection;
    this.owner = owner;
    this.id = id;
    this.window = window;
  }

  /** Number of bytes that are kept. */
  get unsent(): number {
    return this.#rest === null ? 0 : this.#rest.length;
  }

  /** The stream has ended with its headers. */
  endedByHeaders(): void {
    this.#ends = true;
    this.hasSentEnd = true;
  }

  /**
   * Sends what the windows allow, and keeps the rest. Returns false if there is a rest. With `ends` the stream ends behind
   * the bytes, or behind `trailers`; nothing is sent after it.
   */
  send(bytes: Buffer, start: number, end: number, ends: boolean, trailers: Head | null): boolean {
    if (this.#ends || this.#isClosed) return this.unsent === 0;
    this.#ends = ends;
    let sent = start;
    if (this.unsent === 0) {
      const { scheduler } = this.#connection;
      sent += scheduler.send(this, bytes, start, end, ends && trailers === null);
      if (sent === end) {
        if (ends) this.#sendEnd(trailers);
        return true;
      }
      if (this.window > 0) scheduler.wait(this);
    }
    if (ends && trailers !== null) this.#trailers = trailers.copy();
    this.#rest ??= new BlockBuffer(this.#connection.buffers);
    if (this.isConstant) this.#rest.put(bytes, sent, end);
    else this.#rest.append(bytes, sent, end);
    return false;
  }

  /** Sends of the kept bytes what the windows allow now. */
  sendMore(): void {
    const rest = this.#rest;
    if (rest === null || rest.length === 0) return;
    const { scheduler } = this.#connection;
    const { bytes, start, end } = rest;
    const sent = scheduler.send(this, bytes, start, end, this.#ends && this.#trailers === null);
    rest.start += sent;
    if (rest.length > 0) {
      if (this.window > 0) scheduler.wait(this);
      if (sent > 0) this.owner.progressed();
      return;
    }
    rest.drop();
    if (this.#ends) this.#sendEnd(this.#trailers);
    this.owner.drained();
  }

  /** The end was sent with the last DATA frame unless there are trailers. */
  #sendEnd(trailers: Head | null): void {
    if (trailers !== null) this.#connection.writeTrailers(this.id, trailers);
    this.hasSentEnd = true;
  }

  /** Changes the window; returns false if it exceeds the largest window. */
  openWindow(change: number): boolean {
    this.window += change;
    if (this.window > MAX_WINDOW) return false;
    if (this.window > 0) this.sendMore();
    return true;
  }

  reprioritize(priority: number): void {
    const { scheduler } = this.#connection;
    const waits = scheduler.remove(this);
    this.priority = priority;
    if (waits) scheduler.wait(this);
  }

  /** Discards what is kept. */
  close(): void {
    this.#isClosed = true;
    this.#connection.scheduler.remove(this);
    this.#rest?.drop();
  }
}

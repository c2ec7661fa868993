/**
 * Sends DATA within the connection's window and what its socket takes. Blocked streams continue in the order of their
 * urgency (RFC 9218); those of equal urgency take turns, of one frame each if they are incremental, otherwise of what they
 * have: at most one read from the source.
 */

import { INCREMENTAL, URGENCIES } from "../../http/priority.ts";
import { DEFAULT_WINDOW, MAX_PAYLOAD, MAX_WINDOW } from "../../http2/frames.ts";
import type { Clock } from "../../net/clock.ts";
import type { Connection } from "../../net/connection.ts";
import type { FrameBudget } from "./frame-budget.ts";
import type { FrameWriter } from "./frame-writer.ts";

/** A DATA frame that the window limits to fewer bytes than this earns no budget. */
const LEAST_EARNING = 256;

/** Time after which a window that stays used up is stalled, ms. */
const STALLED_AFTER = 1000;
/** Bytes that the peer grants within that time if it is only busy. */
const USUAL_GRANT = DEFAULT_WINDOW;

export interface SendingStream {
  readonly id: number;
  /** Bytes that may be sent on the stream; negative after the peer has reduced its initial window. */
  window: number;
  /** The priority as of `parsePriority`. */
  readonly priority: number;
  /** Sends pending bytes; calls `wait` again if some remain. */
  sendMore(): void;
}

export class SendScheduler {
  readonly #connection: Connection;
  readonly #writer: FrameWriter;
  readonly #budget: FrameBudget;
  /** Bytes that may be sent over all streams. */
  #window = DEFAULT_WINDOW;
  readonly #clock: Clock;
  /** Time of the clock since which the window is used up, with less than USUAL_GRANT granted; 0: it is not. */
  #usedUpAt = 0;
  #granted = 0;
  /** Streams blocked by this window or the socket, not by their own window; by urgency, made when needed. */
  readonly #waiting: (Set<SendingStream> | undefined)[] = [];
  #waitingCount = 0;
  /** Bytes that the stream whose turn it is may send; -1: it is no stream's turn. */
  #turn = -1;

  constructor(connection: Connection, writer: FrameWriter, budget: FrameBudget, clock: Clock) {
    this.#connection = connection;
    this.#writer = writer;
    this.#budget = budget;
    this.#clock = clock;
  }

  /** Sends what both windows and the socket allow; returns how much. `ends`: the stream ends with the last byte. */
  send(stream: SendingStream, bytes: Buffer, start: number, end: number, ends: boolean): number {
    let at = start;
    const turn = this.#turn;
    // Others that wait go first: an event is pending that lets them continue.
    const most = turn >= 0 ? turn : this.#waitingCount > 0 ? 0 : end - start;
    while (at < end && at - start < most && this.#canSend) {
      const size = Math.min(end - at, MAX_PAYLOAD, stream.window, this.#window);
      if (size <= 0) break;
      this.#writer.data(stream.id, bytes, at, at + size, ends && at + size === end);
      at += size;
      stream.window -= size;
      this.#window -= size;
      // Otherwise each WINDOW_UPDATE of one byte would pay for the next.
      if (at === end || size >= LEAST_EARNING) this.#budget.earn(1);
    }
    if (this.#window === 0 && this.#usedUpAt === 0) this.#usedUp();
    if (start === end && ends) this.#writer.data(stream.id, bytes, start, end, true);
    return at - start;
  }

  #usedUp(): void {
    this.#usedUpAt = this.#clock.now;
    this.#granted = 0;
  }

  /** The peer grants hardly any window, as one does that does not read one of its streams. */
  get isStalled(): boolean {
    return this.#usedUpAt > 0 && this.#clock.now - this.#usedUpAt > STALLED_AFTER;
  }

  get #canSend(): boolean {
    return this.#window > 0 && !this.#connection.isBackedUp;
  }

  /** Calls `sendMore` of the stream when the connection can send more. */
  wait(stream: SendingStream): void {
    const urgency = stream.priority % URGENCIES;
    this.#waiting[urgency] ??= new Set();
    const queue = this.#waiting[urgency]!;
    if (queue.has(stream)) return;
    queue.add(stream);
    this.#waitingCount++;
  }

  /** Call it before the priority of the stream changes, and `wait` again if it returns true. */
  remove(stream: SendingStream): boolean {
    if (this.#waitingCount === 0 || !this.#waiting[stream.priority % URGENCIES]?.delete(stream)) return false;
    this.#waitingCount--;
    return true;
  }

  /** Adds to the connection's window; returns false if it exceeds the largest window. */
  openWindow(increment: number): boolean {
    this.#window += increment;
    if (this.#window > MAX_WINDOW) return false;
    this.#granted += increment;
    this.resume();
    if (this.#window > 0) this.#usedUpAt = 0;
    else if (this.#granted >= USUAL_GRANT) this.#usedUp();
    return true;
  }

  /** Lets blocked streams continue, for as long as the window and the socket allow. */
  resume(): void {
    if (this.#waitingCount === 0) return;
    for (let urgency = 0; urgency < URGENCIES; urgency++) {
      const queue = this.#waiting[urgency];
      // A stream that has more to send is added again, behind the others.
      if (queue !== undefined)
        for (const stream of queue) {
          if (!this.#canSend) return;
          this.remove(stream);
          this.#turn = (stream.priority & INCREMENTAL) !== 0 ? MAX_PAYLOAD : Number.MAX_SAFE_INTEGER;
          try {
            stream.sendMore();
          } finally {
            this.#turn = -1;
          }
        }
    }
  }
}

/** The end of a client's HTTP/2 connection: GOAWAY, the streams still served, and the close (RFC 9113 section 6.8). */
import { CODE, MAX_WINDOW } from "../../http2/frames.ts";
import type { AcceptedConnection } from "../../proxy/port.ts";
import type { FrameWriter } from "./frame-writer.ts";

/** Between the two GOAWAY frames of a graceful end, ms, so that requests in transit are still served. */
const GOAWAY_DELAY = 1000;
/** Time for a client to read the end, ms. */
const LINGER_MS = 2000;

export interface EndingConnection {
  /** The highest stream that was served. */
  readonly lastServed: number;
  readonly hasStreams: boolean;
  readonly writeTimeout: number;
}

export class ConnectionEnd {
  /** The final GOAWAY was sent, or no response can be sent any more: new streams are ignored. */
  ignoresStreams = false;
  /** The write direction is ended. */
  hasEnded = false;
  readonly #connection: AcceptedConnection;
  readonly #writer: FrameWriter;
  readonly #owner: EndingConnection;
  #isAnnounced = false;
  /** The connection ends with its last stream. */
  #isClosing = false;

  constructor(connection: AcceptedConnection, writer: FrameWriter, owner: EndingConnection) {
    this.#connection = connection;
    this.#writer = writer;
    this.#owner = owner;
  }

  /** Announces the end: the client opens no further stream; those in transit are accepted for GOAWAY_DELAY. */
  announce(): void {
    if (this.#isAnnounced || this.ignoresStreams) return;
    this.#isAnnounced = true;
    this.#writer.goAway(MAX_WINDOW, CODE.noError);
    setTimeout(() => this.#connection.guard(() => this.#sendFinal()), GOAWAY_DELAY).unref();
  }

  #sendFinal(): void {
    if (!this.#connection.alive || this.hasEnded) return;
    this.ignoresStreams = true;
    this.#writer.goAway(this.#owner.lastServed, CODE.noError);
    this.finishStreams();
  }

  /** Ends the connection with its last stream. */
  finishStreams(): void {
    this.#isClosing = true;
    this.streamClosed();
  }

  /** A stream has ended. */
  streamClosed(): void {
    if (this.#isClosing && !this.#owner.hasStreams) this.finish();
  }

  /** Sends GOAWAY with this code, and ends the connection. */
  finishWith(code: number): void {
    if (this.hasEnded) return;
    this.#writer.goAway(this.#owner.lastServed, code);
    this.finish();
  }

  /** Ends the write direction; the client reads the remaining bytes before it sees the end. */
  finish(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.ignoresStreams = true;
    this.#writer.flush();
    const connection = this.#connection;
    connection.resume();
    connection.arm(this.#owner.writeTimeout);
    connection.end(() => connection.arm(LINGER_MS));
  }
}

/** The receiving direction of a stream: its window, and credit, which is withheld until received bytes are consumed. */
import type { FrameWriter } from "./frame-writer.ts";
import { ReceiveWindow } from "./receive-window.ts";

export interface ReceiveConnection {
  readonly writer: FrameWriter;
  /** Lets the peer send `size` more bytes on the connection. */
  credit(size: number): void;
}

export class ReceiveStream extends ReceiveWindow {
  /** The peer has ended its direction. */
  hasEnded = false;
  /** The consumer takes no more: credit is withheld. */
  isPaused = false;
  readonly #connection: ReceiveConnection;
  readonly #id: number;
  /** Bytes that were not consumed. */
  #withheld = 0;
  #isClosed = false;

  constructor(connection: ReceiveConnection, id: number, size: number) {
    super(size);
    this.#connection = connection;
    this.#id = id;
  }

  /** Bytes were received for the consumer. */
  withhold(size: number): void {
    this.#withheld += size;
  }

  pause(isPaused: boolean): void {
    this.isPaused = isPaused;
    if (!isPaused) this.release();
  }

  /** Grants the credit that is withheld. */
  release(): void {
    const size = this.#withheld;
    this.#withheld = 0;
    if (size > 0) this.grant(size);
  }

  /** Lets the peer send `size` more bytes: on the connection, and on the stream unless that has ended. */
  grant(size: number): void {
    this.#connection.credit(size);
    if (!this.#isClosed && !this.hasEnded) this.#connection.writer.windowUpdate(this.#id, this.credit(size));
  }

  /** The bytes that were not consumed are discarded. */
  close(): void {
    this.#isClosed = true;
    this.release();
  }
}

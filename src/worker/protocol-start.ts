/** The handler of a connection without ALPN until its first bytes show the protocol: the preface of HTTP/2, or HTTP/1. */
import { PREFACE } from "../http2/frames.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { AcceptedConnection, Port, ServerHandler } from "../proxy/port.ts";

export type ProtocolStartOptions = {
  readonly make: (isHttp2: boolean) => ServerHandler;
  /** Reports an exception. */
  readonly internal: (error: unknown) => void;
};

export class ProtocolStart implements ServerHandler {
  readonly #connection: AcceptedConnection;
  readonly #options: ProtocolStartOptions;
  /** A part of the preface. */
  readonly #input = new PendingBuffer();

  constructor(connection: AcceptedConnection, port: Port, options: ProtocolStartOptions) {
    this.#connection = connection;
    this.#options = options;
    connection.arm(port.idleLimit(port.state!.plan.timeouts.head));
  }

  receive(bytes: Buffer, start: number, end: number): void {
    const input = this.#input;
    let at = start;
    while (at < end && input.length + at - start < PREFACE.length && bytes[at] === PREFACE[input.length + at - start])
      at++;
    const isWhole = input.length + at - start === PREFACE.length;
    if (at === end && !isWhole) return input.append(bytes, start, end);
    const handler = this.#makeHandler(isWhole);
    // The buffered bytes may have replaced it.
    if (this.#connection.handler === handler) handler.receive(bytes, start, end);
  }

  /** Makes the protocol's handler, which receives the buffered bytes. */
  #makeHandler(isHttp2: boolean): ServerHandler {
    const handler = this.#options.make(isHttp2);
    this.#connection.handler = handler;
    const { bytes, start, end } = this.#input;
    if (end > start) handler.receive(bytes, start, end);
    return handler;
  }

  ended(): void {
    this.#makeHandler(false).ended();
  }

  timedOut(): void {
    this.#makeHandler(false).timedOut();
  }

  drain(): void {
    this.#makeHandler(false).drain();
  }

  closed(): void {}
  flushed(): void {}

  broken(error: unknown): void {
    this.#options.internal(error);
    this.#connection.destroy();
  }
}

/**
 * The handler of an accepted connection until admission is decided. Input received meanwhile is buffered unparsed and
 * passed to the protocol's handler.
 */
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { Admission, AdmissionHandler, PendingAdmission } from "../proxy/admission.ts";
import type { ConnectionChoice } from "../proxy/connection-choice.ts";
import type { AcceptedConnection, Port, ServerHandler } from "../proxy/port.ts";

/** Most bytes buffered during admission; then reading pauses. Reading until then detects a reset. */
const MAX_PENDING = 64 * 1024;

export type IncomingOptions = {
  readonly admission: Admission;
  /** Creates the protocol's handler. `choice`: the initial cluster of the connection's requests. */
  readonly makeHandler: (connection: AcceptedConnection, port: Port, choice: ConnectionChoice | null) => ServerHandler;
  readonly internal: (error: unknown) => void;
};

export class Incoming implements ServerHandler, AdmissionHandler {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #options: IncomingOptions;
  /** Set while a hook call is suspended. */
  #admission: PendingAdmission | null = null;
  #input: PendingBuffer | null = null;

  constructor(connection: AcceptedConnection, port: Port, options: IncomingOptions) {
    this.#connection = connection;
    this.#port = port;
    this.#options = options;
  }

  /** Starts admission; may complete asynchronously. */
  begin(): void {
    this.#connection.handler = this;
    this.#admission = this.#options.admission.evaluate(this.#port.state!, this);
  }

  get peer(): string {
    return this.#connection.peerAddress || "unknown";
  }

  admitted(choice: ConnectionChoice | null): void {
    this.#admission = null;
    const connection = this.#connection;
    const handler = this.#options.makeHandler(connection, this.#port, choice);
    connection.handler = handler;
    connection.resume();
    const input = this.#input;
    if (input !== null) handler.receive(input.bytes, input.start, input.end);
    // The peer has ended its direction meanwhile: only the protocol's handler knows what that interrupts.
    if (connection.hasEnded && connection.alive) connection.handler.ended();
  }

  denied(): void {
    this.#admission = null;
    this.#connection.reset();
  }

  guard(run: () => void): void {
    this.#connection.guard(run);
  }

  receive(bytes: Buffer, start: number, end: number): void {
    const input = (this.#input ??= new PendingBuffer());
    input.append(bytes, start, end);
    if (input.length >= MAX_PENDING) this.#connection.pause();
  }

  ended(): void {
    // With `halfClose` the buffered input may be a whole request.
    if (!this.#port.state!.plan.halfClose || this.#input === null) this.#connection.reset();
  }

  closed(): void {
    this.#admission?.cancel();
    this.#admission = null;
  }

  broken(error: unknown): void {
    this.#options.internal(error);
    this.#connection.destroy();
  }

  timedOut(): void {}
  flushed(): void {}
  drain(): void {}
}

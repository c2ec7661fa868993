/**
 * The handler of an accepted connection until the plugins of its listener's chain have admitted it. What it sends
 * meanwhile is kept unread, and passed to the handler of its protocol.
 */
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { Admission, AdmissionHandler, PendingAdmission } from "../proxy/admission.ts";
import type { ConnectionChoice } from "../proxy/connection-choice.ts";
import type { AcceptedConnection, Port, ServerHandler } from "../proxy/port.ts";

/** Input kept while a plugin is asked, so that a reset is seen; beyond it the connection is not read. */
const MAX_KEPT = 64 * 1024;

export type IncomingOptions = {
  readonly admission: Admission;
  /** Makes the handler of its protocol. `choice`: the cluster that its requests begin with. */
  readonly makeHandler: (connection: AcceptedConnection, port: Port, choice: ConnectionChoice | null) => ServerHandler;
  readonly internal: (error: unknown) => void;
};

export class Incoming implements ServerHandler, AdmissionHandler {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #options: IncomingOptions;
  /** While a plugin is asked asynchronously. */
  #pending: PendingAdmission | null = null;
  #kept: PendingBuffer | null = null;

  constructor(connection: AcceptedConnection, port: Port, options: IncomingOptions) {
    this.#connection = connection;
    this.#port = port;
    this.#options = options;
  }

  /** Asks the plugins; may complete asynchronously. */
  begin(): void {
    this.#connection.handler = this;
    this.#pending = this.#options.admission.evaluate(this.#port.state!, this);
  }

  get peer(): string {
    return this.#connection.peerAddress || "unknown";
  }

  admitted(choice: ConnectionChoice | null): void {
    this.#pending = null;
    const connection = this.#connection;
    const handler = this.#options.makeHandler(connection, this.#port, choice);
    connection.handler = handler;
    connection.resume();
    const kept = this.#kept;
    if (kept !== null) handler.receive(kept.bytes, kept.start, kept.end);
    // What that cuts off is known only now.
    if (connection.hasEnded && connection.alive) connection.handler.ended();
  }

  denied(): void {
    this.#pending = null;
    this.#connection.reset();
  }

  guard(run: () => void): void {
    this.#connection.guard(run);
  }

  receive(bytes: Buffer, start: number, end: number): void {
    const kept = (this.#kept ??= new PendingBuffer());
    kept.append(bytes, start, end);
    if (kept.length >= MAX_KEPT) this.#connection.pause();
  }

  ended(): void {
    // What it has sent may be a whole request, of which the response is awaited.
    if (!this.#port.state!.plan.halfClose || this.#kept === null) this.#connection.reset();
  }

  closed(): void {
    this.#pending?.cancel();
    this.#pending = null;
  }

  broken(error: unknown): void {
    this.#options.internal(error);
    this.#connection.destroy();
  }

  timedOut(): void {}
  flushed(): void {}
  drain(): void {}
}

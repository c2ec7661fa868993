/**
 * The handler of an accepted connection until the plugins of its listener's chain have admitted it. What it sends
 * meanwhile is kept unread, and passed to the handler of its protocol.
 */
import { Carry } from "../net/pending-buffer.ts";
import type { Admission, Entrant, Judgement } from "../proxy/admission.ts";
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

export class Incoming implements ServerHandler, Entrant {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #options: IncomingOptions;
  /** While a plugin is asked asynchronously. */
  #judgement: Judgement | null = null;
  #kept: Carry | null = null;

  constructor(connection: AcceptedConnection, port: Port, options: IncomingOptions) {
    this.#connection = connection;
    this.#port = port;
    this.#options = options;
  }

  /** Asks the plugins; may complete asynchronously. */
  begin(): void {
    this.#connection.handler = this;
    this.#judgement = this.#options.admission.ask(this.#port.state!, this);
  }

  get peer(): string {
    return this.#connection.peerAddress || "unknown";
  }

  admitted(choice: ConnectionChoice | null): void {
    this.#judgement = null;
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
    this.#judgement = null;
    this.#connection.reset();
  }

  guard(run: () => void): void {
    this.#connection.guard(run);
  }

  receive(bytes: Buffer, start: number, end: number): void {
    const kept = (this.#kept ??= new Carry());
    kept.append(bytes, start, end);
    if (kept.length >= MAX_KEPT) this.#connection.pause();
  }

  ended(): void {
    // What it has sent may be a whole request, of which the response is awaited.
    if (!this.#port.state!.plan.halfClose || this.#kept === null) this.#connection.reset();
  }

  closed(): void {
    this.#judgement?.cancel();
    this.#judgement = null;
  }

  broken(error: unknown): void {
    this.#options.internal(error);
    this.#connection.destroy();
  }

  timedOut(): void {}
  flushed(): void {}
  drain(): void {}
}

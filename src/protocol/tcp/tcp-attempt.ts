/** One attempt to connect to an endpoint for a client's TCP connection. */
import { Connection } from "../../net/connection.ts";
import { type DialHandler, dial } from "../../net/dial.ts";
import { makeProxyHeader } from "../../net/proxy-header.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import { connectError, isLocalCause } from "../../proxy/connect-error.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";

/** Exactly one of these is called, unless the attempt is cancelled. */
export interface AttemptOwner {
  connected(endpoint: Connection<DialHandler>): void;
  attemptFailed(error: ProxyError, problem: string): void;
  /** An exception was thrown. */
  broken(error: unknown): void;
}

/** The protocols offered to endpoints (ALPN): none, since the protocol of the bytes is unknown. */
const NO_PROTOCOLS: readonly string[] = [];

export class TcpAttempt implements DialHandler {
  readonly #connection: Connection<DialHandler>;
  readonly #attempt: Attempt;
  /** Null once it was notified or has cancelled. */
  #owner: AttemptOwner | null;

  /** Starts to connect, for at most `timeouts.connect` of the cluster. */
  constructor(context: WorkerContext, attempt: Attempt, owner: AttemptOwner) {
    const { plan } = attempt.exchange.cluster!;
    this.#attempt = attempt;
    this.#owner = owner;
    this.#connection = new Connection<DialHandler>(context, null);
    this.#connection.handler = this;
    this.#connection.bandwidth = attempt.exchange.route!.bandwidth;
    const client = attempt.exchange.client?.connection ?? null;
    const header =
      plan.proxyProtocol === null
        ? null
        : makeProxyHeader(plan.proxyProtocol, client, attempt.exchange.tls?.serverName);
    dial(this.#connection, attempt.endpoint!, plan.tls, NO_PROTOCOLS, header);
    this.#connection.arm(plan.timeouts.connect);
  }

  cancel(): void {
    this.#owner = null;
    this.#connection.reset();
  }

  connected(): void {
    const owner = this.#owner;
    this.#owner = null;
    owner?.connected(this.#connection);
  }

  closed(error: Error | null): void {
    this.#attempt.local = isLocalCause(error);
    this.#fail(connectError(error), error?.message ?? "closed");
  }

  timedOut(): void {
    this.#connection.destroy();
    this.#fail(ERROR.connectTimeout, "no connection within the time limit");
  }

  #fail(error: ProxyError, problem: string): void {
    const owner = this.#owner;
    this.#owner = null;
    owner?.attemptFailed(error, problem);
  }

  broken(error: unknown): void {
    const owner = this.#owner;
    this.#owner = null;
    this.#connection.destroy();
    owner?.broken(error);
  }

  // Before it is connected nothing is received and nothing is written.
  receive(): void {}
  ended(): void {}
  flushed(): void {}
  writeFailed(): void {}
}

/**
 * A client's TCP connection until it is relayed: selects the route and the cluster, connects to an endpoint, to another
 * one if that fails, and opens the tunnel. An exchange without a request carries its state to strategies, health and logs.
 * What the client sends meanwhile is buffered, at most about 128 KiB; the time is bounded by `timeouts.connect` of the
 * cluster for each attempt. A connection that cannot be relayed is reset, so that the client does not take it for an
 * empty response.
 */
import type { Connection } from "../../net/connection.ts";
import type { DialHandler } from "../../net/dial.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";
import { UNKNOWN } from "../../proxy/forwarded.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { Accepted, AcceptedConnection, Port, ServerHandler } from "../../proxy/port.ts";
import { RelayExchange, type RelayOwner } from "../relay/relay-exchange.ts";
import { type AttemptOwner, TcpAttempt } from "./tcp-attempt.ts";

/** Most bytes buffered while connecting; then reading pauses. Reading until then detects a reset. */
const MAX_PENDING = 64 * 1024;

const NOTHING = { bytes: Buffer.alloc(0), start: 0, end: 0 };

const UNDECRYPTED: TlsFacts = {
  serverName: "",
  version: "",
  cipher: "",
  protocol: "",
  clientSubject: "",
  clientNames: "",
  clientFingerprint: "",
};

export class TcpConnection implements ServerHandler, AttemptOwner, RelayOwner {
  readonly #context: WorkerContext;
  readonly #pipeline: Pipeline;
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #pending = new PendingBuffer();
  readonly #relay: RelayExchange;
  #attempt: TcpAttempt | null = null;
  /** What is known of TLS that is not terminated here. */
  readonly #hello: TlsFacts | null;
  readonly peer: string;

  /** Starts to connect to an endpoint. */
  constructor(context: WorkerContext, pipeline: Pipeline, { connection, port, choice, passed }: Accepted) {
    this.#context = context;
    this.#pipeline = pipeline;
    this.#connection = connection;
    this.#port = port;
    this.peer = connection.peerAddress || UNKNOWN;
    const hello = passed?.hello ?? null;
    this.#hello = hello && { ...UNDECRYPTED, ...hello };
    connection.deadline = 0;
    this.#relay = new RelayExchange(pipeline, port, this, choice);
    connection.guard(() => this.#relay.begin(this.#hello !== null));
  }

  get tls(): TlsFacts | null {
    return this.#connection.tls ?? this.#hello;
  }

  get connection(): AcceptedConnection {
    return this.#connection;
  }

  connect(attempt: Attempt): void {
    this.#attempt = new TcpAttempt(this.#context, attempt, this);
  }

  connected(endpoint: Connection<DialHandler>): void {
    this.#attempt = null;
    this.#relay.relay(true, (x) => {
      const { tunnel } = x.cluster!.plan.timeouts;
      const { idle, lifetime } = x.listener!.plan.relay!;
      this.#pipeline.tunnels.relay(x, {
        client: this.#connection,
        endpoint,
        port: this.#port,
        idle: idle === 0 ? tunnel : idle,
        lifetime,
        fromClient: this.#pending,
        fromEndpoint: NOTHING,
      });
    });
  }

  attemptFailed(error: ProxyError, problem: string): void {
    this.#attempt = null;
    this.#relay.attemptFailed(error, problem);
  }

  failed(): void {
    this.#release();
    if (this.#connection.alive) this.#connection.reset();
  }

  #end(error: ProxyError): void {
    if (this.#relay.exchange === null) return;
    this.#relay.end(error);
    this.#release();
  }

  #release(): void {
    this.#attempt?.cancel();
    this.#attempt = null;
    this.#pending.drop();
  }

  // ── The client's connection ───────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number): void {
    if (this.#relay.exchange === null) return;
    this.#pending.append(bytes, start, end);
    if (this.#pending.length >= MAX_PENDING) this.#connection.pause();
  }

  /** A client may send its request and end its direction: the tunnel forwards that end. */
  ended(): void {}

  closed(): void {
    this.#end(ERROR.clientGone);
  }

  broken(error: unknown): void {
    this.#pipeline.internal(null, error);
    this.#end(ERROR.internal);
    this.#connection.destroy();
  }

  timedOut(): void {}
  flushed(): void {}
  /** The tunnel drains once it is open. */
  drain(): void {}
}

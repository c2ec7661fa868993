/**
 * A client's TCP connection until it is relayed: selects the route and the cluster, connects to an endpoint, to another
 * one if that fails, and opens the tunnel. An exchange without a request carries its state to strategies, health and logs.
 * What the client sends meanwhile is buffered, at most about 128 KiB; the time is bounded by `timeouts.connect` of the
 * cluster for each attempt. A connection that cannot be relayed is reset, so that the client does not take it for an
 * empty response.
 */
import { performance } from "node:perf_hooks";
import { VERSION } from "../../http/protocol.ts";
import type { Connection } from "../../net/connection.ts";
import type { DialHandler } from "../../net/dial.ts";
import { PendingBuffer } from "../../net/pending-buffer.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import { CONNECTION_RESULTS, reasonCell } from "../../observe/series.ts";
import { OUTCOME } from "../../plugin/host/outcome.ts";
import { endAttempt } from "../../proxy/account.ts";
import { pick, recover } from "../../proxy/attempts.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Downstream } from "../../proxy/downstream.ts";
import { ERROR, failureOf, type ProxyError } from "../../proxy/error.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { logNoRoute } from "../../proxy/failure-log.ts";
import { UNKNOWN } from "../../proxy/forwarded.ts";
import { PHASE } from "../../proxy/phase.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { StepControl } from "../../proxy/pipeline-control.ts";
import type { Accepted, AcceptedConnection, Port, ServerHandler } from "../../proxy/port.ts";
import { takeCluster } from "../../proxy/routing.ts";
import type { RouteState } from "../../proxy/snapshot.ts";
import { type AttemptOwner, TcpAttempt } from "./tcp-attempt.ts";

/** Most bytes buffered while connecting; then reading pauses. Reading until then detects a reset. */
const MAX_PENDING = 64 * 1024;

const NO_BYTES = Buffer.alloc(0);
const NOTHING = { bytes: NO_BYTES, start: 0, end: 0 };

/** Takes an exchange without a request. */
function takeExchange({ exchanges }: Pipeline, { state }: Port, client: string): Exchange {
  const x = exchanges.take();
  x.request.reset();
  x.request.version = VERSION.tcp;
  x.clientAddress = client;
  x.listener = state!;
  x.listenerName = state!.plan.name;
  x.startedAt = x.headAt = performance.now();
  return x;
}

/** Writes the access log line of a connection that a plugin denied. */
export function logDenied(pipeline: Pipeline, connection: AcceptedConnection, port: Port, outcome: number): void {
  const x = takeExchange(pipeline, port, connection.peerAddress || UNKNOWN);
  x.error = outcome === OUTCOME.reject ? ERROR.denied : failureOf(outcome);
  pipeline.context.accessLog.line(x, performance.now());
  x.reset();
  pipeline.exchanges.giveBack(x);
}

const UNDECRYPTED: TlsFacts = {
  serverName: "",
  version: "",
  cipher: "",
  protocol: "",
  resumed: false,
  clientSubject: "",
  clientNames: "",
  clientFingerprint: "",
};

export class TcpConnection implements ServerHandler, Downstream, AttemptOwner, StepControl {
  readonly context: WorkerContext;
  readonly #pipeline: Pipeline;
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #pending = new PendingBuffer();
  /** Null once it is relayed or has failed. */
  #exchange: Exchange | null;
  #attempt: TcpAttempt | null = null;
  /** What is known of TLS that is not terminated here. */
  readonly #hello: TlsFacts | null;
  readonly peer: string;
  readonly scheme = "http";
  readonly forwarded = NO_BYTES;

  /** Starts to connect to an endpoint. */
  constructor(context: WorkerContext, pipeline: Pipeline, { connection, port, choice, passed }: Accepted) {
    this.context = context;
    this.#pipeline = pipeline;
    this.#connection = connection;
    this.#port = port;
    this.peer = connection.peerAddress || UNKNOWN;
    const hello = passed?.hello ?? null;
    this.#hello = hello && { ...UNDECRYPTED, ...hello };
    connection.deadline = 0;
    const x = (this.#exchange = takeExchange(pipeline, port, this.peer));
    x.client = this;
    x.listener!.snapshot.enter();
    choice?.apply(x);
    connection.guard(() => this.#begin(x));
  }

  get tls(): TlsFacts | null {
    return this.#connection.tls ?? this.#hello;
  }

  get connection(): AcceptedConnection {
    return this.#connection;
  }

  get alive(): boolean {
    return this.#connection.alive;
  }

  #begin(x: Exchange): void {
    x.route = this.#selectRoute(x);
    if (x.route === null) {
      logNoRoute(this.context, x);
      return this.#fail(x, ERROR.noRoute);
    }
    x.routeName = x.route.name;
    takeCluster(x);
    this.#advance(x, pick(this, x));
  }

  /** The first route that matches; with `protocol: auto`, `passthrough` is for TLS only. */
  #selectRoute(x: Exchange): RouteState | null {
    const { relay, plan } = x.listener!;
    if (relay === null) return null;
    for (let at = relay.router.match(x, 0); at >= 0; at = relay.router.match(x, at + 1)) {
      const route = relay.routes[at]!;
      if (!route.passthrough || plan.protocol === "tcp" || this.#hello !== null) return route;
    }
    return null;
  }

  /** Steps of the pipeline return `pick`, `forward`, or by `error` `done`. */
  #advance(x: Exchange, phase: number): void {
    let next = phase;
    if (next === PHASE.pick) next = pick(this, x);
    if (next === PHASE.forward) this.#connect(x);
  }

  #connect(x: Exchange): void {
    const { context } = this;
    const attempt = x.beginAttempt();
    attempt.startedAt = x.attempts === 1 ? x.headAt : performance.now();
    context.columns.addInFlight(context.worker, attempt.endpoint!.slot, 1);
    this.#attempt = new TcpAttempt(context, attempt, this);
  }

  connected(endpoint: Connection<DialHandler>): void {
    const x = this.#exchange!;
    this.#attempt = null;
    this.#exchange = null;
    x.attempt.respondedAt = performance.now();
    endAttempt(this.context, x.attempt, 0, false, false);
    this.#count(x, "connected");
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
    this.#release(x);
  }

  failed(error: ProxyError, problem: string): void {
    const x = this.#exchange!;
    this.#attempt = null;
    x.attempt.error = error;
    x.attempt.problem = problem;
    this.#advance(x, recover(this, x));
  }

  /** No further attempt is possible. */
  error(x: Exchange, error: ProxyError): number {
    this.#fail(x, error);
    return PHASE.done;
  }

  #fail(x: Exchange, error: ProxyError): void {
    this.#end(x, error);
    if (this.#connection.alive) this.#connection.reset();
  }

  /** Counts and logs a connection that was not relayed. */
  #end(x: Exchange, error: ProxyError): void {
    this.#exchange = null;
    this.#attempt?.cancel();
    this.#attempt = null;
    this.#pending.drop();
    endAttempt(this.context, x.attempt, 0, false);
    x.error = error;
    this.#count(x, error.code);
    this.context.accessLog.line(x, performance.now());
    this.#release(x);
  }

  #count({ route, cluster, listener }: Exchange, result: string): void {
    const found = route === null || cluster === null ? -1 : route.requestCells[cluster.index]!;
    const cells = found >= 0 ? found : (route?.noClusterCells ?? listener!.plan.relay?.noRouteCells ?? -1);
    if (cells >= 0) this.context.cells[cells + reasonCell(CONNECTION_RESULTS, result)]!++;
  }

  #release(x: Exchange): void {
    const { snapshot } = x.listener!;
    if (x.pluginMemory !== null) x.releasePluginMemory();
    x.reset();
    this.#pipeline.exchanges.giveBack(x);
    snapshot.leave();
  }

  // ── The client's connection ───────────────────────────────────────────────────────────────────────────────────

  receive(bytes: Buffer, start: number, end: number): void {
    if (this.#exchange === null) return;
    this.#pending.append(bytes, start, end);
    if (this.#pending.length >= MAX_PENDING) this.#connection.pause();
  }

  /** A client may send its request and end its direction: the tunnel forwards that end. */
  ended(): void {}

  closed(): void {
    if (this.#exchange !== null) this.#end(this.#exchange, ERROR.clientGone);
  }

  broken(error: unknown): void {
    this.#pipeline.internal(null, error);
    if (this.#exchange !== null) this.#end(this.#exchange, ERROR.internal);
    this.#connection.destroy();
  }

  timedOut(): void {}
  flushed(): void {}
  /** The tunnel drains once it is open. */
  drain(): void {}

  // ── Without a request there is no response ────────────────────────────────────────────────────────────────────

  sendHeaders(): boolean {
    return true;
  }

  sendBody(): boolean {
    return true;
  }

  sendInterim(): void {}
  resumeBody(): void {}
  finished(): void {}

  reset(): void {
    this.#connection.reset();
  }
}

/**
 * The exchange of a TCP connection or a UDP session until it is relayed: the steps of requests choose the route, the
 * cluster and the endpoint, and another endpoint when an attempt fails. It has no request, and so no response.
 */
import { performance } from "node:perf_hooks";
import { VERSION } from "../../http/protocol.ts";
import type { Connection } from "../../net/connection.ts";
import type { TlsFacts } from "../../net/tls-facts.ts";
import { CONNECTION_RESULTS, reasonCell } from "../../observe/series.ts";
import { OUTCOME } from "../../plugin/host/outcome.ts";
import { endAttempt } from "../../proxy/account.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import { pick, recover } from "../../proxy/attempts.ts";
import type { ConnectionChoice } from "../../proxy/connection-choice.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Downstream } from "../../proxy/downstream.ts";
import { ERROR, failureOf, type ProxyError } from "../../proxy/error.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { logNoRoute } from "../../proxy/failure-log.ts";
import { UNKNOWN } from "../../proxy/forwarded.ts";
import { PHASE } from "../../proxy/phase.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { StepControl } from "../../proxy/pipeline-control.ts";
import type { AcceptedConnection, Port } from "../../proxy/port.ts";
import { takeCluster } from "../../proxy/routing.ts";
import type { RouteState } from "../../proxy/snapshot.ts";

const NO_BYTES = Buffer.alloc(0);

/** The connection or session. */
export interface RelayOwner {
  /** The client's address. */
  readonly peer: string;
  readonly tls: TlsFacts | null;
  /** Null for a UDP session. */
  readonly connection: Connection | null;
  /** Connects to the endpoint of the attempt. */
  connect(attempt: Attempt): void;
  /** No route matches, or no further attempt is possible. The exchange has ended. */
  failed(): void;
}

/** Takes an exchange without a request. */
function takeExchange({ exchanges }: Pipeline, { state }: Port, client: string): Exchange {
  const x = exchanges.take();
  x.request.reset();
  x.request.version = state!.plan.protocol === "udp" ? VERSION.udp : VERSION.tcp;
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

export class RelayExchange implements Downstream, StepControl {
  readonly context: WorkerContext;
  readonly scheme = "http";
  readonly forwarded = NO_BYTES;
  readonly #pipeline: Pipeline;
  readonly #owner: RelayOwner;
  #exchange: Exchange | null;

  constructor(pipeline: Pipeline, port: Port, owner: RelayOwner, choice: ConnectionChoice | null) {
    this.context = pipeline.context;
    this.#pipeline = pipeline;
    this.#owner = owner;
    const x = (this.#exchange = takeExchange(pipeline, port, owner.peer));
    x.client = this;
    x.listener!.snapshot.enter();
    choice?.apply(x);
  }

  /** Null once it is relayed or has failed. */
  get exchange(): Exchange | null {
    return this.#exchange;
  }

  /** Starts the first attempt. `isTls`: the client sent a ClientHello. */
  begin(isTls: boolean): void {
    const x = this.#exchange!;
    x.route = selectRoute(x, isTls);
    if (x.route === null) {
      logNoRoute(this.context, x);
      return this.#fail(ERROR.noRoute);
    }
    x.routeName = x.route.name;
    takeCluster(x);
    this.#advance(x, pick(this, x));
  }

  /** The attempt has failed: starts another one if the route allows it. */
  attemptFailed(error: ProxyError, problem: string): void {
    const x = this.#exchange!;
    x.attempt.error = error;
    x.attempt.problem = problem;
    this.#advance(x, recover(this, x));
  }

  /** Steps of the pipeline return `pick`, `forward`, or by `error` `done`. */
  #advance(x: Exchange, phase: number): void {
    let next = phase;
    if (next === PHASE.pick) next = pick(this, x);
    if (next !== PHASE.forward) return;
    const wait = x.attempts === 0 ? (x.route!.bandwidth?.wait() ?? 0) : 0;
    if (wait > 0) {
      // Sessions of datagrams have no limit of bandwidth.
      const connection = this.#owner.connection!;
      const timer = setTimeout(() => connection.guard(() => this.#connect(x)), wait);
      x.suspension = { cancel: () => clearTimeout(timer) };
    } else this.#connect(x);
  }

  #connect(x: Exchange): void {
    const attempt = x.beginAttempt();
    attempt.startedAt = x.attempts === 1 ? x.headAt : performance.now();
    this.context.columns.addInFlight(this.context.worker, attempt.endpoint!.slot, 1);
    this.#owner.connect(attempt);
  }

  error(_x: Exchange, error: ProxyError): number {
    this.#fail(error);
    return PHASE.done;
  }

  #fail(error: ProxyError): void {
    this.end(error);
    this.#owner.failed();
  }

  /**
   * Ends the exchange after `open` has opened its tunnel. `hasResponded`: the endpoint has accepted the connection, or sent
   * a datagram; else the attempt is neither its success nor its failure.
   */
  relay(hasResponded: boolean, open: (x: Exchange) => void): void {
    const x = this.#exchange!;
    this.#exchange = null;
    if (hasResponded) x.attempt.respondedAt = performance.now();
    endAttempt(this.context, x.attempt, 0, false, !hasResponded);
    this.#count(x, "connected");
    open(x);
    this.#release(x);
  }

  /** Counts and logs what was not relayed. */
  end(error: ProxyError): void {
    const x = this.#exchange;
    if (x === null) return;
    this.#exchange = null;
    x.cancelCalls();
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

  // ── The client of the exchange ────────────────────────────────────────────────────────────────────────────────

  get peer(): string {
    return this.#owner.peer;
  }

  get tls(): TlsFacts | null {
    return this.#owner.tls;
  }

  get connection(): Connection | null {
    return this.#owner.connection;
  }

  get alive(): boolean {
    return this.#exchange !== null;
  }

  // There is no response.

  sendHeaders(): boolean {
    return true;
  }

  sendBody(): boolean {
    return true;
  }

  sendInterim(): void {}
  resumeBody(): void {}
  reset(): void {}
  finished(): void {}
}

/** The first route that matches; with `protocol: auto`, `passthrough` is for TLS only. */
function selectRoute(x: Exchange, isTls: boolean): RouteState | null {
  const { relay, plan } = x.listener!;
  if (relay === null) return null;
  for (let at = relay.router.match(x, 0); at >= 0; at = relay.router.match(x, at + 1)) {
    const route = relay.routes[at]!;
    if (!route.passthrough || plan.protocol === "tcp" || isTls) return route;
  }
  return null;
}

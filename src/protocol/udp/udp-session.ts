/**
 * A UDP session: the datagrams between one address of a client and one endpoint. The route, the cluster and the endpoint
 * are chosen with the first datagram, by the steps that requests use; an exchange without a request carries their state
 * until the endpoint has sent its first datagram, for `timeouts.connect` at most. If the endpoint refuses before that
 * (ICMP port unreachable), the client's datagrams are sent to another one. Then the session is a tunnel for status,
 * metrics, slots and the access log.
 */
import type { RemoteInfo, Socket } from "node:dgram";
import { performance } from "node:perf_hooks";
import type { TunnelEnd } from "../../net/tunnel.ts";
import { makeUdpClient } from "../../net/udp.ts";
import { CONNECTION_RESULTS, type DATAGRAM_DROPS, reasonCell } from "../../observe/series.ts";
import { endAttempt } from "../../proxy/account.ts";
import type { AdmissionHandler, PendingAdmission } from "../../proxy/admission.ts";
import { pick, recover } from "../../proxy/attempts.ts";
import { connectError, isLocalCause } from "../../proxy/connect-error.ts";
import type { ConnectionChoice } from "../../proxy/connection-choice.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import type { Downstream } from "../../proxy/downstream.ts";
import { ERROR, type ProxyError } from "../../proxy/error.ts";
import type { Exchange } from "../../proxy/exchange.ts";
import { PHASE } from "../../proxy/phase.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { StepControl } from "../../proxy/pipeline-control.ts";
import type { Port } from "../../proxy/port.ts";
import { takeCluster } from "../../proxy/routing.ts";
import type { RelayedTunnel } from "../../proxy/tunnels.ts";

/** Datagrams kept until the endpoint has sent its first one, to be sent to another endpoint; further ones are not kept. */
const MAX_KEPT = 8;
const MAX_KEPT_BYTES = 64 * 1024;
/** Bytes that the system has not sent yet; beyond it datagrams are dropped. */
const MAX_QUEUED = 1024 * 1024;

export type DatagramDrop = (typeof DATAGRAM_DROPS)[number];

/** The table of the sessions (`UdpSessions`). */
export interface SessionOwner {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly port: Port;
  /** Sends a datagram of the endpoint to the session's client. */
  sendToClient(session: UdpSession, bytes: Buffer): void;
  /** The endpoint has sent its first datagram. */
  settled(session: UdpSession): void;
  ended(session: UdpSession): void;
  dropped(reason: DatagramDrop): void;
}

export class UdpSession implements AdmissionHandler, Downstream, StepControl {
  readonly context: WorkerContext;
  readonly #owner: SessionOwner;
  /** The client's address; may change with `protocol: quic`. */
  from: RemoteInfo;
  /** Connection IDs by which its datagrams are recognised. */
  readonly ids: string[] = [];
  readonly openedAt: number;
  /** When the last datagram arrived from the client, and in either direction, by the worker's clock. */
  receivedAt: number;
  activeAt: number;
  #admission: PendingAdmission | null = null;
  /** Until the endpoint has sent its first datagram. */
  #exchange: Exchange | null = null;
  #socket: Socket | null = null;
  #connected = false;
  #tunnel: RelayedTunnel | null = null;
  #ended = false;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #received = 0;
  #sent = 0;
  /** Datagrams of the client, and of the endpoint. */
  #requests = 0;
  #responses = 0;

  readonly peer: string;
  readonly scheme = "http";
  readonly tls = null;
  readonly proxied = null;
  readonly connection = null;
  readonly forwarded = Buffer.alloc(0);

  constructor(owner: SessionOwner, from: RemoteInfo, peer: string) {
    this.context = owner.context;
    this.#owner = owner;
    this.from = from;
    this.peer = peer;
    this.openedAt = this.receivedAt = this.activeAt = owner.context.clock.now;
  }

  get peerAddress(): string {
    return this.peer;
  }

  begin(): void {
    this.#admission = this.#owner.pipeline.admission.evaluate(this.#owner.port.state!, this);
  }

  admitted(choice: ConnectionChoice | null): void {
    this.#admission = null;
    const { pipeline, port } = this.#owner;
    const x = (this.#exchange = pipeline.exchanges.take());
    x.request.reset();
    x.client = this;
    x.clientAddress = this.peer;
    x.listener = port.state!;
    x.listenerName = x.listener.plan.name;
    x.listener.snapshot.enter();
    x.startedAt = x.headAt = performance.now();
    choice?.apply(x);
    const { relay } = x.listener;
    const at = relay === null ? -1 : relay.router.match(x, 0);
    if (at < 0) return this.#fail(x, ERROR.noRoute);
    x.route = relay!.routes[at]!;
    x.routeName = x.route.name;
    takeCluster(x);
    this.#advance(x, pick(this, x));
  }

  denied(): void {
    this.#admission = null;
    this.#close();
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
    const { host, port, slot, path } = attempt.endpoint!;
    attempt.startedAt = x.attempts === 1 ? x.headAt : performance.now();
    context.columns.addInFlight(context.worker, slot, 1);
    if (path !== "") return this.#attemptFailed(x, null, "a Unix socket receives no UDP datagrams");
    this.#connected = false;
    const socket = (this.#socket = makeUdpClient(host));
    socket.on("connect", () => this.guard(() => this.#connectedTo(socket)));
    socket.on("message", (bytes) => this.guard(() => this.#receive(bytes)));
    socket.on("error", (error: NodeJS.ErrnoException) => this.guard(() => this.#socketFailed(socket, error)));
    // Either event may be emitted before it returns.
    socket.connect(port, host);
  }

  #connectedTo(socket: Socket): void {
    if (this.#socket !== socket) return;
    this.#connected = true;
    for (const bytes of this.#kept) socket.send(bytes);
  }

  /** A datagram of the client. */
  send(bytes: Buffer): void {
    this.receivedAt = this.activeAt = this.context.clock.now;
    this.#requests++;
    this.#count(bytes.length, 0);
    if (this.#tunnel === null) {
      const fits = this.#kept.length < MAX_KEPT && this.#keptBytes + bytes.length <= MAX_KEPT_BYTES;
      if (fits) {
        this.#kept.push(bytes);
        this.#keptBytes += bytes.length;
      } else if (!this.#connected) return this.#owner.dropped("queue");
    }
    if (!this.#connected) return;
    if (this.#socket!.getSendQueueSize() > MAX_QUEUED) return this.#owner.dropped("queue");
    this.#socket!.send(bytes);
  }

  /** A datagram of the endpoint. */
  #receive(bytes: Buffer): void {
    if (this.#ended) return;
    this.activeAt = this.context.clock.now;
    this.#responses++;
    if (this.#exchange !== null) this.#settle(this.#exchange);
    this.#count(0, bytes.length);
    this.#owner.sendToClient(this, bytes);
    const { responses } = this.#owner.port.state!.plan.udp;
    if (responses > 0 && this.#responses >= responses * this.#requests) this.end("complete");
  }

  /** The endpoint has responded: no other one is tried any more. */
  #settle(x: Exchange): void {
    this.#exchange = null;
    this.#kept = [];
    x.attempt.respondedAt = performance.now();
    endAttempt(this.context, x.attempt, 0, false, false);
    this.#open(x);
    this.#owner.settled(this);
  }

  #open(x: Exchange): void {
    this.#countResult(x, "connected");
    this.#tunnel = this.#owner.pipeline.tunnels.openSession(x, this.#owner.port, () => this.end("drained"));
    this.#tunnel.relayed(this.#received, this.#sent);
    this.#release(x);
  }

  #socketFailed(socket: Socket, error: NodeJS.ErrnoException): void {
    if (this.#socket !== socket || this.#ended) return;
    if (error.code === "EMSGSIZE") return this.#owner.dropped("size");
    if (this.#exchange === null) return this.end("endpoint_reset", error.message);
    this.#attemptFailed(this.#exchange, error, error.message);
  }

  #attemptFailed(x: Exchange, error: NodeJS.ErrnoException | null, problem: string): void {
    this.#closeSocket();
    x.attempt.local = isLocalCause(error);
    x.attempt.error = connectError(error);
    x.attempt.problem = problem;
    this.#advance(x, recover(this, x));
  }

  /** No further attempt is possible. */
  error(x: Exchange, error: ProxyError): number {
    this.#fail(x, error);
    return PHASE.done;
  }

  /** Counts and logs a session without an endpoint. */
  #fail(x: Exchange, error: ProxyError): void {
    this.#exchange = null;
    endAttempt(this.context, x.attempt, 0, false);
    x.error = error;
    this.#countResult(x, error.code);
    this.context.accessLog.line(x, performance.now());
    this.#release(x);
    this.#close();
  }

  end(reason: TunnelEnd, cause = ""): void {
    if (this.#ended) return;
    this.#openSilent();
    this.#tunnel?.ended(reason, cause);
    this.#close();
  }

  /** Ends it when a limit of time is reached. */
  sweep(now: number, idle: number, lifetime: number): void {
    if (now - this.activeAt >= idle) return this.end("idle_timeout");
    if (lifetime > 0 && now - this.openedAt >= lifetime) return this.end("lifetime");
    const connect = this.#exchange?.cluster?.plan.timeouts.connect ?? Number.POSITIVE_INFINITY;
    if (now - this.openedAt >= connect) this.#openSilent();
  }

  /** The endpoint has sent nothing, as those of logs and metrics never do: neither a success nor a failure of it. */
  #openSilent(): void {
    const x = this.#exchange;
    if (x === null || !x.attempt.inFlight) return;
    this.#exchange = null;
    this.#kept = [];
    endAttempt(this.context, x.attempt, 0, false);
    this.#open(x);
  }

  #close(): void {
    this.#ended = true;
    this.#admission?.cancel();
    this.#admission = null;
    this.#kept = [];
    this.#closeSocket();
    this.#owner.ended(this);
  }

  #closeSocket(): void {
    this.#connected = false;
    this.#socket?.close();
    this.#socket = null;
  }

  #count(received: number, sent: number): void {
    this.#received += received;
    this.#sent += sent;
    this.#tunnel?.relayed(received, sent);
  }

  #countResult({ route, cluster, listener }: Exchange, result: string): void {
    const found = route === null || cluster === null ? -1 : route.requestCells[cluster.index]!;
    const cells = found >= 0 ? found : (route?.noClusterCells ?? listener!.plan.relay?.noRouteCells ?? -1);
    if (cells >= 0) this.context.cells[cells + reasonCell(CONNECTION_RESULTS, result)]!++;
  }

  #release(x: Exchange): void {
    const { snapshot } = x.listener!;
    if (x.pluginMemory !== null) x.releasePluginMemory();
    x.reset();
    this.#owner.pipeline.exchanges.giveBack(x);
    snapshot.leave();
  }

  /** An exception in it ends this session only. */
  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#owner.pipeline.internal(null, error);
      if (this.#exchange !== null) this.#fail(this.#exchange, ERROR.internal);
      else if (!this.#ended) this.end("endpoint_reset", "internal error");
    }
  }

  get alive(): boolean {
    return !this.#ended;
  }

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
  reset(): void {}
}

/**
 * A UDP session: the datagrams between one address of a client and one endpoint. The route, the cluster and the endpoint
 * are chosen with the first datagram, by the steps that requests use; an exchange without a request carries their state
 * until the endpoint has sent its first datagram, for `timeouts.connect` at most. If the endpoint refuses before that
 * (ICMP port unreachable), the client's datagrams are sent to another one. Then the session is a tunnel for status,
 * metrics, slots and the access log.
 */
import type { RemoteInfo, Socket } from "node:dgram";
import type { TunnelEnd } from "../../net/tunnel.ts";
import { makeUdpClient } from "../../net/udp.ts";
import type { DATAGRAM_DROPS } from "../../observe/series.ts";
import type { AdmissionHandler, PendingAdmission } from "../../proxy/admission.ts";
import type { Attempt } from "../../proxy/attempt.ts";
import { connectError, isLocalCause } from "../../proxy/connect-error.ts";
import type { ConnectionChoice } from "../../proxy/connection-choice.ts";
import type { WorkerContext } from "../../proxy/context.ts";
import { ERROR } from "../../proxy/error.ts";
import type { Pipeline } from "../../proxy/pipeline.ts";
import type { Port } from "../../proxy/port.ts";
import type { RelayedTunnel } from "../../proxy/tunnels.ts";
import { RelayExchange, type RelayOwner } from "../relay/relay-exchange.ts";
import { KeptDatagrams, type KeptTotal } from "./kept-datagrams.ts";

/** Bytes that the system has not sent yet; beyond it datagrams are dropped. */
const MAX_QUEUED = 1024 * 1024;

export type DatagramDrop = (typeof DATAGRAM_DROPS)[number];

/** The listener of the session (`UdpListener`). */
export interface SessionOwner {
  readonly context: WorkerContext;
  readonly pipeline: Pipeline;
  readonly port: Port;
  readonly kept: KeptTotal;
  /** Sends a datagram of the endpoint to the session's client. */
  sendToClient(session: UdpSession, bytes: Buffer): void;
  /** Its client has sent a datagram after one of the endpoint: its address is hardly forged. */
  confirmed(session: UdpSession): void;
  ended(session: UdpSession): void;
  dropped(reason: DatagramDrop): void;
}

export class UdpSession implements AdmissionHandler, RelayOwner {
  readonly #context: WorkerContext;
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
  /** Null until it is admitted. Its exchange lasts until the endpoint has sent its first datagram. */
  #relay: RelayExchange | null = null;
  #socket: Socket | null = null;
  #connected = false;
  #tunnel: RelayedTunnel | null = null;
  #ended = false;
  readonly #kept: KeptDatagrams;
  #received = 0;
  #sent = 0;
  /** Datagrams of the client, and of the endpoint. */
  #requests = 0;
  #responses = 0;
  #isConfirmed = false;

  readonly peer: string;
  readonly tls = null;
  readonly proxied = null;
  readonly connection = null;

  constructor(owner: SessionOwner, from: RemoteInfo, peer: string) {
    this.#context = owner.context;
    this.#owner = owner;
    this.#kept = new KeptDatagrams(owner.kept);
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
    this.#relay = new RelayExchange(pipeline, port, this, choice);
    this.#relay.begin(false);
  }

  denied(): void {
    this.#admission = null;
    this.#close();
  }

  connect(attempt: Attempt): void {
    const { host, port, path } = attempt.endpoint!;
    if (path !== "") return this.#attemptFailed(attempt, null, "a Unix socket receives no UDP datagrams");
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
    this.#kept.sent();
  }

  /** A datagram of the client. */
  send(bytes: Buffer): void {
    this.receivedAt = this.activeAt = this.#context.clock.now;
    this.#requests++;
    if (this.#responses > 0 && !this.#isConfirmed) {
      this.#isConfirmed = true;
      this.#owner.confirmed(this);
    }
    this.#count(bytes.length, 0);
    const isKept = this.#tunnel === null && this.#kept.add(bytes);
    if (!this.#connected) return isKept ? undefined : this.#owner.dropped("queue");
    if (this.#socket!.getSendQueueSize() > MAX_QUEUED) return this.#owner.dropped("queue");
    this.#socket!.send(bytes);
  }

  /** A datagram of the endpoint. */
  #receive(bytes: Buffer): void {
    if (this.#ended) return;
    this.activeAt = this.#context.clock.now;
    this.#responses++;
    // The endpoint has responded: no other one is tried any more.
    if (this.#attempt !== null) this.#open(true);
    this.#count(0, bytes.length);
    this.#owner.sendToClient(this, bytes);
    const { responses } = this.#owner.port.state!.plan.udp;
    if (responses > 0 && this.#responses >= responses * this.#requests) this.end("complete");
  }

  #open(hasResponded: boolean): void {
    this.#kept.drop();
    const { pipeline, port } = this.#owner;
    this.#relay!.relay(hasResponded, (x) => {
      this.#tunnel = pipeline.tunnels.openSession(x, port, () => this.end("drained"));
      this.#tunnel.relayed(this.#received, this.#sent);
    });
  }

  #socketFailed(socket: Socket, error: NodeJS.ErrnoException): void {
    if (this.#socket !== socket || this.#ended) return;
    if (error.code === "EMSGSIZE") return this.#owner.dropped("size");
    if (this.#attempt === null) return this.end("endpoint_reset", error.message);
    this.#attemptFailed(this.#attempt, error, error.message);
  }

  #attemptFailed(attempt: Attempt, error: NodeJS.ErrnoException | null, problem: string): void {
    this.#closeSocket();
    attempt.local = isLocalCause(error);
    this.#relay!.attemptFailed(connectError(error), problem);
  }

  failed(): void {
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
    const connect = this.#attempt?.exchange.cluster?.plan.timeouts.connect ?? Number.POSITIVE_INFINITY;
    if (now - this.openedAt >= connect) this.#openSilent();
  }

  /** The endpoint has sent nothing, as those of logs and metrics never do: neither a success nor a failure of it. */
  #openSilent(): void {
    if (this.#attempt?.inFlight === true) this.#open(false);
  }

  #close(): void {
    this.#ended = true;
    this.#admission?.cancel();
    this.#admission = null;
    this.#kept.drop();
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

  /** An exception in it ends this session only. */
  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#owner.pipeline.internal(null, error);
      if (this.#attempt !== null) {
        this.#relay!.end(ERROR.internal);
        this.#close();
      } else if (!this.#ended) this.end("endpoint_reset", "internal error");
    }
  }

  get alive(): boolean {
    return !this.#ended;
  }

  /** The current one, until the endpoint has sent its first datagram. */
  get #attempt(): Attempt | null {
    return this.#relay?.exchange?.attempt ?? null;
  }
}

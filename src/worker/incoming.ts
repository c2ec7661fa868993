/**
 * The handler of an accepted connection until its protocol's handler takes it over. In order: a PROXY protocol header, if
 * the peer is one of those that send it; the limits and lists of the client's address; then, both at once, admission by
 * plugins and the TLS handshake. Input received during admission is buffered unparsed and passed to the protocol's handler.
 */
import { hasAddress } from "../net/networks.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import type { Proxied } from "../net/proxy-protocol.ts";
import { logDenied } from "../protocol/relay/relay-exchange.ts";
import type { AdmissionHandler, PendingAdmission } from "../proxy/admission.ts";
import type { ConnectionChoice } from "../proxy/connection-choice.ts";
import type { Pipeline } from "../proxy/pipeline.ts";
import type { Accepted, AcceptedConnection, HelloFacts, Port, ServerHandler } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";
import type { BandwidthLimits } from "./bandwidth-limits.ts";
import type { ClientAdmission } from "./client-admission.ts";
import { ProxyStart } from "./proxy-start.ts";
import { TlsStart, type TlsStartEvents, type TlsStartOptions } from "./tls-start.ts";

/** Most bytes buffered during admission; then reading pauses. Reading until then detects a reset. */
const MAX_PENDING = 64 * 1024;

export type IncomingOptions = TlsStartOptions & {
  readonly pipeline: Pipeline;
  /** Creates the protocol's handler. `choice`: the initial cluster of the connection's requests. */
  readonly makeHandler: (accepted: Accepted) => ServerHandler;
  readonly clients: Pick<ClientAdmission, "admit">;
  readonly bandwidth: Pick<BandwidthLimits, "ofConnection">;
};

export class Incoming implements ServerHandler, AdmissionHandler, TlsStartEvents {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #options: IncomingOptions;
  /** Set while a PROXY protocol header is read. */
  #proxy: ProxyStart | null = null;
  /** Set while a hook call is suspended. */
  #admission: PendingAdmission | null = null;
  #input: PendingBuffer | null = null;
  /** Set while the ClientHello is read and during the TLS handshake; null for a plain connection. */
  #tls: TlsStart | null = null;
  /** Set when its first bytes show that it is relayed as it is. */
  #passed: Accepted["passed"] = null;
  /** Set while the client's bandwidth is awaited. */
  #wait: NodeJS.Timeout | null = null;
  /** Set when the connection is admitted. */
  #admitted: { readonly choice: ConnectionChoice | null } | null = null;

  constructor(connection: AcceptedConnection, port: Port, options: IncomingOptions) {
    this.#connection = connection;
    this.#port = port;
    this.#options = options;
    connection.handler = this;
  }

  /** Starts with the header, or with the client's address; may complete asynchronously. */
  begin(): void {
    if (this.#hasGone) return this.#connection.destroy();
    const { proxies } = this.#port.state!;
    if (proxies !== null && isOneOf(proxies, this.#connection.peerAddress))
      this.#proxy = new ProxyStart(this.#connection, this.#port, this.#options.context);
    else this.#admit();
  }

  /**
   * The client reset the connection before it was accepted: the system has no address of it any more, but still its bytes.
   * They must not be served, since no list and no limit would apply. Clients of Unix sockets have no address.
   */
  get #hasGone(): boolean {
    return this.#connection.peerAddress === "" && !this.#port.state!.plan.address.startsWith("unix:");
  }

  /** The client's address is known. */
  #admit(): void {
    if (!this.#options.clients.admit(this.#connection, this.#port)) return this.#connection.reset();
    const { tls, plan } = this.#port.state!;
    if (tls !== null || plan.relay?.readsHello)
      this.#tls = new TlsStart(this.#connection, this.#port, this.#options, this);
    this.#admission = this.#options.pipeline.admission.evaluate(this.#port.state!, this);
  }

  get peer(): string {
    return this.#connection.peerAddress || "unknown";
  }

  get proxied(): Proxied | null {
    return this.#connection.proxied;
  }

  admitted(choice: ConnectionChoice | null): void {
    this.#admission = null;
    this.#admitted = { choice };
    if (this.#tls === null) this.#serve(choice);
  }

  passed(hello: HelloFacts | null, input: PendingBuffer): void {
    this.#passed = { hello };
    this.#input = input;
    this.secured();
  }

  plain(input: PendingBuffer): void {
    this.#input = input;
    this.secured();
  }

  secured(): void {
    this.#tls = null;
    if (this.#admitted !== null) this.#serve(this.#admitted.choice);
  }

  /** The connection waits while the client is ahead of its bandwidth by other connections. */
  #serve(choice: ConnectionChoice | null): void {
    const connection = this.#connection;
    connection.bandwidth = this.#options.bandwidth.ofConnection(connection, this.#port.state!);
    const wait = connection.bandwidth === null ? 0 : connection.bandwidth.wait();
    if (wait === 0) return this.#pass(choice);
    this.#wait = setTimeout(() => connection.guard(() => this.#pass(choice)), wait);
  }

  #pass(choice: ConnectionChoice | null): void {
    const connection = this.#connection;
    const handler = this.#options.makeHandler({ connection, port: this.#port, choice, passed: this.#passed });
    connection.handler = handler;
    connection.resume();
    const input = this.#input;
    if (input !== null) handler.receive(input.bytes, input.start, input.end);
    // The peer has ended its direction meanwhile; the effect depends on the protocol.
    if (connection.hasEnded && connection.alive) connection.handler.ended();
  }

  denied(outcome: number): void {
    this.#admission = null;
    if (this.#port.state!.plan.protocol === "tcp")
      logDenied(this.#options.pipeline, this.#connection, this.#port, outcome);
    this.#connection.reset();
  }

  guard(run: () => void): void {
    this.#connection.guard(run);
  }

  receive(bytes: Buffer, start: number, end: number): void {
    if (this.#proxy !== null)
      return this.#proxy.receive(bytes, start, end, (rest, from, to) => {
        this.#proxy = null;
        this.#admit();
        const connection = this.#connection;
        // Admission may have been decided: then it is the protocol's handler.
        if (from < to && connection.alive) connection.handler.receive(rest, from, to);
      });
    if (this.#tls !== null) return this.#tls.receive(bytes, start, end);
    const input = (this.#input ??= new PendingBuffer());
    input.append(bytes, start, end);
    if (input.length >= MAX_PENDING) this.#connection.pause();
  }

  ended(): void {
    if (this.#proxy !== null) return this.#connection.destroy();
    if (this.#tls !== null) return this.#tls.ended();
    // A client of a relayed connection may have sent all that it will send.
    if (this.#passed !== null || this.#port.state!.plan.protocol === "tcp") return;
    // With `halfClose` the buffered input may be a whole request.
    if (!this.#port.state!.plan.halfClose || this.#input === null) this.#connection.reset();
  }

  closed(error: Error | null): void {
    this.#proxy?.closed();
    this.#tls?.closed(error);
    if (this.#wait !== null) clearTimeout(this.#wait);
    this.#admission?.cancel();
    this.#admission = null;
  }

  broken(error: unknown): void {
    this.#options.pipeline.internal(null, error);
    this.#connection.destroy();
  }

  timedOut(): void {
    if (this.#proxy !== null) this.#proxy.timedOut();
    else this.#tls?.timedOut();
  }

  flushed(): void {}
  drain(): void {}
}

/** Whether a peer is one that sends headers. `address`: empty for a Unix socket. */
function isOneOf({ networks, hasUnix }: NonNullable<ListenerState["proxies"]>, address: string): boolean {
  return address === "" ? hasUnix : hasAddress(networks, address);
}

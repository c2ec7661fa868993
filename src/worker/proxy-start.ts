/** Reads the PROXY protocol header with which a trusted load balancer begins a connection: before TLS and any protocol. */
import { PendingBuffer } from "../net/pending-buffer.ts";
import { type Proxied, type ProxyRead, readProxyHeader } from "../net/proxy-protocol.ts";
import { LISTENER_CELLS, PROXY_HEADERS } from "../observe/series.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { AcceptedConnection, Port } from "../proxy/port.ts";

type Result = (typeof PROXY_HEADERS)[number];

/** Called once the connection has its client's address, with the bytes behind the header. */
type Identified = (bytes: Buffer, start: number, end: number) => void;

export class ProxyStart {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #context: WorkerContext;
  /** The address of the load balancer. */
  readonly #peer: string;
  /** A partial header, at most MAX_HEADER bytes and one read. */
  readonly #input = new PendingBuffer();
  #ended = false;

  /** The header must be complete within `timeouts.handshake`. */
  constructor(connection: AcceptedConnection, port: Port, context: WorkerContext) {
    this.#connection = connection;
    this.#port = port;
    this.#context = context;
    this.#peer = connection.peerAddress;
    connection.arm(port.state!.plan.timeouts.handshake);
  }

  receive(bytes: Buffer, start: number, end: number, identified: Identified): void {
    const input = this.#input;
    if (input.length > 0) {
      input.append(bytes, start, end);
      ({ bytes, start, end } = input);
    }
    const read = readProxyHeader(bytes, start, end);
    if (read.state === "more") {
      if (input.length === 0) input.append(bytes, start, end);
      return;
    }
    if (read.state !== "done") return this.#withoutHeader(read, () => identified(bytes, start, end));
    const { facts } = read;
    const proxied: Proxied = { ...facts, peer: this.#peer };
    const connection = this.#connection;
    connection.proxied = proxied;
    // Without a client's address, it is unknown: the sender's own one may have more permissions.
    if (!facts.isLocal) connection.peerAddress = facts.source;
    this.#end(facts.isLocal ? "local" : facts.version === 1 ? "v1" : "v2", "");
    identified(bytes, read.end, end);
  }

  #withoutHeader(read: ProxyRead & { state: "none" | "invalid" | "more" }, serve: () => void): void {
    if (read.state === "none" && this.#port.state!.proxies!.isOptional) {
      this.#end("none", "");
      return serve();
    }
    this.#end("invalid", read.state === "invalid" ? read.problem : "the connection does not begin with a header");
    this.#connection.reset();
  }

  timedOut(): void {
    this.#end("timeout", "the header was not complete within timeouts.handshake");
    this.#connection.destroy();
  }

  /** The peer closed the connection, as some health checks do. */
  closed(): void {
    this.#end("aborted", "");
  }

  /** Counts the header; logs `problem`, if any. */
  #end(result: Result, problem: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#connection.deadline = 0;
    const { cells, warnings } = this.#context;
    const { plan } = this.#port.state!;
    cells[plan.cells + LISTENER_CELLS.proxyHeaders + PROXY_HEADERS.indexOf(result)]!++;
    if (problem === "" || !warnings.admits("proxy_protocol", `${plan.name} ${result}`)) return;
    const fields = { listener: plan.name, peer: this.#peer || "unix", result, cause: problem };
    warnings.write("a connection was closed for its PROXY protocol header", fields);
  }
}

/**
 * Starts TLS on an accepted connection: parses the ClientHello, and relays the connection as it is if a route says so, else
 * selects a certificate and runs the handshake. Bounded by MAX_BUFFERED bytes and `timeouts.handshake`, or
 * `timeouts.detect` where there is no TLS to terminate.
 */
import { Head } from "../http/head.ts";
import {
  type ClientHello,
  MAX_HELLO,
  readClientHello,
  readOfferedProtocols,
  readTls12Offer,
} from "../net/client-hello.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import { secure } from "../net/tls-accept.ts";
import { HandshakeError, type NoContext, plainName, type ServerContext, type TlsServer } from "../net/tls-server.ts";
import type { WorkerContext } from "../proxy/context.ts";
import type { AcceptedConnection, HelloFacts, Port } from "../proxy/port.ts";
import type { ListenerState } from "../proxy/snapshot.ts";
import { logHandshake } from "./handshake-log.ts";
import type { Waiting, WantedCertificates } from "./wanted-certificates.ts";

/** Most bytes buffered until the hello is complete, with the headers of its records. */
const MAX_BUFFERED = 2 * MAX_HELLO;
/** The fatal alert unrecognized_name (RFC 6066 section 3). */
const UNKNOWN_NAME = Buffer.from([0x15, 3, 3, 0, 2, 2, 112]);
/** The fatal alert internal_error: the name has a certificate later. */
const NO_CERTIFICATE = Buffer.from([0x15, 3, 3, 0, 2, 2, 80]);
/** The fatal alert no_application_protocol (RFC 7301 section 3.2). */
const NO_CHALLENGE = Buffer.from([0x15, 3, 3, 0, 2, 2, 120]);
/** The fatal alert illegal_parameter, which OpenSSL sends for an excessive message size. */
const OVERSIZE = Buffer.from([0x15, 3, 3, 0, 2, 2, 47]);
const NOT_TLS = "This port expects TLS: use https.\n";
const PLAIN_HTTP = Buffer.from(
  `HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: ${NOT_TLS.length}\r\nproxy-status: sluice; error=http_request_error\r\n\r\n${NOT_TLS}`,
);
/** Time for a rejected client to read the alert, ms; what it sends meanwhile is ignored. */
const ALERT_LINGER = 2000;

/** Of connections, which have no request. */
const NO_HEAD = new Head();

/** One of these is called, unless the connection ends before. */
export interface TlsStartEvents {
  /** The handshake is complete. */
  secured(): void;
  /** The connection is relayed as it is, `input` first; `hello`: null if it is not TLS. */
  passed(hello: HelloFacts | null, input: PendingBuffer): void;
  /** `protocol: auto`: the connection is not TLS; `input` was received. */
  plain(input: PendingBuffer): void;
}

export type TlsStartOptions = {
  readonly context: WorkerContext;
  readonly wanted: WantedCertificates;
};

export class TlsStart implements Waiting {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  /** As it was at the beginning. */
  readonly #state: ListenerState;
  /** Null: TLS is not terminated here. */
  readonly #server: TlsServer | null;
  readonly #events: TlsStartEvents;
  readonly #options: TlsStartOptions;
  readonly #hello = new PendingBuffer();
  /** The hello is incomplete with fewer bytes. */
  #least = 0;
  /** The handshake is of TLS 1.3, if it succeeds. */
  #isTls13 = false;
  /** The hello was parsed or rejected. */
  #decided = false;
  /** Protocols (ALPN); null where no route needs them. */
  #offered: readonly string[] | null = null;
  /** The hello, once it is complete. */
  #read: ClientHello | null = null;
  /** The server name whose certificate is awaited; empty: none. */
  #awaited = "";
  /** The handshake was counted. */
  #ended = false;

  constructor(connection: AcceptedConnection, port: Port, options: TlsStartOptions, events: TlsStartEvents) {
    this.#state = port.state!;
    const { tls, plan } = this.#state;
    this.#connection = connection;
    this.#port = port;
    this.#server = tls;
    this.#options = options;
    this.#events = events;
    const isDetecting = tls === null || (plan.protocol === "auto" && plan.relay !== null);
    connection.arm(isDetecting ? plan.relay!.detect : plan.timeouts.handshake);
  }

  /** Receives bytes of the hello. */
  receive(bytes: Buffer, start: number, end: number): void {
    const hello = this.#hello;
    if (this.#awaited !== "") {
      // Early data, with which the handshake continues.
      if (hello.length <= MAX_BUFFERED) return hello.append(bytes, start, end);
      return this.#reject(OVERSIZE, new HandshakeError("failed", "too much early data"));
    }
    if (this.#decided) return;
    hello.append(bytes, start, end);
    if (hello.length < this.#least && hello.length <= MAX_BUFFERED) return;
    const read = readClientHello(hello.bytes, hello.start, hello.end);
    this.#least = hello.length + read.missing;
    if (read.state === "more" && hello.length <= MAX_BUFFERED) return;
    this.#decided = true;
    if (read.state === "more" || read.state === "oversize")
      return this.#reject(OVERSIZE, new HandshakeError("failed", `the ClientHello is over ${MAX_HELLO} bytes`));
    if (read.state === "plain") return this.#receivedPlain();
    this.#read = read;
    if (read.isChallenge && this.#server !== null && this.#respondToChallenge(read.serverName)) return;
    const facts = this.#passes(read);
    if (facts === null) this.#serve(read, true);
    else this.#pass(facts);
  }

  /** The awaited certificate was obtained, or was denied. */
  resume(): void {
    this.#awaited = "";
    this.#connection.guard(() => this.#serve(this.#read!, false));
  }

  /** What the hello says, if the connection is to be relayed; null: TLS is terminated. */
  #passes({ serverName }: ClientHello): HelloFacts | null {
    const { relay, plan } = this.#state;
    if (relay === null) return null;
    const { bytes, start, end } = this.#hello;
    const facts = { serverName, offered: readOfferedProtocols(bytes, start, end) };
    this.#offered = facts.offered;
    if (this.#server === null) return facts;
    const clientAddress = this.#connection.peerAddress || "unknown";
    const at = relay.router.match({ request: NO_HEAD, scheme: "https", clientAddress, tls: facts }, 0);
    // Without a route the connection is reset, which needs no handshake.
    if (at < 0) return plan.protocol === "tcp" ? facts : null;
    return relay.routes[at]!.passthrough ? facts : null;
  }

  #receivedPlain(): void {
    if (this.#state.plan.protocol === "auto") {
      this.#ended = true;
      this.#events.plain(this.#hello);
    } else if (this.#server === null) this.#pass(null);
    else this.#rejectPlain();
  }

  #pass(facts: HelloFacts | null): void {
    this.#ended = true;
    this.#connection.deadline = 0;
    this.#events.passed(facts, this.#hello);
  }

  #serve({ serverName, staplingSchemes, isChallenge, offersTls13 }: ClientHello, mayWait: boolean): void {
    // Its challenge is not pending.
    if (isChallenge) return this.#rejectName(serverName, "challenge");
    const { plan } = this.#state;
    // From here on the time is that of a handshake.
    if (plan.protocol === "auto") this.#connection.arm(plan.timeouts.handshake);
    const served = this.#server!.contextFor(serverName, staplingSchemes);
    if (typeof served === "object") {
      // The protocol of a connection that is relayed is the endpoint's to choose.
      const protocols = plan.protocol !== "tcp" && this.#mayBeHttp() ? "http" : "none";
      this.#isTls13 = offersTls13 && this.#server!.options.maxVersion === "TLSv1.3";
      return this.#secure(this.#choose(served), protocols);
    }
    const name = plainName(serverName);
    if (served !== "wanted" || !mayWait || !this.#options.wanted.wait(name, this))
      return this.#rejectName(serverName, served);
    this.#awaited = name;
  }

  #choose(found: ServerContext): ServerContext {
    const { bytes, start, end } = this.#hello;
    const offer = found.tls12 !== null && !this.#isTls13 ? readTls12Offer(bytes, start, end) : null;
    return offer === null ? found : this.#server!.contextForTls12(found, offer);
  }

  #rejectName(serverName: string, reason: NoContext | "challenge"): void {
    const text = JSON.stringify(serverName);
    if (reason === "missing")
      return this.#reject(
        NO_CERTIFICATE,
        new HandshakeError("no_certificate", `the certificate for ${text} is not issued yet`),
      );
    const isChallenge = reason === "challenge";
    const cause = isChallenge ? `no ACME challenge is pending for ${text}` : `no certificate for ${text}`;
    this.#reject(isChallenge ? NO_CHALLENGE : UNKNOWN_NAME, new HandshakeError("unknown_name", cause));
  }

  /** An ACME server requests the certificate that validates a name, and closes. Returns false if none is pending. */
  #respondToChallenge(serverName: string): boolean {
    const context = this.#options.context.challenges.contextFor(serverName);
    if (context !== null) this.#secure({ context, staple: "", single: new Map(), tls12: null }, "acme");
    return context !== null;
  }

  #secure(served: ServerContext, protocols: "http" | "none" | "acme"): void {
    const hello = this.#hello;
    const server = this.#server!;
    server.renewsTickets = this.#isTls13;
    secure(this.#connection, {
      options: server.options,
      context: served.context,
      staple: server.stapleFor(served),
      hello: Buffer.from(hello.bytes.subarray(hello.start, hello.end)),
      protocols,
      secured: () => this.#complete(protocols),
      rejected: (error) => {
        this.#end(error);
        this.#connection.arm(ALERT_LINGER);
      },
    });
    // Without access to the handle the hello is processed later.
    server.renewsTickets = true;
    hello.drop();
  }

  #complete(protocols: "http" | "none" | "acme"): void {
    this.#end(null);
    this.#connection.deadline = 0;
    if (protocols === "acme") {
      // It is never passed to a protocol's handler.
      this.#connection.end(() => {});
      this.#connection.arm(ALERT_LINGER);
      return;
    }
    // Routes compare what was offered with it.
    if (this.#offered !== null) this.#connection.tls = { ...this.#connection.tls!, offered: this.#offered };
    this.#events.secured();
  }

  /** Whether a protocol may be negotiated: not if the client offers only others, which routes for TCP may serve. */
  #mayBeHttp(): boolean {
    const offered = this.#offered;
    return (
      offered === null || offered.length === 0 || offered.some((name) => name === "h2" || name.startsWith("http/1."))
    );
  }

  #rejectPlain(): void {
    const first = this.#hello.bytes[this.#hello.start]!;
    // A plain HTTP request begins with a letter.
    const isHttp = first >= 65 && first <= 90 && this.#state.plan.protocol === "http";
    const error = new HandshakeError("plain_text", isHttp ? "plain HTTP on a TLS port" : "the client sent no TLS");
    if (isHttp) return this.#reject(PLAIN_HTTP, error);
    this.#end(error);
    this.#connection.reset();
  }

  /** Sends the bytes and ends; the connection is destroyed `ALERT_LINGER` ms later, so that they can be read. */
  #reject(bytes: Buffer, error: HandshakeError): void {
    this.#end(error);
    this.#connection.send(bytes, bytes.length);
    this.#connection.end(() => {});
    this.#connection.arm(ALERT_LINGER);
  }

  /** The client ended its direction. */
  ended(): void {
    this.#connection.destroy();
  }

  timedOut(): void {
    const { plan, relay } = this.#state;
    // The endpoint may be the one that sends first.
    if (
      !this.#decided &&
      this.#hello.length === 0 &&
      relay !== null &&
      (this.#server === null || plan.protocol === "auto")
    ) {
      this.#decided = true;
      return this.#pass(null);
    }
    this.#end(
      new HandshakeError(
        "timeout",
        this.#server === null
          ? "the ClientHello was not complete within timeouts.detect"
          : "the handshake was not complete within timeouts.handshake",
      ),
    );
    this.#connection.destroy();
  }

  closed(error: Error | null): void {
    this.#end(error ?? new HandshakeError("aborted", "the client closed the connection"));
  }

  #end(error: Error | null): void {
    if (this.#awaited !== "") this.#options.wanted.cancel(this.#awaited, this);
    this.#awaited = "";
    if (this.#ended) return;
    this.#ended = true;
    logHandshake(this.#options.context, this.#port, this.#connection.peerAddress, error);
  }
}

/** Starts TLS on an accepted connection: parses the ClientHello, selects a certificate, and runs the handshake. */
import { MAX_HELLO, readClientHello } from "../net/client-hello.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import { secure } from "../net/tls-accept.ts";
import { HandshakeError, type TlsServer } from "../net/tls-server.ts";
import type { AcceptedConnection, Port } from "../proxy/port.ts";
import type { HandshakeLog } from "./handshake-log.ts";

/** Most bytes buffered until the hello is complete, with the headers of its records. */
const MAX_BUFFERED = 2 * MAX_HELLO;
/** The fatal alert unrecognized_name (RFC 6066 section 3). */
const UNKNOWN_NAME = Buffer.from([0x15, 3, 3, 0, 2, 2, 112]);
/** The fatal alert illegal_parameter, which OpenSSL sends for an excessive message size. */
const OVERSIZE = Buffer.from([0x15, 3, 3, 0, 2, 2, 47]);
const NOT_TLS = "This port expects TLS: use https.\n";
const PLAIN_HTTP = Buffer.from(
  `HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: ${NOT_TLS.length}\r\nproxy-status: sluice; error=http_request_error\r\n\r\n${NOT_TLS}`,
);
/** Time for a rejected client to read the alert, ms; what it sends meanwhile is ignored. */
const ALERT_LINGER = 2000;

export class TlsStart {
  readonly #connection: AcceptedConnection;
  readonly #port: Port;
  readonly #server: TlsServer;
  readonly #log: HandshakeLog;
  readonly #hello = new PendingBuffer();
  /** The hello is incomplete with fewer bytes. */
  #least = 0;
  /** The hello was parsed or rejected. */
  #decided = false;
  /** The handshake was counted. */
  #ended = false;

  constructor(connection: AcceptedConnection, port: Port, server: TlsServer, log: HandshakeLog) {
    this.#connection = connection;
    this.#port = port;
    this.#server = server;
    this.#log = log;
    connection.arm(port.state!.plan.timeouts.handshake);
  }

  /** Receives bytes of the hello. `secured` is called when the handshake is complete. */
  receive(bytes: Buffer, start: number, end: number, secured: () => void): void {
    if (this.#decided) return;
    const hello = this.#hello;
    hello.append(bytes, start, end);
    if (hello.length < this.#least && hello.length <= MAX_BUFFERED) return;
    const { state, serverName, staplingSchemes, missing } = readClientHello(hello.bytes, hello.start, hello.end);
    this.#least = hello.length + missing;
    if (state === "more" && hello.length <= MAX_BUFFERED) return;
    this.#decided = true;
    if (state === "more" || state === "oversize")
      return this.#reject(OVERSIZE, new HandshakeError("failed", `the ClientHello is over ${MAX_HELLO} bytes`));
    if (state === "plain") return this.#rejectPlain();
    const served = this.#server.contextFor(serverName, staplingSchemes);
    if (served === null) {
      const text = JSON.stringify(serverName);
      return this.#reject(UNKNOWN_NAME, new HandshakeError("unknown_name", `no certificate for ${text}`));
    }
    secure(this.#connection, {
      options: this.#server.options,
      context: served.context,
      staple: this.#server.stapleFor(served),
      hello: Buffer.from(hello.bytes.subarray(hello.start, hello.end)),
      secured: () => {
        this.#end(null);
        this.#connection.deadline = 0;
        secured();
      },
      rejected: (error) => {
        this.#end(error);
        this.#connection.arm(ALERT_LINGER);
      },
    });
    hello.drop();
  }

  #rejectPlain(): void {
    const first = this.#hello.bytes[this.#hello.start]!;
    // A plain HTTP request begins with a letter.
    const isHttp = first >= 65 && first <= 90;
    const error = new HandshakeError("plain_text", isHttp ? "plain HTTP on a TLS port" : "the client sent no TLS");
    if (isHttp) return this.#reject(PLAIN_HTTP, error);
    this.#end(error);
    this.#connection.reset();
  }

  /** Sends the bytes and ends the write direction; the connection is destroyed `ALERT_LINGER` ms later, so that they can be read. */
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
    this.#end(new HandshakeError("timeout", "the handshake was not complete within timeouts.handshake"));
    this.#connection.destroy();
  }

  closed(error: Error | null): void {
    this.#end(error ?? new HandshakeError("aborted", "the client closed the connection"));
  }

  #end(error: Error | null): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#log.ended(this.#port, this.#connection.peerAddress, error);
  }
}

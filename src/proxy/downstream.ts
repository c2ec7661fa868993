/**
 * The seam between an exchange and where its request came from: a stream of a client's connection, a plugin's subrequest,
 * a dry run. How a body is framed, and whether a connection ends with the response, is known below it alone.
 */

import type { Head } from "../http/head.ts";
import type { Scheme } from "../http/protocol.ts";
import type { Connection } from "../net/connection.ts";
import type { TlsFacts } from "../net/tls-facts.ts";
import type { Exchange } from "./exchange.ts";

export interface Downstream {
  /** The address that X-Forwarded-For gets; empty for none. */
  readonly peer: string;
  /** Of the connection itself; a trusted proxy may report another for a request (`Exchange.scheme`). */
  readonly scheme: Scheme;
  /** Null without TLS. */
  readonly tls: TlsFacts | null;
  /** Fields that the endpoint gets with each request which brings none of them: Via and X-Forwarded-*, up to the host. */
  readonly forwarded: Buffer;
  /** A response can still be sent. */
  readonly alive: boolean;
  /**
   * Sends the response's headers and what is there of its body: all of `localBody`, or the window of the attempt.
   * Returns false when the source of the body should pause until it is drained.
   */
  sendHeaders(x: Exchange): boolean;
  /**
   * Sends more of the response's body, the window of the attempt in `bytes`, with its end and its trailers when
   * `Attempt.bodyDone` is set. `source` may lend its block; null: `bytes` are to be copied. Returns as `sendHeaders`.
   */
  sendBody(source: Connection | null, bytes: Buffer, x: Exchange): boolean;
  /** Sends an interim response (1xx). */
  sendInterim(head: Head): void;
  /** More of the request's body can be taken. */
  resumeBody(): void;
  /**
   * Sends the 101 and relays between its client and `x.attempt.upgraded` from now on. Absent where bytes of no other
   * protocol can be exchanged: no upgrade is asked for then.
   */
  openTunnel?(x: Exchange): void;
  /** Breaks the response off, so that the peer can see that it is not complete. */
  reset(): void;
  /** The exchange has ended, and is given back when this returns. */
  finished(x: Exchange): void;
}

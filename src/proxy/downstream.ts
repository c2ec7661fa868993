/**
 * The origin of an exchange's request: a stream of a client's connection, a plugin's subrequest, a dry run. Framing, and
 * whether the connection ends with the response, are handled by implementations.
 */

import type { Head } from "../http/head.ts";
import type { Scheme } from "../http/protocol.ts";
import type { Connection } from "../net/connection.ts";
import type { TlsFacts } from "../net/tls-facts.ts";

export interface Downstream {
  /** The address for X-Forwarded-For; empty without one. */
  readonly peer: string;
  /** Of the connection itself; a trusted proxy may report another for a request (`Exchange.scheme`). */
  readonly scheme: Scheme;
  /** Null without TLS. */
  readonly tls: TlsFacts | null;
  /** The client's connection; null without one. */
  readonly connection: Connection | null;
  /** Via and X-Forwarded-* up to the host, for requests without such fields. */
  readonly forwarded: Buffer;
  /** A response can still be sent. */
  readonly alive: boolean;
  /**
   * Sends the response headers and the current part of the body: all of `localBody`, or the window of the attempt.
   * Returns false when the source of the body should pause until it is drained.
   */
  sendHeaders(): boolean;
  /**
   * Sends more of the response body, the window of the attempt in `bytes`, with its end and its trailers when
   * `Attempt.bodyDone` is set. `source` may lend its block; null: `bytes` are to be copied. Returns as `sendHeaders`.
   */
  sendBody(source: Connection | null, bytes: Buffer): boolean;
  /** Sends an interim response (1xx). */
  sendInterim(head: Head): void;
  /** More of the request body can be sent. */
  resumeBody(): void;
  /** Sends the 101, then relays to `Attempt.upgraded`. Absent: no upgrade is possible, `Upgrade` is not forwarded. */
  openTunnel?(): void;
  /** Aborts the response, so that the peer can detect that it is incomplete. */
  reset(): void;
  /** The exchange has ended; it returns to its pool after this call. */
  finished(): void;
}

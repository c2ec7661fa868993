/**
 * The interface between an exchange and the protocol of its endpoint. A stream carries one attempt: the request
 * of an exclusive HTTP/1 connection, or one of many on a shared session. What it receives it puts into the `Attempt`, and
 * reports to `UpstreamEvents`, always with that attempt.
 */
import type { Connection } from "../net/connection.ts";
import type { Attempt } from "./attempt.ts";
import type { ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";

export interface UpstreamStream {
  /**
   * Sends more of the request's body, `bytes[start, end)`; with its end and its trailers when `Exchange.requestPassed`
   * is set. `source` may lend its block. Returns false when the source should pause until `UpstreamEvents.writable`.
   */
  sendBody(source: Connection | null, bytes: Buffer, start: number, end: number): boolean;
  /** Pauses reading the response's body, because its consumer is slow; the endpoint has no deadline meanwhile. */
  pauseBody(): void;
  resumeBody(): void;
  /** Ends the attempt. It reports no event after this. */
  cancel(): void;
  /**
   * The tunnel opens, to which `Attempt.upgraded` belongs from now on: what was received of it becomes `attempt.body`.
   * Absent where that was received with the response.
   */
  openTunnel?(attempt: Attempt): void;
}

/** Opens streams to one endpoint: it dials, pools and limits connections. */
export interface Connector {
  /**
   * Sets `attempt.stream`, and sends the request's headers and what is kept of its body (`Exchange.replay`), at once or
   * when there is a connection. Reports no event before it returns.
   */
  open(attempt: Attempt): void;
}

/** Events of an attempt that has ended (`Attempt.stream` is null) are ignored. */
export interface UpstreamEvents {
  /** An interim response (1xx) is `attempt.head`. */
  interim(attempt: Attempt): void;
  /** A final response head is `attempt.head`, and `attempt.body` what was received of the body with it. */
  responded(attempt: Attempt): void;
  /**
   * More of the response's body: `bytes[attempt.bodyStart, attempt.bodyEnd)`, to its end when `attempt.bodyDone` is set.
   * `source` may lend its block; null: `bytes` are to be copied. Returns false when the stream should pause until
   * `resumeBody`.
   */
  responseBody(attempt: Attempt, source: Connection | null, bytes: Buffer): boolean;
  /** More of the request's body can be taken. */
  writable(attempt: Attempt): void;
  /** The attempt failed. `unprocessed`: the endpoint reports that it did not process it; any method may be retried. */
  failed(attempt: Attempt, error: ProxyError, problem: string, unprocessed?: boolean): void;
  /** The rest of the request was not received within the route's timeout; all received bytes were sent. */
  requestLate(attempt: Attempt): void;
  /** An exception was thrown in the stream's own code. */
  internal(x: Exchange | null, error: unknown): void;
}

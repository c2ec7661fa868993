/**
 * One attempt to get a response from an endpoint, with what is received of that response. Several attempts of an exchange
 * may be active at once; the exchange commits to one, and sends its response to the client.
 */
import type { Endpoint } from "../cluster/endpoint.ts";
import type { Head } from "../http/head.ts";
import type { HeadPool } from "../http/head-pool.ts";
import type { TunnelConnection } from "../net/tunnel.ts";
import type { ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

export class Attempt {
  readonly exchange: Exchange;
  readonly #heads: HeadPool;
  /** The stream that carries it; null once it has ended: later events are ignored. */
  stream: UpstreamStream | null = null;
  /** It counts in the endpoint's requests in flight. */
  inFlight = false;
  endpoint: Endpoint | null = null;
  /** performance.now() at the pick, and at the final response head (0: none yet). */
  startedAt = 0;
  respondedAt = 0;
  /** It must use a new connection, not an idle one. */
  noReuse = false;
  /** The connection was reused: if it was stale, that is no failure of the endpoint. */
  reused = false;
  /** The method was HEAD when the request was sent: the response has no body. */
  isHead = false;
  /** The request head was sent. */
  sent = false;
  /** The complete request was sent. */
  complete = false;
  /** The endpoint reported that it did not process the request: it can be repeated with any method. */
  unprocessed = false;
  /** Then: its connection ended in order, and the endpoint has processed requests that were sent on it before. */
  othersProcessed = false;
  /** It failed because the proxy's machine lacks resources: descriptors, ports, memory. */
  local = false;
  /** Its endpoint is ejected: the result of this attempt decides whether the ejection ends. */
  probe = false;

  #head: Head | null = null;
  trailers: Head | null = null;
  /** The last received body bytes: `body[bodyStart, bodyEnd)`, valid until the read callback returns. */
  body: Buffer | null = null;
  bodyStart = 0;
  bodyEnd = 0;
  /** The body is complete with them. */
  bodyDone = false;
  /** Where the endpoint has switched protocols (101, or 2xx of HTTP/2), read no further; null: it has not. */
  upgraded: TunnelConnection | null = null;

  /** Why it failed, and the cause for the log; null: it has not. */
  error: ProxyError | null = null;
  problem = "";
  /** What `outcome` reports: microseconds to the response head or the failure, the status or 0, and whether it failed. */
  latency = 0;
  status = 0;
  failed = false;
  /** The response has the content type of gRPC. */
  isGrpc = false;
  /** The trailers of a gRPC call decide whether it counts as a failure of the endpoint. */
  isPending = false;

  constructor(exchange: Exchange, heads: HeadPool) {
    this.exchange = exchange;
    this.#heads = heads;
  }

  /** The last received response head, interim or final. Takes one from the pool. */
  get head(): Head {
    return (this.#head ??= this.#heads.take());
  }

  /** A response head, interim or final, was received. */
  get hasResponse(): boolean {
    return this.#head !== null && this.#head.status !== 0;
  }

  /** One of VERSION: of the endpoint's response; -1 without one. */
  get version(): number {
    return this.hasResponse ? this.#head!.version : -1;
  }

  /** Clears all but the head, which may be `x.response`. */
  restart(): void {
    this.stream = null;
    this.inFlight = false;
    this.endpoint = null;
    this.startedAt = 0;
    this.respondedAt = 0;
    this.noReuse = false;
    this.reused = false;
    this.isHead = false;
    this.sent = false;
    this.complete = false;
    this.unprocessed = false;
    this.othersProcessed = false;
    this.local = false;
    this.probe = false;
    if (this.#head !== null) this.#head.status = 0;
    this.trailers = null;
    this.body = null;
    this.bodyStart = 0;
    this.bodyEnd = 0;
    this.bodyDone = false;
    this.upgraded = null;
    this.error = null;
    this.problem = "";
    this.latency = 0;
    this.status = 0;
    this.failed = false;
    this.isGrpc = false;
    this.isPending = false;
  }

  /** Clears it, for another exchange. */
  reset(): void {
    this.restart();
    if (this.#head !== null) this.#heads.give(this.#head);
    this.#head = null;
  }
}

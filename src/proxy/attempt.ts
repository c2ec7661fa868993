/**
 * One attempt to get a response from an endpoint, and all that is received of that response. An exchange may have several
 * that are alive at once; it commits to one, whose response the client gets.
 */
import type { Endpoint } from "../cluster/endpoint.ts";
import type { Head } from "../http/head.ts";
import type { HeadPool } from "../http/head-pool.ts";
import type { Connection } from "../net/connection.ts";
import type { ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import type { UpstreamStream } from "./upstream-stream.ts";

export class Attempt {
  readonly exchange: Exchange;
  readonly #heads: HeadPool;
  /** What it is sent on; null when it has ended: events that come after that are ignored. */
  stream: UpstreamStream | null = null;
  /** It counts in the endpoint's requests in flight. */
  inFlight = false;
  endpoint: Endpoint | null = null;
  /** performance.now() at the pick, and at the final response head (0: none yet). */
  startedAt = 0;
  respondedAt = 0;
  /** A new connection is to be used, not an idle one. */
  noReuse = false;
  /** The connection had served before: it may have gone stale, for which no endpoint is blamed. */
  reused = false;
  /** The request's method as it was sent was HEAD: the response has no body. */
  isHead = false;
  /** The request head was sent. */
  sent = false;
  /** The whole request was. */
  complete = false;
  /** The endpoint says that it did nothing of the request: any method may be sent again. */
  unprocessed = false;
  /** It failed for lack of this machine's resources: descriptors, ports, memory. */
  local = false;
  /** Its endpoint is ejected: the result of this attempt decides whether that ends. */
  probe = false;

  #head: Head | null = null;
  trailers: Head | null = null;
  /** Body bytes that were received last: `body[bodyStart, bodyEnd)`, valid in the same turn only. */
  body: Buffer | null = null;
  bodyStart = 0;
  bodyEnd = 0;
  /** They are the last ones. */
  bodyDone = false;
  /** The endpoint has switched protocols (101) on this connection, which is read no further; null: it has not. */
  upgraded: Connection | null = null;

  /** Why it failed, and the cause for the log; null: it has not. */
  error: ProxyError | null = null;
  problem = "";
  /** What `outcome` reports: microseconds to the response head or the failure, the status or 0, and whether it failed. */
  latency = 0;
  status = 0;
  failed = false;

  constructor(exchange: Exchange, heads: HeadPool) {
    this.exchange = exchange;
    this.#heads = heads;
  }

  /** The response head, interim or final, once one is received. */
  get head(): Head {
    return (this.#head ??= this.#heads.take());
  }

  /** A response head, interim or final, was received. */
  get hasResponse(): boolean {
    return this.#head !== null && this.#head.status !== 0;
  }

  /** Makes it like new, but for the head that is `x.response` perhaps. */
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
  }

  /** Makes it like new. */
  reset(): void {
    this.restart();
    if (this.#head !== null) this.#heads.give(this.#head);
    this.#head = null;
  }
}

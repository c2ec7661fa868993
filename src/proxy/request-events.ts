/** What downstreams report: requests begin, their bodies come, clients leave. */
import { isHeadMethod } from "../http/method.ts";
import type { Connection } from "../net/connection.ts";
import { THREAD_CELLS } from "../observe/series.ts";
import { passBody } from "./attempts.ts";
import type { Bodies } from "./bodies.ts";
import type { ThreadContext } from "./context.ts";
import { ERROR, type ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { logRejection } from "./failure-log.ts";
import { applyForwarded } from "./forwarded.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl } from "./pipeline-control.ts";

/** The request counts from now on, and holds its version. */
export function receive({ cells }: ThreadContext, x: Exchange): void {
  x.isHead = isHeadMethod(x.request);
  x.listener!.snapshot.enter();
  x.listenerName = x.listener!.plan.name;
  cells[THREAD_CELLS.requestsInFlight]!++;
  x.scheme = x.client!.scheme;
  // Nothing is believed of a head that was rejected half-way.
  if (x.request.problem === "") applyForwarded(x);
  x.keepOriginal();
}

export class RequestEvents {
  readonly #pipeline: PipelineControl;
  readonly #bodies: Bodies;

  constructor(pipeline: PipelineControl, bodies: Bodies) {
    this.#pipeline = pipeline;
    this.#bodies = bodies;
  }

  /** The request's head is complete, and what was received of its body is kept. */
  begin(x: Exchange): void {
    this.#pipeline.advance(x, PHASE.received);
  }

  /** A subrequest, which has a cluster and no chain. */
  beginSubrequest(x: Exchange): void {
    x.isHead = isHeadMethod(x.request);
    x.listener!.snapshot.enter();
    this.#pipeline.advance(x, PHASE.pick);
  }

  /** The request is rejected: its head, or later its body. */
  refuse(x: Exchange, error: ProxyError, problem: string): void {
    if (x.phase === PHASE.idle) {
      receive(this.#pipeline.context, x);
    }
    x.requestComplete = false;
    if (!x.headSent) return this.#pipeline.fail(x, error, problem);
    logRejection(this.#pipeline.context, x, error, problem);
    this.#pipeline.breakOff(x, problem);
  }

  /** More of the request's body. Returns false when the downstream should pause until its `resumeBody`. */
  body(x: Exchange, source: Connection, bytes: Buffer, start: number, end: number): boolean {
    const bodies = this.#bodies;
    if (x.phase === PHASE.bufferingRequest) return bodies.bufferMore(x, bytes, start, end);
    if (x.requestBody?.streaming) return bodies.filterMore(x, source, bytes, start, end);
    const more = passBody(x, source, bytes, start, end);
    // While a plugin's call for its first chunk is suspended the rest is kept, so no more is read.
    return more && (x.requestBody === null || x.requestBody.suspension === null);
  }

  /** More of the response can be taken. */
  drained(x: Exchange): void {
    // While a call is suspended no more may come: its result is sent first, and then asks for more.
    if (x.phase !== PHASE.suspended) x.attempt.stream?.resumeBody();
  }

  /** The client left: the attempt is cancelled, and the log says 499 if no response had begun. */
  gone(x: Exchange, problem: string): void {
    if (x.phase === PHASE.done || x.phase === PHASE.idle) return;
    x.problem = problem;
    x.error = ERROR.clientGone;
    x.cancelCalls(); // restores what a plugin has changed
    if (!x.headSent) x.response.status = ERROR.clientGone.status;
    this.#pipeline.advance(x, PHASE.broken);
  }
}

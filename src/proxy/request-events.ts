/** Events of downstreams: requests begin, body bytes are received, clients close. */
import { isHeadMethod } from "../http/method.ts";
import { VERSION } from "../http/protocol.ts";
import type { Connection } from "../net/connection.ts";
import { WORKER_CELLS } from "../observe/series.ts";
import { passBody } from "./attempts.ts";
import type { Bodies } from "./bodies.ts";
import type { WorkerContext } from "./context.ts";
import { ERROR, type ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { logRejection } from "./failure-log.ts";
import { applyForwarded } from "./forwarded.ts";
import { isCall } from "./grpc.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl } from "./pipeline-control.ts";

/** Counts the request as in flight, and retains its snapshot. */
export function receive({ cells }: WorkerContext, x: Exchange): void {
  x.isHead = isHeadMethod(x.request);
  x.listener!.snapshot.enter();
  x.listenerName = x.listener!.plan.name;
  cells[WORKER_CELLS.requestsInFlight]!++;
  x.scheme = x.client!.scheme;
  // A head that was rejected has no reliable fields.
  if (x.request.problem === "") applyForwarded(x);
  x.keepOriginal();
  if (x.request.version === VERSION.http2) isCall(x);
}

export class RequestEvents {
  readonly #pipeline: PipelineControl;
  readonly #bodies: Bodies;

  constructor(pipeline: PipelineControl, bodies: Bodies) {
    this.#pipeline = pipeline;
    this.#bodies = bodies;
  }

  /** The request head is complete; the received part of the body is in `x.replay`. */
  begin(x: Exchange): void {
    this.#pipeline.advance(x, PHASE.received);
  }

  /** Begins a subrequest, which has a cluster and no chain. */
  beginSubrequest(x: Exchange): void {
    x.isHead = isHeadMethod(x.request);
    x.listener!.snapshot.enter();
    this.#pipeline.advance(x, PHASE.pick);
  }

  /** Rejects the request because of its head or body. */
  refuse(x: Exchange, error: ProxyError, problem: string): void {
    if (x.phase === PHASE.idle) {
      receive(this.#pipeline.context, x);
    }
    x.requestComplete = false;
    if (!x.headSent) return this.#pipeline.fail(x, error, problem);
    logRejection(this.#pipeline.context, x, error, problem);
    x.error = error;
    this.#pipeline.abortResponse(x, problem);
  }

  /** More of the request body was received. Returns false when the downstream should pause until its `resumeBody`. */
  body(x: Exchange, source: Connection | null, bytes: Buffer, start: number, end: number): boolean {
    const bodies = this.#bodies;
    if (x.phase === PHASE.bufferingRequest) return bodies.bufferMore(x, bytes, start, end);
    if (x.requestBody?.streaming) return bodies.filterMore(x, source, bytes, start, end);
    const more = passBody(x, source, bytes, start, end);
    // While a plugin call for the first chunk is suspended the rest is buffered, so reading pauses.
    return more && (x.requestBody === null || x.requestBody.suspension === null);
  }

  /** The downstream can take more of the response. */
  drained(x: Exchange): void {
    // While a call is suspended nothing more may be received: sending its result resumes the stream.
    if (x.phase !== PHASE.suspended) x.attempt.stream?.resumeBody();
  }

  /** The client closed the connection: cancels the attempt; logged with status 499 if no response had begun. */
  gone(x: Exchange, problem: string): void {
    if (x.phase === PHASE.done || x.phase === PHASE.idle) return;
    x.problem = problem;
    x.error = ERROR.clientGone;
    x.cancelCalls(); // also reverts unfinished changes of plugins
    if (!x.headSent) x.response.status = ERROR.clientGone.status;
    this.#pipeline.advance(x, PHASE.broken);
  }
}

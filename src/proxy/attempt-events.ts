/** What upstream streams report: each event continues the exchange of its attempt. */
import { VERSION } from "../http/protocol.ts";
import type { Connection } from "../net/connection.ts";
import type { Attempt } from "./attempt.ts";
import type { Bodies } from "./bodies.ts";
import { ERROR, type ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { logUpstreamFailure } from "./failure-log.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl } from "./pipeline-control.ts";
import type { RequestEvents } from "./request-events.ts";
import type { UpstreamEvents } from "./upstream-stream.ts";

export class AttemptEvents implements UpstreamEvents {
  readonly #pipeline: PipelineControl;
  readonly #bodies: Bodies;
  readonly #requests: RequestEvents;

  constructor(pipeline: PipelineControl, bodies: Bodies, requests: RequestEvents) {
    this.#pipeline = pipeline;
    this.#bodies = bodies;
    this.#requests = requests;
  }

  /** Not forwarded to HTTP/1.0 clients (RFC 9110 section 15.2). */
  interim({ exchange: x, head, stream }: Attempt): void {
    if (stream !== null && x.request.version !== VERSION.http10) x.client!.sendInterim(head);
  }

  responded(attempt: Attempt): void {
    if (attempt.stream === null) return;
    const { exchange: x } = attempt;
    x.commit(attempt);
    this.#pipeline.advance(x, PHASE.responded);
  }

  responseBody(attempt: Attempt, source: Connection | null, bytes: Buffer): boolean {
    if (attempt.stream === null) return true;
    const { exchange: x } = attempt;
    const bodies = this.#bodies;
    try {
      if (x.phase === PHASE.bufferingResponse) return bodies.bufferMoreResponse(x, bytes);
      if (x.responseBody?.streaming) return bodies.filterMoreResponse(x, bytes);
      const more = x.client!.sendBody(source, bytes);
      if (!attempt.bodyDone) return more;
    } catch (error) {
      this.internal(x, error);
      return true;
    }
    attempt.stream = null;
    this.#pipeline.advance(x, PHASE.done);
    return true;
  }

  writable({ exchange: x, stream }: Attempt): void {
    if (stream !== null && !x.requestComplete && !x.requestBody?.isSuspended) x.client!.resumeBody();
  }

  /** Retries or responds with an error; after the response headers were sent, the response is aborted. */
  failed(attempt: Attempt, error: ProxyError, problem: string, unprocessed = false): void {
    if (attempt.stream === null) return;
    const { exchange: x } = attempt;
    attempt.stream = null;
    attempt.error = error;
    attempt.problem = problem;
    attempt.unprocessed = unprocessed;
    // A plugin has responded in place of the endpoint, and a call of another plugin is suspended.
    if (x.phase === PHASE.suspended && x.localStatus !== 0) return;
    if (!x.headSent && x.phase !== PHASE.bufferingResponse && x.phase !== PHASE.suspended)
      return this.#pipeline.advance(x, PHASE.failed);
    x.error = error;
    logUpstreamFailure(this.#pipeline.context, attempt, error, problem);
    if (x.headSent) this.#pipeline.abortResponse(x, problem);
    else this.#pipeline.respondInstead(x, error, problem);
  }

  /** The client or a plugin did not supply the rest of the request in time. */
  requestLate({ exchange: x, stream }: Attempt): void {
    if (stream === null) return;
    const error = x.requestComplete ? ERROR.responseTimeout : ERROR.requestTimeout;
    this.#requests.refuse(x, error, "the request's body was not complete within the route's timeout");
  }

  internal(x: Exchange | null, error: unknown): void {
    this.#pipeline.internal(x, error);
  }
}

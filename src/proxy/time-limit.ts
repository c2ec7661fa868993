/**
 * The route's timeout while an exchange is suspended or buffers a body, and no connection has a deadline for it. Then the
 * deadline of a gRPC call, until its end.
 */
import type { Timed } from "../net/clock.ts";
import { ERROR } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl } from "./pipeline-control.ts";

const PROBLEM = "the response's headers were not there in time";

export class TimeLimit implements Timed {
  deadline: number;
  sweepIndex = -1;
  readonly #pipeline: PipelineControl;
  readonly #exchange: Exchange;

  constructor(pipeline: PipelineControl, x: Exchange) {
    this.deadline = x.deadline;
    this.#pipeline = pipeline;
    this.#exchange = x;
  }

  expire(): void {
    const x = this.#exchange;
    // An error response is being sent already.
    if (x.error !== null) return;
    if (x.headSent) return this.#expireCall(x);
    const phase = x.phase === PHASE.suspended ? x.resumesAt : x.phase;
    try {
      if (phase === PHASE.response || phase === PHASE.filterResponse || phase === PHASE.bufferingResponse)
        this.#pipeline.respondInstead(x, ERROR.responseTimeout, PROBLEM);
      else if (x.phase === PHASE.suspended || x.phase === PHASE.bufferingRequest)
        this.#pipeline.fail(x, ERROR.responseTimeout, PROBLEM);
    } catch (error) {
      this.#pipeline.internal(x, error);
    }
  }

  #expireCall(x: Exchange): void {
    if (x.callDeadline === 0) return;
    x.error = ERROR.responseTimeout;
    this.#pipeline.abortResponse(x, "the deadline of the gRPC call was exceeded");
  }
}

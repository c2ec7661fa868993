/**
 * Passes bodies through body filters; not used where no chain has a body hook. The request's body is filtered by a step of
 * the pipeline before `pick`, and from then on beside it as chunks are received. The response's is filtered by a step before
 * `send`, and then by a step for each chunk.
 */

import { HOOK } from "../abi/abi.ts";
import { FLAG, NAME } from "../http/head.ts";
import type { Connection } from "../net/connection.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { cancelAttempts, passBody } from "./attempts.ts";
import {
  bufferResponse,
  CONTINUE,
  filterRequestChunk,
  filterResponseChunk,
  frameFilteredRequest,
  requestChunkOf,
  responseChunkOf,
  withinLimits,
} from "./body-filters.ts";
import { ERROR, failureOf, type ProxyError } from "./error.ts";
import { type Exchange, PHASE } from "./exchange.ts";
import { prepareErrorResponse, prepareLocalResponse } from "./local-response.ts";
import type { Pipeline } from "./pipeline.ts";
import { takeCluster } from "./routing.ts";

const NOTHING = Buffer.alloc(0);

export class Bodies {
  readonly #pipeline: Pipeline;

  constructor(pipeline: Pipeline) {
    this.#pipeline = pipeline;
  }

  /** Filters the request's body as far as it is received; of a request that is held back, not before it is complete. */
  filterRequest(x: Exchange): number {
    if (!withinLimits(x, x.replayLength, HOOK.request_body))
      return this.#pipeline.error(x, ERROR.bodyTooLarge, "a plugin holds no such body");
    if (x.bufferedBy !== null && !x.requestComplete) return this.#bufferRequest(x);
    const chunk = requestChunkOf(x);
    if (x.requestOutcome < 0) {
      x.bufferedBy = null;
      chunk.set(x.replay ?? NOTHING, 0, x.replayLength, x.requestComplete);
      // What is received meanwhile, if it is not held back, follows this chunk.
      x.replay = null;
      x.replayLength = 0;
    }
    const outcome = filterRequestChunk(x);
    if (outcome === OUTCOME.suspended) return this.#pipeline.suspend(x);
    if (outcome !== OUTCOME.continue) return this.#pipeline.endByPlugin(x, outcome);
    if (x.replayLength > 0 || (x.requestComplete && !chunk.last)) return this.#filterRest(x);
    this.#takeReady(x);
    x.requestBuffered = false;
    x.requestFiltered = true;
    frameFilteredRequest(x);
    if (x.chosenCluster >= 0 && x.chosenCluster !== x.cluster!.index) takeCluster(x);
    return PHASE.pick;
  }

  /** More of the body was received while a call was suspended: it is filtered next. */
  #filterRest(x: Exchange): number {
    const chunk = requestChunkOf(x);
    (x.requestReady ??= new PendingBuffer()).append(chunk.bytes, chunk.start, chunk.end);
    return PHASE.filterRequest;
  }

  /** The attempt begins with what was filtered. */
  #takeReady(x: Exchange): void {
    const chunk = requestChunkOf(x);
    if (x.requestReady === null) {
      x.replay = chunk.bytes;
      x.replayLength = chunk.end;
    } else {
      x.requestReady.append(chunk.bytes, chunk.start, chunk.end);
      x.replay = x.requestReady.bytes;
      x.replayLength = x.requestReady.end;
      x.requestReady = null;
    }
    chunk.drop();
  }

  /** Waits for the rest of the body of a request that is held back. */
  #bufferRequest(x: Exchange): number {
    const { request } = x;
    if ((request.flags & FLAG.expectContinue) !== 0) {
      request.flags &= ~FLAG.expectContinue;
      request.removeAt(request.findKnown(NAME.expect));
      x.client!.sendInterim(CONTINUE);
    }
    // While a call was suspended the buffer may have become full, and the client paused.
    x.client!.resumeBody();
    this.#pipeline.watch(x);
    x.delayed = true;
    return PHASE.bufferingRequest;
  }

  /** The same of the response's body. */
  filterResponse(x: Exchange): number {
    if (x.localStatus !== 0) return this.#filterLocal(x);
    const chunk = responseChunkOf(x);
    if (x.outcome >= 0) {
      // Continues after the plugin whose call was suspended.
    } else if (x.responseBuffered) {
      const buffered = bufferResponse(x);
      if (!withinLimits(x, buffered.length, HOOK.response_body)) return this.#failResponse(x, ERROR.responseTooLarge);
      if (x.bufferedBy !== null && !x.attempt.bodyDone) {
        x.attempt.stream?.resumeBody();
        this.#pipeline.watch(x);
        return PHASE.bufferingResponse;
      }
      chunk.set(buffered.bytes, buffered.start, buffered.end, x.attempt.bodyDone);
      x.responseBuffered = x.bufferedBy !== null;
      x.bufferedBy = null;
    } else chunk.set(x.attempt.body ?? NOTHING, x.attempt.bodyStart, x.attempt.bodyEnd, x.attempt.bodyDone);
    const outcome = filterResponseChunk(x);
    if (outcome === OUTCOME.suspended) return this.#suspendChunk(x);
    if (outcome === OUTCOME.respond) prepareLocalResponse(x);
    else if (outcome !== OUTCOME.continue) return this.#failResponse(x, failureOf(outcome));
    x.attempt.body = chunk.bytes;
    x.attempt.bodyStart = chunk.start;
    x.attempt.bodyEnd = chunk.end;
    x.responseFiltered = true;
    x.responseBuffered = false;
    return PHASE.send;
  }

  /** A local response is complete from the start. */
  #filterLocal(x: Exchange): number {
    const chunk = responseChunkOf(x);
    const body = x.localBody ?? NOTHING;
    if (x.outcome < 0) chunk.set(body, 0, body.length, true);
    const outcome = filterResponseChunk(x);
    if (outcome === OUTCOME.suspended) return this.#suspendChunk(x);
    if (outcome === OUTCOME.respond) prepareLocalResponse(x);
    else if (outcome !== OUTCOME.continue) return this.#failResponse(x, failureOf(outcome));
    else x.localBody = chunk.bytes.subarray(chunk.start, chunk.end);
    return PHASE.send;
  }

  #suspendChunk(x: Exchange): number {
    responseChunkOf(x).own();
    x.attempt.body = null;
    return this.#pipeline.suspend(x);
  }

  /** An error response in place of the endpoint's, whose headers went through the plugins: it is not filtered. */
  #failResponse(x: Exchange, error: ProxyError): number {
    x.problem = error === ERROR.responseTooLarge ? "a plugin holds no such body" : "a plugin failed on the body";
    x.filtersDone = 0;
    prepareErrorResponse(x, error);
    return PHASE.send;
  }

  /** Filters a chunk of the request's body and passes it on. Returns false when the client should pause. */
  filterMore(x: Exchange, source: Connection, bytes: Buffer, start: number, end: number): boolean {
    if (x.requestSuspended) {
      (x.requestQueue ??= new PendingBuffer()).append(bytes, start, end);
      return false;
    }
    requestChunkOf(x).set(bytes, start, end, x.requestComplete);
    x.requestSource = source;
    return this.#pumpBody(x);
  }

  #pumpBody(x: Exchange): boolean {
    const chunk = requestChunkOf(x);
    for (;;) {
      const outcome = filterRequestChunk(x);
      x.requestSuspended = outcome === OUTCOME.suspended;
      if (x.requestSuspended) {
        chunk.own();
        return false;
      }
      if (outcome !== OUTCOME.continue) {
        this.#endInBody(x, outcome);
        return true;
      }
      const queue = x.requestQueue;
      x.requestQueue = null;
      x.requestPassed = chunk.last;
      const more = passBody(x, x.requestSource!, chunk.bytes, chunk.start, chunk.end);
      // The end of the body may have been received while the call for the chunk before it was suspended.
      if (chunk.last || (queue === null && !x.requestComplete)) return more;
      chunk.set(queue?.bytes ?? NOTHING, queue?.start ?? 0, queue?.end ?? 0, x.requestComplete);
    }
  }

  resumeRequest(x: Exchange): void {
    try {
      if (this.#pumpBody(x) && !x.requestComplete) x.client?.resumeBody();
    } catch (error) {
      this.#pipeline.internal(x, error);
    }
  }

  bufferMore(x: Exchange, bytes: Buffer, start: number, end: number): boolean {
    x.keep(bytes, start, end);
    this.#pipeline.advance(x, PHASE.filterRequest);
    return true;
  }

  /** A plugin responded, or failed, on a chunk of the request's body. */
  #endInBody(x: Exchange, outcome: number): void {
    const problem = "a plugin failed on the request's body";
    if (x.headSent) {
      x.error = failureOf(outcome);
      return this.#pipeline.breakOff(x, problem);
    }
    // A call with the endpoint's response is suspended.
    if (x.respondedAt > 0) {
      const error = outcome === OUTCOME.reject ? ERROR.denied : failureOf(outcome);
      return this.#pipeline.respondInstead(x, error, problem);
    }
    x.cancelCalls(); // one may be suspended with the headers of a local response
    cancelAttempts(this.#pipeline.context, x);
    x.requestFiltered = false;
    this.#pipeline.advance(x, this.#pipeline.endByPlugin(x, outcome));
  }

  /** More of the body of a response that is held back. */
  bufferMoreResponse(x: Exchange, bytes: Buffer): boolean {
    x.attempt.body = bytes;
    if (x.attempt.bodyDone) x.attempt.stream = null;
    this.#pipeline.advance(x, PHASE.filterResponse);
    return true;
  }

  /** More of a response's body that is filtered. */
  filterMoreResponse(x: Exchange, bytes: Buffer): boolean {
    if (x.attempt.bodyDone) x.attempt.stream = null;
    responseChunkOf(x).set(bytes, x.attempt.bodyStart, x.attempt.bodyEnd, x.attempt.bodyDone);
    this.#pipeline.advance(x, PHASE.filterChunk);
    return true;
  }

  /** Filters a chunk of the response's body and sends it. */
  filterChunk(x: Exchange): number {
    const chunk = responseChunkOf(x);
    const outcome = filterResponseChunk(x);
    if (outcome === OUTCOME.suspended) return this.#suspendChunk(x);
    if (outcome !== OUTCOME.continue) {
      x.error = failureOf(outcome);
      x.problem = "a plugin failed on the response's body";
      return PHASE.broken;
    }
    x.attempt.bodyStart = chunk.start;
    x.attempt.bodyEnd = chunk.end;
    const more = x.client!.sendBody(null, chunk.bytes, x);
    if (x.attempt.bodyDone) return PHASE.done;
    if (more) x.attempt.stream?.resumeBody();
    else x.attempt.stream?.pauseBody();
    return PHASE.body;
  }
}

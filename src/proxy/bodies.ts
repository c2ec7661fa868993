/**
 * Runs bodies through body filters, for exchanges whose chains have body hooks. A request body is filtered by a step before
 * `pick`, and then by events, as chunks are received. A response body is filtered by a step before `send`, and then by a
 * step for each chunk.
 */

import { FIELD_WORDS, FLAG, type Head, NAME, NAME_ID, REMOVED } from "../http/head.ts";
import type { Connection } from "../net/connection.ts";
import { PendingBuffer } from "../net/pending-buffer.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { cancelAttempts, passBody } from "./attempts.ts";
import { bufferResponse, CONTINUE, frameFilteredRequest } from "./body-filters.ts";
import { ERROR, failureOf, type ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { type FilteredBody, requestBody, responseBody } from "./filtered-body.ts";
import { takeStatus } from "./grpc.ts";
import { prepareErrorResponse, prepareLocalResponse } from "./local-response.ts";
import { fitTrailers } from "./metadata.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl } from "./pipeline-control.ts";
import { takeCluster } from "./routing.ts";

const NOTHING = Buffer.alloc(0);

export class Bodies {
  readonly #pipeline: PipelineControl;

  constructor(pipeline: PipelineControl) {
    this.#pipeline = pipeline;
  }

  /** Filters the received part of the request body; a buffered body only once it is complete. */
  filterRequest(x: Exchange): number {
    const body = requestBody(x);
    const { chunk } = body;
    if (!body.fits(x.replayLength))
      return this.#pipeline.error(x, ERROR.bodyTooLarge, "the body exceeds limits.body of a plugin");
    if (body.awaitsMore && !x.requestComplete) return this.#bufferRequest(x);
    if (body.outcome < 0) {
      body.complete();
      chunk.set(x.replay ?? NOTHING, 0, x.replayLength, x.requestComplete);
      // Bytes that are received meanwhile follow this chunk.
      x.replay = null;
      x.replayLength = 0;
    }
    const outcome = filter(x, body, x.requestTrailers);
    if (outcome === OUTCOME.suspended) return this.#pipeline.suspend(x);
    if (outcome !== OUTCOME.continue) return this.#pipeline.endByPlugin(x, outcome);
    if (x.replayLength > 0 || (x.requestComplete && !chunk.last)) {
      // Bytes that were received while a call was suspended are filtered next.
      (body.pending ??= new PendingBuffer()).append(chunk.bytes, chunk.start, chunk.end);
      return PHASE.filterRequest;
    }
    this.#takeFiltered(x, body);
    body.buffered = false;
    body.streaming = true;
    frameFilteredRequest(x);
    if (x.chosenCluster >= 0 && x.chosenCluster !== x.cluster!.index) takeCluster(x);
    return PHASE.pick;
  }

  /** The filtered part of the body is what the attempt sends first. */
  #takeFiltered(x: Exchange, body: FilteredBody): void {
    const { chunk, pending } = body;
    if (pending === null) {
      x.replay = chunk.bytes;
      x.replayLength = chunk.end;
    } else {
      pending.append(chunk.bytes, chunk.start, chunk.end);
      x.replay = pending.bytes;
      x.replayLength = pending.end;
      body.pending = null;
    }
    chunk.drop();
  }

  /** Waits for the rest of a buffered request body. */
  #bufferRequest(x: Exchange): number {
    const { request } = x;
    if ((request.flags & FLAG.expectContinue) !== 0) {
      request.flags &= ~FLAG.expectContinue;
      request.removeAt(request.findKnown(NAME.expect));
      x.client!.sendInterim(CONTINUE);
    }
    // The client may have been paused because the buffer was full while a call was suspended.
    x.client!.resumeBody();
    this.#pipeline.watch(x);
    x.delayed = true;
    return PHASE.bufferingRequest;
  }

  /** The same for the response body. */
  filterResponse(x: Exchange): number {
    const body = responseBody(x);
    if (x.localStatus !== 0) return this.#filterLocal(x, body);
    const { attempt } = x;
    const { chunk } = body;
    if (body.outcome >= 0) {
      // Continues after the plugin whose call was suspended.
    } else if (body.buffered) {
      const buffered = bufferResponse(body, x);
      if (!body.fits(buffered.length)) return this.#failResponse(x, ERROR.responseTooLarge);
      if (body.awaitsMore && !attempt.bodyDone) {
        attempt.stream?.resumeBody();
        this.#pipeline.watch(x);
        return PHASE.bufferingResponse;
      }
      chunk.set(buffered.bytes, buffered.start, buffered.end, attempt.bodyDone);
      body.buffered = body.awaitsMore;
      body.complete();
    } else chunk.set(attempt.body ?? NOTHING, attempt.bodyStart, attempt.bodyEnd, attempt.bodyDone);
    const outcome = filter(x, body, x.responseTrailers);
    if (outcome === OUTCOME.suspended) return this.#suspendChunk(x, body);
    if (outcome === OUTCOME.respond) prepareLocalResponse(x);
    else if (outcome !== OUTCOME.continue) return this.#failResponse(x, failureOf(outcome));
    attempt.body = chunk.bytes;
    attempt.bodyStart = chunk.start;
    attempt.bodyEnd = chunk.end;
    body.streaming = true;
    body.buffered = false;
    return PHASE.send;
  }

  /** A local response is complete from the start. */
  #filterLocal(x: Exchange, body: FilteredBody): number {
    const { chunk } = body;
    const whole = x.localBody ?? NOTHING;
    if (body.outcome < 0) chunk.set(whole, 0, whole.length, true);
    const outcome = filter(x, body, x.responseTrailers);
    if (outcome === OUTCOME.suspended) return this.#suspendChunk(x, body);
    if (outcome === OUTCOME.respond) prepareLocalResponse(x);
    else if (outcome !== OUTCOME.continue) return this.#failResponse(x, failureOf(outcome));
    else x.localBody = chunk.bytes.subarray(chunk.start, chunk.end);
    return PHASE.send;
  }

  #suspendChunk(x: Exchange, body: FilteredBody): number {
    body.chunk.own();
    x.attempt.body = null;
    return this.#pipeline.suspend(x);
  }

  /** An error response in place of the endpoint's, whose head the plugins have processed: it is not filtered. */
  #failResponse(x: Exchange, error: ProxyError): number {
    x.problem =
      error === ERROR.responseTooLarge ? "the body exceeds limits.body of a plugin" : "a plugin failed on the body";
    prepareErrorResponse(x, error);
    return PHASE.send;
  }

  /** Filters a chunk of the request body and sends it. Returns false when the client should pause. */
  filterMore(x: Exchange, source: Connection | null, bytes: Buffer, start: number, end: number): boolean {
    const body = x.requestBody!;
    if (body.isSuspended) {
      (body.queue ??= new PendingBuffer()).append(bytes, start, end);
      return false;
    }
    body.chunk.set(bytes, start, end, x.requestComplete);
    body.source = source;
    return this.#pumpBody(x, body);
  }

  #pumpBody(x: Exchange, body: FilteredBody): boolean {
    const { chunk } = body;
    for (;;) {
      const outcome = filter(x, body, x.requestTrailers);
      if (outcome === OUTCOME.suspended) {
        chunk.own();
        return false;
      }
      if (outcome !== OUTCOME.continue) {
        this.#endInBody(x, outcome);
        return true;
      }
      const { queue } = body;
      body.queue = null;
      body.passed = chunk.last;
      const more = passBody(x, body.source!, chunk.bytes, chunk.start, chunk.end);
      // The end of the body may have been received while the call for the previous chunk was suspended.
      if (chunk.last || (queue === null && !x.requestComplete)) return more;
      chunk.set(queue?.bytes ?? NOTHING, queue?.start ?? 0, queue?.end ?? 0, x.requestComplete);
    }
  }

  /** The suspended call for a chunk has completed. */
  resumeRequest(x: Exchange, body: FilteredBody): void {
    try {
      if (this.#pumpBody(x, body) && !x.requestComplete) x.client?.resumeBody();
    } catch (error) {
      this.#pipeline.internal(x, error);
    }
  }

  bufferMore(x: Exchange, bytes: Buffer, start: number, end: number): boolean {
    x.keep(bytes, start, end);
    this.#pipeline.advance(x, PHASE.filterRequest);
    return true;
  }

  /** A plugin responded or failed in a chunk of the request body. */
  #endInBody(x: Exchange, outcome: number): void {
    const problem = "a plugin failed on the request body";
    if (x.headSent) {
      x.error = failureOf(outcome);
      return this.#pipeline.abortResponse(x, problem);
    }
    // A call for the endpoint's response is suspended.
    if (x.attempt.respondedAt > 0) {
      const error = outcome === OUTCOME.reject ? ERROR.denied : failureOf(outcome);
      return this.#pipeline.respondInstead(x, error, problem);
    }
    x.cancelCalls(); // one may be suspended for the head of a local response
    cancelAttempts(this.#pipeline.context, x);
    x.requestBody!.streaming = false;
    this.#pipeline.advance(x, this.#pipeline.endByPlugin(x, outcome));
  }

  /** Buffers more of a response body. */
  bufferMoreResponse(x: Exchange, bytes: Buffer): boolean {
    x.attempt.body = bytes;
    if (x.attempt.bodyDone) x.attempt.stream = null;
    this.#pipeline.advance(x, PHASE.filterResponse);
    return true;
  }

  /** Filters more of a response body. */
  filterMoreResponse(x: Exchange, bytes: Buffer): boolean {
    if (x.attempt.bodyDone) x.attempt.stream = null;
    x.responseBody!.chunk.set(bytes, x.attempt.bodyStart, x.attempt.bodyEnd, x.attempt.bodyDone);
    this.#pipeline.advance(x, PHASE.filterChunk);
    return true;
  }

  /** Filters a chunk of the response body and sends it. */
  filterChunk(x: Exchange): number {
    const body = x.responseBody!;
    const { chunk } = body;
    const outcome = filter(x, body, x.responseTrailers);
    if (outcome === OUTCOME.suspended) return this.#suspendChunk(x, body);
    if (outcome !== OUTCOME.continue) {
      x.error = failureOf(outcome);
      x.problem = "a plugin failed on the response body";
      return PHASE.broken;
    }
    x.attempt.bodyStart = chunk.start;
    x.attempt.bodyEnd = chunk.end;
    const more = x.client!.sendBody(null, chunk.bytes);
    if (x.attempt.bodyDone) return PHASE.done;
    if (more) x.attempt.stream?.resumeBody();
    else x.attempt.stream?.pauseBody();
    return PHASE.body;
  }
}

/** Before plugins process the last chunk, trailers that describe the body as received are removed. */
function filter(x: Exchange, body: FilteredBody, trailers: Head | null): number {
  if (trailers !== null && body.isAtEnd) {
    fitTrailers(x, trailers, body.rewrites);
    // Plugins may move it into the body.
    if (x.isGrpc && trailers === x.responseTrailers) takeStatus(x, trailers);
  }
  const outcome = body.filter(x, trailers);
  if (trailers !== null && outcome === OUTCOME.continue && body.chunk.last && isEmptied(trailers)) {
    if (trailers === x.responseTrailers) x.responseTrailers = null;
    else x.requestTrailers = null;
  }
  return outcome;
}

/** Plugins have removed all fields. */
function isEmptied({ fields, count }: Head): boolean {
  for (let i = 0; i < count; i++) if (fields[i * FIELD_WORDS + NAME_ID] !== REMOVED) return false;
  return true;
}

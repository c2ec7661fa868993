/**
 * Bodies on their way through plugins. Where a chain has no hook for them, nothing here is called. A request's body and an
 * answer's go their own ways: the request's is a stage of the corridor before `pick`, and then a pump of its own; the
 * answer's is a stage before `send`, and then a step of the corridor for each piece.
 */

import { HOOK } from "../abi/abi.ts";
import { FLAG, NAME } from "../http/head.ts";
import type { Connection } from "../net/connection.ts";
import { Carry } from "../net/pending-buffer.ts";
import { OUTCOME } from "../plugin/host/outcome.ts";
import { cancelAttempts, passBody } from "./attempts.ts";
import {
  answerPieceOf,
  CONTINUE,
  frameStagedRequest,
  gatherAnswer,
  requestPieceOf,
  stageAnswerPiece,
  stageRequestPiece,
  withinLimits,
} from "./body-filters.ts";
import { ERROR, failureOf, type ProxyError } from "./error.ts";
import { type Exchange, PHASE } from "./exchange.ts";
import { prepareErrorAnswer, prepareLocalAnswer } from "./local-response.ts";
import type { Pipeline } from "./pipeline.ts";
import { takeCluster } from "./routing.ts";

const NOTHING = Buffer.alloc(0);

export class Bodies {
  readonly #pipeline: Pipeline;

  constructor(pipeline: Pipeline) {
    this.#pipeline = pipeline;
  }

  /** What came of the request's body, through the plugins; of a held request not before it is whole. */
  stageRequest(x: Exchange): number {
    if (!withinLimits(x, x.replayLength, HOOK.request_body))
      return this.#pipeline.error(x, ERROR.bodyTooLarge, "a plugin holds no such body");
    if (x.holders !== null && !x.requestComplete) return this.#gather(x);
    const piece = requestPieceOf(x);
    if (x.requestSettled < 0) {
      x.holders = null;
      piece.set(x.replay ?? NOTHING, 0, x.replayLength, x.requestComplete);
      // What comes meanwhile of one that is not held stands behind it.
      x.replay = null;
      x.replayLength = 0;
    }
    const outcome = stageRequestPiece(x);
    if (outcome === OUTCOME.waiting) return this.#pipeline.suspend(x);
    if (outcome !== OUTCOME.continue) return this.#pipeline.endByPlugin(x, outcome);
    if (x.replayLength > 0 || (x.requestComplete && !piece.last)) return this.#stageMore(x);
    this.#takeReady(x);
    x.requestHeld = false;
    x.requestStaged = true;
    frameStagedRequest(x);
    if (x.chosenCluster >= 0 && x.chosenCluster !== x.cluster!.index) takeCluster(x);
    return PHASE.pick;
  }

  /** More came of the body while a plugin had to be waited for: it goes the same way. */
  #stageMore(x: Exchange): number {
    const piece = requestPieceOf(x);
    (x.requestReady ??= new Carry()).append(piece.bytes, piece.start, piece.end);
    return PHASE.stageRequest;
  }

  /** What went through the plugins is what the attempt will send first. */
  #takeReady(x: Exchange): void {
    const piece = requestPieceOf(x);
    if (x.requestReady === null) {
      x.replay = piece.bytes;
      x.replayLength = piece.end;
    } else {
      x.requestReady.append(piece.bytes, piece.start, piece.end);
      x.replay = x.requestReady.bytes;
      x.replayLength = x.requestReady.end;
      x.requestReady = null;
    }
    piece.drop();
  }

  /** Waits for more of a held request's body. */
  #gather(x: Exchange): number {
    const { request } = x;
    if ((request.flags & FLAG.expectContinue) !== 0) {
      request.flags &= ~FLAG.expectContinue;
      request.removeAt(request.findKnown(NAME.expect));
      x.client!.sendInterim(CONTINUE);
    }
    // While a plugin was waited for, as much may have come as is kept without one.
    x.client!.resumeBody();
    this.#pipeline.watch(x);
    x.waited = true;
    return PHASE.gathering;
  }

  /** What came of the answer's body, through the plugins; of a held answer not before it is whole. */
  stageAnswer(x: Exchange): number {
    if (x.localStatus !== 0) return this.#stageLocal(x);
    const piece = answerPieceOf(x);
    if (x.settled >= 0) {
      // It goes on behind the plugin that was waited for.
    } else if (x.answerHeld) {
      const gathered = gatherAnswer(x);
      if (!withinLimits(x, gathered.length, HOOK.response_body)) return this.#refuseAnswer(x, ERROR.answerTooLarge);
      if (x.holders !== null && !x.attempt.bodyDone) {
        x.attempt.stream?.resumeBody();
        this.#pipeline.watch(x);
        return PHASE.collecting;
      }
      piece.set(gathered.bytes, gathered.start, gathered.end, x.attempt.bodyDone);
      x.answerHeld = x.holders !== null;
      x.holders = null;
    } else piece.set(x.attempt.body ?? NOTHING, x.attempt.bodyStart, x.attempt.bodyEnd, x.attempt.bodyDone);
    const outcome = stageAnswerPiece(x);
    if (outcome === OUTCOME.waiting) return this.#suspendPiece(x);
    if (outcome === OUTCOME.respond) prepareLocalAnswer(x);
    else if (outcome !== OUTCOME.continue) return this.#refuseAnswer(x, failureOf(outcome));
    x.attempt.body = piece.bytes;
    x.attempt.bodyStart = piece.start;
    x.attempt.bodyEnd = piece.end;
    x.answerStaged = true;
    x.answerHeld = false;
    return PHASE.send;
  }

  /** An answer of a plugin's or of Sluice's own is whole from the start. */
  #stageLocal(x: Exchange): number {
    const piece = answerPieceOf(x);
    const body = x.localBody ?? NOTHING;
    if (x.settled < 0) piece.set(body, 0, body.length, true);
    const outcome = stageAnswerPiece(x);
    if (outcome === OUTCOME.waiting) return this.#suspendPiece(x);
    if (outcome === OUTCOME.respond) prepareLocalAnswer(x);
    else if (outcome !== OUTCOME.continue) return this.#refuseAnswer(x, failureOf(outcome));
    else x.localBody = piece.bytes.subarray(piece.start, piece.end);
    return PHASE.send;
  }

  #suspendPiece(x: Exchange): number {
    answerPieceOf(x).own();
    x.attempt.body = null;
    return this.#pipeline.suspend(x);
  }

  /** The endpoint's answer cannot be had, after its head went through the plugins: it is told, and not staged again. */
  #refuseAnswer(x: Exchange, error: ProxyError): number {
    x.problem = error === ERROR.answerTooLarge ? "a plugin holds no such body" : "a plugin failed on the body";
    x.stage = 0;
    prepareErrorAnswer(x, error);
    return PHASE.send;
  }

  /** A piece of the request's body that goes through plugins. */
  stageMoreBody(x: Exchange, source: Connection, bytes: Buffer, start: number, end: number): boolean {
    if (x.requestWaits) {
      (x.requestQueue ??= new Carry()).append(bytes, start, end);
      return false;
    }
    requestPieceOf(x).set(bytes, start, end, x.requestComplete);
    x.requestSource = source;
    return this.#pumpBody(x);
  }

  #pumpBody(x: Exchange): boolean {
    const piece = requestPieceOf(x);
    for (;;) {
      const outcome = stageRequestPiece(x);
      x.requestWaits = outcome === OUTCOME.waiting;
      if (x.requestWaits) {
        piece.own();
        return false;
      }
      if (outcome !== OUTCOME.continue) {
        this.#endInBody(x, outcome);
        return true;
      }
      const queue = x.requestQueue;
      x.requestQueue = null;
      x.requestPassed = piece.last;
      const more = passBody(x, x.requestSource!, piece.bytes, piece.start, piece.end);
      // The end of the body may have come while the piece before it waited.
      if (piece.last || (queue === null && !x.requestComplete)) return more;
      piece.set(queue?.bytes ?? NOTHING, queue?.start ?? 0, queue?.end ?? 0, x.requestComplete);
    }
  }

  resumeRequest(x: Exchange): void {
    try {
      if (this.#pumpBody(x) && !x.requestComplete) x.client?.resumeBody();
    } catch (error) {
      this.#pipeline.internal(x, error);
    }
  }

  gatherMore(x: Exchange, bytes: Buffer, start: number, end: number): boolean {
    x.keep(bytes, start, end);
    this.#pipeline.advance(x, PHASE.stageRequest);
    return true;
  }

  /** A plugin answered, or failed, while the request's body went by. */
  #endInBody(x: Exchange, outcome: number): void {
    const problem = "a plugin failed on the request's body";
    if (x.headSent) {
      x.error = failureOf(outcome);
      return this.#pipeline.breakOff(x, problem);
    }
    // A plugin waits with the endpoint's answer.
    if (x.answeredAt > 0) {
      const error = outcome === OUTCOME.reject ? ERROR.denied : failureOf(outcome);
      return this.#pipeline.respondInstead(x, error, problem);
    }
    x.cancelCalls(); // one may be suspended with the headers of a local response
    cancelAttempts(this.#pipeline.context, x);
    x.requestStaged = false;
    this.#pipeline.advance(x, this.#pipeline.endByPlugin(x, outcome));
  }

  /** More of a held answer. */
  collect(x: Exchange, bytes: Buffer): boolean {
    x.attempt.body = bytes;
    if (x.attempt.bodyDone) x.attempt.stream = null;
    this.#pipeline.advance(x, PHASE.stageAnswer);
    return true;
  }

  /** More of an answer that goes through plugins. */
  stagePiece(x: Exchange, bytes: Buffer): boolean {
    if (x.attempt.bodyDone) x.attempt.stream = null;
    answerPieceOf(x).set(bytes, x.attempt.bodyStart, x.attempt.bodyEnd, x.attempt.bodyDone);
    this.#pipeline.advance(x, PHASE.piece);
    return true;
  }

  /** A piece of the answer through the plugins, and on to the client. */
  piece(x: Exchange): number {
    const piece = answerPieceOf(x);
    const outcome = stageAnswerPiece(x);
    if (outcome === OUTCOME.waiting) return this.#suspendPiece(x);
    if (outcome !== OUTCOME.continue) {
      x.error = failureOf(outcome);
      x.problem = "a plugin failed on the answer's body";
      return PHASE.broken;
    }
    x.attempt.bodyStart = piece.start;
    x.attempt.bodyEnd = piece.end;
    const more = x.client!.sendBody(null, piece.bytes, x);
    if (x.attempt.bodyDone) return PHASE.done;
    if (more) x.attempt.stream?.resumeBody();
    else x.attempt.stream?.pauseBody();
    return PHASE.body;
  }
}

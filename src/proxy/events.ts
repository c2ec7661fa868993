/**
 * What happens to an exchange from outside while it waits: events of its client, of its endpoint, of plugins and of the
 * clock, each of which leads back into the corridor (`pipeline.ts`), and what can end it early.
 */

import { HOOK } from "../abi/abi.ts";
import { isHeadMethod } from "../http/method.ts";
import { THREAD_CELLS } from "../observe/series.ts";
import type { FetchAnswer, FetchRequest } from "../plugin/host/fetcher.ts";
import { endAttempt } from "./account.ts";
import { Admission } from "./admission.ts";
import type { Attempt } from "./attempt.ts";
import { Bodies, type Corridor } from "./bodies.ts";
import type { Client } from "./client.ts";
import type { ThreadContext } from "./context.ts";
import { ERROR, type ProxyError } from "./error.ts";
import { type Exchange, Exchanges, PHASE } from "./exchange.ts";
import { logRejection, logUpstreamFailure } from "./failure-log.ts";
import { believeForwarded } from "./forwarded.ts";
import { prepareErrorAnswer } from "./local-response.ts";
import type { Snapshot } from "./snapshot.ts";
import { OwnRequest } from "./subrequest.ts";
import { TimeLimit } from "./time-limit.ts";
import type { UpstreamEvents } from "./upstream-stream.ts";
import type { Wire } from "./wire.ts";

export abstract class Events implements Corridor, UpstreamEvents {
  readonly exchanges = new Exchanges(this);
  readonly admission: Admission;
  protected readonly context: ThreadContext;
  protected readonly bodies = new Bodies(this);
  /** Told when a client's connection is gone (draining counts them). */
  onClientClosed: (client: Client) => void = () => {};

  constructor(context: ThreadContext) {
    this.context = context;
    this.admission = new Admission(this.exchanges, context.cells);
  }

  /** Takes an exchange as far as it can go now. */
  abstract advance(x: Exchange): void;
  abstract suspend(x: Exchange): number;
  abstract ownAnswer(x: Exchange, outcome: number): number;
  abstract takeCluster(x: Exchange): void;

  // ── Events from the client ────────────────────────────────────────────────────────────────────────────────────

  begin(x: Exchange): void {
    x.isHead = isHeadMethod(x.request);
    x.phase = PHASE.request;
    x.begun = true;
    this.#received(x);
    const { tracer } = x.listener!.snapshot;
    if (tracer !== null) tracer.consider(x);
    this.advance(x);
  }

  /** A plugin's own request to a cluster; what it returns gives it up. */
  ask(
    request: FetchRequest,
    snapshot: Snapshot,
    cluster: number,
    tell: (answer: FetchAnswer | number) => void,
  ): () => void {
    const own = new OwnRequest(this, request.most, tell);
    own.start(request, snapshot, cluster);
    return () => own.cancel();
  }

  /** Its cluster is chosen, and it has no chain. */
  beginOwn(x: Exchange): void {
    x.isHead = isHeadMethod(x.request);
    x.listener!.snapshot.enter();
    x.phase = PHASE.pick;
    this.advance(x);
  }

  #received(x: Exchange): void {
    x.listener!.snapshot.enter();
    x.listenerName = x.listener!.plan.name;
    this.context.cells[THREAD_CELLS.requestsInFlight]!++;
    // Of a head that was refused half-way nothing is believed.
    if (x.request.problem === "") believeForwarded(x);
    x.keepOriginal();
  }

  /** The client's request cannot be taken, or not be taken any further. */
  refuse(x: Exchange, error: ProxyError, problem: string): void {
    if (x.phase === PHASE.idle) {
      this.#received(x);
      x.isHead = isHeadMethod(x.request);
    }
    x.requestComplete = false;
    if (x.headSent) {
      logRejection(this.context, x, error, problem);
      return this.breakOff(x, problem);
    }
    this.interrupt(x);
    this.abandonAttempt(x);
    x.phase = this.error(x, error, problem);
    this.advance(x);
  }

  /** More of the request's body. False: the client pauses until its `resumeBody`. */
  requestBody(x: Exchange, source: Wire, bytes: Buffer, start: number, end: number): boolean {
    if (x.phase === PHASE.gathering) return this.bodies.gatherMore(x, bytes, start, end);
    if (x.requestStaged) return this.bodies.stageMoreBody(x, source, bytes, start, end);
    x.requestPassed = x.requestComplete;
    const more = this.passBody(x, source, bytes, start, end);
    // What comes while its first piece waits for a plugin is kept, so no more is read.
    return more && x.requestSuspension === null;
  }

  passBody(x: Exchange, source: Wire, bytes: Buffer, start: number, end: number): boolean {
    const { attempt } = x;
    if (attempt.stream !== null && attempt.sent) return attempt.stream.sendBody(source, bytes, start, end);
    x.keep(bytes, start, end);
    return x.requestComplete || x.replayLength < 64 * 1024;
  }

  clientDrained(x: Exchange): void {
    // While a plugin is waited for nothing may come: what it makes of this goes to the client first, and asks for more.
    if (x.phase !== PHASE.suspended) x.attempt.stream?.resumeBody();
  }

  clientClosed(client: Client): void {
    this.onClientClosed(client);
  }

  /** The client left: the endpoint is freed, the log says 499 if no answer had begun. */
  clientGone(x: Exchange, problem: string): void {
    if (x.phase === PHASE.done || x.phase === PHASE.idle) return;
    x.problem = problem;
    x.error = ERROR.clientGone;
    this.interrupt(x); // puts back what a plugin has changed
    if (!x.headSent) x.response.status = ERROR.clientGone.status;
    this.abandonAttempt(x);
    x.client!.reset();
    x.phase = PHASE.done;
    this.advance(x);
  }

  // ── Events from the endpoint ──────────────────────────────────────────────────────────────────────────────────

  /** An interim response is `attempt.head`; clients of HTTP/1.0 do not know them. */
  interim({ exchange: x, head, stream }: Attempt): void {
    if (stream !== null && x.request.minor > 0) x.client!.sendInterim(head);
  }

  /** A final head has come. */
  responded(attempt: Attempt): void {
    if (attempt.stream === null) return;
    const { exchange: x } = attempt;
    x.commit(attempt);
    x.phase = PHASE.answered;
    this.advance(x);
  }

  /** More of the answer's body. False: the endpoint's connection pauses until `clientDrained`. */
  responseBody(attempt: Attempt, source: Wire, bytes: Buffer): boolean {
    if (attempt.stream === null) return true;
    const { exchange: x } = attempt;
    try {
      if (x.phase === PHASE.collecting) return this.bodies.collect(x, bytes);
      if (x.answerStaged) return this.bodies.stagePiece(x, bytes);
      const more = x.client!.sendBody(source, bytes, x);
      if (!x.attempt.bodyDone) return more;
      x.attempt.stream = null;
      x.phase = PHASE.done;
    } catch (error) {
      this.internal(x, error);
      return true;
    }
    this.advance(x);
    return true;
  }

  /** The attempt came to nothing; when its head is out, the client's answer is broken. */
  failed(attempt: Attempt, error: ProxyError, problem: string, unprocessed = false): void {
    if (attempt.stream === null) return;
    const { exchange: x } = attempt;
    attempt.stream = null;
    attempt.error = error;
    attempt.problem = problem;
    attempt.unprocessed = unprocessed;
    // A plugin has given its own answer in place of the endpoint's, and another is waited for.
    if (x.phase === PHASE.suspended && x.localStatus !== 0) return;
    if (x.headSent || x.phase === PHASE.collecting || x.phase === PHASE.suspended) {
      x.error = error;
      logUpstreamFailure(this.context, attempt, error, problem);
      return x.headSent ? this.breakOff(x, problem) : this.answerInstead(x, error, problem);
    }
    x.phase = PHASE.failed;
    this.advance(x);
  }

  writable({ exchange: x, stream }: Attempt): void {
    if (stream !== null && !x.requestComplete && !x.requestWaits) x.client!.resumeBody();
  }

  /** The client, or a plugin, has not given the rest of the request. */
  requestLate({ exchange: x, stream }: Attempt): void {
    if (stream === null) return;
    const error = x.requestComplete ? ERROR.responseTimeout : ERROR.requestTimeout;
    this.refuse(x, error, "the request's body was not complete within the route's timeout");
  }

  // ── Events from plugins ───────────────────────────────────────────────────────────────────────────────────────

  /** A call that was suspended is answered. */
  resume(hook: number, x: Exchange, outcome: number): void {
    if (hook === HOOK.request_body) {
      x.requestSuspension = null;
      x.requestSettled = outcome;
      if (x.requestWaits) return this.bodies.resumeRequest(x);
    } else {
      x.suspension = null;
      x.settled = outcome;
    }
    x.phase = x.resumesAt;
    this.advance(x);
  }

  /** Whatever a plugin waits for on behalf of the exchange is given up. */
  interrupt(x: Exchange): void {
    x.suspension?.cancel();
    x.suspension = null;
    x.requestSuspension?.cancel();
    x.requestSuspension = null;
    x.requestWaits = false;
    x.settled = -1;
    x.requestSettled = -1;
    x.stage = 0;
    x.requestStage = 0;
  }

  // ── Events of the clock ───────────────────────────────────────────────────────────────────────────────────────────────

  /** What is waited for now has no clock of its own: the rule's timeout has one from here on. */
  watch(x: Exchange): void {
    if (x.deadline === 0 || x.timeLimit !== null || x.headSent) return;
    x.timeLimit = new TimeLimit(x.deadline, () => this.#late(x));
    this.context.clock.add(x.timeLimit);
  }

  /** The rule's time is over. Where an endpoint is waited for its connection sees to that. */
  #late(x: Exchange): void {
    // An answer that says what went wrong is on its way already.
    if (x.headSent || x.error !== null) return;
    const phase = x.phase === PHASE.suspended ? x.resumesAt : x.phase;
    const problem = "the answer's head was not there in time";
    try {
      if (phase === PHASE.response || phase === PHASE.stageAnswer || phase === PHASE.collecting)
        this.answerInstead(x, ERROR.responseTimeout, problem);
      else if (x.phase === PHASE.suspended || x.phase === PHASE.gathering) {
        this.interrupt(x);
        x.phase = this.error(x, ERROR.responseTimeout, problem);
        this.advance(x);
      }
    } catch (error) {
      this.internal(x, error);
    }
  }

  // ── Early ends ────────────────────────────────────────────────────────────────────────────────────────────────────────

  error(x: Exchange, error: ProxyError, problem: string): number {
    if (error.source === "client") logRejection(this.context, x, error, problem);
    x.problem = problem;
    prepareErrorAnswer(x, error);
    return PHASE.response;
  }

  /** Takes the place of an answer whose head went through plugins already, or does: they see this one no more. */
  answerInstead(x: Exchange, error: ProxyError, problem: string): void {
    this.interrupt(x);
    this.abandonAttempt(x);
    x.problem = problem;
    prepareErrorAnswer(x, error);
    x.phase = PHASE.send;
    this.advance(x);
  }

  /** The answer cannot be completed: the client must see it broken. */
  breakOff(x: Exchange, problem: string): void {
    if (x.phase === PHASE.done || x.phase === PHASE.idle) return;
    x.problem = problem;
    x.error ??= ERROR.upstreamBroken;
    this.interrupt(x);
    this.abandonAttempt(x);
    x.client!.reset();
    x.phase = PHASE.done;
    this.advance(x);
  }

  /** An exception in our own code ended the exchange. */
  internal(x: Exchange | null, error: unknown): void {
    this.context.cells[THREAD_CELLS.internalErrors]!++;
    const stack = error instanceof Error ? error.stack : String(error);
    this.context.report("error", "an exception ended an exchange", { stack, listener: x?.listenerName });
    if (x === null || x.phase === PHASE.done || x.phase === PHASE.idle) return;
    // The second one may come of telling of the first.
    if (x.headSent || x.error === ERROR.internal || !x.client!.alive) return this.breakOff(x, "internal error");
    this.interrupt(x);
    this.abandonAttempt(x);
    x.phase = this.error(x, ERROR.internal, "internal error");
    this.advance(x);
  }

  abandonAttempt(x: Exchange): void {
    this.cancel(x.attempt);
    if (x.rivals !== null) this.cancelRivals(x.rivals);
  }

  /** Cancels those that the exchange has not committed to. */
  cancelRivals(rivals: readonly Attempt[]): void {
    for (const rival of rivals) this.cancel(rival);
  }

  cancel(attempt: Attempt): void {
    const { stream } = attempt;
    attempt.stream = null;
    if (stream !== null) stream.cancel();
    endAttempt(this.context, attempt, 0, false);
  }
}

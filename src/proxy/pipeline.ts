/**
 * The request pipeline. Read `Pipeline.#walk` first: it runs the phases of a request in order. Every step
 * returns the phase that follows, and only this file assigns it.
 *
 *   received → request → route → chain → pick → forward → awaiting ⇢ responded → response → send → body ⇢ done
 *        ╲       ╲      ╲       ╲                      ⇢ failed    ╱
 *         ╲_______╲______╲_______╲_______________________╲________╱   any error: a local response
 *
 * ⇢ is where the exchange waits for bytes: an event of its downstream (`request-events.ts`), of an attempt
 * (`attempt-events.ts`), of a plugin or of the clock continues it. From `responded` and `failed` it goes back to `pick`
 * while the route's retry policy allows it. A response that cannot be completed is `broken`.
 */

import { HOOK } from "../abi/abi.ts";
import { FLAG, type Head, PART } from "../http/head.ts";
import { countHop, HOP } from "../http/max-forwards.ts";
import { isOptionsMethod } from "../http/method.ts";
import { WORKER_CELLS } from "../observe/series.ts";
import type { HookCaller } from "../plugin/host/hook-context.ts";
import { OUTCOME } from "../plugin/host/host.ts";
import { recordExchange } from "./account.ts";
import { Admission } from "./admission.ts";
import { AttemptEvents } from "./attempt-events.ts";
import { cancelAttempts, evaluate, forward, pick, recover } from "./attempts.ts";
import { Bodies } from "./bodies.ts";
import { filtersRequest, filtersResponse } from "./body-filters.ts";
import type { WorkerContext } from "./context.ts";
import { ERROR, failureOf, type ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { ExchangePool } from "./exchange-pool.ts";
import type { ExchangeTrace } from "./exchange-trace.ts";
import { logRejection } from "./failure-log.ts";
import { isCall, makeTrailers, takeDeadline } from "./grpc.ts";
import { callRequestHead, callResponseHead } from "./head-hooks.ts";
import {
  prepareChallengeResponse,
  prepareErrorResponse,
  prepareLocalResponse,
  prepareOptionsResponse,
} from "./local-response.ts";
import { fitResponse, removeRanges } from "./metadata.ts";
import { fitsHandshake } from "./misdirected.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl } from "./pipeline-control.ts";
import { RequestEvents, receive } from "./request-events.ts";
import { selectRoute, takeCluster } from "./routing.ts";
import { TimeLimit } from "./time-limit.ts";
import { Tunnels } from "./tunnels.ts";
import { isUpgraded } from "./upgrade.ts";

const NOTHING = Buffer.alloc(0);

export class Pipeline implements HookCaller, PipelineControl {
  readonly context: WorkerContext;
  readonly exchanges = new ExchangePool(this);
  readonly admission: Admission;
  readonly bodies = new Bodies(this);
  readonly requests = new RequestEvents(this, this.bodies);
  readonly attempts = new AttemptEvents(this, this.bodies, this.requests);
  readonly tunnels: Tunnels;

  constructor(context: WorkerContext) {
    this.context = context;
    this.admission = new Admission(this.exchanges, context.cells);
    this.tunnels = new Tunnels(context, (error) => this.internal(null, error));
  }

  /** Runs the phases of an exchange from this one on, until it waits or ends. An exception ends the exchange only. */
  advance(x: Exchange, phase: number): void {
    x.phase = phase;
    try {
      this.#walk(x);
    } catch (error) {
      this.internal(x, error);
    }
  }

  #walk(x: Exchange): void {
    for (;;) {
      switch (x.phase) {
        case PHASE.received:
          x.phase = this.#begin(x);
          continue;
        case PHASE.request:
          x.phase = this.#enter(x);
          continue;
        case PHASE.route:
          x.phase = selectRoute(this, x);
          continue;
        case PHASE.chain:
          x.phase = this.#chain(x);
          continue;
        case PHASE.filterRequest:
          x.phase = this.bodies.filterRequest(x);
          continue;
        case PHASE.pick:
          x.phase = pick(this, x);
          continue;
        case PHASE.forward:
          x.phase = forward(this, x);
          continue;
        case PHASE.responded:
          x.phase = evaluate(this, x);
          continue;
        case PHASE.failed:
          x.phase = recover(this, x);
          continue;
        case PHASE.response:
          x.phase = this.#respond(x);
          continue;
        case PHASE.filterResponse:
          x.phase = this.bodies.filterResponse(x);
          continue;
        case PHASE.send:
          x.phase = this.#send(x);
          continue;
        case PHASE.filterChunk:
          x.phase = this.bodies.filterChunk(x);
          continue;
        case PHASE.broken:
          x.phase = this.#break(x);
          continue;
        case PHASE.done:
          this.#finish(x);
          return;
        default: // awaiting, body, bufferingRequest, bufferingResponse, suspended: an event continues it
          return;
      }
    }
  }

  /** The request headers are complete. */
  #begin(x: Exchange): number {
    x.begun = true;
    receive(this.context, x);
    const { tracer } = x.listener!.snapshot;
    if (tracer !== null) tracer.consider(x);
    if (this.context.challenges.hasContents && this.#respondToChallenge(x)) return PHASE.response;
    if (x.listener!.plan.strictSniHost && !fitsHandshake(x))
      return this.error(x, ERROR.misdirected, "the host is not the server name (SNI) of the TLS connection");
    if (x.isGrpc && !takeDeadline(x)) return this.error(x, ERROR.malformed, "a malformed grpc-timeout");
    return PHASE.request;
  }

  /** A CA validates a name: neither plugins nor routes see its request. */
  #respondToChallenge(x: Exchange): boolean {
    const { bytes, parts } = x.request;
    const content = this.context.challenges.contentFor(bytes, parts[PART.path]!, parts[PART.path + 1]!);
    if (content !== null) prepareChallengeResponse(x, content);
    return content !== null;
  }

  /** The listener's chain. */
  #enter(x: Exchange): number {
    const { chain } = x.listener!;
    while (x.enteredListener < chain.length) {
      const next = callRequestHead(this, chain[x.enteredListener]!, x);
      if (next >= 0) return next;
      x.enteredListener++;
    }
    return PHASE.route;
  }

  /** The route's chain. */
  #chain(x: Exchange): number {
    const { chain } = x.route!;
    while (x.enteredRoute < chain.length) {
      const next = callRequestHead(this, chain[x.enteredRoute]!, x);
      if (next >= 0) return next;
      x.enteredRoute++;
    }
    if (isOptionsMethod(x.request)) {
      const hop = countHop(x.request);
      if (hop === HOP.malformed) return this.error(x, ERROR.malformed, "a Max-Forwards that is not one number");
      if (hop === HOP.respond) {
        prepareOptionsResponse(x);
        return PHASE.response;
      }
    }
    // A plugin may have translated the request to a gRPC call.
    if (isCall(x) && !takeDeadline(x)) return this.error(x, ERROR.malformed, "a malformed grpc-timeout");
    if (!takeCluster(x)) return this.error(x, ERROR.noRoute, "the redirect of the route does not apply to the request");
    removeRanges(x);
    return filtersRequest(x) ? PHASE.filterRequest : PHASE.pick;
  }

  /** Runs the chains with the response, the endpoint's or a local one, in reverse order. */
  #respond(x: Exchange): number {
    if (x.localStatus !== 0 && x.error === null) prepareLocalResponse(x);
    if (x.outcome < 0) x.responseEnd = x.response.end;
    if (callResponseHead(this, x) === OUTCOME.suspended) return this.suspend(x);
    x.replay = null;
    x.replayLost = true;
    return filtersResponse(x) ? PHASE.filterResponse : PHASE.send;
  }

  #send(x: Exchange): number {
    const upgraded = isUpgraded(x);
    if (!upgraded) {
      if ((x.request.flags & FLAG.connect) !== 0 && isSuccess(x.response)) this.#refuseConnect(x);
      fitResponse(x);
    }
    if (x.trace !== null) x.trace.addIdHeader();
    if (upgraded) return this.#openTunnel(x);
    if (x.localStatus === 0 && isBodiless(x)) {
      // A plugin may have changed method or status: the endpoint's body is discarded.
      x.attempt.body = null;
      x.attempt.bodyDone = true;
    }
    const more = x.client!.sendHeaders();
    if (x.localStatus !== 0 || x.attempt.bodyDone) {
      cancelAttempts(this.context, x);
      return PHASE.done;
    }
    if (x.callDeadline > 0) this.#limitCall(x);
    if (more) x.attempt.stream?.resumeBody();
    else x.attempt.stream?.pauseBody();
    return PHASE.body;
  }

  /** The deadline of a gRPC call bounds the whole response; the route's timeout its headers only. */
  #limitCall(x: Exchange): void {
    x.deadline = x.callDeadline;
    if (x.timeLimit !== null) x.timeLimit.deadline = x.callDeadline;
    else this.context.clock.add((x.timeLimit = new TimeLimit(this, x)));
  }

  /** Replaces a response that the client of an extended CONNECT would take for the tunnel. */
  #refuseConnect(x: Exchange): void {
    cancelAttempts(this.context, x);
    x.problem = "a response of class 2xx in place of the tunnel";
    // No endpoint is to blame if there is none.
    const isLocal = x.route?.action.kind === "local";
    prepareErrorResponse(x, isLocal ? ERROR.protocolUnknown : ERROR.upstreamMalformed);
  }

  /** Opens the tunnel; the exchange ends. */
  #openTunnel(x: Exchange): number {
    const { attempt } = x;
    attempt.stream?.openTunnel?.(attempt);
    attempt.stream = null;
    x.client!.openTunnel!();
    return PHASE.done;
  }

  #break(x: Exchange): number {
    x.cancelCalls();
    cancelAttempts(this.context, x);
    x.client!.reset();
    return PHASE.done;
  }

  // ── Plugins ───────────────────────────────────────────────────────────────────────────────────────────────────

  endByPlugin(x: Exchange, outcome: number): number {
    if (outcome === OUTCOME.respond) {
      x.error = null;
      return PHASE.response;
    }
    if (outcome === OUTCOME.reject) return this.error(x, ERROR.denied, "a plugin denied the request");
    return this.error(x, failureOf(outcome), "a plugin failed");
  }

  suspend(x: Exchange): number {
    const { attempt } = x;
    x.resumesAt = x.phase;
    x.delayed = true;
    if (attempt.body !== null) {
      // The read buffer is valid until the read callback returns.
      attempt.body = Buffer.from(attempt.body.subarray(attempt.bodyStart, attempt.bodyEnd));
      attempt.bodyEnd -= attempt.bodyStart;
      attempt.bodyStart = 0;
    }
    attempt.stream?.pauseBody();
    this.watch(x);
    return PHASE.suspended;
  }

  resume(hook: number, x: Exchange, outcome: number): void {
    x.resume(hook, outcome);
    if (hook === HOOK.request_body && x.requestBody!.streaming) this.bodies.resumeRequest(x, x.requestBody!);
    else this.advance(x, x.resumesAt);
  }

  watch(x: Exchange): void {
    if (x.deadline === 0 || x.timeLimit !== null || x.headSent) return;
    x.timeLimit = new TimeLimit(this, x);
    this.context.clock.add(x.timeLimit);
  }

  // ── Errors ────────────────────────────────────────────────────────────────────────────────────────────────────

  error(x: Exchange, error: ProxyError, problem: string): number {
    if (error.source === "client") logRejection(this.context, x, error, problem);
    x.problem = problem;
    prepareErrorResponse(x, error);
    return PHASE.response;
  }

  fail(x: Exchange, error: ProxyError, problem: string): void {
    x.cancelCalls();
    cancelAttempts(this.context, x);
    this.advance(x, this.error(x, error, problem));
  }

  respondInstead(x: Exchange, error: ProxyError, problem: string): void {
    x.cancelCalls();
    cancelAttempts(this.context, x);
    x.problem = problem;
    prepareErrorResponse(x, error);
    this.advance(x, PHASE.send);
  }

  abortResponse(x: Exchange, problem: string): void {
    if (x.phase === PHASE.done || x.phase === PHASE.idle) return;
    x.problem = problem;
    x.error ??= ERROR.upstreamBroken;
    if (x.isGrpc && this.#endCall(x, x.error)) return;
    this.advance(x, PHASE.broken);
  }

  /** Ends the response of a gRPC call by trailers with the status of the error. Returns false if that is not possible. */
  #endCall(x: Exchange, error: ProxyError): boolean {
    const { attempt, responseBody } = x;
    if (x.phase !== PHASE.body || error === ERROR.clientGone || error === ERROR.internal) return false;
    if (attempt.bodyDone || !x.client!.alive || !attempt.isGrpc) return false;
    cancelAttempts(this.context, x);
    attempt.trailers = makeTrailers(x, error);
    attempt.bodyStart = attempt.bodyEnd = 0;
    attempt.bodyDone = true;
    if (responseBody?.streaming) {
      responseBody.chunk.set(NOTHING, 0, 0, true);
      this.advance(x, PHASE.filterChunk);
    } else {
      x.client!.sendBody(null, NOTHING);
      this.advance(x, PHASE.done);
    }
    return true;
  }

  internal(x: Exchange | null, error: unknown): void {
    this.context.cells[WORKER_CELLS.internalErrors]!++;
    const stack = error instanceof Error ? error.stack : String(error);
    this.context.report("error", "an exception ended an exchange", { stack, listener: x?.listenerName });
    if (x === null || x.phase === PHASE.done || x.phase === PHASE.idle) return;
    if (x.phase === PHASE.broken) this.advance(x, PHASE.done);
    // The error response to a first exception may have caused a second one.
    else if (x.headSent || x.error === ERROR.internal || !x.client!.alive) this.abortResponse(x, "internal error");
    else this.fail(x, ERROR.internal, "internal error");
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Records the exchange and returns it to the pool, even if a step of this fails. */
  #finish(x: Exchange): void {
    const client = x.client!;
    const { snapshot } = x.listener!;
    if (x.suspension !== null || x.requestBody !== null || x.responseBody !== null) x.cancelCalls();
    if (x.timeLimit !== null) this.context.clock.remove(x.timeLimit);
    if (!x.isSubrequest) this.#record(x);
    if (x.trace !== null) this.#report(x.trace);
    try {
      client.finished();
    } catch (error) {
      this.internal(null, error);
      client.reset();
    }
    if (x.pluginMemory !== null) x.releasePluginMemory();
    x.reset();
    this.exchanges.giveBack(x);
    snapshot.leave();
  }

  #record(x: Exchange): void {
    this.context.cells[WORKER_CELLS.requestsInFlight]!--;
    try {
      recordExchange(this.context, x);
    } catch (error) {
      this.internal(null, error);
    }
  }

  #report(trace: ExchangeTrace): void {
    try {
      trace.finish();
    } catch (error) {
      this.internal(null, error);
    }
  }
}

function isSuccess({ status }: Head): boolean {
  return status >= 200 && status < 300;
}

/** Whether the response has no body (RFC 9110 section 6.4.1). */
function isBodiless({ isHead, attempt, response: { status } }: Exchange): boolean {
  // A plugin has made another response of a 101, which is to have no body.
  return isHead || attempt.upgraded !== null || status === 204 || status === 304;
}

/**
 * The corridor: what happens to one request, in order. `advance` is to be read first; every other function is a step of
 * it, an event that leads back into it, or the end.
 *
 *   request → route → pick → forward → awaiting ⇢ answered → response → body ⇢ done
 *        ╲       ╲      ╲                      ⇢ failed    ╱
 *         ╲_______╲______╲_______________________╲________╱   any error: the answer is Sluice's own
 *
 * ⇢ is where bytes must be waited for. From `answered` and `failed` it goes back to `pick` while the retry rules allow it.
 */
import type { Pool } from "../balance/pool.ts";
import { FLAG, NAME } from "../http/head.ts";
import { isHeadMethod, isIdempotent } from "../http/method.ts";
import { THREAD_CELLS } from "../observe/series.ts";
import { HOOK } from "../plugin/abi.ts";
import { type Instance, OUTCOME } from "../plugin/host.ts";
import { endAttempt, recordExchange } from "./account.ts";
import type { Client } from "./client.ts";
import type { ThreadContext } from "./context.ts";
import { ERROR, type ProxyError } from "./error.ts";
import { type Exchange, Exchanges, PHASE } from "./exchange.ts";
import { believeForwarded } from "./forwarded.ts";
import { prepareErrorAnswer, prepareLocalAnswer } from "./reply.ts";
import type { RouteState } from "./snapshot.ts";
import {
  CONTINUE,
  frameStagedRequest,
  gatherAnswer,
  hold,
  pieceOf,
  stageAnswerPiece,
  stageRequestPiece,
  stagesAnswer,
  stagesRequest,
  withinLimits,
} from "./stages.ts";
import { Upstream } from "./upstream.ts";
import type { Wire } from "./wire.ts";

const NOTHING = Buffer.alloc(0);

export class Pipeline {
  readonly exchanges = new Exchanges();
  readonly #context: ThreadContext;
  /** Told when a client's connection is gone (draining counts them). */
  onClientClosed: (client: Client) => void = () => {};

  constructor(context: ThreadContext) {
    this.#context = context;
  }

  // ── The corridor ──────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes an exchange as far as it can go now. What goes wrong on the way is its own, whoever's event led here. */
  advance(x: Exchange): void {
    try {
      this.#walk(x);
    } catch (error) {
      this.internal(x, error);
    }
  }

  #walk(x: Exchange): void {
    for (;;) {
      switch (x.phase) {
        case PHASE.request:
          x.phase = this.#enter(x);
          continue;
        case PHASE.route:
          x.phase = this.#route(x);
          continue;
        case PHASE.pick:
          x.phase = this.#pick(x);
          continue;
        case PHASE.forward:
          x.phase = this.#forward(x);
          continue;
        case PHASE.answered:
          x.phase = this.#judge(x);
          continue;
        case PHASE.failed:
          x.phase = this.#recover(x);
          continue;
        case PHASE.response:
          x.phase = this.#respond(x);
          continue;
        case PHASE.send:
          x.phase = this.#send(x);
          continue;
        case PHASE.stageRequest:
          x.phase = this.#stageRequest(x);
          continue;
        case PHASE.stageAnswer:
          x.phase = this.#stageAnswer(x);
          continue;
        case PHASE.done:
          this.#finish(x);
          return;
        default: // awaiting, body, gathering, collecting: an event comes back here
          return;
      }
    }
  }

  /** A complete head has come: the listener's chain. */
  #enter(x: Exchange): number {
    const { chain } = x.listener!;
    while (x.enteredListener < chain.length) {
      const instance = chain[x.enteredListener]!;
      const answered = this.#callRequest(instance, x);
      if (answered) return PHASE.response;
      x.enteredListener++;
    }
    return PHASE.route;
  }

  /** The first rule that matches and whose router, if it has one, does not pass; then the rule's chain. */
  #route(x: Exchange): number {
    const { router, routes } = x.listener!;
    for (let at = router.match(x.request, 0); at >= 0; at = router.match(x.request, at + 1)) {
      const route = routes[at]!;
      if (route.router !== null) {
        const chosen = x.chosenCluster;
        x.chosenCluster = -1;
        const outcome = route.router.call(HOOK.route, x);
        if (outcome !== OUTCOME.continue) return this.#ownAnswer(x, outcome);
        if (x.chosenCluster < 0) {
          x.chosenCluster = chosen;
          continue; // it passes to the next rule
        }
      }
      x.route = route;
      x.routeName = route.name;
      if (route.timeout > 0) x.deadline = x.headAt + route.timeout;
      const { chain } = route;
      while (x.enteredRoute < chain.length) {
        if (this.#callRequest(chain[x.enteredRoute]!, x)) return PHASE.response;
        x.enteredRoute++;
      }
      this.#takeCluster(x);
      return stagesRequest(x) ? PHASE.stageRequest : PHASE.pick;
    }
    return this.#error(x, ERROR.noRoute, "no rule of the listener matches");
  }

  /** What came of the request's body, through the plugins; of a held request not before it is whole. */
  #stageRequest(x: Exchange): number {
    if (x.requestHeld && !x.requestComplete) {
      if (!withinLimits(x, x.replayLength)) return this.#error(x, ERROR.bodyTooLarge, "a plugin holds no such body");
      if (x.holders !== null) return this.#gather(x);
    }
    const piece = pieceOf(x);
    x.holders = null;
    piece.set(x.replay ?? NOTHING, 0, x.replayLength, x.requestComplete);
    const outcome = stageRequestPiece(x);
    if (outcome !== OUTCOME.continue) return this.#ownAnswer(x, outcome);
    x.replay = piece.bytes;
    x.replayLength = piece.end;
    x.requestHeld = false;
    x.requestStaged = true;
    piece.drop();
    frameStagedRequest(x);
    this.#takeCluster(x);
    return PHASE.pick;
  }

  /** Waits for more of a held request's body. */
  #gather(x: Exchange): number {
    const { request } = x;
    if ((request.flags & FLAG.expectContinue) !== 0) {
      request.flags &= ~FLAG.expectContinue;
      request.removeAt(request.findKnown(NAME.expect));
      x.client!.interim(CONTINUE);
    }
    return PHASE.gathering;
  }

  #pick(x: Exchange): number {
    const cluster = x.cluster!;
    const { strategyNames } = x.listener!.snapshot;
    const strategy = x.chosenStrategy < 0 ? 0 : cluster.strategyNamed(strategyNames[x.chosenStrategy]);
    const endpoint = cluster.pick(x, strategy);
    if (endpoint === null) {
      // What the last attempt failed with says more than that there is nobody left to try.
      return x.error !== null
        ? this.#error(x, x.error, x.problem)
        : this.#error(x, ERROR.noEndpoint, "no endpoint can take the request");
    }
    x.endpoint = endpoint;
    x.error = null;
    return PHASE.forward;
  }

  #forward(x: Exchange): number {
    const endpoint = x.endpoint!;
    const cluster = x.cluster!;
    const { attempt } = x;
    x.attempts++;
    attempt.endpoint = endpoint;
    attempt.startedAt = x.attempts === 1 && !x.fresh ? x.headAt : performance.now();
    attempt.sent = false;
    attempt.complete = false;
    x.response.status = 0; // what stands there is of an attempt or an exchange before
    x.answeredAt = 0;
    x.sentHead = isHeadMethod(x.request);
    x.idempotent = isIdempotent(x.request);
    this.#context.columns.addInFlight(this.#context.thread, endpoint.slot, 1);
    const pool = cluster.poolOf(endpoint) as Pool<Upstream>;
    let upstream = x.fresh ? null : pool.take();
    attempt.reused = upstream !== null;
    if (upstream === null) {
      upstream = new Upstream(this.#context, this, { endpoint, pool, plan: cluster.plan });
      upstream.connect();
    }
    attempt.upstream = upstream;
    upstream.begin(x);
    return PHASE.awaiting;
  }

  /** The endpoint's final head is there: it is the answer, unless the rule would rather have another's. */
  #judge(x: Exchange): number {
    const { status } = x.response;
    const { retryStatuses } = x.route!;
    x.answeredAt = performance.now();
    endAttempt(this.#context, x, status, false);
    if (x.bodyDone) x.attempt.upstream = null;
    if (retryStatuses.length === 0 || !retryStatuses.includes(status) || !this.#mayRetry(x, true))
      return PHASE.response;
    this.#abandonAttempt(x);
    return this.#retry(x);
  }

  /** The attempt came to nothing, for `x.error`: another one, or that is the answer. */
  #recover(x: Exchange): number {
    const { attempt } = x;
    const error = x.error!;
    // A kept connection that closes as the request arrives is nobody's failure (RFC 9112 section 9.3.1).
    const stale = attempt.reused && error === ERROR.upstreamReset && x.response.status === 0;
    endAttempt(this.#context, x, 0, !stale);
    if (stale && !x.replayLost && x.idempotent) {
      x.error = null;
      x.attempts--;
      x.fresh = true;
      return PHASE.forward;
    }
    const { retryConnect, retryStatuses } = x.route!;
    const wanted = attempt.sent ? retryStatuses.includes(error.status) : retryConnect;
    return wanted && this.#mayRetry(x, attempt.sent) ? this.#retry(x) : this.#error(x, error, x.problem);
  }

  /** The answer's head is there, the endpoint's or our own: the chains, last first, then it goes out. */
  #respond(x: Exchange): number {
    if (x.localStatus !== 0 && x.error === null) prepareLocalAnswer(x);
    const routeChain = x.route?.chain ?? [];
    this.#callResponse(routeChain, x.enteredRoute, x);
    this.#callResponse(x.listener!.chain, x.enteredListener, x);
    x.replay = null;
    x.replayLost = true;
    return stagesAnswer(x) ? PHASE.stageAnswer : PHASE.send;
  }

  /** What came of the answer's body, through the plugins; of a held answer not before it is whole. */
  #stageAnswer(x: Exchange): number {
    if (x.localStatus !== 0) return this.#stageLocal(x);
    const piece = pieceOf(x);
    if (x.answerHeld) {
      const gathered = gatherAnswer(x);
      if (!withinLimits(x, gathered.length)) return this.#refuseAnswer(x, ERROR.answerTooLarge);
      if (x.holders !== null && !x.bodyDone) return PHASE.collecting;
      piece.set(gathered.bytes, gathered.start, gathered.end, x.bodyDone);
      x.answerHeld = x.holders !== null;
      x.holders = null;
    } else piece.set(x.body ?? NOTHING, x.bodyStart, x.bodyEnd, x.bodyDone);
    const outcome = stageAnswerPiece(x);
    if (outcome === OUTCOME.respond) prepareLocalAnswer(x);
    else if (outcome !== OUTCOME.continue) return this.#refuseAnswer(x, ERROR.pluginFailed);
    x.body = piece.bytes;
    x.bodyStart = piece.start;
    x.bodyEnd = piece.end;
    x.answerStaged = true;
    x.answerHeld = false;
    return PHASE.send;
  }

  /** An answer of a plugin's or of Sluice's own is whole from the start. */
  #stageLocal(x: Exchange): number {
    const piece = pieceOf(x);
    const body = x.localBody ?? NOTHING;
    piece.set(body, 0, body.length, true);
    const outcome = stageAnswerPiece(x);
    if (outcome === OUTCOME.respond) prepareLocalAnswer(x);
    else if (outcome !== OUTCOME.continue) return this.#refuseAnswer(x, ERROR.pluginFailed);
    else x.localBody = piece.bytes.subarray(piece.start, piece.end);
    return PHASE.send;
  }

  /** The endpoint's answer cannot be had, after its head went through the plugins: it is told, and not staged again. */
  #refuseAnswer(x: Exchange, error: ProxyError): number {
    x.problem = error === ERROR.answerTooLarge ? "a plugin holds no such body" : "a plugin failed on the body";
    prepareErrorAnswer(x, error);
    return PHASE.send;
  }

  #send(x: Exchange): number {
    const more = x.client!.answer(x);
    if (x.localStatus !== 0 || x.bodyDone) {
      this.#abandonAttempt(x); // of a body that is not to follow this head
      return PHASE.done;
    }
    if (!more) x.attempt.upstream?.pauseBody();
    return PHASE.body;
  }

  // ── Steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** True when the request was answered here. */
  #callRequest(instance: Instance, x: Exchange): boolean {
    if ((instance.hooks & (1 << HOOK.request_head)) === 0) return false;
    const outcome = instance.call(HOOK.request_head, x);
    if (outcome === OUTCOME.continue) return false;
    if (outcome === OUTCOME.hold) {
      x.requestHeld = true;
      hold(x, instance);
      return false;
    }
    this.#ownAnswer(x, outcome);
    return true;
  }

  #takeCluster(x: Exchange): void {
    const { clusters } = x.listener!.snapshot;
    x.cluster = clusters[x.chosenCluster >= 0 ? x.chosenCluster : clusterOf(x.route!)]!;
    x.clusterName = x.cluster.plan.name;
  }

  #callResponse(chain: readonly Instance[], entered: number, x: Exchange): void {
    for (let i = entered - 1; i >= 0; i--) {
      const instance = chain[i]!;
      if ((instance.hooks & (1 << HOOK.response_head)) === 0) continue;
      const outcome = instance.call(HOOK.response_head, x);
      if (outcome === OUTCOME.respond) {
        x.error = null;
        prepareLocalAnswer(x);
      } else if (outcome === OUTCOME.hold) {
        x.answerHeld = true;
        hold(x, instance);
      } else if (outcome !== OUTCOME.continue) {
        this.#ownAnswer(x, outcome);
        return;
      }
    }
  }

  #ownAnswer(x: Exchange, outcome: number): number {
    if (outcome === OUTCOME.respond) {
      x.error = null;
      return PHASE.response;
    }
    return outcome === OUTCOME.reject
      ? this.#error(x, ERROR.denied, "a plugin refused the request")
      : this.#error(x, ERROR.pluginFailed, "a plugin failed");
  }

  #error(x: Exchange, error: ProxyError, problem: string): number {
    x.problem = problem;
    prepareErrorAnswer(x, error);
    return PHASE.response;
  }

  // ── Events from the client ────────────────────────────────────────────────────────────────────────────────────

  begin(x: Exchange): void {
    x.isHead = isHeadMethod(x.request);
    x.phase = PHASE.request;
    x.begun = true;
    this.#count(x);
    believeForwarded(x);
    this.advance(x);
  }

  #count(x: Exchange): void {
    x.listener!.snapshot.enter();
    x.listenerName = x.listener!.plan.name;
    this.#context.cells[THREAD_CELLS.requestsInFlight]!++;
  }

  /** The client's request cannot be taken, or not be taken any further. */
  refuse(x: Exchange, error: ProxyError, problem: string): void {
    if (x.phase === PHASE.idle) {
      this.#count(x);
      x.isHead = isHeadMethod(x.request);
    }
    x.requestComplete = false;
    if (x.headSent) return this.breakOff(x, problem);
    this.#abandonAttempt(x);
    x.phase = this.#error(x, error, problem);
    this.advance(x);
  }

  /** More of the request's body. False: the client pauses until its `resumeBody`. */
  requestBody(x: Exchange, bytes: Buffer, start: number, end: number): boolean {
    if (x.phase === PHASE.gathering) return this.#gatherMore(x, bytes, start, end);
    if (x.requestStaged) {
      const piece = pieceOf(x);
      piece.set(bytes, start, end, x.requestComplete);
      const outcome = stageRequestPiece(x);
      if (outcome !== OUTCOME.continue) {
        this.#endInBody(x, outcome);
        return true;
      }
      ({ bytes, start, end } = piece);
    }
    const { attempt } = x;
    if (attempt.upstream !== null && attempt.sent) return attempt.upstream.sendBody(x.client!, bytes, start, end);
    x.keep(bytes, start, end);
    return x.requestComplete || x.replayLength < 64 * 1024;
  }

  #gatherMore(x: Exchange, bytes: Buffer, start: number, end: number): boolean {
    x.keep(bytes, start, end);
    x.phase = PHASE.stageRequest;
    this.advance(x);
    return true;
  }

  /** A plugin answered, or failed, while the request's body went by. */
  #endInBody(x: Exchange, outcome: number): void {
    if (x.headSent || x.answeredAt > 0) {
      x.error = ERROR.pluginFailed;
      return this.breakOff(x, "a plugin failed on the request's body");
    }
    this.#abandonAttempt(x);
    x.requestStaged = false;
    x.phase = this.#ownAnswer(x, outcome);
    this.advance(x);
  }

  clientDrained(x: Exchange): void {
    x.attempt.upstream?.resumeBody();
  }

  clientClosed(client: Client): void {
    this.onClientClosed(client);
  }

  /** The client left: the endpoint is freed, the log says 499 if no answer had begun. */
  clientGone(x: Exchange, problem: string): void {
    if (x.phase === PHASE.done || x.phase === PHASE.idle) return;
    x.problem = problem;
    x.error = ERROR.clientGone;
    if (!x.headSent) x.response.status = ERROR.clientGone.status;
    this.#abandonAttempt(x);
    x.client!.break();
    x.phase = PHASE.done;
    this.advance(x);
  }

  // ── Events from the endpoint ──────────────────────────────────────────────────────────────────────────────────

  /** A final head has come. */
  answered(x: Exchange): void {
    x.phase = PHASE.answered;
    this.advance(x);
  }

  /** More of the answer's body. False: the endpoint's connection pauses until `clientDrained`. */
  responseBody(x: Exchange, source: Wire, bytes: Buffer): boolean {
    try {
      if (x.phase === PHASE.collecting) return this.#collect(x, bytes);
      if (x.answerStaged && !this.#stagePiece(x, bytes)) return true;
      const more = x.client!.body(source, x.answerStaged ? x.body! : bytes, x);
      if (!x.bodyDone) return more;
      x.attempt.upstream = null;
      x.phase = PHASE.done;
    } catch (error) {
      this.internal(x, error);
      return true;
    }
    this.advance(x);
    return true;
  }

  /** More of a held answer. */
  #collect(x: Exchange, bytes: Buffer): boolean {
    x.body = bytes;
    if (x.bodyDone) x.attempt.upstream = null;
    x.phase = PHASE.stageAnswer;
    this.advance(x);
    return true;
  }

  /** More of an answer that goes through plugins. False: one of them failed, and the answer is broken off. */
  #stagePiece(x: Exchange, bytes: Buffer): boolean {
    const piece = pieceOf(x);
    piece.set(bytes, x.bodyStart, x.bodyEnd, x.bodyDone);
    if (stageAnswerPiece(x) !== OUTCOME.continue) {
      if (x.bodyDone) x.attempt.upstream = null;
      x.error = ERROR.pluginFailed;
      this.breakOff(x, "a plugin failed on the answer's body");
      return false;
    }
    x.body = piece.bytes;
    x.bodyStart = piece.start;
    x.bodyEnd = piece.end;
    return true;
  }

  /** The attempt came to nothing; when its head is out, the client's answer is broken. */
  attemptFailed(x: Exchange, error: ProxyError, problem: string): void {
    x.attempt.upstream = null;
    x.error = error;
    if (x.headSent) return this.breakOff(x, problem);
    x.problem = problem;
    if (x.phase === PHASE.collecting) {
      // Its head went through the plugins already.
      prepareErrorAnswer(x, error);
      x.phase = PHASE.send;
    } else x.phase = PHASE.failed;
    this.advance(x);
  }

  /** The answer cannot be completed: the client must see it broken. */
  breakOff(x: Exchange, problem: string): void {
    if (x.phase === PHASE.done || x.phase === PHASE.idle) return;
    x.problem = problem;
    x.error ??= ERROR.upstreamBroken;
    this.#abandonAttempt(x);
    x.client!.break();
    x.phase = PHASE.done;
    this.advance(x);
  }

  /** An exception in our own code ended the exchange. */
  internal(x: Exchange | null, error: unknown): void {
    this.#context.cells[THREAD_CELLS.internalErrors]!++;
    const stack = error instanceof Error ? error.stack : String(error);
    this.#context.report("error", "an exception ended an exchange", { stack, listener: x?.listenerName });
    if (x === null || x.phase === PHASE.done || x.phase === PHASE.idle) return;
    // The second one may come of telling of the first.
    if (x.headSent || x.error === ERROR.internal || !x.client!.alive) return this.breakOff(x, "internal error");
    this.#abandonAttempt(x);
    x.phase = this.#error(x, ERROR.internal, "internal error");
    this.advance(x);
  }

  #mayRetry(x: Exchange, sent: boolean): boolean {
    if (x.attempts > x.route!.attempts || x.replayLost) return false;
    if (x.deadline > 0 && x.deadline <= this.#context.clock.now) return false;
    return (!sent || (x.idempotent && x.requestComplete)) && x.cluster!.hasOther(x);
  }

  #retry(x: Exchange): number {
    this.#context.cells[x.cluster!.plan.retryCell]!++;
    x.tried.push(x.endpoint!.slot);
    x.fresh = false;
    return PHASE.pick;
  }

  #abandonAttempt(x: Exchange): void {
    const { upstream } = x.attempt;
    x.attempt.upstream = null;
    if (upstream !== null) upstream.abandon();
    endAttempt(this.#context, x, 0, false);
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Whatever goes wrong in telling of it, the exchange ends and gives back what it held. */
  #finish(x: Exchange): void {
    const client = x.client!;
    const { snapshot } = x.listener!;
    this.#context.cells[THREAD_CELLS.requestsInFlight]!--;
    try {
      recordExchange(this.#context, x);
    } catch (error) {
      this.internal(null, error);
    }
    try {
      client.finished(x);
    } catch (error) {
      this.internal(null, error);
      client.break();
    }
    x.reset();
    this.exchanges.giveBack(x);
    snapshot.leave();
  }
}

function clusterOf(route: RouteState): number {
  const { action } = route;
  if (action.kind === "cluster") return action.cluster;
  if (action.kind === "router") return action.clusters[0]!;
  let total = 0;
  for (const part of action.parts) total += part.weight;
  let ticket = Math.random() * total;
  for (const part of action.parts) {
    ticket -= part.weight;
    if (ticket < 0) return part.cluster;
  }
  return action.parts[0]!.cluster;
}

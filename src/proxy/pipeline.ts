/**
 * The corridor: what happens to one request, in order. `advance` is to be read first; every other function is a step of
 * it, or the end. What leads back into it from outside is in `events.ts`.
 *
 *   request → route → pick → forward → awaiting ⇢ answered → response → body ⇢ done
 *        ╲       ╲      ╲                      ⇢ failed    ╱
 *         ╲_______╲______╲_______________________╲________╱   any error: the answer is Sluice's own
 *
 * ⇢ is where bytes must be waited for. From `answered` and `failed` it goes back to `pick` while the retry rules allow it.
 */

import { HOOK } from "../abi/abi.ts";
import { countHop, HOP } from "../http/max-forwards.ts";
import { isHeadMethod, isIdempotent, isOptionsMethod } from "../http/method.ts";
import { THREAD_CELLS } from "../observe/series.ts";
import { OUTCOME } from "../plugin/host/host.ts";
import type { Instance } from "../plugin/host/instance.ts";
import type { Rival } from "../route/match.ts";
import type { Trace } from "../trace/trace.ts";
import { endAttempt, recordExchange } from "./account.ts";
import { countEntered, hold, instanceAt, stagesAnswer, stagesRequest } from "./body-filters.ts";
import { ERROR, failureOf, type ProxyError } from "./error.ts";
import { Events } from "./events.ts";
import { type Exchange, PHASE } from "./exchange.ts";
import { countRetriedStatus, countStaleConnection, logNoEndpoint, logUpstreamFailure } from "./failure-log.ts";
import { prepareLocalAnswer, prepareOptionsAnswer } from "./local-response.ts";
import { askForWhole, fitResponse } from "./metadata.ts";
import type { RouteState } from "./snapshot.ts";

/** Of a path in a log line. */
const MOST_SHOWN = 256;

export class Pipeline extends Events {
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
        case PHASE.chain:
          x.phase = this.#chain(x);
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
          x.phase = this.bodies.stageRequest(x);
          continue;
        case PHASE.stageAnswer:
          x.phase = this.bodies.stageAnswer(x);
          continue;
        case PHASE.piece:
          x.phase = this.bodies.piece(x);
          continue;
        case PHASE.done:
          this.#finish(x);
          return;
        default: // awaiting, body, gathering, collecting, suspended: an event comes back here
          return;
      }
    }
  }

  /** A complete head has come: the listener's chain. */
  #enter(x: Exchange): number {
    const { chain } = x.listener!;
    while (x.enteredListener < chain.length) {
      const next = this.#callRequest(chain[x.enteredListener]!, x);
      if (next >= 0) return next;
      x.enteredListener++;
    }
    return PHASE.route;
  }

  /** The first rule that matches and whose router, if it has one, does not pass. */
  #route(x: Exchange): number {
    const { router, routes, plan } = x.listener!;
    for (let from = 0; ; ) {
      const at = router.match(x.request, from);
      if (x.trace !== null) x.trace.rules(x, from, at);
      if (x.request.doubts !== 0 && !plan.path.allowsAmbiguous) {
        const rival = router.findRival(x.request, from, at);
        if (rival !== null) return this.#refuseAmbiguous(x, at, rival);
      }
      if (at < 0) break;
      const route = routes[at]!;
      from = at + 1;
      if (route.router !== null) {
        const chosen = x.chosenCluster;
        x.chosenCluster = -1;
        const outcome = route.router.call(HOOK.route, x);
        if (outcome !== OUTCOME.continue) return this.ownAnswer(x, outcome);
        if (x.chosenCluster < 0) {
          x.chosenCluster = chosen;
          continue; // it passes to the next rule
        }
      }
      x.route = route;
      x.routeName = route.name;
      if (x.trace !== null) x.trace.routed(route.name);
      if (route.timeout > 0) x.deadline = x.headAt + route.timeout;
      return PHASE.chain;
    }
    if (x.trace !== null) x.trace.routed(null);
    return this.error(x, ERROR.noRoute, "no rule of the listener matches");
  }

  /** What the endpoint would read could belong to a route whose filters this request does not pass. */
  #refuseAmbiguous(x: Exchange, selected: number, rival: Rival): number {
    const { routes } = x.listener!;
    const name = (at: number) => (at < 0 ? "no route" : `the route ${routes[at]!.name}`);
    const problem =
      rival.route < -1
        ? `the path selects ${name(selected)}, and is too long to try its other readings`
        : `the path selects ${name(selected)}, but ${name(rival.route)} when it is read as ${rival.path.slice(0, MOST_SHOWN)}`;
    if (x.trace !== null) x.trace.routed(null, true);
    // The connection ends with this answer.
    x.requestComplete = false;
    return this.error(x, ERROR.ambiguousPath, problem);
  }

  /** The rule's chain. */
  #chain(x: Exchange): number {
    const { chain } = x.route!;
    while (x.enteredRoute < chain.length) {
      const next = this.#callRequest(chain[x.enteredRoute]!, x);
      if (next >= 0) return next;
      x.enteredRoute++;
    }
    if (isOptionsMethod(x.request)) {
      const hop = countHop(x.request);
      if (hop === HOP.malformed) return this.error(x, ERROR.malformed, "a Max-Forwards that is not one number");
      if (hop === HOP.answer) {
        prepareOptionsAnswer(x);
        return PHASE.response;
      }
    }
    this.takeCluster(x);
    askForWhole(x);
    return stagesRequest(x) ? PHASE.stageRequest : PHASE.pick;
  }

  /** A plugin's call waits: the exchange goes on where it is now (`resume`). */
  suspend(x: Exchange): number {
    x.resumesAt = x.phase;
    x.waited = true;
    if (x.attempt.body !== null) {
      // What was read is valid in this turn only.
      x.attempt.body = Buffer.from(x.attempt.body.subarray(x.attempt.bodyStart, x.attempt.bodyEnd));
      x.attempt.bodyEnd -= x.attempt.bodyStart;
      x.attempt.bodyStart = 0;
    }
    x.attempt.stream?.pauseBody();
    this.watch(x);
    return PHASE.suspended;
  }

  #pick(x: Exchange): number {
    const cluster = x.cluster!;
    const { strategyNames } = x.listener!.snapshot;
    const strategy = x.chosenStrategy < 0 ? 0 : cluster.strategyNamed(strategyNames[x.chosenStrategy]);
    const endpoint = cluster.pick(x, strategy);
    if (x.trace !== null) x.trace.picked(x, strategy, endpoint === null ? null : endpoint.address);
    if (endpoint === null) {
      if (x.attempts === 0) logNoEndpoint(this.context, x);
      // What the last attempt failed with says more than that there is nobody left to try.
      const { error, problem } = x.attempt;
      return error !== null
        ? this.error(x, error, problem)
        : this.error(x, ERROR.noEndpoint, "no endpoint can take the request");
    }
    x.endpoint = endpoint;
    return PHASE.forward;
  }

  #forward(x: Exchange): number {
    const endpoint = x.endpoint!;
    const cluster = x.cluster!;
    const attempt = x.beginAttempt();
    attempt.startedAt = x.attempts === 1 && !x.fresh && !x.waited ? x.headAt : performance.now();
    attempt.noReuse = x.fresh;
    attempt.isHead = isHeadMethod(x.request);
    x.requestPassed = x.requestComplete && !x.requestWaits;
    x.idempotent = isIdempotent(x.request);
    this.context.columns.addInFlight(this.context.thread, endpoint.slot, 1);
    cluster.connectorOf(endpoint).open(attempt);
    return PHASE.awaiting;
  }

  /** The endpoint's final head is there: it is the answer, unless the rule would rather have another's. */
  #judge(x: Exchange): number {
    const { attempt } = x;
    const { status } = attempt.head;
    const { statuses } = x.route!.retry;
    if (x.rivals !== null) this.cancelRivals(x.rivals);
    attempt.answeredAt = performance.now();
    endAttempt(this.context, attempt, status, false);
    if (attempt.bodyDone) attempt.stream = null;
    if (statuses.length === 0 || !statuses.includes(status) || !this.#mayRetry(x, true)) return PHASE.response;
    countRetriedStatus(this.context, attempt);
    this.abandonAttempt(x);
    return this.#retry(x);
  }

  /** The attempt came to nothing, for `x.error`: another one, or that is the answer. */
  #recover(x: Exchange): number {
    const { attempt } = x;
    const { problem } = attempt;
    const error = attempt.error!;
    // A kept connection that closes as the request arrives is nobody's failure (RFC 9112 section 9.3.1).
    const stale =
      attempt.reused &&
      (error === ERROR.unsolicitedResponse || (error === ERROR.upstreamReset && !attempt.hasResponse));
    endAttempt(this.context, attempt, 0, !stale);
    if (stale && !x.replayLost && x.idempotent) {
      countStaleConnection(this.context, attempt, error);
      x.attempts--;
      x.fresh = true;
      return PHASE.forward;
    }
    logUpstreamFailure(this.context, attempt, error, problem);
    return wantsRetry(x, error) && this.#mayRetry(x, attempt.sent && !attempt.unprocessed)
      ? this.#retry(x)
      : this.error(x, error, problem);
  }

  /** The answer's head is there, the endpoint's or our own: the chains, last first, then it goes out. */
  #respond(x: Exchange): number {
    if (x.localStatus !== 0 && x.error === null) prepareLocalAnswer(x);
    if (x.settled < 0) x.responseEnd = x.response.end;
    if (this.#callResponse(x) === OUTCOME.waiting) return this.suspend(x);
    x.replay = null;
    x.replayLost = true;
    return stagesAnswer(x) ? PHASE.stageAnswer : PHASE.send;
  }

  #send(x: Exchange): number {
    fitResponse(x);
    if (x.trace !== null) x.trace.tell(x);
    if (x.localStatus === 0 && isBodiless(x)) {
      // A plugin may have made it so; what the endpoint sends of a body is left out.
      x.attempt.body = null;
      x.attempt.bodyDone = true;
    }
    const more = x.client!.sendHeaders(x);
    if (x.localStatus !== 0 || x.attempt.bodyDone) {
      this.abandonAttempt(x); // of a body that is not to follow this head
      return PHASE.done;
    }
    if (more) x.attempt.stream?.resumeBody();
    else x.attempt.stream?.pauseBody();
    return PHASE.body;
  }

  // ── Steps ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The phase that the hook leads to; -1: on in the chain. */
  #callRequest(instance: Instance, x: Exchange): number {
    if ((instance.hooks & (1 << HOOK.request_head)) === 0) return -1;
    const outcome = this.#call(instance, HOOK.request_head, x);
    switch (outcome) {
      case OUTCOME.continue:
        return -1;
      case OUTCOME.hold:
        x.requestHeld = true;
        hold(x, instance);
        return -1;
      case OUTCOME.waiting:
        return this.suspend(x);
      default:
        return this.ownAnswer(x, outcome);
    }
  }

  /** Calls a hook of a head, or takes what came of it when it was waited for. */
  #call(instance: Instance, hook: number, x: Exchange): number {
    if (x.settled < 0) return instance.call(hook, x);
    const outcome = x.settled;
    x.settled = -1;
    return outcome;
  }

  takeCluster(x: Exchange): void {
    const { clusters } = x.listener!.snapshot;
    x.cluster = clusters[x.chosenCluster >= 0 ? x.chosenCluster : clusterOf(x.route!)]!;
    x.clusterName = x.cluster.plan.name;
    if (x.trace !== null) x.trace.clusterTaken(x);
  }

  /** The answer's head through the chains, last first: OUTCOME.continue, or waiting. */
  #callResponse(x: Exchange): number {
    const total = countEntered(x);
    for (; x.stage < total; x.stage++) {
      const instance = instanceAt(x, total - 1 - x.stage);
      if ((instance.hooks & (1 << HOOK.response_head)) === 0) continue;
      const outcome = this.#call(instance, HOOK.response_head, x);
      if (outcome === OUTCOME.waiting) return outcome;
      if (outcome === OUTCOME.respond) {
        x.error = null;
        prepareLocalAnswer(x);
        x.responseEnd = x.response.end;
      } else if (outcome === OUTCOME.hold) {
        x.answerHeld = true;
        hold(x, instance);
      } else if (outcome !== OUTCOME.continue) {
        this.ownAnswer(x, outcome);
        break;
      }
    }
    x.stage = 0;
    return OUTCOME.continue;
  }

  ownAnswer(x: Exchange, outcome: number): number {
    if (outcome === OUTCOME.respond) {
      x.error = null;
      return PHASE.response;
    }
    if (outcome === OUTCOME.reject) return this.error(x, ERROR.denied, "a plugin refused the request");
    return this.error(x, failureOf(outcome), "a plugin failed");
  }

  #mayRetry(x: Exchange, sent: boolean): boolean {
    if (x.attempts > x.route!.retry.attempts || x.replayLost) return false;
    if (x.deadline > 0 && x.deadline <= this.context.clock.now) return false;
    return (!sent || (x.idempotent && x.requestComplete)) && x.cluster!.hasOther(x);
  }

  #retry(x: Exchange): number {
    this.context.cells[x.cluster!.plan.retryCell]!++;
    x.tried.push(x.endpoint!.slot);
    x.fresh = false;
    return PHASE.pick;
  }

  // ── The end ───────────────────────────────────────────────────────────────────────────────────────────────────

  #record(x: Exchange): void {
    this.context.cells[THREAD_CELLS.requestsInFlight]!--;
    try {
      recordExchange(this.context, x);
    } catch (error) {
      this.internal(null, error);
    }
  }

  #tell(x: Exchange, trace: Trace): void {
    try {
      const { tracer } = x.listener!.snapshot;
      const dropped = tracer === null ? 0 : tracer.dropped;
      if (tracer !== null) tracer.dropped = 0;
      this.context.traced(trace.record(x), dropped);
    } catch (error) {
      this.internal(null, error);
    }
  }

  /** Whatever goes wrong in telling of it, the exchange ends and gives back what it held. */
  #finish(x: Exchange): void {
    const client = x.client!;
    const { snapshot } = x.listener!;
    if (x.suspension !== null || x.requestSuspension !== null) this.interrupt(x);
    if (x.timeLimit !== null) this.context.clock.remove(x.timeLimit);
    if (!x.own) this.#record(x);
    if (x.trace !== null) this.#tell(x, x.trace);
    try {
      client.finished(x);
    } catch (error) {
      this.internal(null, error);
      client.reset();
    }
    if (x.kept !== null) x.releaseKept();
    x.reset();
    this.exchanges.giveBack(x);
    snapshot.leave();
  }
}

/** Whether the route's policy names this failure of an attempt. */
function wantsRetry({ attempt, route }: Exchange, error: ProxyError): boolean {
  const { connect, reset, timeout, statuses } = route!.retry;
  if (!attempt.sent || attempt.unprocessed) return connect;
  if (error === ERROR.responseTimeout && timeout) return true;
  if (error === ERROR.upstreamReset && reset) return true;
  return statuses.includes(error.status);
}

/** Whether no body may follow the response's head (RFC 9110 section 6.4.1). */
function isBodiless({ isHead, response: { status } }: Exchange): boolean {
  return isHead || status === 204 || status === 304;
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

/** Attempts at endpoints: pick, forward, retry. Steps of the pipeline return the phase that follows. */

import { performance } from "node:perf_hooks";
import { findGrpcType } from "../http/grpc.ts";
import { FLAG } from "../http/head.ts";
import { isHeadMethod, isIdempotent } from "../http/method.ts";
import type { Connection } from "../net/connection.ts";
import { endAttempt } from "./account.ts";
import type { Attempt } from "./attempt.ts";
import type { WorkerContext } from "./context.ts";
import { ERROR, type ProxyError } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { countRetriedStatus, countStaleConnection, logNoEndpoint, logUpstreamFailure } from "./failure-log.ts";
import { beginCall, retriesStatus, takeStatus } from "./grpc.ts";
import { PHASE } from "./phase.ts";
import type { PipelineControl, StepControl } from "./pipeline-control.ts";
import { hasWebSocketKey, selectUpgrade } from "./upgrade.ts";

/**
 * How often a request that an endpoint did not process is sent to it again: at most as many streams are before it on a
 * connection, and each one that ends in order after some of them leaves fewer, unless newer requests take their place.
 */
const MAX_REPEATS = 99;
/** A repeat counts so much if the endpoint has processed nothing on the connection: three of them are allowed. */
const IDLE_REPEAT = MAX_REPEATS / 3;

/** Body bytes that are buffered for an attempt without a connection, before the client is paused. */
const MAX_UNSENT = 64 * 1024;

export function pick(pipeline: StepControl, x: Exchange): number {
  const cluster = x.cluster!;
  const { strategyNames } = x.listener!.snapshot;
  const strategy = x.chosenStrategy < 0 ? 0 : cluster.strategyNamed(strategyNames[x.chosenStrategy]);
  const endpoint = cluster.pick(x, strategy);
  if (x.trace !== null) x.trace.picked(strategy, endpoint === null ? null : endpoint.address);
  if (endpoint !== null) {
    x.endpoint = endpoint;
    return PHASE.forward;
  }
  if (x.attempts === 0) logNoEndpoint(pipeline.context, x);
  // The cause of the last failure is more useful than that no endpoint is left.
  const { error, problem } = x.attempt;
  return error === null
    ? pipeline.error(x, ERROR.noEndpoint, "no endpoint can take the request")
    : pipeline.error(x, error, problem);
}

export function forward(pipeline: PipelineControl, x: Exchange): number {
  const { context } = pipeline;
  const endpoint = x.endpoint!;
  const { bandwidth } = x.route!;
  if (bandwidth !== null && !x.paced) {
    x.paced = true;
    const wait = bandwidth.wait();
    if (wait > 0) return pace(pipeline, x, wait);
  }
  if (x.isGrpc && !beginCall(x))
    return pipeline.error(x, ERROR.responseTimeout, "the deadline of the gRPC call was exceeded before an attempt");
  if ((x.request.flags & FLAG.upgrade) !== 0) x.upgrade = selectUpgrade(x);
  if (x.upgrade === null && (x.request.flags & FLAG.connect) !== 0)
    return pipeline.error(x, ERROR.protocolUnknown, "an extended CONNECT to a protocol that the route does not allow");
  if (x.upgrade !== null && x.cluster!.plan.protocol !== "http1" && !hasWebSocketKey(x))
    return pipeline.error(x, ERROR.malformed, "a WebSocket upgrade without one valid Sec-WebSocket-Key");
  const attempt = x.beginAttempt();
  attempt.startedAt = x.attempts === 1 && !x.noReuse && !x.delayed ? x.headAt : performance.now();
  attempt.noReuse = x.noReuse;
  attempt.isHead = isHeadMethod(x.request);
  if (x.requestBody !== null) x.requestBody.passed = x.requestComplete && !x.requestBody.isSuspended;
  x.idempotent = isIdempotent(x.request) || (x.isGrpc && x.route!.retry.grpc !== 0);
  context.columns.addInFlight(context.worker, endpoint.slot, 1);
  x.cluster!.connectorOf(endpoint).open(attempt);
  return PHASE.awaiting;
}

/** Continues after this time, ms: until then the bandwidth of the route is used up by earlier requests. */
function pace(pipeline: PipelineControl, x: Exchange, wait: number): number {
  const timer = setTimeout(() => {
    x.suspension = null;
    pipeline.advance(x, PHASE.forward);
  }, wait);
  x.suspension = { cancel: () => clearTimeout(timer) };
  return pipeline.suspend(x);
}

/** A final response head was received: another attempt if the route retries such a status, else it is the response. */
export function evaluate({ context }: PipelineControl, x: Exchange): number {
  const { attempt } = x;
  const { status } = attempt.head;
  const { statuses } = x.route!.retry;
  if (x.rivals !== null) cancelRivals(context, x.rivals);
  attempt.respondedAt = performance.now();
  if (x.isGrpc) {
    attempt.isGrpc = findGrpcType(attempt.head) >= 0;
    takeStatus(x, attempt.head);
  }
  endAttempt(context, attempt, status, false);
  if (attempt.bodyDone) attempt.stream = null;
  const matches = (statuses.length > 0 && statuses.includes(status)) || (x.isGrpc && retriesStatus(x));
  if (!matches || !mayRetry(context, x, true)) return PHASE.response;
  countRetriedStatus(context, attempt);
  cancelAttempts(context, x);
  return retry(context, x);
}

/** The attempt failed: another one if the route allows it, else an error response. */
export function recover(pipeline: StepControl, x: Exchange): number {
  const { context } = pipeline;
  const { attempt } = x;
  const { problem } = attempt;
  const error = attempt.error!;
  // An idle connection that is closed while a request is sent is no failure of the endpoint (RFC 9112 section 9.3.1).
  const stale =
    attempt.reused && (error === ERROR.unsolicitedResponse || (error === ERROR.upstreamReset && !attempt.hasResponse));
  // Nor is a deadline that the client has set: by short ones, a client could have endpoints ejected.
  const late = x.callDeadline > 0 && error.status === 504 && x.callDeadline <= performance.now();
  // Nor is an upgrade that it does not support: clients could have endpoints ejected by them.
  endAttempt(context, attempt, 0, !stale && !late && error !== ERROR.upgradeUnsupported);
  // Once, since the connection of a repeat may be shared and lost too.
  if (stale && (attempt.unprocessed ? mayRepeat(context, x) : !x.replayLost && x.idempotent && !x.noReuse)) {
    countStaleConnection(context, attempt, error);
    return repeat(x);
  }
  logUpstreamFailure(context, attempt, error, problem);
  const processed = attempt.sent && !attempt.unprocessed;
  if (wantsRetry(x, error, processed) && mayRetry(context, x, processed)) return retry(context, x);
  return attempt.unprocessed && mayRepeat(context, x) ? repeat(x) : pipeline.error(x, error, problem);
}

/** Whether a request that the endpoint did not process may be sent to it again. */
function mayRepeat({ clock }: WorkerContext, x: Exchange): boolean {
  return !x.replayLost && x.repeats < MAX_REPEATS && (x.deadline === 0 || x.deadline > clock.now);
}

/** Another attempt at the same endpoint, on a new connection, which is not counted. */
function repeat(x: Exchange): number {
  x.attempts--;
  x.repeats += x.attempt.othersProcessed ? 1 : IDLE_REPEAT;
  x.noReuse = true;
  return PHASE.forward;
}

function retry({ cells }: WorkerContext, x: Exchange): number {
  cells[x.cluster!.plan.retryCell]!++;
  x.tried.push(x.endpoint!.slot);
  x.noReuse = false;
  return PHASE.pick;
}

/** Whether another attempt is safe. `processed`: the endpoint may have acted on the request. */
function mayRetry({ clock }: WorkerContext, x: Exchange, processed: boolean): boolean {
  if (x.attempts > x.route!.retry.attempts || x.replayLost) return false;
  if (x.deadline > 0 && x.deadline <= clock.now) return false;
  return (!processed || (x.idempotent && x.requestComplete)) && x.cluster!.hasOther(x);
}

/** Whether the route's retry policy names this failure of an attempt. */
function wantsRetry(x: Exchange, error: ProxyError, processed: boolean): boolean {
  const { connect, reset, timeout, statuses, grpc } = x.route!.retry;
  if (x.isGrpc && ((grpc >>> error.grpc) & 1) === 1) return true;
  if (!processed) return connect;
  if (error === ERROR.responseTimeout && timeout) return true;
  if (error === ERROR.upstreamReset && reset) return true;
  return statuses.includes(error.status);
}

/** Sends body bytes on the attempt, or buffers them until it can. Returns false when the client should pause. */
export function passBody(x: Exchange, source: Connection | null, bytes: Buffer, start: number, end: number): boolean {
  const { attempt } = x;
  if (attempt.stream !== null && attempt.sent) return attempt.stream.sendBody(source, bytes, start, end);
  x.keep(bytes, start, end);
  return x.requestComplete || x.replayLength < MAX_UNSENT;
}

export function cancelAttempts(context: WorkerContext, x: Exchange): void {
  cancel(context, x.attempt);
  if (x.rivals !== null) cancelRivals(context, x.rivals);
}

function cancelRivals(context: WorkerContext, rivals: readonly Attempt[]): void {
  for (const rival of rivals) cancel(context, rival);
}

function cancel(context: WorkerContext, attempt: Attempt): void {
  const { stream } = attempt;
  attempt.stream = null;
  if (stream !== null) stream.cancel();
  endAttempt(context, attempt, 0, false);
}

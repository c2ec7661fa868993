/** Records the result of an attempt and of an exchange: counters, averages, hooks, the access log. */

import { performance } from "node:perf_hooks";
import { HOOK } from "../abi/abi.ts";
import { PART } from "../http/head.ts";
import { OTHER } from "../observe/label-table.ts";
import { countStatus, observeDuration, STATUS_CELLS } from "../observe/series.ts";
import type { Instance } from "../plugin/host/instance.ts";
import type { Attempt } from "./attempt.ts";
import type { WorkerContext } from "./context.ts";
import { ERROR } from "./error.ts";
import type { Exchange } from "./exchange.ts";
import { countedStatus, finalStatus } from "./grpc.ts";
import { isUpgraded } from "./upgrade.ts";

/** Minimum silence that counts as a hang, ms: a route's timeout may be shorter than a healthy endpoint needs. */
const HUNG = 1000;

/**
 * Takes an attempt out of the in-flight count, once, and records its result. Neither a status nor a failure: it was
 * cancelled for a reason other than the endpoint. A TCP connection that was established has no status.
 */
export function endAttempt(
  context: WorkerContext,
  attempt: Attempt,
  status: number,
  failed: boolean,
  cancelled = status === 0 && !failed,
): void {
  if (!attempt.inFlight) return;
  attempt.inFlight = false;
  const { exchange: x, probe } = attempt;
  const endpoint = attempt.endpoint!;
  if (x.trace !== null) x.trace.attempted(attempt, status, failed);
  const { columns, worker, cells } = context;
  columns.addInFlight(worker, endpoint.slot, -1);
  if (cancelled) {
    if (probe) columns.offerProbe(endpoint.slot); // for another request
    return;
  }
  const taken = (status === 0 ? performance.now() : attempt.respondedAt) - attempt.startedAt;
  attempt.latency = taken * 1000;
  attempt.status = x.isGrpc ? countedStatus(x, status) : status;
  attempt.failed = failed;
  columns.sample(endpoint.slot, attempt.latency, failed || isGatewayError(attempt.status));
  if (failed || isFailure(attempt)) noteFailure(context, attempt);
  else if (!x.isGrpc || probe || x.grpcStatus >= 0 || status !== 200) noteResponse(context, attempt);
  else {
    // The trailers decide, which may follow much later.
    attempt.isPending = true;
    columns.received(endpoint.slot, attempt.respondedAt);
  }
  if (!failed) observeDuration(cells, endpoint.cells, taken / 1000);
  for (const strategy of x.cluster!.strategies)
    if ((strategy.hooks & (1 << HOOK.outcome)) !== 0) strategy.call(HOOK.outcome, x);
}

/** The status is one of those that count as failures of the endpoint. */
function isFailure({ exchange: x, status }: Attempt): boolean {
  return status >= 500 && x.cluster!.plan.passive !== null && x.cluster!.plan.passive.statuses.includes(status);
}

/** Counts a gRPC call by its trailers, unless ended from outside: silent clients could have endpoints ejected. */
function settleCall(context: WorkerContext, x: Exchange): void {
  const { attempt } = x;
  if (!attempt.isPending || x.error !== null) return;
  attempt.status = countedStatus(x, 200);
  if (!isFailure(attempt)) return noteResponse(context, attempt);
  context.columns.sample(attempt.endpoint!.slot, attempt.latency, isGatewayError(attempt.status));
  noteFailure(context, attempt);
}

/** Counts the attempt as a success of the endpoint. */
function noteResponse({ columns, notifyHealth }: WorkerContext, { endpoint, respondedAt, probe }: Attempt): void {
  const { slot } = endpoint!;
  columns.responded(slot, respondedAt);
  if (probe) notifyHealth({ slot, event: "recovered", cause: "" });
}

/** Counts the attempt as a failure of the endpoint; notifies the main thread where that may change its health. */
function noteFailure({ columns, notifyHealth }: WorkerContext, attempt: Attempt): void {
  const { exchange: x, probe } = attempt;
  const { slot } = attempt.endpoint!;
  const { passive, timeouts } = x.cluster!.plan;
  if (passive === null || x.cluster!.members.length < 2) return;
  if (attempt.failed && attempt.local) {
    if (probe) columns.offerProbe(slot);
    return;
  }
  const cause = attempt.failed ? attempt.error!.code : `status ${attempt.status}`;
  if (probe) return notifyHealth({ slot, event: "probe_failed", cause });
  const count = columns.addFailure(slot);
  const most = passive.consecutiveFailures;
  if (count > most) return;
  const taken = attempt.latency / 1000;
  // No worker received anything from it within the response timeout: it hangs, and is ejected without further attempts.
  const hangs =
    attempt.error === ERROR.responseTimeout &&
    taken >= Math.min(HUNG, timeouts.response || HUNG) &&
    !columns.respondedSince(slot, performance.now() - taken);
  if (hangs) columns.failures[slot] = most;
  if (hangs || count === most) notifyHealth({ slot, event: "failing", cause });
}

function isGatewayError(status: number): boolean {
  return status >= 502 && status <= 504;
}

/** Counts an exchange that has ended, calls `log` hooks, and writes the access log. */
export function recordExchange(context: WorkerContext, x: Exchange): void {
  const { cells, accessLog } = context;
  const { route } = x;
  const listener = x.listener!;
  const now = performance.now();
  const requests = requestCells(x);
  countStatus(cells, requests, x.response.status);
  if (x.isGrpc) recordCall(context, x, requests + STATUS_CELLS);
  observeDuration(cells, route?.durationCells ?? listener.plan.durationCells, (now - x.startedAt) / 1000);
  if (x.begun) callLog(listener.chain, x.enteredListener, x);
  if (route !== null) callLog(route.chain, x.enteredRoute, x);
  // A tunnel has its line when it ends.
  if (!isUpgraded(x)) accessLog.line(x, now);
}

/** `base`: its cells of `sluice_grpc_requests_total`. */
function recordCall(context: WorkerContext, x: Exchange, base: number): void {
  x.grpcStatus = finalStatus(x);
  settleCall(context, x);
  context.cells[base + x.grpcStatus]!++;
  const { grpcMethods } = x.listener!;
  if (grpcMethods === null) return;
  const { original, request } = x;
  const method = request.text(original[PART.path]! + 1, original[PART.path + 1]!);
  context.cells[(grpcMethods.get(method) ?? grpcMethods.get(OTHER)!) + x.grpcStatus]!++;
}

/** The cells of its series of `sluice_requests_total`. */
function requestCells({ listener, route, cluster }: Exchange): number {
  if (route === null) return listener!.plan.requestCells;
  const cells = cluster === null ? -1 : route.requestCells[cluster.index]!;
  return cells < 0 ? route.noClusterCells : cells;
}

function callLog(chain: readonly Instance[], entered: number, x: Exchange): void {
  // The plugin that responded is not among those entered; it is called too.
  for (let i = 0; i <= entered && i < chain.length; i++) {
    const instance = chain[i]!;
    if ((instance.hooks & (1 << HOOK.log)) !== 0) instance.call(HOOK.log, x);
  }
}
